"""Shared GPUs, hosts and outlets, and owners that change while energy is booked, through the Books' public door."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.readings import gpu_pass, host_pass, outlet_pass, tokens

from tokwatt.economics.books import Books
from tokwatt.economics.picture import meter_totals, server_snapshots
from tokwatt.economics.plan import Capacity, GpuRule, Pace, Plan, Prices, RestRule, ServerPlan, Sharing
from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import Boundary, GpuHold, Method, OwnersReading, ServerGpus
from tokwatt.snapshot import Component, Given
from tokwatt.units import dollars_per_joule

PACES = {"nvml": Pace(1, 1), "bmc1": Pace(5, 3), "pdu": Pace(5, 3)}
PRICES = Prices(dollars_per_joule(0.17), pue=1.2)
NO_RULE = Sharing()


def books_of(*servers: ServerPlan, sharing: Sharing = NO_RULE, prices: Prices = PRICES) -> Books:
    return Books(Plan(servers, prices, sharing, paces=PACES), Ledger())


def owners(at: float, **servers: list[GpuHold] | None) -> OwnersReading:
    return OwnersReading(
        at,
        {
            name: ServerGpus(None if holds is None else tuple(holds), "by the test" if holds else "it is gone")
            for name, holds in servers.items()
        },
    )


def hold(gpu: int, mig_slices: float | None = None, others: int = 0) -> GpuHold:
    return GpuHold(f"GPU-{gpu}", mig_slices, frozenset({"own"}), frozenset(f"other {n}" for n in range(others)))


def run(books: Books, start: int, until: int, *, watts=(100.0, 200.0), host=0.0, outlet=0.0, rates=(10.0, 30.0)):
    """Read two GPUs each second, a host and an outlet each five, and two servers, `a` and `b`."""
    for second in range(start, until + 1):
        books.ledger.add_power(gpu_pass(second, {i: w * second for i, w in enumerate(watts)}), 3.5)
        if second % 5 == 0 and host:
            books.ledger.add_power(host_pass(second, host), 17.5)
        if second % 5 == 0 and outlet:
            books.ledger.add_power(outlet_pass(second, outlet), 17.5)
        for name, rate in zip("ab", rates, strict=True):
            books.ledger.add_server(tokens(second, rate * second, server=name), 3.5)
        books.settle(second)


def given_to(books: Books, boundary: Given = Given.GPU) -> dict[str, float]:
    return {name: account.totals.joules(boundary) for name, account in books.accounts.items()}


def row(books: Books, name: str, now: float):
    return next(server for server in server_snapshots(books, now) if server.name == name)


def unattributed(books: Books) -> dict[str, float]:
    return {total.meter.device: total.unattributed_joules for total in meter_totals(books)}


GIVEN_OF = {Boundary.GPU: Given.GPU, Boundary.HOST: Given.HOST, Boundary.OUTLET: Given.FACILITY}


def balance(books: Books, boundaries=tuple(GIVEN_OF), outlet_pue: float = 1.0) -> None:
    """Given + unattributed = measured, for each boundary, to 1e-9."""
    for boundary in boundaries:
        rows = [total for total in meter_totals(books) if total.meter.boundary is boundary]
        if not rows:
            continue  # without outlets, facility energy is a host's times PUE
        measured = sum(total.joules for total in rows)
        spare = sum(total.unattributed_joules for total in rows)
        given_joules = sum(given_to(books, GIVEN_OF[boundary]).values())
        given_joules /= outlet_pue if boundary is Boundary.OUTLET else 1.0
        assert given_joules + spare == pytest.approx(measured, rel=1e-9, abs=1e-6)


NO_OUTLETS = (Boundary.GPU, Boundary.HOST)
BOTH = (ServerPlan("a", gpus=(0,)), ServerPlan("b", gpus=(0, 1)))


class TestSharedGpu:
    def test_without_a_rule_its_energy_stays_unattributed_and_the_reason_is_said(self):
        books = books_of(*BOTH)
        run(books, 0, 20)
        assert given_to(books) == {"a": 0, "b": pytest.approx(20 * 200)}
        assert unattributed(books)["GPU-0"] == pytest.approx(20 * 100)
        for name in "ab":
            server = row(books, name, 20)
            assert any("GPU GPU-0 is shared (a, b) and no rule divides it" in note for note in server.notes)
            assert server.window.models[0].output_tokens_per_joule == {}  # part of its energy is not known
            assert server.gpus[-1].part_ratio is None
        balance(books)

    @pytest.mark.parametrize(
        ("rule", "parts"),
        [(GpuRule.EQUAL, (50, 50)), (GpuRule.TOKENS, (25, 75)), (GpuRule.MIG_SLICES, (300 / 7, 200 / 7))],
    )
    def test_a_named_rule_divides_it(self, rule, parts):
        servers = (ServerPlan("a", gpus=(0,), mig_slices=3), ServerPlan("b", gpus=(0,), mig_slices=2))
        if rule is not GpuRule.MIG_SLICES:
            servers = (ServerPlan("a", gpus=(0,)), ServerPlan("b", gpus=(0,)))
        books = books_of(*servers, sharing=Sharing(rule))
        run(books, 0, 40, watts=(100.0,))
        assert given_to(books) == {"a": pytest.approx(40 * parts[0]), "b": pytest.approx(40 * parts[1])}
        assert unattributed(books)["GPU-0"] == pytest.approx(40 * (100 - sum(parts)), abs=1e-6)
        server = row(books, "a", 40)
        assert server.window.boundaries[0].power_watts == pytest.approx(parts[0])
        assert server.window.models[0].output_tokens_per_joule[Given.GPU] == pytest.approx(10 / parts[0])
        assert server.gpus[0].rule == rule.value
        assert any("attributed by the rule" in note for note in server.notes)
        assert meter_totals(books)[0].meter.method is Method.ATTRIBUTED
        balance(books)

    def test_nobody_states_the_error_of_a_rule(self):
        books = books_of(*BOTH, ServerPlan("c", gpus=(1,)), sharing=Sharing(GpuRule.EQUAL))
        run(books, 0, 40)
        assert [boundary.error_ratio for boundary in row(books, "a", 40).window.boundaries] == [None]
        books = books_of(ServerPlan("a", gpus=(0,)), ServerPlan("b", gpus=(1,)), sharing=Sharing(GpuRule.EQUAL))
        run(books, 0, 40, host=700.0)
        assert all(boundary.error_ratio > 0 for boundary in row(books, "a", 40).window.boundaries)

    def test_tokens_that_are_counted_when_a_request_ends_divide_in_fits_and_starts(self):
        books = books_of(ServerPlan("a", gpus=(0,)), ServerPlan("b", gpus=(0,)), sharing=Sharing(GpuRule.TOKENS))
        run(books, 0, 10)
        assert not any("in fits and starts" in note for note in row(books, "a", 10).notes)
        books.ledger.add_server(replace(tokens(10.5, 105, server="a"), output_at_finish=True), 3.5)
        assert any("in fits and starts: a counts" in note for note in row(books, "b", 10.5).notes)

    def test_an_interval_in_which_nobody_counts_is_divided_equally(self):
        books = books_of(*BOTH, sharing=Sharing(GpuRule.TOKENS))
        run(books, 0, 20, rates=(0.0, 0.0))
        assert given_to(books) == {"a": pytest.approx(1000), "b": pytest.approx(1000 + 4000)}

    def test_a_silent_server_counts_no_tokens_until_it_answers(self):
        books = books_of(ServerPlan("a", gpus=(0,)), ServerPlan("b", gpus=(0,)), sharing=Sharing(GpuRule.TOKENS))
        run(books, 0, 10, watts=(100.0,))
        for second in range(11, 21):
            books.ledger.add_power(gpu_pass(second, {0: 100.0 * second}), 3.5)
            books.ledger.add_server(tokens(second, 10.0 * second, server="a"), 3.5)
            books.ledger.miss_server("b", second, 3.5)
            books.settle(second)
        assert given_to(books) == {"a": pytest.approx(250 + 1000), "b": pytest.approx(750)}
        balance(books)

    def test_holders_that_are_no_server_here_keep_their_part(self):
        plan = ServerPlan("a", found_gpus=True)
        for rule, watts in ((GpuRule.EQUAL, 25.0), (GpuRule.TOKENS, 0.0), (None, 0.0)):
            books = books_of(plan, ServerPlan("b"), sharing=Sharing(rule))
            books.take_owners(owners(-1, a=[hold(0, others=3)]))
            run(books, 0, 20, watts=(100.0,))
            assert given_to(books)["a"] == pytest.approx(20 * watts)
            assert unattributed(books)["GPU-0"] == pytest.approx(20 * (100 - watts))
            balance(books)

    def test_mig_slices_that_nobody_states_are_asked_for(self):
        books = books_of(ServerPlan("a", gpus=(0,), mig_slices=3), BOTH[1], sharing=Sharing(GpuRule.MIG_SLICES))
        run(books, 0, 10)
        assert any("the MIG compute slices of b are not known" in note for note in row(books, "a", 10).notes)

    def test_a_server_pays_for_its_part_of_a_gpu(self):
        price = Capacity(1.0, per_gpu=True)
        servers = (ServerPlan("a", gpus=(0,), capacity=price), ServerPlan("b", gpus=(0, 1), capacity=price))
        books = books_of(*servers, sharing=Sharing(GpuRule.EQUAL))
        run(books, 0, 10)
        assert row(books, "a", 10).capacity_dollars_per_second == 0.5
        assert row(books, "b", 10).capacity_dollars_per_second == 1.5

    def test_host_energy_follows_the_part_of_a_shared_gpu(self):
        books = books_of(*BOTH, sharing=Sharing(GpuRule.TOKENS))
        run(books, 0, 21, host=700.0)
        # a quarter of GPU 0 and by GPU count half of one of two
        assert given_to(books, Given.HOST)["a"] == pytest.approx(20 * (25 + 400 * 0.25))
        assert given_to(books, Given.HOST)["b"] == pytest.approx(20 * (275 + 400 * 0.75))
        balance(books)


class TestHostRest:
    OWN = (ServerPlan("a", gpus=(0,)), ServerPlan("b", gpus=(1,)))

    @pytest.mark.parametrize(
        ("rule", "a", "b"),
        [
            (RestRule.GPU_COUNT, 300, 400),
            (RestRule.EQUAL, 300, 400),
            (RestRule.GPU_ENERGY, 100 + 400 / 3, 200 + 800 / 3),
            (RestRule.NONE, 100, 200),
        ],
    )
    def test_the_rest_goes_by_the_named_rule(self, rule, a, b):
        books = books_of(*self.OWN, sharing=Sharing(rest=rule))
        run(books, 0, 21, host=700.0)
        assert given_to(books, Given.HOST) == {"a": pytest.approx(20 * a), "b": pytest.approx(20 * b)}
        balance(books)

    def test_what_of_a_host_is_not_gpu(self):
        books = books_of(*self.OWN)
        run(books, 0, 31, host=700.0)
        totals = {total.meter.device: total for total in meter_totals(books, 31.0)}
        assert totals["bmc1"].non_gpu_watts == pytest.approx(400)
        assert totals["GPU-0"].non_gpu_watts is None

    def test_gpus_that_draw_more_than_the_host_shows_are_reported_and_nothing_is_clamped(self):
        books = books_of(*self.OWN)
        run(books, 0, 31, host=250.0)
        assert {total.meter.device: total.non_gpu_watts for total in meter_totals(books, 31.0)}["bmc1"] is None
        assert any("shows 250 W, less than the 300 W of its GPUs" in note for note in row(books, "a", 31).notes)
        assert given_to(books, Given.HOST) == {"a": pytest.approx(30 * 250 / 3), "b": pytest.approx(30 * 500 / 3)}
        balance(books)

    def test_a_host_that_is_not_read_any_more_has_no_rest(self):
        books = books_of(*self.OWN)
        run(books, 0, 31, host=700.0)
        run(books, 32, 60)
        assert {total.meter.device: total.non_gpu_watts for total in meter_totals(books, 60.0)}["bmc1"] is None

    def test_with_several_hosts_the_servers_say_which_gpu_is_in_which(self):
        servers = (ServerPlan("a", gpus=(0,), hosts=("bmc1",)), ServerPlan("b", gpus=(1,), hosts=("bmc2",)))
        books = books_of(*servers)
        for second in range(0, 30, 5):
            books.ledger.add_power(host_pass(second, 900.0, "bmc2"), 17.5)
            run(books, second, second + 4, host=700.0)
        rests = {total.meter.device: total.non_gpu_watts for total in meter_totals(books, 29.0)}
        assert rests["bmc1"] == pytest.approx(600)
        assert rests["bmc2"] == pytest.approx(700)


class TestOutlets:
    def test_facility_energy_is_that_of_the_outlets_and_pue_is_not_applied(self):
        books = books_of(ServerPlan("a", all_gpus=True), ServerPlan("b", outlets=()), prices=PRICES)
        run(books, 0, 21, outlet=1000.0)
        assert given_to(books, Given.FACILITY)["a"] == pytest.approx(20_000)
        server = row(books, "a", 21)
        assert server.energy_basis is Given.FACILITY
        assert "facility energy is that of its outlets; PUE is not applied to it" in server.notes
        dollars = sum(phase.dollars[Component.ENERGY] for phase in server.phases)
        assert dollars == pytest.approx(20_000 * 0.17 / 3.6e6)
        balance(books)

    def test_a_silent_outlet_takes_only_the_facility_gauges_away(self):
        books = books_of(ServerPlan("a", all_gpus=True), ServerPlan("b", outlets=()))
        run(books, 0, 60, outlet=1000.0)
        for second in range(61, 100):
            books.ledger.add_power(gpu_pass(second, {0: 100.0 * second, 1: 200.0 * second}), 3.5)
            books.ledger.add_server(tokens(second, 10.0 * second, server="a"), 3.5)
            books.settle(second, frozenset({"pdu"}))
        boundaries = {boundary.boundary: boundary for boundary in row(books, "a", 99).window.boundaries}
        assert boundaries[Given.GPU].power_watts == pytest.approx(300)
        assert boundaries[Given.FACILITY].power_watts is None
        assert boundaries[Given.FACILITY].coverage_ratio < 0.9
        assert row(books, "a", 99).window.models[0].output_tokens_per_joule.keys() == {Given.GPU}
        balance(books)

    def test_what_lies_beyond_the_outlet_has_a_factor_of_its_own(self):
        books = books_of(ServerPlan("a", all_gpus=True), prices=Prices(dollars_per_joule(0.17), 1.2, outlet_pue=1.1))
        run(books, 0, 61, outlet=1000.0)
        assert given_to(books, Given.FACILITY)["a"] == pytest.approx(60_000 * 1.1)
        power = {boundary.boundary: boundary.power_watts for boundary in row(books, "a", 61).window.boundaries}
        assert power[Given.FACILITY] == pytest.approx(1100)
        balance(books, outlet_pue=1.1)

    def test_outlets_are_shared_by_what_the_hosts_gave_and_the_rest_by_gpu_count(self):
        books = books_of(ServerPlan("a", gpus=(0,)), ServerPlan("b", gpus=(1,)))
        run(books, 0, 26, host=700.0, outlet=800.0)
        assert given_to(books, Given.FACILITY)["a"] == pytest.approx(25 * (300 + 50))
        assert given_to(books, Given.FACILITY)["b"] == pytest.approx(25 * (400 + 50))
        balance(books)

    def test_without_outlets_facility_is_host_times_pue(self):
        books = books_of(ServerPlan("a", all_gpus=True), ServerPlan("b", hosts=(), outlets=()))
        run(books, 0, 21, host=700.0)
        assert given_to(books, Given.FACILITY) == {"a": pytest.approx(20 * 700 * 1.2), "b": 0}
        assert row(books, "a", 21).energy_basis is Given.HOST


class TestOwnersFoundAtRunTime:
    FOUND = (ServerPlan("a", found_gpus=True), ServerPlan("b", found_gpus=True))

    def test_nothing_is_given_before_an_owner_is_known(self):
        books = books_of(*self.FOUND)
        run(books, 0, 20)
        assert given_to(books) == {"a": 0, "b": 0}
        assert any("its GPUs are not known: nobody has looked yet" in note for note in row(books, "a", 20).notes)
        balance(books)

    def test_a_change_of_owner_holds_from_its_instant_on_and_rewrites_nothing(self):
        books = books_of(*self.FOUND)
        books.take_owners(owners(0, a=[hold(0)], b=[hold(1)]))
        run(books, 0, 10)
        # found out at 10.5, and books that were settled up to 10 only
        books.take_owners(owners(10.5, a=[hold(1)], b=[hold(0)]))
        run(books, 11, 20)
        assert given_to(books)["a"] == pytest.approx(100 * 10.5 + 200 * 9.5)
        assert given_to(books)["b"] == pytest.approx(200 * 10.5 + 100 * 9.5)
        balance(books)

    def test_energy_that_is_settled_late_still_goes_to_the_owner_of_then(self):
        """The host is read every 5 s: between two of its readings the GPUs change hands."""
        books = books_of(*self.FOUND)
        books.take_owners(owners(0, a=[hold(0), hold(1)], b=[]))
        run(books, 0, 12, host=700.0)
        books.take_owners(owners(12.5, a=[], b=[hold(0), hold(1)]))
        run(books, 13, 21, host=700.0)
        assert given_to(books, Given.HOST)["a"] == pytest.approx(700 * 12.5)
        assert given_to(books, Given.HOST)["b"] == pytest.approx(700 * 7.5)
        balance(books)

    def test_a_window_begins_anew_with_the_change(self):
        books = books_of(*self.FOUND)
        books.take_owners(owners(0, a=[hold(0)], b=[hold(1)]))
        run(books, 0, 30)
        books.take_owners(owners(30.5, a=[hold(1)], b=[hold(0)]))
        run(books, 31, 40)
        window = row(books, "a", 40).window
        assert window.start_seconds >= 30.5
        assert window.boundaries[0].power_watts == pytest.approx(200)
        assert window.boundaries[0].coverage_ratio == 1

    def test_an_owner_that_is_lost_gives_nothing_any_more(self):
        books = books_of(*self.FOUND)
        books.take_owners(owners(0, a=[hold(0)], b=[hold(1)]))
        run(books, 0, 10)
        books.take_owners(owners(10, a=None))
        run(books, 11, 20)
        assert given_to(books) == {"a": pytest.approx(1000), "b": pytest.approx(4000)}
        assert any("its GPUs are not known: it is gone" in note for note in row(books, "a", 20).notes)
        balance(books)

    def test_a_server_whose_gpus_are_not_known_gets_no_ratio_from_a_host_it_shares(self):
        books = books_of(*self.FOUND)
        books.take_owners(owners(0, a=None, b=[hold(1)]))
        run(books, 0, 30, host=700.0)
        assert row(books, "a", 30).window.models[0].output_tokens_per_joule == {}
        assert row(books, "b", 30).window.models[0].output_tokens_per_joule.keys() == {
            Given.GPU,
            Given.HOST,
            Given.FACILITY,
        }

    def test_a_host_without_gpu_meters_and_one_server_needs_no_owner(self):
        books = books_of(ServerPlan("a", found_gpus=True), prices=Prices())
        for second in range(31):
            books.ledger.add_power(host_pass(second, 500), 3.5)
            books.ledger.add_server(tokens(second, 1000 * second, server="a"), 3.5)
            books.settle(second)
        assert row(books, "a", 30).window.models[0].output_tokens_per_joule[Given.HOST] == pytest.approx(2)

    def test_every_gpu_but_those_of_others(self):
        books = books_of(ServerPlan("a", found_gpus=True), ServerPlan("b"))
        books.take_owners(OwnersReading(0, {"a": ServerGpus((), "alone here", ())}))
        run(books, 0, 10)
        books.take_owners(OwnersReading(10, {"a": ServerGpus((), "not alone", ("GPU-1",))}))
        run(books, 11, 20)
        assert given_to(books)["a"] == pytest.approx(10 * 300 + 10 * 100)
        balance(books)

    def test_servers_here_are_no_others_to_each_other(self):
        books = books_of(*self.FOUND, sharing=Sharing(GpuRule.EQUAL))
        a, b = frozenset({"process 1"}), frozenset({"process 2", "process 3"})
        holds = {"a": [GpuHold("GPU-0", None, a, b)], "b": [GpuHold("GPU-0", None, b, a)]}
        books.take_owners(owners(0, **holds))
        run(books, 0, 10)
        assert given_to(books) == {"a": pytest.approx(500), "b": pytest.approx(500)}

    def test_a_changed_reason_changes_nothing(self):
        books = books_of(*self.FOUND)
        for second in range(100):
            books.take_owners(OwnersReading(second, {"a": ServerGpus(None, f"no answer for {second} s")}))
        assert "no answer for 99 s" in row(books, "a", 0).notes[0]

    def test_owners_of_servers_that_name_their_gpus_are_not_taken_over(self):
        books = books_of(ServerPlan("a", gpus=(0,)), ServerPlan("b"))
        books.take_owners(owners(0, a=[hold(1)]))
        run(books, 0, 10)
        assert given_to(books)["a"] == pytest.approx(1000)


NAMES = ("a", "b", "c")


@st.composite
def plans(draw, hosts=(None, (), ("bmc1",))):
    """Any claims and rules for three servers, of which some look for their GPUs at run time."""
    servers = []
    for name in NAMES:
        kind = draw(st.sampled_from(["all", "some", "none", "found"]))
        servers.append(
            ServerPlan(
                name,
                all_gpus=kind == "all",
                gpus=tuple(draw(st.lists(st.integers(0, 3), unique=True))) if kind == "some" else (),
                found_gpus=kind == "found",
                mig_slices=draw(st.sampled_from([None, 1.0, 3.0, 7.0])),
                hosts=draw(st.sampled_from(hosts)),
                outlets=draw(st.sampled_from([None, (), ("pdu",)])),
            )
        )
    sharing = Sharing(draw(st.sampled_from([None, *GpuRule])), draw(st.sampled_from(list(RestRule))))
    return Plan(tuple(servers), PRICES, sharing, paces=PACES)


@st.composite
def holdings(draw):
    """What an owner source may say of some servers."""
    one = st.builds(hold, st.integers(0, 3), st.sampled_from([None, 1.0, 3.0]), st.sampled_from([0, 0, 1]))
    found = st.one_of(st.none(), st.lists(one, max_size=3, unique_by=lambda item: item.device))
    return draw(st.dictionaries(st.sampled_from(NAMES), found, max_size=3))


@st.composite
def histories(draw, hosts=(None, (), ("bmc1",))):
    """Any order of readings, failures, restarts, late servers, new owners and reloads."""
    events, at = [], 0.0
    gpu, out = [0.0] * 3, dict.fromkeys(NAMES, 0.0)
    kinds = [
        "gpu",
        "gpu",
        "gpu",
        "host",
        "outlet",
        "tokens",
        "tokens",
        "tokens",
        "miss",
        "gpu reset",
        "owners",
        "reload",
    ]
    for _ in range(draw(st.integers(3, 60))):
        at += draw(st.sampled_from([0.2, 1.0, 1.0, 6.0]))
        kind = draw(st.sampled_from(kinds))
        name = draw(st.sampled_from(NAMES))
        if kind.startswith("gpu"):
            gpu = [0.0] * 3 if kind == "gpu reset" else [joules + draw(st.floats(0, 2000)) for joules in gpu]
            events.append((at, gpu_pass(at, dict(enumerate(gpu)))))
        elif kind in ("host", "outlet"):
            events.append((at, (host_pass if kind == "host" else outlet_pass)(at, draw(st.floats(0, 5000)))))
        elif kind == "tokens":
            out[name] = draw(st.sampled_from([0.0, out[name] + 10, out[name] + 500]))
            events.append((at, tokens(at, out[name], server=name, running=draw(st.sampled_from([0, 1, None])))))
        elif kind == "owners":
            events.append((at, owners(at - draw(st.sampled_from([0.0, 0.5, 3.0])), **draw(holdings()))))
        else:
            events.append((at, draw(plans(hosts)) if kind == "reload" else name))
    return events


def play(books: Books, at: float, event: object) -> None:
    if isinstance(event, OwnersReading):
        books.take_owners(event)
    elif isinstance(event, Plan):
        books.reconfigure(event)
    elif isinstance(event, str):
        books.ledger.miss_server(event, at, 3.5)
    elif hasattr(event, "readings"):
        books.ledger.add_power(event, 17.5)
    else:
        books.ledger.add_server(event, 3.5)


class TestAnyHistory:
    @settings(max_examples=300, deadline=None)
    @given(plans(), histories())
    def test_books_balance_whatever_the_claims_and_rules(self, plan, history):
        books = Books(plan, Ledger())
        before: dict[str, float] = {}
        for at, event in history:
            play(books, at, event)
            books.settle(at)
            now = unattributed(books)
            for boundary in Given:
                now |= {f"{name} {boundary}": joules for name, joules in given_to(books, boundary).items()}
            assert all(now[key] >= value for key, value in before.items())
            before = now
            balance(books, NO_OUTLETS)

    @settings(max_examples=150, deadline=None)
    @given(plans(hosts=((),)), histories(hosts=((),)))
    def test_books_of_outlets_balance_too(self, plan, history):
        """Without hosts all facility energy is that of outlets."""
        books = Books(plan, Ledger())
        for at, event in history:
            play(books, at, event)
            books.settle(at)
            balance(books)
