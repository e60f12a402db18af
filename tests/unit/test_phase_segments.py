"""How a server's time is classified, through the public door of Segments."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokwatt.economics.phases.segments import MOST_WAITING, Segment, Segments
from tokwatt.economics.phases.split import IDLE, UNSPLIT, Shares
from tokwatt.snapshot import Phase


def filled(shares: list[Shares], model: str = "m") -> Segments:
    segments = Segments()
    for number, part in enumerate(shares):
        segments.append(Segment(float(number), model, part))
    return segments


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 1e12))
def test_parts_add_up_to_the_amount(cuts: list[float], joules: float) -> None:
    first, second, third = sorted(cuts)
    shares = Shares(first, second - first, third - second, 1 - third)
    assert sum(part for _, part in Segment(1, "m", shares).parts(joules)) == pytest.approx(joules, rel=1e-12)


def test_pieces_of_a_stretch_end_with_the_segment_that_holds_its_end() -> None:
    segments = filled([IDLE, UNSPLIT, IDLE])
    assert [segment.end_seconds for segment in segments.between(0, 1.5)] == [1, 2]
    assert segments.between(2, 3) == []


def test_a_segment_that_ends_earlier_is_refused() -> None:
    with pytest.raises(ValueError, match="after"):
        filled([IDLE, IDLE]).append(Segment(0.5, "m", IDLE))


def test_equal_neighbours_are_joined_without_loss_while_a_device_is_away() -> None:
    segments = filled([IDLE] * 1000 + [UNSPLIT] * 1500)
    segments.forget_before(-1)
    pieces = segments.between(-1, 2499)
    assert len(pieces) <= MOST_WAITING + 3
    idle = [piece for piece in pieces if piece.shares == IDLE]
    assert idle[-1].end_seconds == 999


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_joining_unequal_neighbours_keeps_the_time_of_each_phase(seed: int) -> None:
    rng = random.Random(seed)
    shares = [Shares(prefill=p, decode=1 - p) for p in (rng.random() for _ in range(3 * MOST_WAITING))]
    segments = filled(shares)
    before = time_of(segments, Phase.PREFILL)
    segments.forget_before(-1)
    assert len(segments.between(-1, 1e9)) <= 2 * MOST_WAITING + 1
    assert time_of(segments, Phase.PREFILL) == pytest.approx(before)


def time_of(segments: Segments, phase: Phase) -> float:
    total, start = 0.0, 0.0
    for segment in segments.between(0, 1e9):
        total += dict(segment.parts(segment.end_seconds - start)).get(phase, 0.0)
        start = segment.end_seconds
    return total
