"""Time, energy and tokens by load, through the Books' public door and by known sums."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.openmetrics import classic_samples, openmetrics_samples, total
from support.readings import gpu_pass, host_pass, tokens
from support.snapshots import snapshot as hand_made
from support.snapshots import with_chat

from tokwatt.economics.books import Books
from tokwatt.economics.intervals import Interval, pieces
from tokwatt.economics.load import LEVELS, LoadMeter, at_percentile, level_of
from tokwatt.economics.picture import server_snapshots
from tokwatt.economics.plan import Pace, Plan, Prices, ServerPlan
from tokwatt.ledger.ledger import Ledger
from tokwatt.ledger.tokens import TokenState
from tokwatt.metrics.exposition import Exposition
from tokwatt.snapshot import Given, LoadTotals

CHAT = ServerPlan("chat", all_gpus=True)
PACES = {"nvml": Pace(1, 1), "bmc1": Pace(5, 3)}


def books(**more: object) -> Books:
    return Books(Plan((CHAT,), Prices(pue=1.25), paces=PACES, **more), Ledger())  # type: ignore[arg-type]


def totals(of: Books) -> LoadTotals | None:
    return server_snapshots(of, 1e9)[0].load


def interval(start: float, seconds: float, rate: float, watts: float = 100.0, **more: object) -> Interval:
    states = {"m": TokenState(None, rate * seconds)}
    return Interval(start, start + seconds, states, {Given.GPU: watts * seconds}, **more)  # type: ignore[arg-type]


def test_levels_are_the_e6_series_and_hold_every_load():
    assert LEVELS[:7] == (1, 1.5, 2.2, 3.3, 4.7, 6.8, 10)
    assert LEVELS[-2:] == (100_000, math.inf)
    assert all(1.38 < above / below < 1.55 for below, above in pairwise(LEVELS[:-1]))
    assert [level_of(rate) for rate in (0, 1, 1.01, 2e5)] == [0, 0, 1, len(LEVELS) - 1]


class TestThroughTheBooks:
    def test_two_loads_with_their_energy_and_tokens(self):
        one = books()
        joules = made = 0.0
        for second in range(202):
            fast = second > 150
            joules += 900 if fast else 300
            made += 2000 if fast else 40
            one.ledger.add_power(gpu_pass(second, {0: joules}), 3.5)
            one.ledger.add_server(tokens(second, made), 3.5)
            one.settle(second)
        found = totals(one)
        assert found is not None
        slow = found.levels.index(47)
        assert (found.seconds[slow], found.output_tokens[slow]) == (150, pytest.approx(6000))
        assert found.joules[Given.GPU][slow] == pytest.approx(45_000)
        assert found.seconds[slow - 1] == 0
        assert (found.seconds[-1], found.joules[Given.GPU][-1]) == (200, pytest.approx(90_000))
        assert at_percentile(found, 0.5).joules[Given.GPU] / 150 == pytest.approx(300)
        busy = at_percentile(found, 0.9)
        assert busy.joules[Given.GPU] / busy.seconds == pytest.approx(900)
        assert busy.tokens / busy.joules[Given.GPU] == pytest.approx(2000 / 900)

    def test_all_boundaries_are_about_the_same_time(self):
        one = books()
        for second in range(121):
            one.ledger.add_power(gpu_pass(second, {0: 300.0 * second}), 3.5)
            if not 50 <= second <= 80:  # the BMC is silent for half a minute
                one.ledger.add_power(host_pass(second, 500), 17.5)
            one.ledger.add_server(tokens(second + 0.01, 100 * second), 3.5)
            one.settle(second + 0.02, frozenset({"bmc1"}) if 55 <= second <= 80 else frozenset())
        found = totals(one)
        assert found is not None
        assert found.seconds[-1] == pytest.approx(60)  # 0 to 40 and 90 to 110
        for boundary, watts in ((Given.GPU, 300), (Given.HOST, 500), (Given.FACILITY, 625)):
            assert found.joules[boundary][-1] / found.seconds[-1] == pytest.approx(watts)

    def test_a_server_that_does_not_answer_adds_nothing(self):
        one = books()
        for second in range(101):
            one.ledger.add_power(gpu_pass(second, {0: 300.0 * second}), 3.5)
            if 40 <= second < 70:
                one.ledger.miss_server("chat", second, 3.5)
            else:
                one.ledger.add_server(tokens(second, 100 * second), 3.5)
            one.settle(second)
        found = totals(one)
        assert found is not None
        assert found.seconds[level_of(100) - 1] == 0
        assert found.seconds[-1] == 60  # 0 to 30 and 70 to 100; the slice that the gap tore is left out

    def test_off_means_absent(self):
        one = books(load_distribution=False)
        for second in range(31):
            one.ledger.add_power(gpu_pass(second, {0: 300.0 * second}), 3.5)
            one.ledger.add_server(tokens(second, 100 * second), 3.5)
            one.settle(second)
        assert totals(one) is None


class TestSlices:
    def test_slices_of_all_servers_end_at_the_same_multiples_of_ten_seconds(self):
        meters = [LoadMeter(), LoadMeter()]
        for meter, start in zip(meters, (1003.0, 1008.2), strict=True):
            ends, before = [], 0.0
            for number in range(40):
                meter.add(interval(start + number, 1, 50), (Given.GPU,))
                if meter.totals.seconds[-1] > before:
                    before = meter.totals.seconds[-1]
                    ends.append(start + number + 1)
            assert len(ends) >= 3
            assert all(end % 10 < 1 for end in ends)

    def test_the_same_object_until_a_slice_ends(self):
        meter = LoadMeter()
        for number in range(12):
            meter.add(interval(number, 1, 50), (Given.GPU,))
        before = meter.totals
        meter.add(interval(12, 1, 50), (Given.GPU,))
        assert meter.totals is before is not None

    def test_where_tokens_are_counted_at_the_end_of_a_request_slices_end_at_finishes(self):
        # one request of 14 s after the other, 280 tokens each: a plain slice would see 0 or 28 tokens/s
        meter = LoadMeter()
        for second in range(700):
            finish = second % 14 == 13
            part = interval(second, 1, 280 if finish else 0, in_flight=1.0, edge=finish)
            meter.add(part, (Given.GPU,))
        assert meter.totals is not None
        low, high = level_of(20) - 1, level_of(20)
        assert meter.totals.seconds[high] - meter.totals.seconds[low] == meter.totals.seconds[-1] > 600

    def test_a_request_that_never_ends_adds_nothing(self):
        meter = LoadMeter()
        for second in range(500):
            meter.add(interval(second, 1, 0, in_flight=1.0, edge=False), (Given.GPU,))
        assert meter.totals is not None
        assert set(meter.totals.seconds) == {0}
        assert at_percentile(meter.totals, 0.9) is None

    def test_sums_are_shown_from_0_before_the_first_slice_ends(self):
        meter = LoadMeter()
        meter.add(interval(3, 1, 50), (Given.GPU,))
        assert meter.totals is not None
        assert set(meter.totals.seconds) == set(meter.totals.joules[Given.GPU]) == {0}


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 2000)), min_size=1, max_size=60))
@settings(deadline=None, max_examples=60)
def test_nothing_is_lost_and_levels_only_grow(slices):
    meter = LoadMeter(slice_seconds=10)
    for number, (rate, watts) in enumerate(slices):
        meter.add(interval(10.0 * number, 10, rate, watts), (Given.GPU,))
    found = meter.totals
    assert found is not None
    assert found.seconds[-1] == pytest.approx(10 * len(slices))
    assert found.output_tokens[-1] == pytest.approx(sum(10 * rate for rate, _ in slices))
    assert found.joules[Given.GPU][-1] == pytest.approx(sum(10 * watts for _, watts in slices))
    for sums in (found.seconds, found.output_tokens, found.joules[Given.GPU]):
        assert all(below <= above for below, above in pairwise(sums))


@given(st.lists(st.floats(0, 9e4), min_size=1, max_size=60), st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=60)
def test_the_percentile_is_in_the_level_that_holds_it(rates, share):
    meter = LoadMeter(slice_seconds=10)
    for number, rate in enumerate(rates):
        meter.add(interval(10.0 * number, 10, rate, 1 + rate), (Given.GPU,))
    assert meter.totals is not None
    found = at_percentile(meter.totals, share)
    assert found is not None
    exact = sorted(rates)[max(0, math.ceil(share * len(rates) - 1e-9) - 1)]
    level = level_of(exact)
    alike = [rate for rate in rates if level_of(rate) == level]
    assert found.load == pytest.approx(sum(alike) / len(alike))
    assert found.joules[Given.GPU] / found.seconds == pytest.approx(sum(1 + rate for rate in alike) / len(alike))


def test_pieces_hold_everything_and_never_reach_over_a_hole():
    parts = [interval(second, 1, 10) for second in (0, 1, 2, 3, 4, 5, 6, 10, 11, 12)]
    found = pieces(parts, 3)
    assert [(piece.start_seconds, piece.end_seconds) for piece in found] == [(0, 3), (3, 7), (10, 13)]
    assert sum(piece.joules[Given.GPU] for piece in found) == sum(part.joules[Given.GPU] for part in parts)
    assert pieces([], 3) == []


class TestExposition:
    LOADS = LoadTotals((1.0, 1.5, math.inf), (5.0, 5.0, 9.0), (0.0, 0.0, 8.0), {Given.GPU: (1.0, 1.0, 30.0)})

    def test_all_is_shown_in_both_formats(self):
        page = Exposition(with_process=False)
        page.update(with_chat(hand_made(), load=self.LOADS))
        classic = page.body("", gzipped=False).content.decode()
        openmetrics = page.body("application/openmetrics-text; version=1.0.0", gzipped=False).content.decode()
        samples = classic_samples(classic)
        assert openmetrics_samples(openmetrics) == samples
        assert openmetrics.count("# EOF") == 1
        assert total(samples, "tokwatt_load_seconds_total", server="chat", load_le="+Inf") == 9
        assert total(samples, "tokwatt_load_gpu_energy_joules_total", server="chat", load_le="1.5") == 1
        assert total(samples, "tokwatt_load_output_tokens_total", server="chat", load_le="+Inf") == 8
        assert "tokwatt_load_host" not in classic

    def test_a_new_slice_is_shown_at_once_and_everything_else_always(self):
        page = Exposition(with_process=False)
        for up in (1.0, 2.0):
            more = LoadTotals(self.LOADS.levels, (5.0, 5.0, 9.0 + up), self.LOADS.output_tokens, self.LOADS.joules)
            for running in (up, up + 10):
                page.update(with_chat(hand_made(at_seconds=running), load=more))
                samples = classic_samples(page.body("", gzipped=False).content.decode())
                assert total(samples, "tokwatt_load_seconds_total", load_le="+Inf") == 9 + up
                ends = total(samples, "tokwatt_window_end_timestamp_seconds", server="chat")
                assert ends == pytest.approx(1_800_000_940 + 60, abs=1)
            page.update(with_chat(hand_made(), name="renamed", load=more))
            text = page.body("", gzipped=False).content.decode()
            assert 'tokwatt_load_seconds_total{load_le="1",server="renamed"}' in text
            assert 'load_le="1",server="chat"' not in text
