"""The phase split on a real llama.cpp server under a simulated meter that follows its slots.

Steps, counters and their instants are real, and so is the machine's noise; only the watts are made up, so that what
prefill and decode took is known. The answers come first: what a load of prompts teaches by itself is in docs/phases.md.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from support import tools
from support.slot_bench import SERVER, Judged, Load, Tick, bench

from tokwatt.simulate import real
from tokwatt.snapshot import Given, Phase, ServerSnapshot

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(330)]

ANSWERS = Load("output-heavy", 110.0, 4, (6, 30), (30, 160), 0.5)
PROMPTS = Load("prompt-heavy", 80.0, 4, (30, 240), (4, 24), 0.5)
FEWEST_REQUESTS = 20  # of a load; a machine that answers fewer is too slow for it
FEWEST_TICKS = 15  # that were split
NEAR = 0.15  # of busy energy; the largest measured was 0.09, and this machine may be busy with other work


@dataclass(frozen=True, slots=True)
class Result:
    """All that is left when the server is gone."""

    loads: dict[str, Judged]
    every_tick: list[Tick]
    server: ServerSnapshot
    given_joules: float
    measured_joules: float
    unattributed_joules: float


async def play(loads: Sequence[Load]) -> Result:
    async with bench() as running:
        quiet: list[Tick] = []
        for _ in range(4):
            await running.tick(quiet)
        seen = [await running.under(load) for load in loads]
        snapshot = running.snapshot
        meter = snapshot.meters[0]
        return Result(
            {one.load.name: running.judge(one) for one in seen},
            [*quiet, *(tick for one in seen for tick in one.ticks)],
            snapshot.servers[0],
            running.exporter.books.accounts[SERVER].totals.joules(Given.GPU),
            meter.joules,
            meter.unattributed_joules or 0.0,
        )


@pytest.fixture(scope="module")
def result() -> Result:
    tools.need_module(*real.PACKAGES, extra="real")
    found = asyncio.run(play((ANSWERS, PROMPTS)))
    for judged in found.loads.values():
        seen = judged.seen
        print(f"\n{judged.name}: {seen.requests} requests, {len(seen.split())} of {len(seen.steps())} ticks split")
        if seen.split():
            print(
                f"  prefill's share of {judged.prefill_joules + judged.decode_joules:,.0f} J while busy: "
                f"published {100 * judged.share:.1f} % ± {100 * judged.half_width:.1f} points, "
                f"truth {100 * judged.truth.share:.1f} %"
            )
    return found


def both(result: Result) -> tuple[Judged, Judged]:
    """Output-heavy, prompt-heavy; skips where this machine was too slow to tell anything."""
    for judged in result.loads.values():
        if judged.seen.requests < FEWEST_REQUESTS:
            pytest.skip(f"{judged.name}: this machine answered {judged.seen.requests} requests only")
        if len(judged.seen.split()) < FEWEST_TICKS:
            pytest.skip(f"{judged.name} stayed unsplit: {judged.seen.ticks[-1].why_unsplit}")
    return result.loads[ANSWERS.name], result.loads[PROMPTS.name]


def test_the_method_is_the_fit(result: Result) -> None:
    assert result.server.engine == "llamacpp"
    assert result.server.phase_method == "fit"


def test_prefills_share_is_near_the_truth_under_either_load(result: Result) -> None:
    for judged in both(result):
        assert judged.share == pytest.approx(judged.truth.share, abs=NEAR), judged.name
        if any(tick.gauges for tick in judged.seen.ticks):  # a live window was split as a whole
            assert 0 < judged.half_width < 0.2
    assert any(tick.gauges for tick in result.every_tick)


def test_the_loads_are_told_apart(result: Result) -> None:
    answers, prompts = both(result)
    assert prompts.truth.share > answers.truth.share + 0.4, "the loads are as they are named"
    assert prompts.share > answers.share + 0.3


def test_before_the_first_split_energy_is_unsplit_and_there_is_no_gauge(result: Result) -> None:
    early = list(itertools.takewhile(lambda tick: not tick.joules[Phase.DECODE], result.every_tick))
    assert len(early) > 25
    assert early[-1].joules[Phase.UNSPLIT] > 0
    assert all(tick.why_unsplit for tick in early[:-1])
    assert not any(tick.gauges or tick.half_width for tick in early)
    assert result.every_tick[-1].gauges or early == result.every_tick


def test_no_joule_is_lost(result: Result) -> None:
    phases = sum(result.every_tick[-1].joules.values())
    assert phases == pytest.approx(result.given_joules, rel=1e-9)
    assert result.given_joules + result.unattributed_joules == pytest.approx(result.measured_joules, rel=1e-9)


def test_what_is_split_is_what_the_slots_drew(result: Result) -> None:
    for judged in both(result):
        drawn = judged.truth.prefill + judged.truth.decode + judged.truth.idle
        booked = judged.prefill_joules + judged.decode_joules
        booked += sum(joules[Phase.IDLE] for *_, joules in judged.seen.split())
        assert booked == pytest.approx(drawn, rel=0.03), judged.name
