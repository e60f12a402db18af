"""Cost and energy per meaningful response, through the Books' public door and /metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import FakeClock
from support.openmetrics import classic_samples, total
from support.readings import gpu_pass, tokens
from support.snapshots import snapshot as hand_made

from tokwatt.app.build import Workshop
from tokwatt.app.demo import NVML_NAME, demo_setup
from tokwatt.app.exporter import Exporter
from tokwatt.config import ListenAddress, ResponseConfig, Role
from tokwatt.economics.books import Books
from tokwatt.economics.picture import server_snapshots
from tokwatt.economics.plan import Capacity, Pace, Plan, Prices, ResponsePlan, ServerPlan
from tokwatt.ledger.ledger import Ledger
from tokwatt.metrics.exposition import Exposition
from tokwatt.readings import CountReading, CountSample
from tokwatt.simulate.fleet import ServerPlan as SimulatedPlan
from tokwatt.simulate.load import ClosedLoop, Mix
from tokwatt.simulate.machines import LLAMA_8B_ON_H100
from tokwatt.simulate.world import World
from tokwatt.snapshot import Given, ModelWindow, ServerSnapshot

COUNTER = "chat/meaningful"
PRICES = Prices(electricity_dollars_per_joule=1e-7, pue=1.2)
PACES = {"nvml": Pace(1, 1)}


def counted(at: float, value: float, series: str = "accepted_total") -> CountReading:
    return CountReading(at, (CountSample(series, value),))


def seen(books: Books, now: float, name: str = "chat") -> ServerSnapshot:
    return next(server for server in server_snapshots(books, now) if server.name == name)


def row(books: Books, now: float, name: str = "chat") -> ModelWindow:
    window = seen(books, now, name).window
    assert window is not None
    return window.models[0]


class Site:
    """Chat on GPU 0 finishes `finished` responses of 150 tokens a second; helpers have GPUs of their own."""

    def __init__(
        self, response: ResponsePlan, *helpers: str, also: tuple[ServerPlan, ...] = (), prices: Prices = PRICES
    ) -> None:
        self.helpers = helpers
        chat = ServerPlan("chat", gpus=(0,), capacity=Capacity(0.01, per_gpu=False), response=response)
        guards = tuple(
            ServerPlan(name, gpus=(1 + number,), role="support", capacity=Capacity(0.002, per_gpu=False))
            for number, name in enumerate(helpers)
        )
        plan = Plan((chat, *guards, *also), prices, paces=PACES)
        self.books = Books(plan, Ledger())
        self.gpus = 1 + len(helpers) + len(also)
        self.silent: set[str] = set()

    def second(self, at: int, *, finished: float = 2.0, meaningful: float | None = None, late: float = 0.0) -> None:
        add = self.books.ledger.add_server
        add(tokens(at, 300 * at, computed=900 * at, success=finished * at), 3.5)
        for name in self.helpers:
            if name in self.silent:
                self.books.ledger.miss_server(name, at, 3.5)
            else:
                add(tokens(at - late, 20 * at, computed=280 * at, success=2 * at, server=name), 3.5)
        if meaningful is not None:
            self.books.ledger.add_count(COUNTER, counted(at - late, meaningful * at), 3.5)
        self.books.ledger.add_power(gpu_pass(at + 0.01, dict.fromkeys(range(self.gpus), 100.0 * at)), 3.5)
        self.books.settle(at + 0.02)

    def run(self, until: int, start: int = 0, **rates: float | None) -> None:
        for at in range(start, until + 1):
            self.second(at, **rates)


def check_terms(model: ModelWindow) -> None:
    """The published figures are the equation on the published terms."""
    terms = model.response_terms
    assert terms is not None
    assert terms.output_tokens is not None
    assert terms.attempts_ratio is not None
    assert terms.support_dollars is not None
    assert model.output_tokens_per_dollar is not None
    made = terms.output_tokens * terms.attempts_ratio
    assert model.response_cost_dollars == pytest.approx(
        made / model.output_tokens_per_dollar + terms.support_dollars, rel=1e-9
    )
    for boundary, joules in model.response_energy_joules.items():
        support = terms.support_joules.get(boundary, 0.0)
        assert joules == pytest.approx(made / model.output_tokens_per_joule[boundary] + support, rel=1e-9)


class TestWorkedExample:
    """150 generated tokens, 1.2 attempts, 0.00015 $/token, 150 guardrail tokens at 0.000002 $ = 0.0273 $."""

    def books(self) -> Books:
        plan = ResponsePlan(attempts=1.2, support_tokens=150, support_dollars_per_token=0.000002)
        server = ServerPlan("chat", capacity=Capacity(0.0225, per_gpu=False), response=plan)
        books = Books(Plan((server,)), Ledger())
        for second in range(30):
            books.ledger.add_server(tokens(second, 150 * second, success=second), 3.5)
            books.settle(second)
        return books

    def test_every_term_and_the_sum(self) -> None:
        model = row(self.books(), 29)
        terms = model.response_terms
        assert terms is not None
        assert terms.output_tokens == pytest.approx(150)
        assert terms.attempts_ratio == 1.2
        assert 1 / (model.output_tokens_per_dollar or 0) == pytest.approx(0.00015)
        assert (terms.support_tokens, terms.support_dollars) == (150, pytest.approx(0.0003))
        assert model.response_cost_dollars == pytest.approx(0.0273, rel=1e-12)

    def test_on_the_metrics_page(self) -> None:
        picture = dataclasses.replace(hand_made(), servers=server_snapshots(self.books(), 29))
        exposition = Exposition(with_process=False)
        exposition.update(picture)
        body = exposition.body("text/plain", gzipped=False)
        assert body is not None
        page = classic_samples(body.content.decode())

        def value(name: str) -> float:
            return total(page, name, server="chat", model="m")

        assert value("tokwatt_response_cost_dollars") == pytest.approx(0.0273)
        again = value("tokwatt_output_tokens_per_response") * value("tokwatt_response_attempts_ratio") / value(
            "tokwatt_output_tokens_per_dollar"
        ) + value("tokwatt_response_support_dollars")
        assert value("tokwatt_response_cost_dollars") == pytest.approx(again, rel=1e-9)
        assert value("tokwatt_support_tokens_per_response") == 150


class TestMeasuredAttempts:
    PLAN = ResponsePlan(meaningful=COUNTER)

    def test_attempts_are_finished_responses_per_meaningful_one(self) -> None:
        site = Site(self.PLAN)
        site.run(70, meaningful=1.25)
        model = row(site.books, 70.02)
        assert model.response_terms is not None
        assert model.response_terms.attempts_ratio == pytest.approx(2 / 1.25)
        # 0.01 $/s of capacity and 100 W x 1.2 x 1e-7 $/J, for 1.25 meaningful responses a second
        assert model.response_cost_dollars == pytest.approx((0.01 + 100 * 1.2 * 1e-7) / 1.25)
        assert model.response_energy_joules[Given.GPU] == pytest.approx(100 / 1.25)
        assert seen(site.books, 70.02).meaningful_responses == pytest.approx(70 * 1.25)
        check_terms(model)

    def test_a_counter_read_a_moment_earlier_than_the_server_is_compared_over_its_own_stretch(self) -> None:
        site = Site(self.PLAN)
        site.run(70, meaningful=1.25, late=0.3)
        terms = row(site.books, 70.02).response_terms
        assert terms is not None
        assert terms.attempts_ratio == pytest.approx(2 / 1.25, rel=1e-6)

    def test_a_counter_that_is_not_read_any_more_takes_its_figures_away_and_no_others(self) -> None:
        site = Site(self.PLAN)
        site.run(70, meaningful=1.25)
        site.run(80, start=71)
        model = row(site.books, 80.02)
        assert model.response_terms is not None
        assert model.response_terms.attempts_ratio is None
        assert model.response_terms.output_tokens == pytest.approx(150)
        assert model.response_cost_dollars is None
        assert model.response_energy_joules == {}
        assert model.output_tokens_per_dollar is not None
        assert seen(site.books, 80.02).meaningful_responses == pytest.approx(70 * 1.25)

    def test_no_meaningful_response_is_no_cost_of_one(self) -> None:
        site = Site(self.PLAN)
        site.run(70, meaningful=0.0)
        assert row(site.books, 70.02).response_cost_dollars is None

    def test_without_a_counter_nothing_is_assumed(self) -> None:
        site = Site(self.PLAN)
        site.run(70)
        assert row(site.books, 70.02).response_cost_dollars is None
        assert seen(site.books, 70.02).meaningful_responses is None

    def test_a_restarted_application_counts_on(self) -> None:
        site = Site(self.PLAN)
        site.run(30, meaningful=1.25)
        for at in range(31, 71):
            site.second(at)
            site.books.ledger.add_count(COUNTER, counted(at, 1.25 * (at - 30)), 3.5)
            site.books.settle(at + 0.03)
        terms = row(site.books, 70.03).response_terms
        assert terms is not None
        assert terms.attempts_ratio == pytest.approx(2 / 1.25)
        assert site.books.ledger.counts[COUNTER].resets == 1

    def test_an_engine_that_counts_no_requests_needs_only_the_applications_counter(self) -> None:
        plan = ServerPlan("chat", gpus=(0,), capacity=Capacity(0.01, per_gpu=False), response=self.PLAN)
        books = Books(Plan((plan,), paces=PACES), Ledger())
        for at in range(71):
            books.ledger.add_server(tokens(at, 300 * at), 3.5)
            books.ledger.add_count(COUNTER, counted(at, 1.25 * at), 3.5)
            books.settle(at + 0.02)
        model = row(books, 70.02)
        assert model.response_terms is not None
        assert (model.response_terms.output_tokens, model.response_terms.attempts_ratio) == (None, None)
        assert model.response_cost_dollars == pytest.approx(0.01 / 1.25)
        assert not any("no finished requests" in note for note in seen(books, 70.02).notes)

    def test_without_that_counter_the_note_says_what_to_do(self) -> None:
        plan = ServerPlan("chat", capacity=Capacity(0.01, per_gpu=False), response=ResponsePlan())
        books = Books(Plan((plan,)), Ledger())
        for at in range(10):
            books.ledger.add_server(tokens(at, 300 * at), 3.5)
            books.settle(at)
        assert row(books, 9).response_cost_dollars is None
        assert any("responses[].meaningful" in note for note in seen(books, 9).notes)


class TestSupport:
    PLAN = ResponsePlan(attempts=1.2, support=("guard",))

    def test_tokens_dollars_and_joules_of_a_support_server_are_added(self) -> None:
        site = Site(self.PLAN, "guard")
        site.run(70)
        model = row(site.books, 70.02)
        terms = model.response_terms
        assert terms is not None
        responses = 2 / 1.2  # meaningful ones a second
        assert terms.support_tokens == pytest.approx(300 / responses)
        assert terms.support_dollars == pytest.approx((0.002 + 100 * 1.2 * 1e-7) / responses)
        assert terms.support_joules == {Given.GPU: pytest.approx(100 / responses)}
        assert model.response_energy_joules[Given.GPU] == pytest.approx(200 / responses)
        check_terms(model)

    def test_configured_and_measured_support_add_up(self) -> None:
        plan = ResponsePlan(support=("guard",), support_tokens=50, support_dollars_per_token=1e-5)
        site = Site(plan, "guard")
        site.run(70)
        terms = row(site.books, 70.02).response_terms
        assert terms is not None
        assert terms.support_tokens == pytest.approx(50 + 300 / 2)
        assert terms.support_dollars == pytest.approx(5e-4 + (0.002 + 100 * 1.2 * 1e-7) / 2)

    def test_a_support_server_read_a_moment_earlier(self) -> None:
        site = Site(self.PLAN, "guard")
        site.run(70, late=0.25)
        terms = row(site.books, 70.02).response_terms
        assert terms is not None
        assert terms.support_joules[Given.GPU] == pytest.approx(100 * 1.2 / 2, rel=1e-6)

    def test_support_that_does_not_answer_makes_figures_absent_not_smaller(self) -> None:
        site = Site(self.PLAN, "guard", "embed")
        site.books.reconfigure(_with_support(site.books.plan, ("guard", "embed")))
        site.run(70)
        assert row(site.books, 70.02).response_cost_dollars is not None
        site.silent.add("embed")
        for at in range(71, 160):
            site.second(at)
            if at > 80:
                model = row(site.books, at + 0.02)
                assert model.response_cost_dollars is None
                assert model.response_energy_joules == {}
                assert model.response_terms is not None
                assert model.response_terms.output_tokens == pytest.approx(150)
        site.silent.clear()
        site.run(240, start=160)
        check_terms(row(site.books, 240.02))

    def test_a_boundary_that_support_lacks_is_absent_and_said(self) -> None:
        chat = ServerPlan("chat", gpus=(0,), capacity=Capacity(0.01, per_gpu=False), response=self.PLAN)
        guard = ServerPlan("guard", role="support")
        books = Books(Plan((chat, guard), paces=PACES), Ledger())
        for at in range(71):
            books.ledger.add_server(tokens(at, 300 * at, success=2 * at), 3.5)
            books.ledger.add_server(tokens(at, 20 * at, computed=280 * at, server="guard"), 3.5)
            books.ledger.add_power(gpu_pass(at + 0.01, {0: 100.0 * at}), 3.5)
            books.settle(at + 0.02)
        model = row(books, 70.02)
        assert model.response_energy_joules == {}
        assert model.response_cost_dollars is None
        assert model.response_terms is not None
        assert model.response_terms.support_tokens == pytest.approx(300 * 1.2 / 2)
        notes = " ".join(seen(books, 70.02).notes)
        assert "guard has no price" in notes
        assert "guard has no measured gpu energy" in notes

    def test_a_shared_support_server_is_divided_by_responses(self) -> None:
        other = ServerPlan("code", gpus=(2,), capacity=Capacity(0.03, per_gpu=False), response=self.PLAN)
        site = Site(self.PLAN, "guard", also=(other,))
        for at in range(71):
            site.books.ledger.add_server(tokens(at, 4000 * at, success=6 * at, server="code"), 3.5)
            site.second(at)
        chat, code = (row(site.books, 70.02, name) for name in ("chat", "code"))
        assert chat.response_terms is not None
        assert code.response_terms is not None
        # 8 finished responses a second share 300 tokens and 100 W, whichever server gave them
        assert chat.response_terms.support_tokens == pytest.approx(300 * 1.2 / 8)
        assert code.response_terms.support_joules[Given.GPU] == pytest.approx(100 * 1.2 / 8)

    def test_of_a_pair_that_shares_support_one_that_is_down_leaves_the_share_unknown(self) -> None:
        other = ServerPlan("code", gpus=(2,), response=self.PLAN)
        site = Site(self.PLAN, "guard", also=(other,))
        site.run(70)
        terms = row(site.books, 70.02).response_terms
        assert terms is not None
        assert terms.support_tokens is None
        assert row(site.books, 70.02).response_cost_dollars is None


def _with_support(plan: Plan, support: tuple[str, ...]) -> Plan:
    servers = tuple(
        dataclasses.replace(server, response=dataclasses.replace(server.response, support=support))
        if server.response
        else server
        for server in plan.servers
    )
    return dataclasses.replace(plan, servers=servers)


rates = st.floats(0.5, 20.0)


class TestAnyLoad:
    @settings(max_examples=60, deadline=None)
    @given(
        chat=st.tuples(rates, rates, st.floats(1.0, 3.0)),
        code=st.tuples(rates, rates, st.floats(1.0, 3.0)),
        measured=st.booleans(),
        watts=st.tuples(st.floats(1, 1000), st.floats(1, 1000), st.floats(1, 1000)),
        guard=rates,
    )
    def test_meaningful_responses_times_their_cost_are_the_dollars_of_the_window(
        self,
        chat: tuple[float, float, float],
        code: tuple[float, float, float],
        measured: bool,
        watts: tuple[float, float, float],
        guard: float,
    ) -> None:
        """Over all servers: own dollars and joules, and those of the support server that they share."""
        loads = {"chat": chat, "code": code}
        capacity = {"chat": 0.01, "code": 0.03, "guard": 0.002}
        servers = tuple(
            ServerPlan(
                name,
                gpus=(number,),
                capacity=Capacity(capacity[name], per_gpu=False),
                response=ResponsePlan(
                    attempts=1.0 if measured else loads[name][2],
                    meaningful=f"{name}/meaningful" if measured else "",
                    support=("guard",),
                ),
            )
            for number, name in enumerate(loads)
        )
        helper = ServerPlan("guard", gpus=(2,), role="support", capacity=Capacity(capacity["guard"], per_gpu=False))
        books = Books(Plan((*servers, helper), PRICES, paces=PACES), Ledger())
        for at in range(65):
            for name, (per_second, length, attempts) in loads.items():
                reading = tokens(at, per_second * length * at, success=per_second * at, server=name)
                books.ledger.add_server(reading, 3.5)
                if measured:
                    books.ledger.add_count(f"{name}/meaningful", counted(at, per_second / attempts * at), 3.5)
            books.ledger.add_server(tokens(at, guard * at, computed=guard * at, server="guard"), 3.5)
            books.ledger.add_power(gpu_pass(at + 0.01, {gpu: watt * at for gpu, watt in enumerate(watts)}), 3.5)
            books.settle(at + 0.02)
        dollars = joules = support_tokens = 0.0
        for name, (per_second, _, attempts) in loads.items():
            model = row(books, 64.02, name)
            check_terms(model)
            meaningful = per_second / attempts
            dollars += meaningful * (model.response_cost_dollars or 0.0)
            joules += meaningful * model.response_energy_joules[Given.GPU]
            assert model.response_terms is not None
            support_tokens += meaningful * (model.response_terms.support_tokens or 0.0)
        assert joules == pytest.approx(sum(watts), rel=1e-6)
        assert support_tokens == pytest.approx(2 * guard, rel=1e-6)
        assert dollars == pytest.approx(sum(capacity.values()) + sum(watts) * 1.2e-7, rel=1e-6)


async def test_on_simulated_servers_with_a_guardrail() -> None:
    """Real pages over HTTP and NVML's latch: joules of chat and guardrail come back per response."""
    clock = FakeClock()
    workshop = Workshop(clock)

    def load(prompt: int, answer: int) -> Callable[[float, int], ClosedLoop]:
        mix = Mix(prompt, answer, spread=0.3)
        return lambda start, seed: ClosedLoop(mix, start_seconds=start, users=6, seed=seed)

    async def late(delay: float) -> None:
        clock.advance(delay)

    fleet = (
        SimulatedPlan("chat", "vllm", "big", LLAMA_8B_ON_H100, load(400, 120)),
        SimulatedPlan("guard", "vllm", "small", LLAMA_8B_ON_H100, load(300, 4)),
    )
    async with World(fleet, seed=5, clock=clock, sleep=late, spare_gpus=0) as world:
        setup = demo_setup(world, workshop, ListenAddress("127.0.0.1", 0), 30.0)
        chat, guard = setup.config.servers
        config = dataclasses.replace(
            setup.config,
            servers=(chat, dataclasses.replace(guard, role=Role.SUPPORT)),
            responses=(ResponseConfig("chat", attempts=1.5, support=("guard",)),),
        )
        exporter = Exporter(
            dataclasses.replace(setup, config=config, power={NVML_NAME: setup.power[NVML_NAME]}), clock, clock
        )
        exporter.open()
        for second in range(70):
            clock.now = max(clock.now, 100.0 + second)
            await exporter.tick()
        server = exporter.face.snapshot.servers[0]
        await exporter.stop()
        assert server.window is not None
        start, end = server.window.start_seconds, server.window.end_seconds
        truth = {name: world.energy_between(name, start, end).joules for name in ("chat", "guard")}
    await workshop.aclose()
    model = server.window.models[0]
    check_terms(model)
    assert model.response_terms is not None
    responses = (model.output_tokens_per_second or 0.0) * (end - start) / (model.response_terms.output_tokens or 1.0)
    meaningful = responses / 1.5
    assert meaningful * model.response_terms.support_joules[Given.GPU] == pytest.approx(truth["guard"], rel=0.01)
    assert meaningful * model.response_energy_joules[Given.GPU] == pytest.approx(sum(truth.values()), rel=0.01)
    assert set(model.response_energy_joules) == set(model.output_tokens_per_joule)
