"""Prices over time and the dollars that follow from them, through the Books' public door."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.readings import gpu_pass, host_pass, tokens

from tokwatt.economics.annuity import Purchase, dollars_per_second, dollars_per_year
from tokwatt.economics.books import Books
from tokwatt.economics.picture import price_snapshot, server_snapshots
from tokwatt.economics.plan import Capacity, Fed, Pace, Plan, Prices, ServerPlan
from tokwatt.economics.price_line import MOST_STEPS, PriceLine, pieces
from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import PriceReading, PriceStep
from tokwatt.snapshot import Aside, Component, Given, ServerSnapshot

PACES = {"nvml": Pace(1, 1), "bmc1": Pace(15, 3)}
ELECTRICITY = "prices.electricity"
SPOT = "prices.capacity"
BY_GPU = ServerPlan("chat", all_gpus=True, capacity=Capacity(0.01, per_gpu=True))


def plan(server: ServerPlan = BY_GPU, **prices) -> Plan:
    return Plan((server,), Prices(**prices), paces=PACES)


def books_of(server: ServerPlan = BY_GPU, **prices) -> Books:
    return Books(plan(server, **prices), Ledger())


def says(books: Books, source: str, *steps: tuple[float, float | None]) -> None:
    books.prices.take(PriceReading(source, tuple(PriceStep(at, value) for at, value in steps)))


def run(books: Books, start: float, end: float, *, watts: float = 100.0, every: float = 1.0) -> None:
    """One GPU at constant power and one server, read together."""
    at = start
    while at <= end + 1e-9:
        books.ledger.add_power(gpu_pass(at, {0: 1e6 + watts * at}), 3.5 * every)
        books.ledger.add_server(tokens(at, 10 * at), 3.5 * every)
        books.settle(at)
        at += every


def server_of(books: Books, now: float = 1e9) -> ServerSnapshot:
    return server_snapshots(books, now)[0]


def dollars(books: Books, component: Component) -> float:
    return sum(row.dollars.get(component, 0.0) for row in server_of(books).phases)


def aside(books: Books, what: Aside) -> float:
    return sum(row.aside.get(what, 0.0) for row in server_of(books).phases)


class TestPriceLine:
    def test_a_step_holds_from_its_instant_on(self):
        line = PriceLine(1.0)
        line.set_from(10, 2.0)
        assert [line.at(at) for at in (-1e9, 9.999, 10, 11)] == [1, 1, 2, 2]

    def test_a_new_schedule_replaces_what_was_planned_and_nothing_before(self):
        line = PriceLine()
        line.follow([(10, 1.0), (20, 2.0), (30, None)])
        line.follow([(15, 3.0), (25, 4.0)])
        assert [line.at(at) for at in (9, 10, 15, 20, 25, 30)] == [None, 1, 3, 3, 4, 4]

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(st.floats(0, 100), st.one_of(st.none(), st.integers(-3, 3).map(float))), min_size=1, max_size=20
        ),
        st.floats(0, 100),
        st.floats(0, 100),
    )
    def test_pieces_cover_a_stretch_without_holes_and_have_one_price_each(self, steps, one, other):
        line = PriceLine(7.0)
        for at, value in sorted(steps, key=lambda step: step[0]):
            line.set_from(at, value)
        start, end = min(one, other), max(one, other)
        cut = list(pieces([line], start, end))
        assert (cut[0][0], cut[-1][1]) == (start, end)
        assert all(before[1] == after[0] for before, after in pairwise(cut))
        for a, b, (value,) in cut:
            assert line.at(a) == value
            assert line.at(math.nextafter(b, a)) == value

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 9)), min_size=1, max_size=30), st.floats(0, 100))
    def test_forgetting_changes_no_price_that_can_still_be_asked_for(self, steps, keep):
        line, full = PriceLine(1.0), PriceLine(1.0)
        for one in (line, full):
            for at, value in sorted(steps):
                one.set_from(at, value)
        line.forget_before(keep)
        assert [line.at(at) for at in range(math.ceil(keep), 110)] == [
            full.at(at) for at in range(math.ceil(keep), 110)
        ]

    def test_memory_has_an_end_and_what_lies_before_it_has_no_price(self):
        line = PriceLine(1.0)
        for minute in range(2 * MOST_STEPS):
            line.set_from(minute, float(minute % 7))
        assert line.at(-1) is None
        assert line.at(2 * MOST_STEPS - 5) == (2 * MOST_STEPS - 5) % 7


class TestOwnership:
    def test_the_worked_example_of_the_documentation(self):
        # docs/economics.md: 320,000 $ over 5 years, 10 % residual, 5 % maintenance, 6 % interest, 90 % of the hours
        owned = Purchase(320_000, 5, 32_000, 0.05, 0.06, 0.9)
        repaid = (320_000 - 32_000 / 1.3382255776) * 0.06 / (1 - 1 / 1.3382255776)
        assert repaid == pytest.approx(70_290.16, abs=0.01)
        assert dollars_per_year(owned) == pytest.approx(86_290.16, abs=0.01)
        assert dollars_per_second(owned) * 3600 == pytest.approx(10.9375, abs=0.0001)

    def test_without_interest_the_loss_of_value_is_spread_evenly(self):
        assert dollars_per_year(Purchase(100_000, 4, 20_000)) == 20_000

    @settings(deadline=None)
    @given(
        st.floats(1, 1e7),
        st.integers(1, 20),
        st.floats(0, 1),
        st.floats(0.001, 0.3),
        st.floats(0, 0.2),
        st.floats(0.1, 1),
    )
    def test_the_payments_repay_the_purchase_and_its_interest(self, price, years, residual, interest, upkeep, use):
        owned = Purchase(price, years, residual * price, upkeep, interest, use)
        debt = price
        for _ in range(years):  # a loan as a bank keeps it: interest on what is owed, less the payment of the year
            debt = debt * (1 + interest) - (dollars_per_year(owned) - upkeep * price)
        assert debt == pytest.approx(residual * price, abs=1e-6 * price * (1 + interest) ** years)
        assert dollars_per_second(owned) * 8766 * 3600 * use == pytest.approx(dollars_per_year(owned))

    def test_little_interest_is_near_none(self):
        assert dollars_per_year(Purchase(1000, 5, 100, 0, 1e-9)) == pytest.approx(180, rel=1e-4)


class TestChanges:
    def test_energy_of_one_interval_is_split_exactly_at_the_switch(self):
        books = books_of(electricity_dollars_per_joule=Fed(ELECTRICITY))
        says(books, ELECTRICITY, (0, 1.0), (10.25, 3.0))
        run(books, 0, 20)
        assert dollars(books, Component.ENERGY) == pytest.approx(100 * (10.25 * 1 + 9.75 * 3))

    def test_a_switch_inside_a_gap_splits_the_energy_that_the_counter_kept(self):
        books = books_of(electricity_dollars_per_joule=Fed(ELECTRICITY))
        says(books, ELECTRICITY, (0, 1.0), (40, 3.0))
        run(books, 0, 10)
        run(books, 60, 70)  # 50 s without a reading
        assert dollars(books, Component.ENERGY) == pytest.approx(100 * (40 * 1 + 30 * 3))

    def test_a_switch_inside_a_host_interval_of_fifteen_seconds(self):
        books = books_of(electricity_dollars_per_joule=Fed(ELECTRICITY), pue=1.5)
        says(books, ELECTRICITY, (0, 1.0), (22.5, 2.0))
        for second in range(61):
            books.ledger.add_power(gpu_pass(second, {0: 100.0 * second}), 3.5)
            if second % 15 == 0:
                books.ledger.add_power(host_pass(second, 200.0), 52.5)
            books.ledger.add_server(tokens(second, second), 3.5)
            books.settle(second)
        assert dollars(books, Component.ENERGY) == pytest.approx(200 * 1.5 * (22.5 * 1 + 37.5 * 2))

    def test_a_reload_prices_what_is_not_settled_yet_by_the_price_of_its_own_time(self):
        books = books_of(electricity_dollars_per_joule=1.0, pue=1.0)
        for second in range(61):
            books.ledger.add_power(gpu_pass(second, {0: 100.0 * second}), 3.5)
            if second % 15 == 0:
                books.ledger.add_power(host_pass(second, 200.0), 52.5)
            books.ledger.add_server(tokens(second, second), 3.5)
            books.settle(second)
            if second == 29:  # the host's energy is booked up to 15 s
                new = ServerPlan("chat", all_gpus=True, capacity=Capacity(0.05, per_gpu=True))
                books.reconfigure(plan(new, electricity_dollars_per_joule=4.0, pue=2.0), 29.4)
        assert dollars(books, Component.ENERGY) == pytest.approx(200 * (29.4 * 1 * 1 + 30.6 * 4 * 2))
        assert dollars(books, Component.CAPACITY) == pytest.approx(29.4 * 0.01 + 30.6 * 0.05)
        facility = sum(row.joules[Given.FACILITY] for row in server_of(books).phases)
        assert facility == pytest.approx(200 * (29.4 + 30.6 * 2))

    def test_a_spot_price_moves_capacity_from_its_instant_on(self):
        books = books_of(ServerPlan("chat", all_gpus=True, capacity=Capacity(Fed(SPOT), per_gpu=True)))
        says(books, SPOT, (0, 0.01), (3600, None))
        run(books, 0, 10)
        says(books, SPOT, (10.5, 0.02), (3610.5, None))
        run(books, 11, 20)
        assert dollars(books, Component.CAPACITY) == pytest.approx(10.5 * 0.01 + 9.5 * 0.02)

    def test_gpus_that_join_are_paid_from_then_on(self):
        books = books_of()
        run(books, 0, 10)
        for second in range(11, 21):
            books.ledger.add_power(gpu_pass(second, {0: 1e6 + 100.0 * second, 1: 5.0 * second}), 3.5)
            books.ledger.add_server(tokens(second, 10 * second), 3.5)
            books.settle(second)
        assert dollars(books, Component.CAPACITY) == pytest.approx(10 * 0.01 + 10 * 0.02)

    def test_a_price_by_gpu_becomes_one_of_the_server(self):
        books = books_of()
        run(books, 0, 10)
        books.reconfigure(plan(ServerPlan("chat", all_gpus=True, capacity=Capacity(1.0, per_gpu=False))), 10)
        run(books, 11, 20)
        assert dollars(books, Component.CAPACITY) == pytest.approx(10 * 0.01 + 10 * 1.0)

    def test_a_price_that_is_taken_away_leaves_what_was_charged(self):
        books = books_of(electricity_dollars_per_joule=2.0)
        run(books, 0, 10)
        books.reconfigure(plan(ServerPlan("chat", all_gpus=True)), 10)
        run(books, 11, 20)
        assert dollars(books, Component.ENERGY) == pytest.approx(2000)
        assert dollars(books, Component.CAPACITY) == pytest.approx(0.1)
        assert price_snapshot(books, 20).electricity_dollars_per_joule is None


class TestUnknown:
    def test_before_the_first_price_dollars_are_absent_and_not_zero(self):
        books = books_of(
            ServerPlan("chat", all_gpus=True, capacity=Capacity(Fed(SPOT), per_gpu=True)),
            electricity_dollars_per_joule=Fed(ELECTRICITY),
        )
        run(books, 0, 10)
        assert [dict(row.dollars) for row in server_of(books).phases] == [{}, {}]
        assert server_of(books, 10).capacity_dollars_per_second is None
        assert server_of(books, 10).window.models[0].output_tokens_per_dollar is None

    def test_a_price_that_lapsed_stops_the_dollars_and_the_gauge_until_it_comes_back(self):
        books = books_of(electricity_dollars_per_joule=Fed(ELECTRICITY))
        says(books, ELECTRICITY, (0, 1.0), (5, None))
        run(books, 0, 4)
        assert price_snapshot(books, 4.9).electricity_dollars_per_joule == 1.0
        assert price_snapshot(books, 5.0).electricity_dollars_per_joule is None
        run(books, 5, 10)
        assert dollars(books, Component.ENERGY) == pytest.approx(500)
        says(books, ELECTRICITY, (10, 2.0), (20, None))
        run(books, 11, 15)
        assert dollars(books, Component.ENERGY) == pytest.approx(500 + 1000)

    def test_a_window_with_an_unpriced_part_shows_no_tokens_per_dollar(self):
        books = books_of(electricity_dollars_per_joule=Fed(ELECTRICITY))
        says(books, ELECTRICITY, (0, 1.0), (30, None))
        run(books, 0, 60)
        assert server_of(books, 60).window.models[0].output_tokens_per_dollar is None
        assert server_of(books, 60).window.models[0].output_tokens_per_second == pytest.approx(10)

    def test_a_source_that_is_configured_anew_is_not_believed_for_what_the_old_one_said(self):
        books = books_of(electricity_dollars_per_joule=Fed(ELECTRICITY))
        says(books, ELECTRICITY, (0, 1.0))
        run(books, 0, 10)
        books.prices.forget_source(ELECTRICITY)
        books.reconfigure(plan(electricity_dollars_per_joule=5.0), 10)
        run(books, 11, 20)
        books.reconfigure(plan(electricity_dollars_per_joule=Fed(ELECTRICITY)), 20)
        run(books, 21, 30)
        assert dollars(books, Component.ENERGY) == pytest.approx(1000 + 5000)


class TestNegativePrices:
    def test_what_is_earned_is_counted_apart_and_no_total_falls(self):
        books = books_of(electricity_dollars_per_joule=Fed(ELECTRICITY))
        says(books, ELECTRICITY, (0, 0.002), (10, -0.001), (15, 0.003))
        run(books, 0, 12)
        assert price_snapshot(books, 12).electricity_dollars_per_joule == -0.001
        assert dollars(books, Component.ENERGY) == pytest.approx(100 * 10 * 0.002)
        run(books, 13, 20)
        assert dollars(books, Component.ENERGY) == pytest.approx(100 * (10 * 0.002 + 5 * 0.003))
        assert aside(books, Aside.ENERGY_CREDIT_DOLLARS) == pytest.approx(100 * 5 * 0.001)

    def test_tokens_per_dollar_count_the_credit(self):
        books = books_of(electricity_dollars_per_joule=Fed(ELECTRICITY))
        says(books, ELECTRICITY, (0, -0.00005))
        run(books, 0, 70)
        row = server_of(books, 70).window.models[0]
        assert row.output_tokens_per_dollar == pytest.approx(10 / (0.01 - 0.005))

    def test_where_running_earns_money_there_are_no_tokens_per_dollar(self):
        books = books_of(electricity_dollars_per_joule=Fed(ELECTRICITY))
        says(books, ELECTRICITY, (0, -0.001))
        run(books, 0, 70)
        assert server_of(books, 70).window.models[0].output_tokens_per_dollar is None


class TestLeaseThatCoversPower:
    LEASE = ServerPlan("chat", all_gpus=True, capacity=Capacity(0.01, per_gpu=True, includes_electricity=True))

    def test_energy_is_published_beside_the_cost_and_the_sum_over_components_is_the_lease(self):
        books = books_of(self.LEASE, electricity_dollars_per_joule=2.0)
        run(books, 0, 70)
        cost = sum(amount for row in server_of(books).phases for amount in row.dollars.values())
        assert cost == pytest.approx(70 * 0.01)
        assert aside(books, Aside.INCLUDED_ENERGY_DOLLARS) == pytest.approx(70 * 200)
        assert server_of(books, 70).window.models[0].output_tokens_per_dollar == pytest.approx(10 / 0.01)

    def test_a_lease_that_covers_power_from_a_reload_on(self):
        books = books_of(electricity_dollars_per_joule=2.0)
        run(books, 0, 10)
        books.reconfigure(plan(self.LEASE, electricity_dollars_per_joule=2.0), 10)
        run(books, 11, 30)
        assert dollars(books, Component.ENERGY) == pytest.approx(10 * 200)
        assert aside(books, Aside.INCLUDED_ENERGY_DOLLARS) == pytest.approx(20 * 200)

    def test_an_electricity_price_that_is_not_known_does_not_matter_to_its_ratios(self):
        books = books_of(self.LEASE, electricity_dollars_per_joule=Fed(ELECTRICITY))
        run(books, 0, 70)
        assert server_of(books, 70).window.models[0].output_tokens_per_dollar == pytest.approx(10 / 0.01)


class TestCarbon:
    def test_grams_are_joules_times_pue_times_intensity_also_under_a_lease(self):
        lease = TestLeaseThatCoversPower.LEASE
        books = books_of(lease, carbon_grams_per_joule=Fed("prices.carbon"), pue=1.5)
        says(books, "prices.carbon", (0, 0.001), (10, 0.002))
        run(books, 0, 20)
        assert aside(books, Aside.CARBON_GRAMS) == pytest.approx(100 * 1.5 * (10 * 0.001 + 10 * 0.002))


@st.composite
def lives(draw):
    """Steps of the three prices, reloads, and when meters and server are read."""
    at, events = 0.0, []
    for _ in range(draw(st.integers(5, 50))):
        at += draw(st.sampled_from([0.3, 1.0, 1.0, 2.5, 20.0]))
        kind = draw(st.sampled_from(["gpu", "gpu", "server", "server", "host", "electricity", "spot", "pue", "lapse"]))
        events.append((kind, at, draw(st.floats(0, 5))))
    return events


class TestAnyLife:
    """Money against an integral that the test does for itself, over the same measured curve."""

    SERVER = ServerPlan("chat", all_gpus=True, capacity=Capacity(Fed(SPOT), per_gpu=False))

    @settings(max_examples=150, deadline=None)
    @given(lives())
    def test_dollars_are_the_integral_of_power_times_price(self, events):
        books = Books(plan(self.SERVER, electricity_dollars_per_joule=Fed(ELECTRICITY)), Ledger())
        joules, pue = 0.0, 1.0
        truth = {"electricity": [(-1.0, None)], "spot": [(-1.0, None)], "pue": [(-1.0, 1.0)]}
        curve, cuts = [], []
        seen: dict[tuple, float] = {}
        for kind, at, amount in events:
            if kind == "gpu":
                joules += 100 * amount
                books.ledger.add_power(gpu_pass(at, {0: joules}), 3.5)
                curve.append((at, joules))
            elif kind == "server":
                books.ledger.add_server(tokens(at, at), 3.5)
                cuts.append(at)
            elif kind == "pue":
                pue = 1 + amount
                books.reconfigure(plan(self.SERVER, electricity_dollars_per_joule=Fed(ELECTRICITY), pue=pue), at)
                truth["pue"].append((at, pue))
            elif kind in ("electricity", "spot"):
                says(books, ELECTRICITY if kind == "electricity" else SPOT, (at, amount))
                truth[kind].append((at, amount))
            elif kind == "lapse":
                says(books, ELECTRICITY, (at, None))
                truth["electricity"].append((at, None))
            books.settle(at)
            now = {
                (row.phase, key): value
                for row in server_of(books).phases
                for key, value in {**row.dollars, **row.joules}.items()
            }
            assert all(now[key] >= value - 1e-12 for key, value in seen.items())
            seen = now
        if not curve or not cuts:
            return
        first = max(cuts[0], -1.0)
        end = min(curve[-1][0], cuts[-1])
        expected = integral(curve, truth, curve[0][0], end)
        assert dollars(books, Component.ENERGY) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        capacity = sum((b - a) * (value_at(truth["spot"], a) or 0.0) for a, b in spans(truth, first, cuts[-1]))
        assert dollars(books, Component.CAPACITY) == pytest.approx(capacity, rel=1e-9, abs=1e-9)


def spans(truth, start, end, more=()):
    inside = {at for steps in truth.values() for at, _ in steps} | set(more)
    edges = [start, *sorted(at for at in inside if start < at < end), end]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def value_at(steps, at):
    return [value for since, value in steps if since <= at][-1]


def integral(curve, truth, start, end):
    """Sum of power x PUE x price over time, power constant between two readings of the counter."""
    total = 0.0
    for a, b in spans(truth, start, end, (at for at, _ in curve)) if end > start else ():
        watts = next(((q - p) / (t - s) for (s, p), (t, q) in pairwise(curve) if s <= a and b <= t), 0.0)
        price = value_at(truth["electricity"], a)
        total += watts * (b - a) * value_at(truth["pue"], a) * (price or 0.0)
    return total
