"""A fault pages a person and ends by itself: the demo pipeline, a real Prometheus with our rules, a real Alertmanager,
a webhook.

Rules are those of the shipped tables with every duration 30 times shorter (5m is 10 s), and the efficiency baseline is
shorter still: three samples that end 10 s ago, where twelve that end a day ago are shipped. Expressions, names,
thresholds and texts are the shipped ones; that the shipped durations do what they should is shown by promtool on
made-up series (test_rules.py).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.alertmanager import WebhookReceiver, running_alertmanager, webhook_receiver
from support.demo_fleet import NAME, DemoFleet, running_demo_fleet
from support.prometheus import Prometheus, running_prometheus
from support.rules import write_rules
from support.tools import need

from deploy.prometheus.source.model import Settings

pytestmark = pytest.mark.e2e

SETTINGS = replace(Settings().scaled(30), history_samples=3, baseline_delay_seconds=10.0, efficiency_for_seconds=10.0)
WASTE = 2.0


@dataclass(frozen=True, slots=True)
class Stack:
    """Everything from the simulated GPU to the pager."""

    fleet: DemoFleet
    prometheus: Prometheus
    pager: WebhookReceiver

    def wait_for_page(self, name: str, status: str, seconds: float) -> Mapping[str, Any]:
        def wanted(alert: Mapping[str, Any]) -> bool:
            return bool(alert["labels"]["alertname"] == name and alert["status"] == status)

        found: Mapping[str, Any] = self.pager.wait_for(wanted, f"{status} page of {name}", seconds)
        return found

    def paged(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.pager.alerts()}


@contextlib.contextmanager
def running_stack(work: Path) -> Iterator[Stack]:
    need("prometheus", "promtool", "alertmanager")
    rules = write_rules(work / "rules", SETTINGS)
    with (
        running_demo_fleet() as fleet,
        webhook_receiver() as pager,
        running_alertmanager(work, pager.url) as alertmanager,
        running_prometheus(work, {"tokwatt": fleet.address}, rule_files=rules, alertmanager=alertmanager) as prometheus,
    ):
        yield Stack(fleet, prometheus, pager)


def test_a_server_that_goes_down_pages_and_resolves(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        stack.prometheus.wait_for('tokwatt_source_up{kind="tokens"} == 1')
        assert stack.paged() == set()
        stack.fleet.crash()
        page = stack.wait_for_page("TokwattTokenSourceDown", "firing", 40)
        assert page["labels"] == {
            "alertname": "TokwattTokenSourceDown",
            "severity": "warning",
            "area": "measurement",
            "job": "tokwatt",
            "instance": stack.fleet.address,
            "source": NAME,
            "kind": "tokens",
        }
        assert page["annotations"]["summary"] == f"Inference server {NAME} does not answer tokwatt"
        text = page["annotations"]["description"]
        assert re.search(rf"read by {stack.fleet.address}, last answered \d+(\.\d+)?s ago\.", text), text
        assert page["annotations"]["runbook_url"].endswith("/docs/runbooks/TokwattTokenSourceDown.md")
        stack.fleet.come_back()
        stack.wait_for_page("TokwattTokenSourceDown", "resolved", 40)
        assert stack.paged() == {"TokwattTokenSourceDown"}


def test_an_efficiency_regression_pages_and_resolves(tmp_path: Path) -> None:
    ratio = f'server:tokwatt_efficiency:ratio_rate5m{{server="{NAME}",boundary="gpu"}}'
    with running_stack(tmp_path) as stack:
        stack.prometheus.wait_for(f"{ratio} > 0.9", 120)  # enough history
        assert stack.paged() == set()
        stack.fleet.waste(WASTE)
        page = stack.wait_for_page("TokwattEfficiencyRegression", "firing", 90)
        assert page["labels"] == {
            "alertname": "TokwattEfficiencyRegression",
            "severity": "warning",
            "area": "efficiency",
            "server": NAME,
            "boundary": "gpu",
        }
        summary = page["annotations"]["summary"]
        assert (match := re.fullmatch(rf"{NAME} gives ([\d.]+)% of its usual tokens per joule", summary)), summary
        assert 40 < float(match[1]) < 80
        text = page["annotations"]["description"]
        shown = re.search(r"gives ([\d.]+) tokens per joule at boundary gpu, where ([\d.]+) is its median", text)
        assert shown, text
        assert float(shown[1]) < 0.8 * float(shown[2])
        stack.fleet.waste(1.0)
        stack.wait_for_page("TokwattEfficiencyRegression", "resolved", 60)
        assert stack.paged() == {"TokwattEfficiencyRegression"}
