"""Every query of every dashboard, asked of a real Prometheus that scrapes the demo; and what the ratios leave out."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.dashboards import BOUNDARIES, NAMES, Target, filled, load, targets
from support.ports import free_port
from support.processes import Child, poll
from support.prometheus import Prometheus, running_prometheus
from support.prometheus import test_rules as run_rule_tests

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SERVER = "sim-code"  # an engine that also counts requests
SPANS = {"rate": "8s", "whole": "30s"}
# (panel, refId) that have nothing to show on a healthy demo without Alertmanager's rules
NOTHING_HAPPENED = {
    ("Alerts", "A"): "no alert rules are loaded, and nothing is wrong",
    ("Failed reads by source and reason", "A"): "no read failed",
    ("Failed reads by source and reason", "B"): "no read failed",
    ("Gaps and counter resets", "B"): "no counter was reset",
    ("Series that the engine does not show", "A"): "simulated engines show all their series",
    ("Sources of this server", "E"): "no counter was reset",
}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the demo until its energy is split between prefill and decode: a minute or two."""
    work = tmp_path_factory.mktemp("dashboards")
    address = f"127.0.0.1:{free_port()}"
    demo = Child("demo", [sys.executable, "-m", "tokwatt", "demo", "--listen", address], work / "demo.log")
    try:
        demo.wait_for_url(f"http://{address}/readyz", 20.0)
        with running_prometheus(work, {"tokwatt": address}) as server:
            enough = "min(count_over_time(tokwatt_output_tokens_total[1m])) >= 18"
            server.wait_for(enough, 60.0)
            poll(lambda: server.instant("count(tokwatt_server_power_watts) == 12"), "power at three boundaries", 30.0)
            split = f'count(tokwatt_prefill_tokens_per_joule{{server="{SERVER}"}}) == {len(BOUNDARIES)}'
            poll(lambda: server.instant(split), "a phase split", 150.0, every=1.0)
            poll(lambda: server.instant("tokwatt_meter_energy_to_power_ratio"), "compared meters", 90.0, every=1.0)
            yield server
    finally:
        demo.stop(5.0)


def ask(prometheus: Prometheus, target: Target, boundary: str) -> list[float]:
    expr = filled(target.expr, server=SERVER, boundary=boundary, **SPANS)
    return [one.value for one in prometheus.instant(expr)]


def number(prometheus: Prometheus, name: str, panel: str, boundary: str = "host") -> float:
    """The one value of a panel that stands on a dashboard once, or first."""
    target = next(one for one in targets(load(name)) if one.panel == panel)
    expr = filled(target.expr, server=".*", boundary=boundary, **SPANS)
    return prometheus.value(expr)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", NAMES)
def test_every_query_gives_data(prometheus, name, boundary):
    silent = [
        f"{target.panel} {target.ref_id}: {filled(target.expr, server=SERVER, boundary=boundary, **SPANS)}"
        for target in targets(load(name))
        if (target.panel, target.ref_id) not in NOTHING_HAPPENED
        and not any(map(math.isfinite, ask(prometheus, target, boundary)))
    ]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("name", NAMES)
def test_variables_offer_what_is_there(prometheus, name):
    def values(query: str) -> set[str]:
        selector, label = query.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        return {one.labels.get(label, "") for one in prometheus.instant(filled(selector, server=SERVER))}

    found = {
        variable["name"]: values(variable["query"]["query"])
        for variable in load(name)["templating"]["list"]
        if variable["type"] == "query"
    }
    assert found["cluster"] == found["namespace"] == {""}
    assert found["server"] == {"sim-chat", "sim-code", "sim-edge", "sim-guard"}
    assert found["boundary"] == set(BOUNDARIES)
    assert found["model"]


def test_excepted_queries_exist():
    there = {(target.panel, target.ref_id) for name in NAMES for target in targets(load(name))}
    assert set(NOTHING_HAPPENED) <= there


def test_numbers_of_the_overview_agree(prometheus):
    overview = "tokwatt-overview"
    per_joule = {boundary: number(prometheus, overview, "Tokens per joule", boundary) for boundary in BOUNDARIES}
    assert per_joule["gpu"] > per_joule["host"] > 0 < per_joule["facility"]
    first = next(one for one in targets(load(overview)) if one.panel == "Tokens per joule")
    host, facility = (filled(first.expr, server=".*", boundary=name, **SPANS) for name in ("host", "facility"))
    at_one_instant = prometheus.value(f"({host}) / ({facility})")
    assert at_one_instant == pytest.approx(1.2, rel=0.01)  # the demo's PUE
    assert number(prometheus, overview, "Cost rate") == pytest.approx(17.5 + 0.9, rel=0.05)  # 7 GPUs x 2.50, and power
    for share in ("Idle energy", "Idle dollars", "Lowest coverage"):
        assert 0 <= number(prometheus, overview, share) <= 1


def expression(panel: str, which: int = 0) -> str:
    found = [one.expr for one in targets(load("tokwatt-overview")) if one.panel == panel]
    return filled(found[which], rate="1m", whole="1m")


def promtool_agrees(file: Path, inputs: list[dict[str, str]], expected: dict[str, tuple[str, float]], at: str) -> None:
    """`expected`: what an expression, rounded to 1e-6, gives as its one sample, by the panel's title."""
    cases = [
        {"expr": f"round(sum({expr}), 1e-6)", "eval_time": at, "exp_samples": [{"value": round(value, 6)}]}
        for expr, value in expected.values()
    ]
    test = {"interval": "6s", "input_series": inputs, "promql_expr_test": cases}
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    run_rule_tests(file)


def test_ratios_are_of_sums_and_leave_out_what_was_not_measured(tmp_path: Path) -> None:
    """Two servers of 1 tok/J and 4 tok/J, one without a meter, and one metered whose tokens are unknown."""

    def series(name: str, slope: float, **labels: str) -> dict[str, str]:
        text = ",".join(f'{key}="{value}"' for key, value in {"instance": "a:1", "job": "t", **labels}.items())
        return {"series": f"{name}{{{text}}}", "values": f"0+{slope}x20"}

    def tokens(server: str, slope: float) -> dict[str, str]:
        return series("tokwatt_output_tokens_total", slope, server=server, model="m")

    def energy(server: str, slope: float, phase: str) -> dict[str, str]:
        return series("tokwatt_server_host_energy_joules_total", slope, server=server, model="m", phase=phase)

    def dollars(server: str, slope: float, phase: str, component: str) -> dict[str, str]:
        labels = {"server": server, "model": "m", "phase": phase, "component": component}
        return series("tokwatt_cost_dollars_total", slope, **labels)

    inputs = [
        tokens("even", 1000),
        energy("even", 600, "unsplit"),
        energy("even", 400, "idle"),
        tokens("good", 400),
        energy("good", 100, "unsplit"),
        tokens("no-meter", 7000),
        energy("no-tokens", 5000, "unsplit"),
        dollars("even", 2, "unsplit", "capacity"),
        dollars("even", 1, "idle", "capacity"),
        dollars("good", 0.5, "unsplit", "energy"),
        tokens("quiet", 0),
        dollars("quiet", 4, "idle", "capacity"),
        series("tokwatt_energy_credit_dollars_total", 0.5, server="quiet", model="m", phase="idle"),
    ]
    expected = {
        "Tokens per joule": 1400 / 1100,
        "Tokens per kWh": 1400 / 1100 * 3.6e6,
        "Tokens per dollar": 1400 / 7,
        "Per million tokens": 7 / 1400 * 1e6,
        "Idle energy": 400 / 6100,
        "Idle dollars": 4.5 / 7,
    }
    promtool_agrees(
        tmp_path / "ratios.yml", inputs, {name: (expression(name), value) for name, value in expected.items()}, "2m"
    )


def test_p90_load_is_the_level_that_holds_the_ninetieth_percentile_of_time(tmp_path: Path) -> None:
    """80 s of 100 at 5 tok/s and 300 W, 15 s at 40 tok/s and 600 W, 5 s at 200 tok/s and 900 W: P90 is the second."""

    def by_load(name: str, *in_level: float) -> list[dict[str, str]]:
        counts = [sum(in_level[: index + 1]) for index in range(len(in_level))]
        made = []
        for level, count in zip(("10", "50", "+Inf"), counts, strict=True):
            labels = f'instance="a:1",job="t",server="chat",load_le="{level}"'
            made.append({"series": f"tokwatt_load_{name}_total{{{labels}}}", "values": f"0+{count / 10}x20"})
        return made

    inputs = [
        *by_load("seconds", 80, 15, 5),
        *by_load("output_tokens", 80 * 5, 15 * 40, 5 * 200),
        *by_load("host_energy_joules", 80 * 300, 15 * 600, 5 * 900),
    ]
    found = {one.panel: one.expr for one in targets(load("tokwatt-server"))}
    expected = {
        "P90 load": 40,
        "Power at P90 load": 600,
        "Tokens per joule at P90 load": 40 / 600,
        "Power, mean": 0.8 * 300 + 0.15 * 600 + 0.05 * 900,
    }
    exprs = {panel: (filled(found[panel], server="chat", whole="1m"), value) for panel, value in expected.items()}
    promtool_agrees(tmp_path / "load.yml", inputs, exprs, "2m")


def test_a_phase_is_shown_with_its_error(tmp_path: Path) -> None:
    """50 tokens per joule from 20 % more energy or less: at least 50/1.2, at most 50/0.8."""
    at = 'instance="a:1",job="t",server="chat",boundary="host"'
    inputs = [
        {"series": f'tokwatt_prefill_tokens_per_joule{{{at},model="m"}}', "values": "50x20"},
        {"series": f'tokwatt_phase_energy_error_ratio{{{at},phase="prefill"}}', "values": "0.2x20"},
    ]
    graph = [one.expr for one in targets(load("tokwatt-server")) if one.panel == "Prefill: tokens per joule"]
    table = [one.expr for one in targets(load("tokwatt-server")) if one.panel == "What a token takes in each phase"]
    values = {
        "value": (graph[0], 50),
        "at least": (graph[1], 50 / 1.2),
        "at most": (graph[2], 50 / 0.8),
        "per joule": (table[0], 50),
        "error": (table[1], 0.2),
        "joules per token": (table[2], 0.02),
    }
    exprs = {name: (filled(expr, server="chat"), value) for name, (expr, value) in values.items()}
    promtool_agrees(tmp_path / "phases.yml", inputs, exprs, "1m")
