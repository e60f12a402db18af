"""Energy, dollars and the live window of every server, over a ledger. Pure: the caller says what time it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokwatt.economics.attribution import Attribution
from tokwatt.economics.intervals import between
from tokwatt.economics.load import LoadMeter
from tokwatt.economics.phases.book import PhaseBook
from tokwatt.economics.phases.choice import splitter_of
from tokwatt.economics.phases.segments import Segment
from tokwatt.economics.phases.split import NO_SPLIT
from tokwatt.economics.phases.window import PhaseWindow
from tokwatt.economics.plan import Plan, ServerPlan
from tokwatt.economics.totals import ServerTotals
from tokwatt.economics.window import COST, TOKENS, Point, Tally, Window, WindowSums, step
from tokwatt.ledger.ledger import DeviceKey, Ledger
from tokwatt.ledger.server import ServerLedger
from tokwatt.ledger.timeline import Cut
from tokwatt.ledger.tokens import TokenState
from tokwatt.snapshot import Component, Given, Phase


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
        self.accounts: dict[str, ServerAccount] = {}
        self._open_accounts(plan)
        self.attribution = Attribution(plan, ledger, lambda server: self.accounts[server].phases.segments)

    def reconfigure(self, plan: Plan) -> None:
        """Take over a new plan. Totals go on, also those of servers that are no longer configured."""
        resized = (plan.window_seconds, plan.tick_seconds) != (self.plan.window_seconds, self.plan.tick_seconds)
        configured_before = frozenset(server.name for server in self.plan.servers)
        self.plan = plan
        if resized:
            for account in self.accounts.values():
                account.window = Window(plan.window_seconds, plan.tick_seconds)
                account.phase_window = PhaseWindow(plan.window_seconds, plan.tick_seconds)
                account.last_cut = None
        self._open_accounts(plan, configured_before)
        self.attribution.claim(plan)

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

    def settle(self, now_seconds: float, down: frozenset[str] = frozenset()) -> None:
        """Book everything that readings have made final. `down`: power sources that do not answer at present."""
        self.attribution.divide(now_seconds, down)
        for server in self.plan.servers:
            self._advance_phases(server.name, now_seconds, down)
        self.attribution.settle(self._book_energy)
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
        self._forget_before(max(needed, now_seconds - max(60.0, self.plan.window_seconds)))

    def _forget_before(self, at_seconds: float) -> None:
        self.attribution.forget_before(at_seconds)
        frontiers = [total.frontier_seconds for total in self.attribution.devices.values()]
        for name, account in self.accounts.items():
            if name in self.ledger.servers:
                classified = account.phases.taken_until_seconds
                self.ledger.servers[name].timeline.forget_before(min(at_seconds, classified))
                account.phases.segments.forget_before(min([at_seconds, *frontiers]))

    # Phases

    def _advance_phases(self, name: str, now_seconds: float, down: frozenset[str]) -> None:
        """Hand new intervals to the server's splitter, with the energy of its narrowest boundary: the nearest to it."""
        ledger = self.ledger.servers.get(name)
        if ledger is None:
            return
        basis = next((given for given in (Given.GPU, Given.HOST) if self.attribution.keys(name, given)), None)

        def joules(start_seconds: float, end_seconds: float) -> float | None:
            return self.attribution.given_joules(name, basis, start_seconds, end_seconds) if basis else None

        def ready(at_seconds: float) -> bool:
            return basis is None or self.attribution.ready(name, basis, at_seconds, now_seconds, down)

        self.accounts[name].phases.advance(ledger.timeline, joules, ready)

    # Dollars

    def energy_basis(self, name: str) -> Given | None:
        """Widest boundary measured for a server: the one whose energy is paid for. None: no meter."""
        if self.attribution.keys(name, Given.HOST):
            return Given.HOST
        return Given.GPU if self.attribution.keys(name, Given.GPU) else None

    def energy_dollars(self, joules: float) -> float:
        """Price of energy measured at the energy basis; 0 where no electricity price is configured."""
        return joules * self.plan.prices.pue * (self.plan.prices.electricity_dollars_per_joule or 0.0)

    def capacity_dollars_per_second(self, name: str) -> float | None:
        """Price of a server's hardware; None where none is configured or its GPUs are not known yet."""
        capacity = self.accounts[name].plan.capacity
        if capacity is None:
            return None
        if not capacity.per_gpu:
            return capacity.dollars_per_second
        gpus = len(self.attribution.keys(name, Given.GPU))
        return capacity.dollars_per_second * gpus if gpus else None

    def _open_rows(self, account: ServerAccount, ledger: ServerLedger) -> None:
        if ledger.timeline.end_seconds is None:
            return
        name = account.plan.name
        boundaries = [given for given in (Given.GPU, Given.HOST) if self.attribution.keys(name, given)]
        if Given.HOST in boundaries:
            boundaries.append(Given.FACILITY)
        priced = self.plan.prices.electricity_dollars_per_joule is not None and self.energy_basis(name) is not None
        components = [Component.ENERGY] if priced else []
        if self.capacity_dollars_per_second(name) is not None:
            components.append(Component.CAPACITY)
        splits = account.phases.splitter.method != NO_SPLIT
        phases = tuple(Phase) if splits else (Phase.IDLE, Phase.UNSPLIT)
        account.totals.open(ledger.last_model, phases, boundaries, components)

    def _book_energy(self, name: str, boundary: Given, segment: Segment, joules: float) -> None:
        totals = self.accounts[name].totals
        priced = self.plan.prices.electricity_dollars_per_joule is not None and boundary is self.energy_basis(name)
        for phase, part in segment.parts(joules):
            totals.give(boundary, segment.model, phase, part)
            if boundary is Given.HOST:
                totals.give(Given.FACILITY, segment.model, phase, part * self.plan.prices.pue)
            if priced:
                totals.charge(Component.ENERGY, segment.model, phase, self.energy_dollars(part))

    def _charge_capacity(self, account: ServerAccount) -> None:
        rate = self.capacity_dollars_per_second(account.plan.name)
        segments = account.phases.segments
        start = account.charged_until_seconds
        account.charged_until_seconds = segments.end_seconds
        if start is None or rate is None:
            return
        for segment in segments.after(start):
            for phase, dollars in segment.parts(rate * (segment.end_seconds - start)):
                account.totals.charge(Component.CAPACITY, segment.model, phase, dollars)
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
                for boundary in (Given.GPU, Given.HOST):
                    if not self.attribution.ready(name, boundary, cut.at_seconds, now_seconds, down):
                        return
                if account.last_cut is not None or self.attribution.began(measured, cut.at_seconds):
                    self._append_point(account, ledger, cut)
            account.seen_until_seconds = cut.at_seconds

    def _append_point(self, account: ServerAccount, ledger: ServerLedger, cut: Cut) -> None:
        """Close the interval that ends at a token reading."""
        before, last = account.last_cut, account.window.last
        tallies = last.tallies if last else {}
        if before is not None and cut.at_seconds - before.at_seconds <= ledger.max_gap_seconds:
            tallies = self._tallies(account.plan.name, tallies, before, cut)
        point = Point(cut.at_seconds, cut.uncertainty_seconds, tallies, cut.edge, cut.in_flight)
        account.window.append(point)
        account.phase_window.offer(last, point)
        if self.plan.load_distribution:
            self._add_load(account, last, point)
        account.last_cut = cut

    def _add_load(self, account: ServerAccount, before: Point | None, point: Point) -> None:
        interval = between(before, point) if before else None
        if interval is None:
            account.load.restart()
            return
        measured = [given for given in (Given.GPU, Given.HOST) if self.attribution.keys(account.plan.name, given)]
        account.load.add(interval, (*measured, Given.FACILITY) if Given.HOST in measured else measured)

    def _tallies(self, name: str, tallies: Mapping[str, Tally], before: Cut, cut: Cut) -> Mapping[str, Tally]:
        start, end = before.at_seconds, cut.at_seconds
        seconds = end - start
        tokens = {model: step(state, before.tokens.get(model)) for model, state in cut.tokens.items()}
        joules: dict[str, float | None] = {TOKENS: 0.0}
        for boundary in (Given.GPU, Given.HOST):
            if self.attribution.keys(name, boundary):
                joules[boundary] = self.attribution.given_joules(name, boundary, start, end)
        if joules.get(Given.HOST) is not None:
            joules[Given.FACILITY] = (joules[Given.HOST] or 0.0) * self.plan.prices.pue
        updated = dict(tallies)
        for key, amount in joules.items():
            if amount is not None:
                updated[key] = updated.get(key, Tally()).plus(seconds, amount, 0.0, tokens)
        dollars = self._interval_dollars(name, seconds, joules)
        if dollars is not None:
            updated[COST] = updated.get(COST, Tally()).plus(seconds, 0.0, dollars, tokens)
        return updated

    def _interval_dollars(self, name: str, seconds: float, joules: Mapping[str, float | None]) -> float | None:
        """Capacity and energy dollars of an interval; None where nothing is priced or a priced part is unmeasured."""
        rate = self.capacity_dollars_per_second(name)
        capacity = self.accounts[name].plan.capacity
        if rate is None and capacity is not None:
            return None  # priced by GPU, and its GPUs are not known yet
        covered = capacity is not None and capacity.includes_electricity
        if covered or self.plan.prices.electricity_dollars_per_joule is None:
            return None if rate is None else rate * seconds
        basis = self.energy_basis(name)
        energy = joules.get(basis) if basis else None
        return None if energy is None else (rate or 0.0) * seconds + self.energy_dollars(energy)

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
        paces = [self.plan.pace(self.ledger.curves[key].meter.source) for key in self._all_keys(name)]
        lag = max((pace.period_seconds + pace.timeout_seconds for pace in paces), default=0.0)
        return now_seconds - lag - 2 * self.plan.tick_seconds

    def _all_keys(self, name: str) -> tuple[DeviceKey, ...]:
        return self.attribution.keys(name, Given.GPU) + self.attribution.keys(name, Given.HOST)


def tokens_of(tally: Tally, model: str) -> TokenState:
    """Tokens of one model in a tally; "" sums all models."""
    if model:
        return tally.tokens.get(model, TokenState(None, None))
    return TokenState(
        *(_total([getattr(state, name) for state in tally.tokens.values()]) for name in TokenState.__slots__)
    )


def _total(amounts: list[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None
