"""A late answer is a server that waited before it looked at its counters, not one that looked early."""

import pytest

from tokwatt.sources.tokens._instant import ReadingInstant


def test_first_reading_is_in_the_middle() -> None:
    assert ReadingInstant().place(10.0, 10.2) == (pytest.approx(10.1), pytest.approx(0.1))


def test_a_slow_answer_is_placed_near_its_end() -> None:
    instant = ReadingInstant()
    instant.place(10.0, 10.01)
    at, uncertainty = instant.place(11.0, 11.5)
    assert at == pytest.approx(11.495)
    assert uncertainty == pytest.approx(0.25)


def test_the_instant_is_never_outside_of_request_and_answer() -> None:
    instant = ReadingInstant()
    for sent, answered in ((0.0, 3.0), (5.0, 5.0), (6.0, 5.9), (7.0, 9.0)):
        at, uncertainty = instant.place(sent, answered)
        assert min(sent, answered) <= at <= answered
        assert uncertainty >= 0


def test_a_fast_round_trip_is_forgotten() -> None:
    instant = ReadingInstant()
    instant.place(0.0, 0.001)
    for second in range(1, 65):
        at, _ = instant.place(second, second + 0.4)
    assert at == pytest.approx(64.2)
