"""Attribution, dollars and the live window, through the Books' public door."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.readings import gpu_pass, host_pass, tokens

from tokwatt.economics.books import Books
from tokwatt.economics.picture import meter_totals, server_snapshots
from tokwatt.economics.plan import Capacity, Pace, Plan, Prices, ResponsePlan, ServerPlan
from tokwatt.economics.split import Share, shares
from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import Boundary, ServerReading
from tokwatt.snapshot import Component, Given, Phase, ServerSnapshot
from tokwatt.units import dollars_per_joule, dollars_per_second, tokens_per_kwh

CHAT = ServerPlan("chat", all_gpus=True, capacity=Capacity(dollars_per_second(2.5), per_gpu=True))
PRICES = Prices(dollars_per_joule(0.17), pue=1.2)
PACES = {"nvml": Pace(1, 1), "bmc1": Pace(5, 3)}


def books_of(*servers: ServerPlan, prices: Prices = PRICES, window: float = 60.0) -> Books:
    return Books(Plan(servers or (CHAT,), prices, window_seconds=window, paces=PACES), Ledger())


def snapshot(books: Books, now: float, name: str = "chat") -> ServerSnapshot:
    return next(server for server in server_snapshots(books, now) if server.name == name)


def run(books: Books, until: int, *, watts: float = 1000.0, rate: float = 3000.0, running: float = 1.0, start: int = 0):
    """One GPU at constant power, one server at a constant rate, read once a second."""
    for second in range(start, until + 1):
        books.ledger.add_power(gpu_pass(second, {0: 7e6 + watts * second}), 3.5)
        books.ledger.add_server(tokens(second + 0.01, 5e5 + rate * second, computed=9.0, running=running), 3.5)
        books.settle(second + 0.02)


def unsplit(server: ServerSnapshot):
    return next(row for row in server.phases if row.phase is Phase.UNSPLIT)


def balance(books: Books) -> None:
    """Given + unattributed = measured, for each boundary, to 1e-9."""
    for boundary, given_name in ((Boundary.GPU, Given.GPU), (Boundary.HOST, Given.HOST)):
        rows = [total for total in meter_totals(books) if total.meter.boundary is boundary]
        measured = sum(row.joules for row in rows)
        spare = sum(row.unattributed_joules or 0.0 for row in rows)
        given_joules = sum(account.totals.joules(given_name) for account in books.accounts.values())
        assert given_joules + spare == pytest.approx(measured, rel=1e-9, abs=1e-6)


class TestWorkedExamples:
    def test_three_thousand_tokens_a_second_at_one_kilowatt(self):
        books = books_of(
            prices=Prices(dollars_per_joule(0.17)),
        )
        run(books, 70)
        row = snapshot(books, 70.02).window.models[0]
        assert row.output_tokens_per_second == pytest.approx(3000)
        assert row.output_tokens_per_joule[Given.GPU] == pytest.approx(3)
        assert tokens_per_kwh(row.output_tokens_per_joule[Given.GPU]) == pytest.approx(10_800_000)
        assert dollars_per_joule(0.17) / row.output_tokens_per_joule[Given.GPU] == pytest.approx(1.574e-8, rel=1e-3)

    def test_a_meaningful_response(self):
        # 0.00015 $/token on 150 tokens is 0.0225 $ a response; one response a second at that price
        server = ServerPlan(
            "chat",
            capacity=Capacity(0.0225, per_gpu=False),
            response=ResponsePlan(attempts=1.2, support_tokens=150, support_dollars_per_token=0.000002),
        )
        books = books_of(server, prices=Prices())
        for second in range(30):
            books.ledger.add_server(tokens(second, 150 * second, success=second), 3.5)
            books.settle(second)
        assert snapshot(books, 29).window.models[0].response_cost_dollars == pytest.approx(0.0273)


class TestTotals:
    def test_energy_of_owned_gpus_is_given_and_the_rest_is_unattributed(self):
        books = books_of(ServerPlan("chat", gpus=(0,)))
        for second in range(11):
            books.ledger.add_power(gpu_pass(second, {0: 100.0 * second, 1: 40.0 * second}), 3.5)
            books.ledger.add_server(tokens(second, second), 3.5)
            books.settle(second)
        totals = {row.meter.device: row for row in meter_totals(books)}
        assert (totals["GPU-0"].joules, totals["GPU-0"].unattributed_joules) == (1000, 0)
        assert (totals["GPU-1"].joules, totals["GPU-1"].unattributed_joules) == (400, 400)
        balance(books)

    def test_idle_energy_and_dollars_have_their_own_phase(self):
        books = books_of()
        run(books, 10, rate=0, running=0)
        rows = {row.phase: row for row in snapshot(books, 10).phases}
        assert rows[Phase.IDLE].joules[Given.GPU] > 9000
        assert rows[Phase.IDLE].dollars[Component.CAPACITY] == pytest.approx(10 * 2.5 / 3600)
        assert sum(row.joules[Given.GPU] for row in rows.values()) == pytest.approx(10_000, rel=0.01)

    def test_energy_dollars_are_joules_times_pue_times_price(self):
        books = books_of()
        run(books, 10)
        row = unsplit(snapshot(books, 10))
        assert row.dollars[Component.ENERGY] == pytest.approx(row.joules[Given.GPU] * 1.2 * 0.17 / 3.6e6)

    def test_a_server_that_does_not_answer_still_gets_its_energy_and_its_bill(self):
        books = books_of()
        run(books, 10)
        for second in range(11, 31):
            books.ledger.add_power(gpu_pass(second, {0: 7e6 + 1000.0 * second}), 3.5)
            books.ledger.miss_server("chat", second + 0.01, 3.5)
            books.settle(second + 0.02)
        row = unsplit(snapshot(books, 30))
        assert row.joules[Given.GPU] == pytest.approx(30_000, rel=0.01)
        assert row.dollars[Component.CAPACITY] == pytest.approx(30 * 2.5 / 3600)
        balance(books)

    def test_an_unknown_server_owns_nothing_until_its_first_cut(self):
        books = books_of()
        books.ledger.add_power(gpu_pass(0, {0: 0}), 3.5)
        books.ledger.add_power(gpu_pass(1, {0: 500}), 3.5)
        books.settle(1)
        assert meter_totals(books)[0].joules == 0
        books.ledger.miss_server("chat", 1.5, 3.5)
        books.settle(1.5)
        assert meter_totals(books)[0].joules == 500
        balance(books)


class TestWindow:
    def test_a_window_shorter_than_configured_counts_as_the_window(self):
        books = books_of()
        run(books, 3)
        window = snapshot(books, 3).window
        assert window.boundaries[0].coverage_ratio == pytest.approx(1)
        assert window.models[0].output_tokens_per_joule[Given.GPU] == pytest.approx(3)

    def test_a_meter_that_joins_begins_a_new_window_so_that_all_boundaries_cover_the_same_time(self):
        books = books_of()
        run(books, 30)
        for second in range(31, 45):
            books.ledger.add_power(gpu_pass(second, {0: 7e6 + 1000.0 * second}), 3.5)
            books.ledger.add_power(host_pass(second, 1500), 17.5)
            books.ledger.add_server(tokens(second + 0.01, 5e5 + 3000.0 * second), 3.5)
            books.settle(second + 0.02)
        window = snapshot(books, 44.02).window
        assert window.start_seconds > 31
        assert [boundary.coverage_ratio for boundary in window.boundaries] == [1, 1, 1]
        assert window.models[0].output_tokens_per_joule[Given.HOST] == pytest.approx(2)

    def test_no_gauge_before_two_readings(self):
        books = books_of()
        run(books, 0)
        assert snapshot(books, 0).window is None

    def test_zero_tokens_while_energy_flows_is_zero_tokens_per_joule(self):
        books = books_of()
        run(books, 10, rate=0)
        row = snapshot(books, 10).window.models[0]
        assert row.output_tokens_per_joule[Given.GPU] == 0
        assert row.output_tokens_per_dollar == 0

    def test_zero_energy_is_absence(self):
        books = books_of()
        run(books, 10, watts=0)
        assert snapshot(books, 10).window.models[0].output_tokens_per_joule == {}

    def test_gauges_vanish_while_the_server_is_silent_and_come_back(self):
        books = books_of()
        run(books, 70)
        for second in range(71, 90):
            books.ledger.add_power(gpu_pass(second, {0: 7e6 + 1000.0 * second}), 3.5)
            books.ledger.miss_server("chat", second + 0.01, 3.5)
            books.settle(second + 0.02)
        window = snapshot(books, 89.02).window
        assert window.boundaries[0].coverage_ratio < 0.9
        assert window.models[0].output_tokens_per_joule == {}
        assert window.models[0].output_tokens_per_second is None
        run(books, 160, start=90)
        window = snapshot(books, 160.02).window
        assert window.boundaries[0].coverage_ratio == pytest.approx(1)
        assert window.models[0].output_tokens_per_joule[Given.GPU] == pytest.approx(3)

    def test_a_lost_gpu_takes_only_its_boundary_away(self):
        books = books_of()
        for second in range(90):
            if second < 70:
                books.ledger.add_power(gpu_pass(second, {0: 1000.0 * second}), 3.5)
            books.ledger.add_server(tokens(second + 0.01, 3000.0 * second), 3.5)
            books.settle(second + 0.02, frozenset({"nvml"}) if second >= 70 else frozenset())
        row = snapshot(books, 89.02).window.models[0]
        assert row.output_tokens_per_second == pytest.approx(3000)
        assert row.output_tokens_per_joule == {}
        balance(books)

    def test_a_reset_interval_is_left_out_on_both_sides(self):
        books = books_of()
        run(books, 30)
        for second in range(31, 62):
            books.ledger.add_power(gpu_pass(second, {0: 1000.0 * (second - 31)}), 3.5)
            books.ledger.add_server(tokens(second + 0.01, 5e5 + 3000.0 * second), 3.5)
            books.settle(second + 0.02)
        window = snapshot(books, 61.02).window
        assert 0.95 < window.boundaries[0].coverage_ratio < 1
        assert window.models[0].output_tokens_per_joule[Given.GPU] == pytest.approx(3)

    def test_one_window_explains_all_gauges_under_bursts_and_late_answers(self):
        """Tokens/s, watts, tokens/J and tokens/$ agree with each other exactly, and with the truth within 0.5 %."""
        rng = random.Random(7)
        books = books_of(window=20.0)

        def busy(at: float) -> float:  # seconds of load up to an instant: bursts of 3 s every 7 s
            return (at // 7) * 3 + min(at % 7, 3)

        worst = 0.0
        for second in range(120):
            books.ledger.add_power(gpu_pass(second, {0: 100.0 * second + 600.0 * busy(second)}), 3.5)
            late = rng.uniform(0, 0.3)
            reading = tokens(second + late, 4000.0 * busy(second + late), uncertainty=late / 2)
            books.ledger.add_server(reading, 3.5)
            books.settle(second + 0.4)
            if second < 30:
                continue
            window = snapshot(books, second + 0.4).window
            row, power = window.models[0], window.boundaries[0].power_watts
            ratio = row.output_tokens_per_joule[Given.GPU]
            assert row.output_tokens_per_second / power == pytest.approx(ratio, rel=1e-9)
            dollars = 2.5 / 3600 + power * 1.2 * 0.17 / 3.6e6
            assert row.output_tokens_per_second / dollars == pytest.approx(row.output_tokens_per_dollar, rel=1e-9)
            load = busy(window.end_seconds) - busy(window.start_seconds)
            truth = 4000.0 * load / (100.0 * (window.end_seconds - window.start_seconds) + 600.0 * load)
            worst = max(worst, abs(ratio / truth - 1))
        assert worst < 0.02  # linear between one-second meter readings: bursts that start between two of them


class TestHost:
    def test_a_single_server_gets_the_whole_host(self):
        books = books_of()
        for second in range(21):
            books.ledger.add_power(gpu_pass(second, {0: 300.0 * second}), 3.5)
            if second % 5 == 0:
                books.ledger.add_power(host_pass(second, 800), 17.5)
            books.ledger.add_server(tokens(second, 10 * second), 3.5)
            books.settle(second)
        assert books.accounts["chat"].totals.joules(Given.HOST) == pytest.approx(16_000)
        assert books.accounts["chat"].totals.joules(Given.FACILITY) == pytest.approx(16_000 * 1.2)
        assert snapshot(books, 20).window.boundaries[1].power_watts == pytest.approx(800)
        balance(books)

    def test_the_gpus_draw_goes_with_them_and_the_rest_by_gpu_count(self):
        books = books_of(ServerPlan("chat", gpus=(0,)), ServerPlan("code", gpus=(1, 2)))
        for second in range(22):
            books.ledger.add_power(gpu_pass(second, {0: 300.0 * second, 1: 50.0 * second, 2: 50.0 * second, 3: 0}), 3.5)
            if second % 5 == 0:
                books.ledger.add_power(host_pass(second, 800), 17.5)
            books.ledger.add_server(tokens(second, 10 * second), 3.5)
            books.ledger.add_server(tokens(second, 10 * second, server="code"), 3.5)
            books.settle(second)
        assert books.accounts["chat"].totals.joules(Given.HOST) == pytest.approx(20 * (300 + 400 / 4))
        assert books.accounts["code"].totals.joules(Given.HOST) == pytest.approx(20 * (100 + 400 / 2))
        balance(books)

    def test_a_host_that_reads_less_than_its_gpus_follows_them(self):
        parts = shares(100, {"a": Share(150, 1), "b": Share(50, 1)})
        assert parts == {"a": 0.75, "b": 0.25}

    @given(
        st.floats(0, 1e6),
        st.dictionaries(st.text(max_size=3), st.builds(Share, st.floats(0, 1e6), st.integers(0, 8)), min_size=1),
    )
    def test_shares_are_parts_of_a_whole(self, joules, claims):
        parts = shares(joules, claims)
        assert all(0 <= part <= 1 + 1e-12 for part in parts.values())
        total = sum(parts.values())
        assert total == pytest.approx(1) or all(claim.gpu_count == 0 for claim in claims.values())

    def test_a_silent_bmc_does_not_stop_the_gpu_gauges(self):
        books = books_of()
        for second in range(60):
            books.ledger.add_power(gpu_pass(second, {0: 300.0 * second}), 3.5)
            if second % 5 == 0 and second < 30:
                books.ledger.add_power(host_pass(second, 800), 17.5)
            books.ledger.add_server(tokens(second, 600 * second), 3.5)
            books.settle(second, frozenset({"bmc1"}) if second > 33 else frozenset())
        row = snapshot(books, 59).window.models[0]
        assert row.output_tokens_per_joule == {Given.GPU: pytest.approx(2)}
        balance(books)


class TestReload:
    def test_totals_go_on_under_new_owners(self):
        books = books_of(ServerPlan("chat", gpus=(0,)))
        run(books, 10)
        books.reconfigure(Plan((ServerPlan("code", gpus=(0,)),), PRICES, paces=PACES))
        for second in range(11, 21):
            books.ledger.add_power(gpu_pass(second, {0: 7e6 + 1000.0 * second}), 3.5)
            books.ledger.add_server(tokens(second, 1, server="code"), 3.5)
            books.settle(second)
        assert books.accounts["chat"].totals.joules(Given.GPU) == pytest.approx(10_000, rel=0.01)
        assert books.accounts["code"].totals.joules(Given.GPU) == pytest.approx(10_000, rel=0.01)
        balance(books)

    def test_a_second_source_of_one_device_is_refused(self):
        books = books_of()
        run(books, 5)
        refused = books.ledger.add_power(gpu_pass(6, {0: 1e9}, source="dcgm"), 3.5)
        books.settle(6)
        assert [failure.device for failure in refused] == ["GPU-0"]
        assert "already read by nvml" in str(refused[0].error)
        assert meter_totals(books)[0].joules <= 5000

    def test_a_source_that_is_gone_gives_its_devices_away(self):
        books = books_of()
        run(books, 5)
        books.ledger.release(lambda source: source != "nvml")
        assert books.ledger.add_power(gpu_pass(6, {0: 7e6 + 6000}, source="dcgm"), 3.5) == ()
        books.ledger.add_server(tokens(6.5, 1e6), 3.5)
        books.settle(7)
        assert meter_totals(books)[0].joules == 6000


@st.composite
def histories(draw):
    """Any order of passes over 3 GPUs, a BMC and two servers, with failures, resets, restarts and lateness."""
    events = []
    at = 0.0
    gpu, out = [0.0, 0.0, 0.0], {"chat": 0.0, "code": 0.0}
    for _ in range(draw(st.integers(3, 60))):
        at += draw(st.sampled_from([0.2, 1.0, 1.0, 1.0, 6.0]))
        kind = draw(st.sampled_from(["gpu", "gpu", "host", "chat", "chat", "code", "miss", "gpu reset", "restart"]))
        if kind.startswith("gpu"):
            gpu = [0.0] * 3 if kind == "gpu reset" else [j + draw(st.floats(0, 2000)) for j in gpu]
            events.append((kind, at, tuple(gpu)))
        elif kind == "host":
            events.append((kind, at, draw(st.floats(0, 5000))))
        elif kind == "miss":
            events.append((kind, at, draw(st.sampled_from(["chat", "code"]))))
        else:
            name = "chat" if kind == "restart" else kind
            out[name] = 0.0 if kind == "restart" else out[name] + draw(st.integers(0, 500))
            events.append(("tokens", at, (name, out[name], draw(st.sampled_from([0, 1, None])))))
    return events


def play(books: Books, event: tuple) -> None:
    kind, at, what = event
    if kind.startswith("gpu"):
        books.ledger.add_power(gpu_pass(at, dict(enumerate(what))), 3.5)
    elif kind == "host":
        books.ledger.add_power(host_pass(at, what), 17.5)
    elif kind == "miss":
        books.ledger.miss_server(what, at, 3.5)
    else:
        name, output, running = what
        books.ledger.add_server(tokens(at, output, server=name, running=running), 3.5)


def counters(books: Books) -> dict[tuple, float]:
    seen: dict[tuple, float] = {}
    for total in meter_totals(books):
        seen["measured", total.meter.device] = total.joules
        seen["unattributed", total.meter.device] = total.unattributed_joules or 0.0
    for server in server_snapshots(books, 0.0):
        for row in server.phases:
            seen |= {(server.name, row.model, row.phase, key): value for key, value in row.joules.items()}
            seen |= {(server.name, row.model, row.phase, key): value for key, value in row.dollars.items()}
        for model in server.tokens:
            seen[server.name, model.model] = model.output_tokens or 0.0
    return seen


class TestAnyHistory:
    PLAN = (
        ServerPlan("chat", gpus=(0,), capacity=Capacity(1e-3, per_gpu=True)),
        ServerPlan("code", gpus=(1,), capacity=Capacity(1e-3, per_gpu=True)),
    )

    @settings(max_examples=150, deadline=None)
    @given(histories())
    def test_books_balance_and_no_total_ever_falls(self, history):
        books = books_of(*self.PLAN)
        before: dict[tuple, float] = {}
        for event in history:
            play(books, event)
            books.settle(event[1])
            balance(books)
            now = counters(books)
            assert all(now[key] >= value for key, value in before.items())
            before = now

    @settings(max_examples=100, deadline=None)
    @given(histories())
    def test_settling_more_often_changes_nothing(self, history):
        """Where an interval is cut by settling, and where not, ends in the same totals."""
        often, once = books_of(*self.PLAN), books_of(*self.PLAN)
        for event in history:
            play(often, event)
            often.settle(event[1])
            play(once, event)
        end = history[-1][1]
        once.settle(end)
        measured = {key: value for key, value in counters(once).items() if key[0] == "measured"}
        assert {key: counters(often)[key] for key in measured} == pytest.approx(measured, rel=1e-9, abs=1e-6)


class TestFollower:
    def test_a_node_without_tokens_gets_its_energy_and_cost(self):
        books = books_of()
        for second in range(70):
            books.ledger.add_power(gpu_pass(second, {0: 500.0 * second}), 3.5)
            books.ledger.add_server(ServerReading("chat", second + 0.01, 0.0, (), engine="none"), 3.5)
            books.settle(second + 0.02)
        follower = snapshot(books, 69.02)
        assert unsplit(follower).joules[Given.GPU] == pytest.approx(500 * 69)
        assert unsplit(follower).dollars[Component.CAPACITY] > 0
        assert follower.window.boundaries[0].power_watts == pytest.approx(500)
        assert follower.window.models == ()
        balance(books)
