"""Prices of a running exporter: a series of a real Prometheus, a file that is replaced, a tariff after a reload."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.nvml_double import NvmlDouble
from support.openmetrics import present, total
from support.processes import poll, running
from support.prometheus import check_metrics, running_prometheus
from support.tokwatt_process import TokwattProcess, running_tokwatt

pytestmark = pytest.mark.e2e

PAGES = Path(__file__).parent.parent / "bench" / "vllm_servers.py"
KWH = 3.6e6
ELECTRICITY = "tokwatt_electricity_price_dollars_per_joule"
CAPACITY = "tokwatt_capacity_price_dollars_per_second"
UP = "tokwatt_source_up"


def price(tokwatt: TokwattProcess, name: str) -> float | None:
    samples = tokwatt.samples()
    return total(samples, name) if present(samples, name) else None


def replace_file(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def test_prices_move_while_it_runs(tmp_path: Path) -> None:
    double = NvmlDouble(tmp_path, gpus=1, watts=3600)
    spot = tmp_path / "run" / "spot"
    spot.parent.mkdir()
    with (
        running("pages", [sys.executable, str(PAGES), "1"], tmp_path) as pages,
        running_prometheus(tmp_path / "prometheus", {}) as prometheus,
    ):
        pages.wait_until(lambda: "]" in pages.log_text(), "ports")
        (port,) = json.loads(pages.log_text())
        series = {"url": prometheus.url, "query": "vector(-25)", "unit": "dollars_per_mwh", "period_seconds": 0.2}
        config: dict[str, Any] = {
            "servers": [{"name": "chat", "url": f"http://127.0.0.1:{port}/metrics", "gpus": "all"}],
            "meters": [{"source": "nvml"}],
            "prices": {
                "capacity": {"spot": {"file": "spot", "period_seconds": 0.2, "hold_seconds": 3}},
                "electricity": {"series": series},
            },
        }
        with running_tokwatt(tmp_path / "run", config, env=double.env()) as tokwatt:
            tokwatt.wait_ready()
            assert price(tokwatt, CAPACITY) is None  # the file is not there yet
            assert total(tokwatt.samples(), UP, source="prices.capacity", kind="price") == 0
            poll(lambda: price(tokwatt, ELECTRICITY) == pytest.approx(-0.025 / KWH) or None, "the market's price")
            poll(lambda: price(tokwatt, "tokwatt_energy_credit_dollars_total") or None, "a credit")

            replace_file(spot, "3600\n")
            poll(lambda: price(tokwatt, CAPACITY) == 1.0 or None, "the first spot price")
            replace_file(spot, "# moved\n7200\n")
            poll(lambda: price(tokwatt, CAPACITY) == 2.0 or None, "the second spot price")
            replace_file(spot, "tomorrow\n")
            poll(lambda: total(tokwatt.samples(), UP, source="prices.capacity") == 0 or None, "a failed read")
            poll(lambda: price(tokwatt, CAPACITY) is None or None, "the end of the last price")
            before = tokwatt.samples()
            check_metrics(tokwatt.metrics_text())

            del config["prices"]["electricity"]["series"]
            config["prices"]["electricity"]["tariff"] = {"time_zone": "Europe/Berlin", "dollars_per_kwh": 0.36}
            config["prices"]["capacity"] = {"ownership": {"purchase_dollars": 8766 * 3600.0, "years": 1}}
            tokwatt.config_file.write_text(yaml.safe_dump(config))
            tokwatt.reload()
            poll(lambda: price(tokwatt, ELECTRICITY) == pytest.approx(0.36 / KWH) or None, "the tariff")
            assert price(tokwatt, CAPACITY) == pytest.approx(1.0)
            poll(lambda: present(tokwatt.samples(), "tokwatt_cost_dollars_total", component="energy") or None, "energy")
            after = tokwatt.samples()
            for name in ("tokwatt_cost_dollars_total", "tokwatt_energy_credit_dollars_total"):
                assert total(after, name) >= total(before, name) > 0
            assert not present(after, UP, source="prices.capacity")
            assert total(after, UP, source="prices.electricity", kind="price") == 1
            assert tokwatt.terminate() == 0
