"""Every shipped rule evaluated by a real Prometheus that scrapes the demo's pipeline: no error, and data.

Durations are 30 times shorter (5m is 10 s), as in test_alerting.py.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.demo_fleet import running_demo_fleet
from support.processes import poll
from support.prometheus import Prometheus, running_prometheus
from support.rules import recordings, write_rules
from support.tools import need

from deploy.prometheus.source.model import Settings

pytestmark = pytest.mark.e2e

SETTINGS = replace(Settings().scaled(30), history_samples=3, baseline_delay_seconds=10.0, efficiency_for_seconds=10.0)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    need("prometheus", "promtool")
    work = tmp_path_factory.mktemp("rules")
    rules = write_rules(work / "rules", SETTINGS)
    with (
        running_demo_fleet() as fleet,
        running_prometheus(work, {"tokwatt": fleet.address}, rule_files=rules) as server,
    ):
        yield server


def rules(prometheus: Prometheus) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{prometheus.url}/api/v1/rules", timeout=5) as answer:
        groups = json.load(answer)["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_recording_rule_gives_data(prometheus: Prometheus) -> None:
    names = {rule.record for rule in recordings()}

    def silent() -> set[str]:
        return {name for name in names if not prometheus.instant(name)}

    poll(lambda: not silent() or None, f"data of {len(names)} recorded names", 100, every=2.0)


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    evaluated = poll(
        lambda: (all(rule["health"] != "unknown" for rule in rules(prometheus)) and rules(prometheus)) or None,
        "an evaluation of every rule",
        60,
    )
    assert len(evaluated) > 150
    assert {rule["name"]: rule.get("lastError") for rule in evaluated if rule["health"] != "ok"} == {}


def test_power_and_efficiency_at_p90_load_are_those_of_a_load_that_never_changes(prometheus: Prometheus) -> None:
    """The demo's load is steady here, so P90 is now: the rules must agree with the live gauges."""
    for rule, live in (
        ("server:tokwatt_server_power_watts:p90_load_7d", "tokwatt_server_power_watts"),
        ("server:tokwatt_output_tokens_per_joule:p90_load_7d", "tokwatt_output_tokens_per_joule"),
    ):
        at_p90 = poll(lambda name=rule: prometheus.instant(name) or None, rule, 100, every=2.0)  # type: ignore[misc]
        now = {series.labels["boundary"]: series.points[-1][1] for series in prometheus.instant(live)}
        found = {series.labels["boundary"]: series.points[-1][1] for series in at_p90}
        assert found.keys() == now.keys() == {"gpu", "host", "facility"}
        assert found == pytest.approx(now, rel=0.15)
