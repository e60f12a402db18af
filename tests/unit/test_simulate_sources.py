"""The exporter's own sources read the simulated world: they find the engines, and the numbers are the truth."""

import pytest
from support.simclock import SimClock

from tokwatt.readings import EnergyCounter, Method, Quantity, SourceContext
from tokwatt.simulate.world import World
from tokwatt.sources._http import Http
from tokwatt.sources.power.nvml import NvmlOptions, NvmlSource
from tokwatt.sources.tokens import specs
from tokwatt.sources.tokens.scraper import TokenScraper


async def test_scraper_detects_and_counts_simulated_servers():
    clock = SimClock()
    world = World(clock=clock, unix_clock=clock.unix)
    http = Http()
    try:
        async with world:
            clock.now += 45.0
            for server in world.servers:
                scraper = TokenScraper(server.name, server.url, http, clock, known=specs())
                reading = await scraper.read()
                truth = world.tokens_between(server.name, world.start_seconds, clock.now)
                sums = {
                    quantity: sum(sample.value for sample in reading.counters if sample.quantity is quantity)
                    for quantity in (Quantity.COMPUTED_INPUT, Quantity.CACHED_INPUT, Quantity.OUTPUT)
                }
                assert reading.engine == server.engine
                assert "simulated" in reading.engine_version
                assert {sample.model for sample in reading.counters} == {server.model}
                assert sums[Quantity.COMPUTED_INPUT] == truth.computed_input_tokens > 0
                assert sums[Quantity.CACHED_INPUT] == truth.cached_input_tokens > 0
                assert sums[Quantity.OUTPUT] == truth.finished_output_tokens or server.engine == "vllm"
                assert reading.missing == ()
    finally:
        await http.aclose()


async def test_nvml_source_measures_simulated_gpus():
    clock = SimClock(0.0)
    world = World(clock=clock, unix_clock=clock.unix)
    source = NvmlSource(NvmlOptions(), SourceContext("sim-nvml", clock, simulated=True), world.nvml_binding())
    try:
        first = await source.read()
        clock.now += 60.0
        last = await source.read()
    finally:
        await source.aclose()
    assert last.failures == ()
    assert [info.name for info in last.devices] == [gpu.name for gpu in world.gpus]
    for gpu, before, after in zip(world.gpus, first.readings, last.readings, strict=True):
        assert isinstance(before, EnergyCounter)
        assert isinstance(after, EnergyCounter)
        assert after.meter.method is Method.SIMULATED
        assert after.joules - before.joules == pytest.approx(world.gpu_joules_between(gpu.uuid, 0.0, 60.0), abs=0.01)
