"""Energy, dollars and the live window of every server, over a ledger. Pure: the caller says what time it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokwatt.economics.attribution import Attribution
from tokwatt.economics.error import NO_ERRORS, EdgeError, EnergySums
from tokwatt.economics.history import summed
from tokwatt.economics.intervals import between
from tokwatt.economics.load import LoadMeter
from tokwatt.economics.phases.book import PhaseBook
from tokwatt.economics.phases.choice import splitter_of
from tokwatt.economics.phases.segments import Segment
from tokwatt.economics.phases.split import NO_SPLIT
from tokwatt.economics.phases.window import PhaseWindow
from tokwatt.economics.plan import Plan, ServerPlan
from tokwatt.economics.price_book import EnergyBill, JoulesBetween, PriceBook
from tokwatt.economics.price_line import BEGINNING
from tokwatt.economics.responses import ResponseBook
from tokwatt.economics.totals import ServerTotals
from tokwatt.economics.window import COST, TOKENS, Point, Tally, Window, WindowSums, step
from tokwatt.ledger.ledger import DeviceKey, Ledger
from tokwatt.ledger.line import Stretch
from tokwatt.ledger.server import ServerLedger
from tokwatt.ledger.timeline import Cut
from tokwatt.ledger.tokens import TokenState
from tokwatt.quantities import Dollars, Joules, Seconds
from tokwatt.readings import OwnersReading
from tokwatt.snapshot import Aside, Component, Given, Phase

MEASURED = (Given.GPU, Given.HOST, Given.FACILITY)  # boundaries that meters may measure; facility: by outlets


@dataclass(slots=True)
class ServerAccount:
    """What one server was given, what it cost, and its live window."""

    plan: ServerPlan
    window: Window
    totals: ServerTotals
    phases: PhaseBook
    phase_window: PhaseWindow
    load: LoadMeter
    charged_until_seconds: float | None = None  # capacity dollars are accrued up to here
    last_cut: Cut | None = None  # the token reading that ends the last window interval
    seen_until_seconds: float = float("-inf")  # cuts up to here are in the window, or never can be
    measured: tuple[DeviceKey, ...] = ()  # devices that the window is about


class Books:
    """Accounts of all servers. Call `settle` once a tick, then read `accounts` and `attribution`."""

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self.ledger = ledger
        self.plan = plan
        self.prices = PriceBook(plan)
        self.responses = ResponseBook(plan, ledger)
        self.accounts: dict[str, ServerAccount] = {}
        self._settled_seconds = BEGINNING
        self._open_accounts(plan)
        self.attribution = Attribution(plan, ledger, lambda server: self.accounts[server].phases.segments)

    def reconfigure(self, plan: Plan, now_seconds: float | None = None) -> None:
        """Take over a new plan. Totals go on, also those of servers that are no longer configured.

        Its prices hold from `now_seconds` on; None: from the last instant up to which anything was settled.
        """
        since = self._settled_seconds if now_seconds is None else max(now_seconds, self._settled_seconds)
        resized = (plan.window_seconds, plan.tick_seconds) != (self.plan.window_seconds, self.plan.tick_seconds)
        configured_before = frozenset(server.name for server in self.plan.servers)
        self.plan = plan
        if resized:
            for account in self.accounts.values():
                account.window = Window(plan.window_seconds, plan.tick_seconds)
                account.phase_window = PhaseWindow(plan.window_seconds, plan.tick_seconds)
                account.last_cut = None
        self._open_accounts(plan, configured_before)
        self.responses.reconfigure(plan)
        self.attribution.claim(plan)
        self.prices.change(plan, since)
        self._count_gpus(since)

    def _open_accounts(self, plan: Plan, configured_before: frozenset[str] = frozenset()) -> None:
        for server in plan.servers:
            account = self.accounts.get(server.name)
            if account is None:
                self.accounts[server.name] = ServerAccount(
                    server,
                    Window(plan.window_seconds, plan.tick_seconds),
                    ServerTotals(),
                    PhaseBook(splitter_of(server)),
                    PhaseWindow(plan.window_seconds, plan.tick_seconds),
                    LoadMeter(),
                )
            else:
                if server.name not in configured_before:
                    account.charged_until_seconds = None  # nobody paid for it while it was not configured
                if (server.role, server.phases) != (account.plan.role, account.plan.phases):
                    account.phases.change(splitter_of(server))
                account.plan = server

    def take_owners(self, reading: OwnersReading) -> None:
        """Take over which GPUs servers were found to compute on."""
        self.attribution.take_owners(reading)
        self._count_gpus(max(reading.at_seconds, self._settled_seconds))

    def settle(self, now_seconds: float, down: frozenset[str] = frozenset()) -> None:
        """Book everything that readings have made final. `down`: power sources that do not answer at present."""
        self.attribution.divide(now_seconds, down)
        for server in self.plan.servers:
            self._advance_phases(server.name, now_seconds, down)
        self.attribution.settle(self._book_energy)
        self._count_gpus(self._settled_seconds)
        self._settled_seconds = now_seconds
        needed = now_seconds
        for server in self.plan.servers:
            account = self.accounts[server.name]
            ledger = self.ledger.servers.get(server.name)
            if ledger is None:
                continue
            self._open_rows(account, ledger)
            self._charge_capacity(account)
            self._extend_window(account, ledger, now_seconds, down)
            account.phase_window.settle(account.phases.segments)
            needed = min(needed, account.last_cut.at_seconds if account.last_cut else now_seconds)
        # an interval older than this is a gap for every window, so a server that is down must not pile up history
        lags = [self.attribution.patience_seconds(curve) for curve in self.ledger.curves.values()]
        oldest = now_seconds - max(60.0, self.plan.window_seconds) - max(lags, default=0.0)
        self._forget_before(max(needed, oldest), oldest)

    def _forget_before(self, at_seconds: float, oldest_seconds: float) -> None:
        self.attribution.forget_before(oldest_seconds)  # what of a host is not GPU is a mean over a whole window
        frontiers = [total.frontier_seconds for total in self.attribution.devices.values()]
        for name, account in self.accounts.items():
            if name in self.ledger.servers:
                classified = account.phases.taken_until_seconds
                self.ledger.servers[name].timeline.forget_before(min(at_seconds, classified))
                account.phases.segments.forget_before(min([at_seconds, *frontiers]))
        charged = [self.accounts[server.name].charged_until_seconds for server in self.plan.servers]
        self.prices.forget_before(min([at_seconds, *frontiers, *(at for at in charged if at is not None)]))

    # Phases

    def _advance_phases(self, name: str, now_seconds: float, down: frozenset[str]) -> None:
        """Hand new intervals to the server's splitter, with the energy of its narrowest boundary: the nearest to it."""
        ledger = self.ledger.servers.get(name)
        if ledger is None:
            return
        basis = next((given for given in MEASURED if self.attribution.keys(name, given)), None)

        def joules(start_seconds: float, end_seconds: float) -> float | None:
            return self.attribution.given_joules(name, basis, start_seconds, end_seconds) if basis else None

        def ready(at_seconds: float) -> bool:
            return basis is None or self.attribution.ready(name, basis, at_seconds, now_seconds, down)

        self.accounts[name].phases.advance(ledger.timeline, joules, ready)

    # Dollars

    def energy_basis(self, name: str) -> Given | None:
        """Widest boundary measured for a server: the one whose energy is paid for. None: no meter."""
        return next((given for given in reversed(MEASURED) if self.attribution.keys(name, given)), None)

    def _boundaries(self, name: str) -> list[Given]:
        """Boundaries at which a server is given energy."""
        measured = [given for given in MEASURED if self.attribution.keys(name, given)]
        if Given.HOST in measured and Given.FACILITY not in measured:
            measured.append(Given.FACILITY)
        return measured

    def _count_gpus(self, at_seconds: float) -> None:
        """Note how many GPUs each server pays for. Devices that have just appeared count from `at_seconds` on."""
        for server in self.plan.servers:
            charged_until = self.accounts[server.name].charged_until_seconds
            first = at_seconds if charged_until is None else charged_until
            gpus = self.attribution.ownership.gpu_count(server.name)  # of a shared GPU its part
            self.prices.own_gpus(server, gpus, at_seconds, first)

    def _open_rows(self, account: ServerAccount, ledger: ServerLedger) -> None:
        if ledger.timeline.end_seconds is None:
            return
        name = account.plan.name
        boundaries = self._boundaries(name)
        components, asides = self._priced(name)
        splits = account.phases.splitter.method != NO_SPLIT
        phases = tuple(Phase) if splits else (Phase.IDLE, Phase.UNSPLIT)
        account.totals.open(ledger.last_model, phases, boundaries, components, asides)

    def _priced(self, name: str) -> tuple[list[Component], list[Aside]]:
        """Name what of a server has a price now: rows that begin at 0."""
        now = self._settled_seconds
        components: list[Component] = []
        asides: list[Aside] = []
        if self.energy_basis(name) is not None:
            if self.prices.carbon_grams_per_joule(now) is not None:
                asides.append(Aside.CARBON_GRAMS)
            if self.prices.electricity_dollars_per_joule(now) is not None:
                if self.prices.covers_energy(name, now):
                    asides.append(Aside.INCLUDED_ENERGY_DOLLARS)
                else:
                    components.append(Component.ENERGY)
        if self.prices.capacity_dollars_per_second(name, now) is not None:
            components.append(Component.CAPACITY)
        return components, asides

    def _book_energy(self, name: str, boundary: Given, segment: Segment, joules: Joules, where: Stretch) -> None:
        totals = self.accounts[name].totals
        given = self.prices.facility_joules(boundary, where) if boundary is Given.FACILITY else joules
        for phase, part in segment.parts(given):
            totals.give(boundary, segment.model, phase, part)
        if boundary is Given.HOST and not self.attribution.keys(name, Given.FACILITY):
            for phase, part in segment.parts(self.prices.facility_joules(boundary, where)):
                totals.give(Given.FACILITY, segment.model, phase, part)
        if boundary is self.energy_basis(name):
            self._charge_energy(totals, segment, self.prices.energy_bill(name, boundary, where))

    def _charge_energy(self, totals: ServerTotals, segment: Segment, bill: EnergyBill) -> None:
        if bill.cost_dollars is not None:
            for phase, dollars in segment.parts(bill.cost_dollars):
                totals.charge(Component.ENERGY, segment.model, phase, dollars)
        for aside, amount in bill.asides():
            for phase, part in segment.parts(amount):
                totals.note(aside, segment.model, phase, part)

    def _charge_capacity(self, account: ServerAccount) -> None:
        segments = account.phases.segments
        start = account.charged_until_seconds
        account.charged_until_seconds = segments.end_seconds
        if start is None:
            return
        for segment in segments.after(start):
            dollars, _ = self.prices.capacity_dollars(account.plan.name, start, segment.end_seconds)
            for phase, part in segment.parts(dollars) if dollars is not None else ():
                account.totals.charge(Component.CAPACITY, segment.model, phase, part)
            start = segment.end_seconds

    # Window

    def _extend_window(
        self, account: ServerAccount, ledger: ServerLedger, now_seconds: float, down: frozenset[str]
    ) -> None:
        name = account.plan.name
        measured = self._all_keys(name)
        if measured != account.measured:
            # all boundaries of a window cover the same time: a meter that joins begins a new one
            account.measured = measured
            account.window.clear()
            account.phase_window.clear()
            account.last_cut = None
        for cut in ledger.timeline.after(account.seen_until_seconds):
            if cut.read:
                for boundary in MEASURED:
                    if not self.attribution.ready(name, boundary, cut.at_seconds, now_seconds, down):
                        return
                if account.last_cut is not None or self.attribution.began(name, measured, cut.at_seconds):
                    self._append_point(account, ledger, cut)
            account.seen_until_seconds = cut.at_seconds

    def _append_point(self, account: ServerAccount, ledger: ServerLedger, cut: Cut) -> None:
        """Close the interval that ends at a token reading."""
        before, last = account.last_cut, account.window.last
        tallies = last.tallies if last else {}
        if before is not None and cut.at_seconds - before.at_seconds <= ledger.max_gap_seconds:
            tallies = self._tallies(account.plan.name, tallies, before, cut)
        edges = self._edge_errors(account.plan.name, cut)
        point = Point(cut.at_seconds, cut.uncertainty_seconds, tallies, cut.edge, cut.in_flight, edges)
        account.window.append(point)
        account.phase_window.offer(last, point)
        if self.plan.load_distribution:
            self._add_load(account, last, point)
        self.responses.add(account.plan.name, point)
        account.last_cut = cut

    def _add_load(self, account: ServerAccount, before: Point | None, point: Point) -> None:
        interval = between(before, point) if before else None
        if interval is None:
            account.load.restart()
            return
        account.load.add(interval, self._boundaries(account.plan.name))

    def _edge_errors(self, name: str, cut: Cut) -> Mapping[str, EdgeError]:
        errors: dict[str, EdgeError] = {}
        for boundary in MEASURED:
            if self.attribution.keys(name, boundary):
                edge = self.attribution.edge_errors(name, boundary, cut.at_seconds)
                errors[boundary] = edge.with_uncertain_instant(cut.uncertainty_seconds)
        basis = self.energy_basis(name)
        if basis is not None and basis is not Given.GPU:
            errors[Given.FACILITY] = errors[basis].times(self.prices.pue(basis, cut.at_seconds))
        return errors

    def _tallies(self, name: str, tallies: Mapping[str, Tally], before: Cut, cut: Cut) -> Mapping[str, Tally]:
        start, end = before.at_seconds, cut.at_seconds
        seconds = Seconds(end - start)
        tokens = {model: step(state, before.tokens.get(model)) for model, state in cut.tokens.items()}
        joules: dict[str, Joules | None] = {TOKENS: Joules(0)}
        errors: dict[str, EnergySums] = {}
        for boundary in MEASURED:
            if self.attribution.keys(name, boundary):
                joules[boundary] = self.attribution.given_joules(name, boundary, start, end)
                errors[boundary] = self.attribution.interval_errors(name, boundary, start, end)
        basis = self.energy_basis(name)
        measured = joules.get(basis) if basis else None
        if basis is not None and basis is not Given.GPU and measured is not None:
            facility = self.prices.facility_joules_between(basis, start, end, self._given(name, basis))
            joules[Given.FACILITY] = facility
            errors[Given.FACILITY] = errors[basis].times((facility or 0.0) / (measured or 1.0))
        updated = dict(tallies)
        for key, amount in joules.items():
            if amount is not None:
                updated[key] = updated.get(key, Tally()).plus(
                    seconds, amount, Dollars(0), tokens, errors.get(key, NO_ERRORS)
                )
        dollars = self._interval_dollars(name, start, end)
        if dollars is not None:
            updated[COST] = updated.get(COST, Tally()).plus(seconds, Joules(0), dollars, tokens)
        return updated

    def _given(self, name: str, boundary: Given) -> JoulesBetween:
        return lambda start, end: self.attribution.given_joules(name, boundary, start, end)

    def _interval_dollars(self, name: str, start_seconds: float, end_seconds: float) -> Dollars | None:
        """Capacity and energy dollars of an interval; None where nothing is priced or a priced part is unknown."""
        has_capacity = self.accounts[name].plan.capacity is not None
        pays_energy = self.plan.prices.electricity_dollars_per_joule is not None
        if not has_capacity and not pays_energy:
            return None
        dollars = Dollars(0)
        if has_capacity:
            capacity, whole = self.prices.capacity_dollars(name, start_seconds, end_seconds)
            if capacity is None or not whole:
                return None  # its price or its GPUs were not known all the time
            dollars += capacity
        if pays_energy:
            basis = self.energy_basis(name)
            given = self._given(name, basis) if basis else _nothing_measured
            energy = self.prices.net_energy_dollars(name, basis or Given.GPU, start_seconds, end_seconds, given)
            if energy is None:
                return None
            dollars += energy
        return dollars

    def window_sums(self, name: str, now_seconds: float) -> WindowSums | None:
        """Sums over the live window of a server; None before two token readings span one."""
        return self.accounts[name].window.sums(self._fresh_until(name, now_seconds))

    def phase_sums(self, name: str, now_seconds: float) -> WindowSums | None:
        """Sums by phase over the window of the phase gauges, which ends where phases are settled."""
        account = self.accounts[name]
        settled = account.phases.segments.end_seconds
        if settled is None:
            return None
        return account.phase_window.sums(min(self._fresh_until(name, now_seconds), settled))

    def _fresh_until(self, name: str, now_seconds: float) -> float:
        """Instant up to which readings of a server and its meters should have come by now."""
        curves = [self.ledger.curves[key] for key in self._all_keys(name)]
        lag = max((self.attribution.patience_seconds(curve) for curve in curves), default=0.0)
        return now_seconds - lag - 2 * self.plan.tick_seconds

    def _all_keys(self, name: str) -> tuple[DeviceKey, ...]:
        return tuple(key for boundary in MEASURED for key in self.attribution.keys(name, boundary))


def _nothing_measured(_start_seconds: float, _end_seconds: float) -> None:
    """Energy of a server without any meter."""


def tokens_of(tally: Tally, model: str) -> TokenState:
    """Tokens of one model in a tally; "" sums all models."""
    if model:
        return tally.tokens.get(model, TokenState(None, None))
    sums = summed(tally)
    return TokenState(sums.input_tokens, sums.output_tokens, sums.responses)
