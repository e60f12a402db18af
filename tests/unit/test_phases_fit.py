"""The fit against engines whose prefill and decode energy is known, and against ticks that make no sense."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.phase_world.judge import engine_of, play, quantile
from support.phase_world.loads import LOADS, Load
from support.phase_world.machines import CAPPED_32B, DENSE_8B, DENSE_70B, MOE_30B, SGLANG_8B, Machine
from support.phase_world.world import Observed, World

from tokwatt.economics.phases.choose import Offers, choose
from tokwatt.economics.phases.fit import FitSplitter
from tokwatt.economics.phases.model import Engine
from tokwatt.economics.phases.split import Shares, Tick

LOAD = {load.name: load for load in LOADS}


@pytest.fixture(scope="module")
def chat() -> list[Observed]:
    return World(DENSE_8B, LOAD["steady chat"], seed=11, seconds=180).run()


def settle(splitter: FitSplitter, ticks: list[Tick]) -> list[tuple[Tick, Shares]]:
    found = []
    for tick in ticks:
        splitter.take(tick)
        found += splitter.settled()
    return found


@pytest.mark.parametrize(
    ("machine", "load", "points"),
    [
        (DENSE_8B, LOAD["steady chat"], 4),
        (DENSE_8B, LOAD["alternating mixes"], 4),
        (DENSE_70B, LOAD["varying rate"], 4),
        (MOE_30B, LOAD["bursts"], 6),
        (SGLANG_8B, LOAD["steady chat"], 6),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_published_split_is_near_the_truth(machine: Machine, load: Load, points: float) -> None:
    verdict = play(World(machine, load, seed=12, seconds=300).run(), FitSplitter(engine_of(machine)))
    errors = [100 * abs(window.error) for window in verdict.windows]
    assert len(errors) >= 3
    assert max(errors) <= points
    assert verdict.first_split_seconds is not None
    assert verdict.first_split_seconds <= 65


def test_prompts_longer_than_a_tick_on_a_capped_gpu() -> None:
    """Their prefill takes 4 s each, draws the limit, and can't be placed to the second."""
    verdict = play(
        World(CAPPED_32B, LOAD["long contexts"], seed=12, seconds=600).run(), FitSplitter(engine_of(CAPPED_32B))
    )
    assert len(verdict.windows) >= 3
    assert max(abs(window.error) for window in verdict.windows) < 0.15


def test_the_split_of_a_window_is_held_to_its_interval(chat: list[Observed]) -> None:
    verdict = play(chat, FitSplitter())
    assert all(0 < window.half_width < 0.12 for window in verdict.windows)
    assert quantile([abs(window.error) / window.half_width for window in verdict.windows], 0.5) < 1


def test_shares_sum_to_one_and_ticks_come_back_in_order(chat: list[Observed]) -> None:
    ticks = [one.tick for one in chat]
    settled = settle(FitSplitter(), ticks)
    assert [tick for tick, _ in settled] == ticks[: len(settled)]
    assert len(ticks) - len(settled) <= 10, "published a few seconds behind"
    for _, shares in settled:
        assert shares.prefill + shares.decode + shares.idle + shares.unsplit == pytest.approx(1.0)
        assert min(shares.prefill, shares.decode, shares.idle, shares.unsplit) >= 0


def test_at_first_energy_is_unsplit_and_says_why(chat: list[Observed]) -> None:
    splitter = FitSplitter()
    settled = settle(splitter, [one.tick for one in chat[:28]])
    assert {shares for _, shares in settled} == {Shares(unsplit=1.0)}
    assert splitter.estimate is None
    assert splitter.reason.startswith("starting")
    settle(splitter, [one.tick for one in chat[28:]])
    assert splitter.reason == ""
    assert splitter.estimate is not None


def test_gaps_are_unsplit_and_the_fit_goes_on(chat: list[Observed]) -> None:
    def broken(at: int, tick: Tick) -> Tick:
        if 100 <= at < 104:
            return Tick(tick.start_seconds, tick.end_seconds, read=False, joules=tick.joules)
        return replace(tick, joules=None) if 110 <= at < 114 else tick

    splitter = FitSplitter()
    settled = settle(splitter, [broken(at, one.tick) for at, one in enumerate(chat)])
    unsplit = [at for at, (_, shares) in enumerate(settled) if shares.unsplit > 0 and at > 70]
    assert unsplit == [100, 101, 102, 103, 110, 111, 112, 113]
    assert splitter.reason == ""


def test_a_server_without_steps_is_split_by_its_running_requests() -> None:
    observed = World(DENSE_8B, LOAD["alternating mixes"], seed=15, seconds=300).run()
    blind = [replace(one, tick=replace(one.tick, steps=None, kv_token_steps=None)) for one in observed]
    seeing, guessing = (play(blind, choose(offers=Offers(tokens=True, steps=counted))) for counted in (True, False))
    assert guessing.windows
    assert max(abs(window.error) for window in guessing.windows) < 0.1
    for wide, narrow in zip(guessing.windows, seeing.windows, strict=True):
        assert wide.half_width > 1.1 * narrow.half_width, "an inferred count is stated as less sure"


def test_ticks_of_five_seconds() -> None:
    ticks = World(DENSE_8B, LOAD["alternating mixes"], seed=13, seconds=600, scrape=5.0).run()
    verdict = play(ticks, FitSplitter())
    assert verdict.windows
    assert max(abs(window.error) for window in verdict.windows) < 0.08


def test_counted_phase_seconds_need_no_time_account() -> None:
    observed = World(SGLANG_8B, LOAD["varying rate"], seed=14, seconds=300, counts_seconds=True).run()
    splitter = FitSplitter(Engine(mixes=False, live_prompts=True, counted=True))
    assert splitter.method == "counters"
    verdict = play(observed, splitter)
    assert verdict.windows
    assert max(abs(window.error) for window in verdict.windows) < 0.05


def test_an_idle_server_gives_everything_to_idle() -> None:
    ticks = [
        Tick(
            float(at),
            at + 1.0,
            idle=True,
            joules=75.0,
            steps=0.0,
            decode_tokens=0.0,
            prompt_tokens=0.0,
            first_tokens=0.0,
        )
        for at in range(60)
    ]
    assert {shares for _, shares in settle(FitSplitter(), ticks)} == {Shares(idle=1.0)}


def test_decode_alone_is_never_split(chat: list[Observed]) -> None:
    ticks = [replace(one.tick, prompt_tokens=0.0, first_tokens=0.0) for one in chat]
    splitter = FitSplitter()
    assert {shares.prefill for _, shares in settle(splitter, ticks)} == {0.0}
    assert "too few" in splitter.reason


def test_a_load_that_never_varies_is_left_unsplit() -> None:
    """Every tick alike: nothing tells the energy of a prompt token from that of a step."""
    ticks = [
        Tick(
            float(at), at + 1.0, joules=400.0 + at % 2, steps=100.0, decode_tokens=3000.0, prompt_tokens=4000.0,
            first_tokens=8.0, kv_token_steps=3e6, running_before=30.0, running_after=30.0,
            waiting_before=0.0, waiting_after=0.0,
        )
        for at in range(150)
    ]  # fmt: skip
    splitter = FitSplitter()
    settled = settle(splitter, ticks)
    assert {shares.unsplit for _, shares in settled} == {1.0}
    assert "too little" in splitter.reason


NAMES = [f.name for f in fields(Tick) if f.name not in ("start_seconds", "end_seconds", "read", "idle")]
WILD = st.none() | st.sampled_from([0.0, 1.0, 7.0, 1e3, 1e6, 1e12])


@given(st.integers(0, 10_000), st.lists(st.tuples(st.sampled_from(NAMES), WILD), max_size=6), st.booleans())
@settings(max_examples=25, deadline=None)
def test_senseless_ticks_never_break_it(seed: int, wild: list[tuple[str, float | None]], idle: bool) -> None:
    rng = random.Random(seed)
    ticks = []
    for at in range(90):
        values = {name: rng.choice([0.0, rng.random() * 100]) for name in NAMES}
        if rng.random() < 0.3:
            values |= dict(wild)  # type: ignore[misc]
        ticks.append(Tick(float(at), at + 1.0, rng.random() > 0.1, idle and rng.random() < 0.2, **values))  # type: ignore[arg-type]
    for _, shares in settle(FitSplitter(), ticks):
        assert shares.prefill + shares.decode + shares.idle + shares.unsplit == pytest.approx(1.0)
        assert min(shares.prefill, shares.decode, shares.idle, shares.unsplit) >= -1e-9
