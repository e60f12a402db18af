"""Energy that inference servers show of their own GPUs: Triton's counter, trtllm-serve's /energy_metrics.

Pages are written after the servers' source, never recorded with a GPU.
"""

import contextlib
import json

import pytest
from support.clock import FakeClock
from support.page_server import PageFault, page_server

from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import (
    Boundary,
    EnergyCounter,
    Fidelity,
    Malformed,
    Method,
    SourceContext,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import specs
from tokwatt.sources.power.triton import TritonOptions
from tokwatt.sources.power.trtllm import TrtllmOptions


def triton_page(*joules: float) -> str:
    lines = ["# HELP nv_energy_consumption GPU energy consumption in joules", "# TYPE nv_energy_consumption counter"]
    lines += [f'nv_energy_consumption{{gpu_uuid="GPU-{number}"}} {value:f}' for number, value in enumerate(joules)]
    lines += [f'nv_gpu_power_usage{{gpu_uuid="GPU-{number}"}} 300.0' for number, _ in enumerate(joules)]
    lines += ['nv_inference_request_success{model="m",version="1"} 12', ""]
    return "\n".join(lines)


@contextlib.asynccontextmanager
async def opened(name: str, options, body: str = "", content_type: str = "text/plain; version=0.0.4"):
    clock = FakeClock()
    async with page_server(body, content_type) as server:
        source = specs()[name].open(options(server.url), SourceContext(name, clock))
        try:
            yield server, source, clock
        finally:
            await source.aclose()


async def test_each_gpu_of_triton_is_a_device_by_its_uuid():
    ledger = Ledger()
    async with opened("triton", lambda url: TritonOptions(url=url)) as (server, source, clock):
        for step in range(9):
            server.body = triton_page(1500.0 * step, 500.0 * step)
            with contextlib.suppress(Unavailable):  # the age of the first value is not known
                reading = await source.read()
                ledger.add_power(reading, 17.5)
            clock.advance(5)
        one = reading.readings[0]
        assert isinstance(one, EnergyCounter)
        assert (one.meter.device, one.meter.boundary) == ("GPU-0", Boundary.GPU)
        assert (one.meter.fidelity, one.meter.method) == (Fidelity.HIGHEST, Method.COUNTER)
        totals = {device: curve.line.end_value for (_, device), curve in ledger.curves.items()}
        assert totals == {"GPU-0": pytest.approx(1500.0 * 7), "GPU-1": pytest.approx(500.0 * 7)}


async def test_a_triton_that_gave_up_reading_is_stale_and_a_restart_is_a_reset():
    ledger = Ledger()
    async with opened("triton", lambda url: TritonOptions(url=url)) as (server, source, clock):
        for joules in (1000, 2500, 4000, 300, 1800, *([1800] * 6)):
            server.body = triton_page(joules)
            try:
                ledger.add_power(await source.read(), 17.5)
                problem = None
            except Unavailable as error:
                problem = error
            clock.advance(5)
        assert "has not changed" in str(problem)
        (curve,) = ledger.curves.values()
        assert (curve.resets, curve.line.end_value) == (1, 1500 + 1500)


async def test_a_triton_without_gpu_metrics_says_what_it_shows():
    body = 'nv_gpu_power_usage{gpu_uuid="GPU-0"} 300\n'
    async with opened("triton", lambda url: TritonOptions(url=url), body) as (_server, source, _clock):
        with pytest.raises(Unavailable, match=r"does not show nv_energy_consumption.*nv_gpu_power_usage"):
            await source.read()


def energy(**changes) -> str:
    return json.dumps({"total_energy_j": 5000.25, "query_time": 1234.5} | changes)


@contextlib.asynccontextmanager
async def trtllm(body: str = "", **changes):
    async with opened("trtllm", lambda url: TrtllmOptions(url=url, **changes), body, "application/json") as rig:
        yield rig


async def test_trtllm_serves_one_counter_for_all_of_its_gpus():
    async with trtllm(energy(), device="tp8") as (server, source, clock):
        reading = await source.read()
        (counter,) = reading.readings
        assert isinstance(counter, EnergyCounter)
        assert (counter.joules, counter.at_seconds) == (5000.25, clock.now)
        assert (counter.meter.device, counter.meter.boundary) == ("tp8", Boundary.GPU)
        server.body = energy(total_energy_j=3.0)  # restarted: the ledger sees a reset
        assert (await source.read()).readings[0].joules == 3.0


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (energy(total_energy_j="many"), Malformed, "total_energy_j is many"),
        (energy(total_energy_j=None), Malformed, "total_energy_j is None"),
        (energy(total_energy_j=True), Malformed, "total_energy_j is True"),
        (energy(total_energy_j=-1), Malformed, "total_energy_j is -1"),
        (energy(total_energy_j=0), Unavailable, "no measurement"),
        ('{"total_energy_j": NaN}', Malformed, "total_energy_j is nan"),
        ("[1, 2]", Malformed, "total_energy_j is None"),
        ("# HELP x", Malformed, "no JSON"),
    ],
)
async def test_what_is_no_energy_is_refused(body, kind, words):
    async with trtllm(body) as (_server, source, _clock):
        with pytest.raises(kind, match=words):
            await source.read()


async def test_a_trtllm_that_measures_nothing_says_how_to_switch_it_on():
    async with trtllm(energy()) as (server, source, _clock):
        server.fault = PageFault.ERROR_503
        with pytest.raises(Unavailable, match="enable_energy_metrics: true"):
            await source.read()


async def test_a_server_that_hangs_times_out():
    async with trtllm(energy(), timeout_seconds=0.05) as (server, source, _clock):
        server.fault = PageFault.HANG
        with pytest.raises(TimedOut):
            await source.read()
