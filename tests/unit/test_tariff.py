"""Time-of-use tariffs: which price holds, when it switches, and that clocks that are set lose no second."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import FakeClock

from tokwatt.economics.price_line import PriceLine, pieces
from tokwatt.sources.prices._calendar import Rule, Tariff
from tokwatt.sources.prices.tariff import TariffPrice

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # clocks are set by half an hour
HOUR = 3600.0
NIGHT = Rule(1.0, hours=((22 * 60, 6 * 60),))


def unix(zone: ZoneInfo, *local: int, fold: int = 0) -> float:
    return datetime(*local, tzinfo=zone, fold=fold).timestamp()


def hours_at_each_price(tariff: Tariff, start: float, end: float) -> dict[float, float]:
    steps = [(start, tariff.price_at(start)), *tariff.switches(start, end), (end, 0.0)]
    hours: dict[float, float] = {}
    for (at, price), (until, _) in pairwise(steps):
        hours[price] = hours.get(price, 0.0) + (until - at) / HOUR
    return hours


class TestRules:
    def test_the_first_rule_that_applies_sets_the_price_and_the_default_fills_holes(self):
        peak = Rule(3.0, hours=((17 * 60, 21 * 60),))
        evening = Rule(2.0, hours=((16 * 60, 23 * 60),))
        tariff = Tariff(BERLIN, 0.5, (peak, evening))
        at = [tariff.price_at(unix(BERLIN, 2026, 6, 10, hour)) for hour in (15, 16, 17, 20, 21, 22, 23)]
        assert at == [0.5, 2, 3, 3, 2, 2, 0.5]

    def test_weekdays_are_those_of_the_local_date(self):
        tariff = Tariff(NEW_YORK, 1.0, (Rule(2.0, weekdays=frozenset({5, 6})),))
        assert tariff.price_at(unix(NEW_YORK, 2026, 6, 12, 23, 59)) == 1  # a Friday, in UTC already Saturday
        assert tariff.price_at(unix(NEW_YORK, 2026, 6, 13, 0, 0)) == 2
        assert tariff.price_at(unix(NEW_YORK, 2026, 6, 14, 23, 59)) == 2
        assert tariff.price_at(unix(NEW_YORK, 2026, 6, 15, 0, 0)) == 1

    def test_seasons_hold_both_their_days_and_reach_over_new_year(self):
        tariff = Tariff(BERLIN, 1.0, (Rule(2.0, seasons=(((11, 1), (3, 31)),)),))
        days = {(10, 31): 1, (11, 1): 2, (12, 31): 2, (1, 1): 2, (2, 28): 2, (3, 31): 2, (4, 1): 1}
        for (month, day), price in days.items():
            assert tariff.price_at(unix(BERLIN, 2026, month, day, 12)) == price

    def test_a_leap_day_is_in_the_season_around_it(self):
        tariff = Tariff(BERLIN, 1.0, (Rule(2.0, seasons=(((2, 29), (2, 29)),)),))
        assert tariff.price_at(unix(BERLIN, 2028, 2, 29, 12)) == 2
        assert hours_at_each_price(tariff, unix(BERLIN, 2027, 1, 1), unix(BERLIN, 2028, 1, 1)) == {1.0: 365 * 24}


class TestDaylightSaving:
    def test_the_long_day_of_berlin_has_twenty_five_hours_and_its_night_nine(self):
        tariff = Tariff(BERLIN, 2.0, (NIGHT,))
        start, end = unix(BERLIN, 2026, 10, 25), unix(BERLIN, 2026, 10, 26)
        assert end - start == 25 * HOUR
        assert hours_at_each_price(tariff, start, end) == {1.0: 2 + 7, 2.0: 16}

    def test_the_short_day_of_berlin_has_twenty_three_hours_and_its_night_seven(self):
        tariff = Tariff(BERLIN, 2.0, (NIGHT,))
        start, end = unix(BERLIN, 2026, 3, 29), unix(BERLIN, 2026, 3, 30)
        assert end - start == 23 * HOUR
        assert hours_at_each_price(tariff, start, end) == {1.0: 2 + 5, 2.0: 16}

    def test_an_hour_that_new_york_shows_twice_is_priced_twice_by_its_name(self):
        tariff = Tariff(NEW_YORK, 2.0, (Rule(1.0, hours=((60, 120),)),))
        start = unix(NEW_YORK, 2026, 11, 1)
        assert tariff.switches(start, start + 25 * HOUR) == [(start + HOUR, 1.0), (start + 3 * HOUR, 2.0)]

    def test_half_of_such_an_hour_is_priced_each_time_it_is_shown(self):
        tariff = Tariff(NEW_YORK, 2.0, (Rule(1.0, hours=((60, 90),)),))
        start = unix(NEW_YORK, 2026, 11, 1)
        assert [at - start for at, _ in tariff.switches(start, start + 25 * HOUR)] == [3600, 5400, 7200, 9000]

    def test_an_hour_that_new_york_skips_is_not_priced(self):
        tariff = Tariff(NEW_YORK, 2.0, (Rule(1.0, hours=((120, 180),)),))
        start = unix(NEW_YORK, 2026, 3, 8)
        assert tariff.switches(start, start + 23 * HOUR) == []

    def test_a_rule_that_begins_inside_the_skipped_hour_begins_where_the_clock_jumps(self):
        tariff = Tariff(NEW_YORK, 2.0, (Rule(1.0, hours=((150, 240),)),))
        start = unix(NEW_YORK, 2026, 3, 8)
        assert tariff.switches(start, start + 23 * HOUR) == [(start + 2 * HOUR, 1.0), (start + 3 * HOUR, 2.0)]


@st.composite
def rules(draw):
    minutes = st.integers(0, 95).map(lambda quarter: 15 * quarter)
    days = st.tuples(st.integers(1, 12), st.integers(1, 28))
    hours = draw(st.lists(st.tuples(minutes, minutes).filter(lambda span: span[0] != span[1]), max_size=2))
    return Rule(
        draw(st.sampled_from([1.0, 2.0, 3.0])),
        frozenset(draw(st.sets(st.integers(0, 6), max_size=3))),
        tuple(hours),
        tuple(draw(st.lists(st.tuples(days, days), max_size=1))),
    )


def plainly(tariff: Tariff, at: float) -> float:
    """The price by the words of the documentation, written down anew."""
    local = datetime.fromtimestamp(at, UTC).astimezone(tariff.zone)
    clock, today = local.strftime("%H:%M"), local.strftime("%m-%d")
    for rule in tariff.rules:
        spans = [(f"{a // 60:02}:{a % 60:02}", f"{b // 60:02}:{b % 60:02}") for a, b in rule.hours]
        in_hours = [a <= clock < b if a < b else not b <= clock < a for a, b in spans]
        dates = [(f"{a[0]:02}-{a[1]:02}", f"{b[0]:02}-{b[1]:02}") for a, b in rule.seasons]
        in_season = [a <= today <= b if a <= b else not b < today < a for a, b in dates]
        on_day = [local.isoweekday() - 1 in rule.weekdays] if rule.weekdays else []
        if all(any(group) for group in (in_hours, in_season, on_day) if group):
            return rule.price
    return tariff.default


class TestAnyTariff:
    @settings(max_examples=60, deadline=None)
    @given(
        zone=st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, ZoneInfo("Asia/Kathmandu"), UTC]),
        several=st.lists(rules(), max_size=4),
        day=st.one_of(
            st.dates(date(2025, 1, 1), date(2028, 12, 31)),
            st.sampled_from([date(2026, 3, 28), date(2026, 10, 24), date(2026, 3, 7), date(2026, 10, 31)]),
        ),
    )
    def test_every_quarter_of_three_days_has_the_price_of_its_local_time(self, zone, several, day):
        tariff = Tariff(zone, 0.5, tuple(several))
        start = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
        line = PriceLine(tariff.price_at(start))
        line.follow(tariff.switches(start, start + 72 * HOUR))
        for quarter in range(72 * 4):
            at = start + 900 * quarter
            assert line.at(at) == plainly(tariff, at)
            assert line.at(at + 899) == plainly(tariff, at + 899)


class Clocks:
    """A monotonic clock, and a wall clock that somebody sets."""

    def __init__(self, wall: float) -> None:
        self.mono = FakeClock(5000.0)
        self.ahead = wall - 5000.0

    def wall(self) -> float:
        return self.mono() + self.ahead


class TestSource:
    def test_the_next_switch_is_known_ahead_at_its_exact_instant(self):
        clocks = Clocks(unix(BERLIN, 2026, 6, 10, 21, 59, 59) + 0.25)
        source = TariffPrice("prices.electricity", Tariff(BERLIN, 2.0, (NIGHT,)), clocks.mono, clocks.wall)
        now, switch, back, *_ = source.known().steps
        assert (now.at_seconds, now.value) == (5000.0, 2.0)
        assert (switch.at_seconds, switch.value) == (pytest.approx(5000.75, abs=1e-6), 1.0)
        assert (back.at_seconds - switch.at_seconds, back.value) == (pytest.approx(8 * HOUR), 2.0)

    def test_at_least_a_day_is_always_known_ahead(self):
        clocks = Clocks(unix(BERLIN, 2026, 6, 10))
        source = TariffPrice("x", Tariff(BERLIN, 2.0, (NIGHT,)), clocks.mono, clocks.wall)
        for _ in range(100):
            assert source.known().steps[-1].at_seconds - clocks.mono() >= 16 * HOUR
            clocks.mono.advance(HOUR)

    @settings(max_examples=60, deadline=None)
    @given(
        steps=st.lists(st.floats(-2 * HOUR, 2 * HOUR), min_size=1, max_size=6),
        pauses=st.lists(st.floats(1, 2 * HOUR), min_size=6, max_size=6),
    )
    def test_a_wall_clock_that_is_set_loses_no_second_and_repeats_none(self, steps, pauses):
        clocks = Clocks(unix(BERLIN, 2026, 10, 24, 20))
        source = TariffPrice("x", Tariff(BERLIN, 2.0, (NIGHT,)), clocks.mono, clocks.wall)
        line, due = PriceLine(), []
        for step, pause in zip(steps, pauses, strict=False):
            line.follow([(one.at_seconds, one.value) for one in source.known().steps])
            at, wall = clocks.mono(), clocks.wall()
            due += [(at + 60 * n, wall + 60 * n) for n in range(int(pause // 60))]
            clocks.mono.advance(pause)
            clocks.ahead += step
        end = clocks.mono()
        assert sum(b - a for a, b, (price,) in pieces([line], 5000.0, end) if price in (1, 2)) == pytest.approx(
            end - 5000.0
        )
        for at, wall in due:  # between two settings of the clock the price is the one of the clock as it was
            local = datetime.fromtimestamp(wall, BERLIN)
            if abs((wall % HOUR) - HOUR) > 1 and wall % HOUR > 1:
                assert line.at(at) == (1.0 if local.hour >= 22 or local.hour < 6 else 2.0)

    def test_a_clock_set_far_away_is_followed(self):
        clocks = Clocks(unix(BERLIN, 1970, 1, 2))
        source = TariffPrice("x", Tariff(BERLIN, 2.0, (NIGHT,)), clocks.mono, clocks.wall)
        source.known()
        clocks.ahead = unix(BERLIN, 2026, 6, 10, 12) - clocks.mono()
        reading = source.known()
        assert reading.steps[0].value == 2.0
        assert reading.steps[1].at_seconds - clocks.mono() == pytest.approx(10 * HOUR)
        assert timedelta(seconds=reading.steps[-1].at_seconds - clocks.mono()) < timedelta(hours=49)
