"""Tokens, watts, tokens/J and tokens/$ of one window tell one story, and it is the true one.

A simulated vLLM under a bursty day squeezed into a minute answers late; its NVML counter is latched every 100 ms, as on
an H100. The scraper, meters, ledger and economics are the product's own. Truth comes from the simulated engine.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from support.clock import FakeClock

from tokwatt.app.build import Workshop
from tokwatt.app.demo import NVML_NAME, demo_setup
from tokwatt.app.exporter import Exporter
from tokwatt.config import ListenAddress
from tokwatt.simulate.fleet import demo_fleet
from tokwatt.simulate.servers import Behaviour
from tokwatt.simulate.world import World
from tokwatt.snapshot import Given, LiveWindow
from tokwatt.units import dollars_per_joule, dollars_per_second

WINDOW = 20.0
NO_DELAY = (0.0, 0.0)


async def windows(behaviour: Behaviour, seed: int, seconds: int = 100) -> list[tuple[World, LiveWindow]]:
    """Every live window of a run after the first full one, with the world that knows the truth."""
    clock = FakeClock()
    rng = random.Random(seed)
    phase = rng.uniform(0, 0.1)  # of our tick against the sensor's latch

    async def late(delay: float) -> None:
        clock.advance(delay)

    workshop = Workshop(clock)
    found = []
    world = World(demo_fleet(60)[:1], seed=seed, clock=clock, sleep=late, spare_gpus=0)
    async with world:
        world.servers[0].behaviour = behaviour
        setup = demo_setup(world, workshop, ListenAddress("127.0.0.1", 0), WINDOW)
        # the BMC keeps its own timer, which is not of this clock
        setup = replace(setup, power={NVML_NAME: setup.power[NVML_NAME]})
        exporter = Exporter(setup, clock, clock, sleep=late)
        exporter.open()
        for second in range(seconds):
            clock.now = max(clock.now, 100.0 + second + phase + rng.uniform(0, 0.02))
            await exporter.tick()
            window = exporter.face.snapshot.servers[0].window
            if second > WINDOW * 1.5 and window is not None:
                found.append((world, window))
        await exporter.stop()
        await workshop.aclose()
    return found


def error_against_truth(world: World, window: LiveWindow) -> float:
    tokens = world.tokens_between("sim-chat", window.start_seconds, window.end_seconds).output_tokens
    joules = world.energy_between("sim-chat", window.start_seconds, window.end_seconds).joules
    return abs(window.models[0].output_tokens_per_joule[Given.GPU] * joules / tokens - 1)


@pytest.mark.parametrize(
    ("behaviour", "typical", "worst"),
    [
        pytest.param(Behaviour(NO_DELAY, NO_DELAY), 0.005, 0.01, id="prompt"),
        pytest.param(Behaviour((0.0, 0.3), (0.001, 0.004)), 0.006, 0.01, id="up to 300 ms late"),
    ],
)
async def test_one_window_explains_everything(behaviour: Behaviour, typical: float, worst: float) -> None:
    errors = []
    for seed in range(1, 5):
        for world, window in await windows(behaviour, seed):
            row = window.models[0]
            watts = {boundary.boundary: boundary.power_watts for boundary in window.boundaries}
            for boundary, ratio in row.output_tokens_per_joule.items():
                assert row.output_tokens_per_second / watts[boundary] == pytest.approx(ratio, rel=0.005)
            rate = dollars_per_second(2.5) + watts[Given.GPU] * 1.2 * dollars_per_joule(0.17)
            assert row.output_tokens_per_second / rate == pytest.approx(row.output_tokens_per_dollar, rel=0.005)
            errors.append(error_against_truth(world, window))
    errors.sort()
    print(f"tokens/J against truth over {WINDOW:g} s: p95 {errors[int(0.95 * len(errors))]:.3%}, max {errors[-1]:.3%}")
    assert len(errors) > 200
    assert errors[int(0.95 * len(errors))] < typical
    assert errors[-1] < worst
