"""Rules of the ledger: baselines, resets, wraps, gaps; totals never fall."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.readings import gpu_meter, host_meter, tokens

from tokwatt.ledger.energy import EnergyCurve
from tokwatt.ledger.line import Line
from tokwatt.ledger.server import ServerLedger
from tokwatt.readings import CounterSample, EnergyCounter, PowerSample, Quantity, ServerReading

MAX_GAP = 3.5


def counter(at: float, joules: float, wraps: float | None = None) -> EnergyCounter:
    return EnergyCounter(gpu_meter(), joules, at, wraps)


def power(at: float, watts: float) -> PowerSample:
    return PowerSample(host_meter(), watts, at)


def curve_of(*readings: EnergyCounter | PowerSample) -> EnergyCurve:
    curve = EnergyCurve(readings[0], MAX_GAP)
    for reading in readings[1:]:
        curve.add(reading)
    return curve


class TestEnergyCounter:
    def test_the_first_reading_is_a_baseline(self):
        assert curve_of(counter(0, 5000)).line.end_value == 0

    def test_differences_add_up(self):
        assert curve_of(counter(0, 5000), counter(1, 5100), counter(2, 5350)).line.end_value == 350

    def test_a_fall_adds_nothing_and_is_counted(self):
        curve = curve_of(counter(0, 5000), counter(1, 5100), counter(2, 30), counter(3, 80))
        assert curve.line.end_value == 150
        assert curve.resets == 1
        assert not curve.vouched(1, 2)
        assert curve.vouched(2, 3)

    def test_a_wrap_goes_on(self):
        curve = curve_of(counter(0, 990, 1000), counter(1, 20, 1000))
        assert curve.line.end_value == 30
        assert curve.resets == 0

    def test_a_difference_across_a_gap_is_kept_but_not_vouched_for(self):
        curve = curve_of(counter(0, 0), counter(1, 100), counter(20, 2000), counter(21, 2100))
        assert curve.line.end_value == 2100
        assert curve.gap_seconds == 19
        assert not curve.vouched(5, 6)
        assert curve.vouched(0, 1)
        assert curve.vouched(20, 21)
        assert not curve.vouched(0.5, 20.5)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
    def test_an_impossible_amount_is_ignored(self, bad):
        curve = curve_of(counter(0, 10), counter(1, bad), counter(2, 30))
        assert curve.line.end_value == 20

    def test_a_duplicate_or_late_reading_is_ignored(self):
        curve = curve_of(counter(0, 10), counter(2, 30), counter(2, 40), counter(1, 35))
        assert curve.line.end_value == 20


class TestPowerGauge:
    def test_is_integrated_by_trapezoid(self):
        assert curve_of(power(0, 100), power(2, 300)).line.end_value == 400

    def test_a_gap_is_not_filled(self):
        curve = curve_of(power(0, 100), power(1, 100), power(30, 100), power(31, 100))
        assert curve.line.end_value == 200
        assert curve.gap_seconds == 29

    def test_a_meter_that_changes_its_kind_starts_anew(self):
        curve = curve_of(counter(0, 10), counter(1, 110), power(2, 100), power(3, 100))
        assert curve.line.end_value == 200


times = st.lists(st.floats(0.01, 10), min_size=1, max_size=40)


@st.composite
def counter_walks(draw):
    """Counter readings with resets, repeats and gaps, and the energy that the rules say must be counted."""
    at, value, expected = 0.0, draw(st.floats(0, 1e9)), 0.0
    readings = [counter(at, value)]
    for pause in draw(times):
        at += pause
        kind = draw(st.sampled_from(["rise", "rise", "same", "reset"]))
        if kind == "rise":
            more = draw(st.floats(0, 1e5))
            after = value + more
            expected += after - value
            value = after
        elif kind == "reset" and value > 0:
            value = value * draw(st.floats(0, 0.99))
        readings.append(counter(at, value))
    return readings, expected


class TestCurveProperties:
    @given(counter_walks())
    def test_exactly_what_the_rules_say_is_counted(self, walk):
        readings, expected = walk
        curve = curve_of(*readings)
        assert curve.line.end_value == pytest.approx(expected, rel=1e-9, abs=1e-6)

    @given(counter_walks(), st.lists(st.floats(0, 1), min_size=2, max_size=10))
    def test_the_curve_never_falls_and_cutting_changes_nothing(self, walk, cuts):
        readings, _ = walk
        line = curve_of(*readings).line
        edges = [line.start_seconds + cut * (line.end_seconds - line.start_seconds) for cut in sorted(cuts)]
        values = [line.at(edge) for edge in edges]
        assert values == sorted(values)
        pieces = sum(b - a for a, b in itertools.pairwise(values))
        assert pieces == pytest.approx(line.at(edges[-1]) - line.at(edges[0]), rel=1e-9, abs=1e-6)

    @given(counter_walks())
    def test_duplicates_change_nothing(self, walk):
        readings, _ = walk
        doubled = [reading for reading in readings for _ in range(2)]
        assert curve_of(*doubled).line.end_value == curve_of(*readings).line.end_value

    @given(counter_walks(), st.integers(0, 60))
    def test_forgetting_the_past_changes_no_later_difference(self, walk, keep):
        readings, _ = walk
        whole, trimmed = curve_of(*readings).line, curve_of(*readings).line
        instant = readings[min(keep, len(readings) - 1)].at_seconds
        trimmed.forget_before(instant)
        end = readings[-1].at_seconds
        assert trimmed.at(end) - trimmed.at(instant) == whole.at(end) - whole.at(instant)


def test_a_line_refuses_to_go_backwards():
    line = Line(0, 0)
    line.append(1, 5)
    with pytest.raises(ValueError, match="after"):
        line.append(2, 4)
    with pytest.raises(ValueError, match="after"):
        line.append(1, 6)


def ledger_of(*readings: ServerReading) -> ServerLedger:
    ledger = ServerLedger(MAX_GAP)
    for reading in readings:
        ledger.add(reading)
    return ledger


class TestTokens:
    def test_the_first_reading_is_a_baseline(self):
        assert ledger_of(tokens(0, 700)).account.models["m"].output_tokens == 0

    def test_a_restart_loses_nothing_and_adds_nothing_twice(self):
        ledger = ledger_of(tokens(0, 700), tokens(1, 750), tokens(2, 20), tokens(3, 25))
        assert ledger.account.models["m"].output_tokens == 50 + 20 + 5
        assert ledger.account.resets == 1

    def test_a_restarted_rank_does_not_look_like_a_restart_of_the_sum(self):
        def ranks(at: float, first: float, second: float) -> ServerReading:
            samples = (
                CounterSample(Quantity.OUTPUT, "m", "out{engine=0}", first),
                CounterSample(Quantity.OUTPUT, "m", "out{engine=1}", second),
            )
            return ServerReading("chat", at, 0, samples)

        ledger = ledger_of(ranks(0, 1000, 1000), ranks(1, 1100, 10), ranks(2, 1200, 20))
        assert ledger.account.models["m"].output_tokens == 200 + 20

    def test_a_series_that_vanishes_and_returns_counts_once(self):
        empty = ServerReading("chat", 1, 0, ())
        assert ledger_of(tokens(0, 100), empty, tokens(2, 130)).account.models["m"].output_tokens == 30

    def test_a_series_that_an_engine_shows_with_its_first_event_began_at_zero(self):
        def sglang(at: float, *counters: CounterSample) -> ServerReading:
            return ServerReading("chat", at, 0, counters, series_begin_at_zero=True)

        first = CounterSample(Quantity.OUTPUT, "m", "out", 500)
        assert ledger_of(sglang(0), sglang(1, first)).account.models["m"].output_tokens == 500
        assert ledger_of(sglang(0, first)).account.models["m"].output_tokens == 0  # nobody knows since when
        assert ledger_of(sglang(0), sglang(9, first)).account.models["m"].output_tokens == 0  # it may have restarted
        late = ServerReading("chat", 1, 0, (first,))
        assert ledger_of(ServerReading("chat", 0, 0, ()), late).account.models["m"].output_tokens == 0

    def test_input_is_the_difference_of_prompt_and_cached_and_never_falls(self):
        def reading(at: float, prompt: float, cached: float) -> ServerReading:
            samples = (
                CounterSample(Quantity.PROMPT, "m", "p", prompt),
                CounterSample(Quantity.CACHED_INPUT, "m", "c", cached),
            )
            return ServerReading("chat", at, 0, samples)

        account = ServerLedger(MAX_GAP)
        seen = []
        for at, (prompt, cached) in enumerate([(0, 0), (100, 20), (100, 90), (200, 90)]):
            account.add(reading(at, prompt, cached))
            seen.append(account.account.models["m"].input_tokens)
        assert seen == [0, 80, 80, 110]
        assert account.account.models["m"].input_kind == "computed"

    def test_prompt_without_cached_is_all_input(self):
        ledger = ledger_of(
            *(ServerReading("s", t, 0, (CounterSample(Quantity.PROMPT, "", "p", 10 * t),)) for t in (0, 1))
        )
        assert ledger.account.models[""].input_tokens == 10
        assert ledger.account.models[""].input_kind == "all"

    @given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
    def test_totals_never_fall(self, values):
        ledger = ServerLedger(MAX_GAP)
        totals = []
        for at, value in enumerate(values):
            ledger.add(tokens(at, value))
            totals.append(ledger.account.models["m"].output_tokens)
        assert totals == sorted(totals)
        expected = sum(b - a if b >= a else b for a, b in itertools.pairwise(values))
        assert totals[-1] == pytest.approx(expected)


class TestIdle:
    def cuts(self, *readings: ServerReading) -> list[bool]:
        return [cut.idle for cut in ledger_of(*readings).timeline.after(-1)]

    def test_nothing_ran_and_nothing_moved(self):
        assert self.cuts(tokens(0, 5, running=0), tokens(1, 5, running=0)) == [False, True]

    def test_a_request_that_came_and_went_between_two_reads_moved_tokens(self):
        assert self.cuts(tokens(0, 5, running=0), tokens(1, 6, running=0)) == [False, False]

    def test_a_running_request_is_not_idle_though_no_token_moves(self):
        assert self.cuts(tokens(0, 5, running=0), tokens(1, 5, running=1), tokens(2, 5, running=0)) == [False] * 3

    def test_a_server_that_does_not_say_what_runs_is_never_idle(self):
        assert self.cuts(tokens(0, 5, running=None), tokens(1, 5, running=None)) == [False, False]

    def test_time_without_an_answer_is_not_idle(self):
        ledger = ServerLedger(MAX_GAP)
        ledger.add(tokens(0, 5, running=0))
        ledger.miss(1)
        ledger.add(tokens(2, 5, running=0))
        ledger.add(tokens(3, 5, running=0))
        assert [cut.idle for cut in ledger.timeline.after(-1)] == [False, False, False, True]
