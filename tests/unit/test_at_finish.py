"""A server that counts output tokens when a request ends must not show 0 and then a spike.

A llama.cpp-shaped simulated server with a closed loop of users; requests last longer than the window. The live truth
(tokens as they are made) is the simulation's. Beside it: what a plain window over the same counters shows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from support.clock import FakeClock

from tokwatt.app.build import Workshop
from tokwatt.app.demo import NVML_NAME, demo_setup
from tokwatt.app.exporter import Exporter
from tokwatt.config import ListenAddress
from tokwatt.simulate.fleet import ServerPlan
from tokwatt.simulate.load import ClosedLoop, Mix
from tokwatt.simulate.machines import LLAMACPP_3B_ON_H100
from tokwatt.simulate.world import World
from tokwatt.snapshot import Given


@dataclass(frozen=True)
class Seen:
    """One tick: the gauge, a plain window's value, and the truth."""

    gauge: float | None
    plain: float
    truth: float
    watts: float | None


async def watch(users: int, output_tokens: int, window: float, seconds: int, spread: float = 0.4) -> list[Seen]:
    clock = FakeClock()
    rng = random.Random(3)
    mix = Mix(200, output_tokens, spread=spread)

    def load(start: float, seed: int) -> ClosedLoop:
        return ClosedLoop(mix, start_seconds=start, users=users, seed=seed)

    async def late(delay: float) -> None:
        clock.advance(delay)

    workshop = Workshop(clock)
    seen = []
    plan = ServerPlan("edge", "llamacpp", "m", LLAMACPP_3B_ON_H100, load)
    async with World((plan,), seed=5, clock=clock, sleep=late, spare_gpus=0) as world:
        setup = demo_setup(world, workshop, ListenAddress("127.0.0.1", 0), window)
        exporter = Exporter(replace(setup, power={NVML_NAME: setup.power[NVML_NAME]}), clock, clock, sleep=late)
        exporter.open()
        for second in range(seconds):
            clock.now = max(clock.now, 100.0 + second + rng.uniform(0, 0.02))
            await exporter.tick()
            live = exporter.face.snapshot.servers[0].window
            if second < 10 * window or live is None or not live.models:
                continue
            now = clock.now
            tokens = world.tokens_between("edge", now - window, now)
            joules = world.energy_between("edge", now - window, now).joules
            truth = world.tokens_between("edge", live.start_seconds, live.end_seconds).output_tokens
            truth /= world.energy_between("edge", live.start_seconds, live.end_seconds).joules
            gauge = live.models[0].output_tokens_per_joule.get(Given.GPU)
            watts = next(b.power_watts for b in live.boundaries if b.boundary is Given.GPU)
            seen.append(Seen(gauge, tokens.finished_output_tokens / joules, truth, watts))
        await exporter.stop()
        await workshop.aclose()
    return seen


def errors(values: list[tuple[float, float]]) -> list[float]:
    return sorted(abs(value / truth - 1) for value, truth in values)


@pytest.mark.parametrize(
    ("users", "output_tokens", "typical", "worst"),
    [
        pytest.param(1, 4000, 0.02, 0.10, id="one user, requests of 18 s"),
        pytest.param(8, 3000, 0.08, 0.25, id="eight users, requests of 17 s"),
    ],
)
async def test_no_zero_and_no_spike(users: int, output_tokens: int, typical: float, worst: float) -> None:
    window = 10.0
    seen = await watch(users, output_tokens, window, 400)
    known = [tick for tick in seen if tick.gauge is not None]
    assert len(known) > 0.95 * len(seen)
    ours = errors([(tick.gauge, tick.truth) for tick in known])
    plain = errors([(tick.plain, tick.truth) for tick in seen])
    middle, high = len(ours) // 2, int(0.95 * len(ours))
    print(
        f"{users} users: error p50 {ours[middle]:.1%} p95 {ours[high]:.1%} max {ours[-1]:.1%}; plain window "
        f"p50 {plain[middle]:.1%} p95 {plain[high]:.1%} max {plain[-1]:.1%}, "
        f"zeros {sum(tick.plain == 0 for tick in seen)} of {len(seen)}"
    )
    assert all(tick.gauge > 0 for tick in known)
    assert ours[middle] < typical
    assert ours[-1] < worst
    assert ours[-1] < plain[-1] / 4
