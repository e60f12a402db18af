"""The main job, with real programs only: a real llama.cpp server under a known load, the real NVML binding on a driver
double, a real RMCP+ session to a BMC double, and a real Prometheus that scrapes the exporter every second.

The load and the power are a pulse with quiet edges (support.power_curve): whatever lies inside is counted whole by
every observer, so totals can be compared exactly and rates within the sampling error of the meters alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.bmc_double import PASSWORD, USER, BmcDouble
from support.llama_server import LlamaServer, Usage, running_llama_server
from support.nvml_double import NvmlDouble
from support.openmetrics import Samples, total
from support.power_curve import RAMP_SECONDS, PowerCurve, driven
from support.processes import poll
from support.prometheus import Prometheus, check_metrics, running_prometheus
from support.tokwatt_process import TokwattProcess, running_tokwatt

pytestmark = pytest.mark.e2e

WINDOW_SECONDS = 30
RANGE = f"[{WINDOW_SECONDS}s]"
QUIET_SECONDS = 6.0
LOAD_SECONDS = 16.0
TOLERANCE = 0.01
PUE = 1.2
DOLLARS_PER_GPU_HOUR = 2.5
DOLLARS_PER_KWH = 0.17
SHARED_PREFIX = "You are the clerk of a mill. Each day you write down what the wheel ground. " * 8


def request(number: int) -> tuple[str, int]:
    """Some requests share a long prefix, so that the server serves a part of their prompts from its cache."""
    if number % 3:
        return f"{SHARED_PREFIX} Day {number}: ", 8 + number % 5
    return f"Note {number}: the quick brown fox jumps over the lazy dog {number} times. " * 4, 12


@dataclass(frozen=True, slots=True)
class Run:
    """What is left of the run when the load is over, the exporter still alive."""

    tokwatt: TokwattProcess
    prometheus: Prometheus
    server: LlamaServer
    usage: Usage
    gpu_joules: float  # truth of the doubles, from before the exporter's first reading until now
    host_joules: float
    samples: Samples  # one scrape after the load
    held_seconds: float  # since the exporter was started
    scrapes: tuple[float, ...]  # Unix times of Prometheus scrapes whose window holds the whole pulse


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    work = tmp_path_factory.mktemp("main-job")
    password_file = work / "bmc-password"
    password_file.write_text(PASSWORD)
    nvml = NvmlDouble(work, gpus=1, watts=2)
    with (
        running_llama_server(work) as server,
        BmcDouble(work, watts=4) as bmc,
    ):
        gpu = PowerCurve(lambda watts: nvml.set_watts(0, watts), 2, 320, 60, 9.0)
        host = PowerCurve(bmc.set_watts, 4, 700, 90, 11.0)
        config = {
            "tick_seconds": 1,
            "window_seconds": WINDOW_SECONDS,
            "servers": [{"name": "chat", "url": f"{server.url}/metrics", "gpus": "all", "hosts": ["bmc1"]}],
            "meters": [
                {"source": "nvml"},
                {
                    "source": "ipmi",
                    "name": "bmc1",
                    "host": "127.0.0.1",
                    "port": bmc.port,
                    "username": USER,
                    "password_file": str(password_file),
                    "period_seconds": 1,
                },
            ],
            "prices": {
                "capacity": {"dollars_per_gpu_hour": DOLLARS_PER_GPU_HOUR},
                "electricity": {"dollars_per_kwh": DOLLARS_PER_KWH},
                "pue": PUE,
            },
        }
        begun = time.monotonic()
        with (
            driven(gpu, host),
            running_tokwatt(work, config, env=nvml.env()) as tokwatt,
            running_prometheus(work, {"tokwatt": tokwatt.address}) as prometheus,
        ):
            tokwatt.wait_ready()
            prometheus.wait_for('tokwatt_output_tokens_total{server="chat"}')
            prometheus.wait_for("tokwatt_host_energy_joules_total")
            first_scrape = time.time()
            time.sleep(QUIET_SECONDS)

            gpu.begin()
            host.begin()
            usage = server.load_for(LOAD_SECONDS, request)
            gpu.end()
            host.end()
            assert time.time() < first_scrape + WINDOW_SECONDS - RAMP_SECONDS - 1, "the load took too long to fit"

            scrapes = wait_for_scrapes(prometheus, first_scrape + WINDOW_SECONDS + 1, count=4)
            now = time.monotonic()
            yield Run(
                tokwatt,
                prometheus,
                server,
                usage,
                nvml.joules(0, begun, now),
                bmc.joules(begun, now),
                tokwatt.samples(),
                now - begun,
                scrapes,
            )
            assert tokwatt.terminate() == 0


def wait_for_scrapes(prometheus: Prometheus, after: float, count: int) -> tuple[float, ...]:
    """Times of the first scrapes after a Unix time."""

    def found() -> tuple[float, ...] | None:
        points = prometheus.instant("tokwatt_build_info[10s]")[0].points
        times = tuple(at for at, _ in points if at > after)
        return times[:count] if len(times) >= count else None

    return poll(found, f"{count} scrapes", after - time.time() + 15)


def test_token_totals_equal_what_the_clients_were_told(run: Run) -> None:
    assert run.usage.requests > 5
    assert run.usage.cached_tokens > 0
    computed = run.usage.prompt_tokens - run.usage.cached_tokens
    assert total(run.samples, "tokwatt_input_tokens_total", server="chat") == computed
    assert total(run.samples, "tokwatt_cached_input_tokens_total", server="chat") == run.usage.cached_tokens
    assert total(run.samples, "tokwatt_output_tokens_total", server="chat") == run.usage.completion_tokens


def test_energy_totals_equal_the_integral_of_the_power(run: Run) -> None:
    assert run.gpu_joules > 1000
    assert total(run.samples, "tokwatt_gpu_energy_joules_total") == pytest.approx(run.gpu_joules, rel=TOLERANCE)
    assert total(run.samples, "tokwatt_host_energy_joules_total") == pytest.approx(run.host_joules, rel=TOLERANCE)


@pytest.mark.parametrize("boundary", ["gpu", "host"])
def test_given_and_unattributed_are_what_was_measured(run: Run, boundary: str) -> None:
    given = total(run.samples, f"tokwatt_server_{boundary}_energy_joules_total")
    left = total(run.samples, f"tokwatt_unattributed_{boundary}_energy_joules_total")
    measured = total(run.samples, f"tokwatt_{boundary}_energy_joules_total")
    assert given + left == pytest.approx(measured, rel=1e-9)
    assert given == pytest.approx(measured, rel=TOLERANCE), "the only server owns everything"


def test_facility_energy_is_host_energy_times_pue(run: Run) -> None:
    host = total(run.samples, "tokwatt_server_host_energy_joules_total", server="chat")
    facility = total(run.samples, "tokwatt_server_facility_energy_joules_total", server="chat")
    assert facility == pytest.approx(PUE * host, rel=1e-9)


def test_energy_dollars_are_facility_joules_at_the_price(run: Run) -> None:
    dollars = total(run.samples, "tokwatt_cost_dollars_total", server="chat", component="energy")
    joules = total(run.samples, "tokwatt_server_facility_energy_joules_total", server="chat")
    assert dollars == pytest.approx(joules * DOLLARS_PER_KWH / 3.6e6, rel=1e-6)


def rate(counter: str, **labels: str) -> str:
    """PromQL: per-second rate of a counter of the server over the window, summed over models and phases."""
    wanted = ",".join(f'{key}="{value}"' for key, value in {"server": "chat", **labels}.items())
    return f"sum(rate({counter}{{{wanted}}}{RANGE}))"


OUTPUT = rate("tokwatt_output_tokens_total")
PROCESSED = f"({OUTPUT} + {rate('tokwatt_input_tokens_total')})"
DOLLARS = rate("tokwatt_cost_dollars_total")
WATTS = {boundary: rate(f"tokwatt_server_{boundary}_energy_joules_total") for boundary in ("gpu", "host", "facility")}
LIVE_AND_RECOMPUTED = [
    ("tokwatt_output_tokens_per_second", OUTPUT),
    ("tokwatt_input_tokens_per_second", rate("tokwatt_input_tokens_total")),
    ("tokwatt_output_tokens_per_dollar", f"{OUTPUT} / {DOLLARS}"),
    ("tokwatt_processed_tokens_per_dollar", f"{PROCESSED} / {DOLLARS}"),
    *((f'tokwatt_server_power_watts{{boundary="{name}"}}', watts) for name, watts in WATTS.items()),
    *(
        (f'tokwatt_output_tokens_per_joule{{boundary="{name}"}}', f"{OUTPUT} / {watts}")
        for name, watts in WATTS.items()
    ),
    *(
        (f'tokwatt_processed_tokens_per_joule{{boundary="{name}"}}', f"{PROCESSED} / {watts}")
        for name, watts in WATTS.items()
    ),
]


@pytest.mark.parametrize(("gauge", "recomputed"), LIVE_AND_RECOMPUTED, ids=[gauge for gauge, _ in LIVE_AND_RECOMPUTED])
def test_live_gauges_agree_with_prometheus(run: Run, gauge: str, recomputed: str) -> None:
    """Evaluated at the instants of scrapes, so that the range's samples lie on the window's edges.

    Before the pulse the counters stand near 0, and rate() extrapolates no counter below 0: it is increase / window.
    """
    scrapes = [at for at in run.scrapes if "dollar" not in gauge or spans_the_window(run.prometheus, at)]
    assert scrapes, "no scrape whose range spans as many ticks as the live window"
    for at in scrapes:
        live = run.prometheus.value(f"sum({gauge})", at)
        assert live == pytest.approx(run.prometheus.value(recomputed, at), rel=TOLERANCE), f"{gauge} at {at}"


def spans_the_window(prometheus: Prometheus, at: float) -> bool:
    """True when the books at the range's two ends stand one window apart.

    The exporter ticks and Prometheus scrapes once a second, each on its own beat: now and then the scrape at one end
    sees the tick before. The pulse lies inside all the same, but a cost that flows steadily is then a tick off.
    That cost itself tells how much time lies between the two.
    """
    capacity = 'tokwatt_cost_dollars_total{component="capacity"}'
    earlier = f"{capacity} offset {WINDOW_SECONDS - 1}s900ms"  # scrape times jitter by milliseconds
    price = DOLLARS_PER_GPU_HOUR / 3600
    spanned_seconds = prometheus.value(f"(sum({capacity}) - sum({earlier})) / {price!r}", at)
    return abs(spanned_seconds - WINDOW_SECONDS) < 0.25


def test_capacity_costs_its_price_for_the_time_it_was_held(run: Run) -> None:
    dollars = total(run.samples, "tokwatt_cost_dollars_total", server="chat", component="capacity")
    assert dollars == pytest.approx(run.held_seconds * DOLLARS_PER_GPU_HOUR / 3600, abs=4 * DOLLARS_PER_GPU_HOUR / 3600)


def test_the_window_is_covered_and_as_long_as_configured(run: Run) -> None:
    server = run.tokwatt.snapshot()["servers"][0]
    window = server["window"]
    assert window["end_seconds"] - window["start_seconds"] == pytest.approx(WINDOW_SECONDS, abs=1.5)
    assert {one["boundary"]: one["coverage_ratio"] for one in window["boundaries"]} == pytest.approx(
        {"gpu": 1.0, "host": 1.0, "facility": 1.0}, abs=0.1
    )


def test_every_source_is_up_and_nothing_failed(run: Run) -> None:
    up = {dict(labels)["source"]: value for (name, labels), value in run.samples.items() if name == "tokwatt_source_up"}
    assert up == {"chat": 1, "nvml": 1, "bmc1": 1}
    errors = {key: value for key, value in run.samples.items() if key[0] == "tokwatt_source_errors_total" and value}
    assert not errors


def test_promtool_finds_nothing_to_say(run: Run) -> None:
    check_metrics(run.tokwatt.metrics_text())


def test_openmetrics_says_the_same_as_the_classic_format(run: Run) -> None:
    for name in ("tokwatt_output_tokens_total", "tokwatt_input_tokens_total", "tokwatt_cached_input_tokens_total"):
        assert total(run.tokwatt.openmetrics(), name) == total(run.samples, name)


def test_the_password_appears_nowhere(run: Run) -> None:
    seen = [
        run.tokwatt.metrics_text(),
        run.tokwatt.get("/api/v1/snapshot")[0].decode(),
        run.tokwatt.child.log_text(),
        Path(f"/proc/{run.tokwatt.child.pid}/cmdline").read_text(),
    ]
    assert not [text for text in seen if PASSWORD in text]
