"""Which split a server gets and what becomes of it in the books: energy, dollars, gauges, notes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.readings import gpu_pass, host_pass, tokens

from tokwatt.economics.books import Books
from tokwatt.economics.picture import meter_totals, server_snapshots
from tokwatt.economics.plan import Capacity, Pace, PhasePlan, Plan, Prices, ServerPlan
from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import Boundary, Work, WorkSample
from tokwatt.snapshot import Component, Given, Phase, ServerSnapshot
from tokwatt.units import dollars_per_joule

CHAT = ServerPlan("chat", all_gpus=True, capacity=Capacity(0.01, per_gpu=False))
PRICES = Prices(dollars_per_joule(0.36), pue=1.5)  # 1e-7 $/J
PACES = {"nvml": Pace(1, 1), "bmc1": Pace(5, 3)}


def books_of(server: ServerPlan, **plan: object) -> Books:
    return Books(Plan((server,), PRICES, paces=PACES, **plan), Ledger())  # type: ignore[arg-type]


def work(**totals: float) -> tuple[WorkSample, ...]:
    return tuple(WorkSample(Work(name), name, value) for name, value in totals.items())


def play(books: Books, seconds: int, *, start: int = 0, rates: dict[str, float] | None = None, model: str = "m"):
    """One GPU of 1 kW under a host of 1.5 kW; 200 prompt and 50 generated tokens a second."""
    for second in range(start, start + seconds):
        counted = work(**{name: rate * second for name, rate in (rates or {}).items()})
        reading = tokens(second, 50.0 * second, computed=200.0 * second, model=model)
        books.ledger.add_server(replace(reading, work=counted, input_by_prefill_end=True), 3.5)
        books.ledger.add_power(gpu_pass(second + 0.01, {0: 1000.0 * second}), 3.5)
        books.ledger.add_power(host_pass(second + 0.01, 1500.0), 17.5)
        books.settle(second + 0.02)


def chat(books: Books, now: float) -> ServerSnapshot:
    return server_snapshots(books, now)[0]


def of_phase(server: ServerSnapshot, phase: Phase, boundary: Given = Given.GPU) -> float:
    return sum(row.joules.get(boundary, 0.0) for row in server.phases if row.phase is phase)


def balance(books: Books) -> None:
    for boundary, given in ((Boundary.GPU, Given.GPU), (Boundary.HOST, Given.HOST)):
        rows = [row for row in meter_totals(books) if row.meter.boundary is boundary]
        measured = sum(row.joules for row in rows)
        spare = sum(row.unattributed_joules or 0.0 for row in rows)
        assert books.accounts["chat"].totals.joules(given) + spare == pytest.approx(measured, rel=1e-9)


class TestRole:
    @pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
    def test_a_server_of_one_phase_gives_it_all_busy_energy_and_dollars(self, phase):
        books = books_of(replace(CHAT, role=phase.value))
        play(books, 91)
        server = chat(books, 90.1)
        assert server.phase_method == "role"
        assert of_phase(server, phase) == pytest.approx(90_000, rel=0.02)
        assert of_phase(server, Phase.UNSPLIT) == 0
        other = Phase.DECODE if phase is Phase.PREFILL else Phase.PREFILL
        assert of_phase(server, other) == 0
        row = server.phase_live.models[0]
        rate = {Phase.PREFILL: 200.0, Phase.DECODE: 50.0}[phase]
        ratios = {Phase.PREFILL: row.prefill_tokens_per_joule, Phase.DECODE: row.decode_tokens_per_joule}
        assert ratios[phase][Given.GPU] == pytest.approx(rate / 1000, rel=1e-6)
        assert ratios[phase][Given.FACILITY] == pytest.approx(rate / 2250, rel=1e-6)
        assert ratios[other] == {}  # no energy of it: absent, not infinite
        per_dollar = {Phase.PREFILL: row.prefill_tokens_per_dollar, Phase.DECODE: row.decode_tokens_per_dollar}
        assert per_dollar[phase] == pytest.approx(rate / (0.01 + 2250 * 1e-7), rel=1e-6)
        assert server.phase_live.error_ratio == {}  # exact
        balance(books)


class TestWeights:
    def test_the_users_ratio_divides_energy_and_dollars_alike(self):
        books = books_of(replace(CHAT, phases=PhasePlan("weights", decode_to_prefill=12.0)))
        play(books, 101, rates={"first_tokens": 0.0})
        server = chat(books, 100.1)
        assert server.phase_method == "weights"
        share = 200 / (200 + 12 * 50)
        split = of_phase(server, Phase.PREFILL) + of_phase(server, Phase.DECODE)
        assert of_phase(server, Phase.PREFILL) / split == pytest.approx(share)
        dollars = {row.phase: row.dollars for row in server.phases}
        for component in Component:
            both = dollars[Phase.PREFILL][component] + dollars[Phase.DECODE][component]
            assert dollars[Phase.PREFILL][component] / both == pytest.approx(share)
        row = server.phase_live.models[0]
        assert row.prefill_tokens_per_joule[Given.GPU] == pytest.approx(200 / (1000 * share), rel=1e-6)
        assert row.decode_tokens_per_joule[Given.HOST] == pytest.approx(50 / (1500 * (1 - share)), rel=1e-6)
        balance(books)


class TestNoSplit:
    def test_energy_stays_unsplit_and_the_gauges_absent_where_no_method_can_tell(self):
        books = books_of(CHAT)
        play(books, 91)
        server = chat(books, 90.1)
        assert server.phase_method == "none"
        assert server.phase_live is None
        assert of_phase(server, Phase.UNSPLIT) == pytest.approx(90_000, rel=0.02)
        assert any("does not count prompt and output tokens" in note for note in server.notes)

    def test_a_meter_that_is_read_seldom_splits_nothing(self):
        books = books_of(replace(CHAT, all_gpus=False))
        play(books, 30, rates={"steps": 40, "first_tokens": 1})
        assert any("measured every 5 s" in note for note in chat(books, 29.1).notes)

    def test_several_models_are_not_split(self):
        books = books_of(CHAT)
        play(books, 10, rates={"steps": 40, "first_tokens": 1})
        assert chat(books, 9.1).phase_method == "fit"
        play(books, 10, start=10, rates={"steps": 40, "first_tokens": 1}, model="other")
        assert chat(books, 19.1).phase_method == "none"
        assert any("several models" in note for note in chat(books, 19.1).notes)
        balance(books)


class TestFit:
    def test_no_total_stays_behind_while_the_fit_learns(self):
        books = books_of(CHAT)
        play(books, 31, rates={"steps": 40, "first_tokens": 1})
        server = chat(books, 30.1)
        assert server.phase_method == "fit"
        assert sum(of_phase(server, phase) for phase in Phase) == pytest.approx(30_000, rel=0.01)
        balance(books)

    def test_a_restart_of_the_server_begins_a_new_fit_and_loses_no_joule(self):
        books = books_of(CHAT)
        play(books, 31, rates={"steps": 40, "first_tokens": 1})
        first = books.accounts["chat"].phases.splitter
        books.ledger.add_server(tokens(31, 3.0, computed=7.0), 3.5)  # its counters begin anew
        books.ledger.add_power(gpu_pass(31.01, {0: 31_000.0}), 3.5)
        books.settle(31.02)
        assert books.accounts["chat"].phases.splitter is not first
        balance(books)

    def test_a_reload_to_another_method_takes_effect_and_keeps_what_was_booked(self):
        books = books_of(CHAT)
        play(books, 31, rates={"steps": 40, "first_tokens": 1})
        before = {phase: of_phase(chat(books, 30.1), phase) for phase in Phase}
        books.reconfigure(Plan((replace(CHAT, phases=PhasePlan("none")),), PRICES, paces=PACES), 30.1)
        play(books, 10, start=31, rates={"steps": 40, "first_tokens": 1})
        server = chat(books, 40.1)
        assert server.phase_method == "none"
        assert all(of_phase(server, phase) >= before[phase] for phase in Phase)
        balance(books)
