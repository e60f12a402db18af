"""Reads every source on time and publishes one Snapshot a tick.

Fast sources (inference servers, NVML) are started together at each tick; slow ones run on their own timers. A source
has one read in flight at most and a deadline, so that it can only ever delay itself. Owns scheduling and source
health; knows no protocol and does no arithmetic on readings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from tokwatt.economics.books import Books
from tokwatt.economics.picture import meter_totals, price_snapshot, server_snapshots
from tokwatt.ledger.ledger import Ledger
from tokwatt.ledger.overlap import contained
from tokwatt.readings import (
    Clock,
    CountReading,
    CountSource,
    DeviceFailure,
    EnergyCounter,
    OwnerSource,
    OwnersReading,
    PowerReading,
    PowerSource,
    PriceReading,
    PriceSource,
    ServerGpus,
    ServerReading,
    Source,
    SourceError,
    TimedOut,
    TokenSource,
)
from tokwatt.snapshot import Snapshot, SourceHealth

log = logging.getLogger("tokwatt.sampler")

TOKENS_KIND = "tokens"
POWER_KIND = "power"
OWNER_KIND = "owner"
OWNER_HOLD_PERIODS = 3.5  # a failed look keeps what was found before for this long; then nobody knows
PRICE_KIND = "price"
COUNTS_KIND = "responses"
BUG_REASON = "bug"
MOST_WAIT_SHARE = 0.1  # of a tick, between the servers' answers and the reading of the meters
STAGGER_ABOVE = 64  # servers; fewer are read together, as near to the meters as can be
STAGGER_GROUP = 16  # of more servers, so many are started at once
STAGGER_SHARE = 0.8  # of a tick, over which the groups are spread
Sleep = Callable[[float], Awaitable[None]]
Reading = PowerReading | ServerReading | PriceReading | CountReading | OwnersReading


@dataclass(slots=True)
class Watched:
    """One source and how it fares."""

    source: Source[Reading]
    kind: str
    target: str
    health: SourceHealth
    flight: asyncio.Task[None] | None = None
    failing_devices: frozenset[str] = frozenset()  # messages of devices that fail, or that a person should look at
    answered_seconds: float | None = None  # monotonic, of the last answer
    looks_for: str = ""  # the server whose GPUs an owner source finds


@dataclass(frozen=True, slots=True)
class ReloadState:
    """Outcome of the last configuration load."""

    successful: bool = True
    at_unix_seconds: float = 0.0


@dataclass(slots=True)
class Sampler:
    """Feeds a ledger from sources and turns books into Snapshots."""

    books: Books
    clock: Clock
    wall_clock: Clock
    publish: Callable[[Snapshot], None]
    sleep: Sleep = asyncio.sleep
    simulated: bool = False
    reload_state: ReloadState = ReloadState()
    _watched: dict[str, Watched] = field(default_factory=dict)
    _timers: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _rounds: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def ledger(self) -> Ledger:
        """Where readings go."""
        return self.books.ledger

    # Sources

    def watch_tokens(self, source: TokenSource, target: str = "") -> None:
        """Read an inference server at each tick."""
        self._watch(source, TOKENS_KIND, target)

    def watch_power(self, source: PowerSource, target: str = "") -> None:
        """Read a meter at each tick, or on its own timer where it has a period."""
        self._read_by_period(self._watch(source, POWER_KIND, target), source.period_seconds)

    def watch_owner(self, source: OwnerSource, target: str = "") -> None:
        """Look for a server's GPUs on the source's own timer."""
        watched = self._watch(source, OWNER_KIND, target)
        watched.looks_for = source.server
        self._read_by_period(watched, source.period_seconds)

    def watch_price(self, source: PriceSource, target: str = "") -> None:
        """Ask a price source at each tick, or on its own timer. What it knows without being read holds at once."""
        watched = self._watch(source, PRICE_KIND, target)
        known = source.known()
        if known is not None:
            self.books.prices.take(known)
        self._read_by_period(watched, source.period_seconds)

    def watch_count(self, source: CountSource, target: str = "") -> None:
        """Read an application's counter at each tick, after the servers."""
        self._watch(source, COUNTS_KIND, target)

    def _read_by_period(self, watched: Watched, period_seconds: float | None) -> None:
        if period_seconds is not None:
            name = watched.source.name
            timer = asyncio.create_task(self._read_on_timer(watched, period_seconds), name=f"timer {name}")
            self._timers[name] = timer

    def _watch(self, source: Source[Reading], kind: str, target: str) -> Watched:
        before = self._watched.get(source.name)
        health = before.health if before is not None and before.kind == kind else SourceHealth(source.name, kind, None)
        watched = Watched(source, kind, target, replace(health, target=target))
        self._watched[source.name] = watched
        return watched

    async def unwatch(self, names: Sequence[str]) -> None:
        """Stop reading sources and close them."""
        for name in names:
            watched = self._watched.pop(name, None)
            if watched is None:
                continue
            timer = self._timers.pop(name, None)
            for task in (timer, watched.flight):
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            try:
                await watched.source.aclose()
            except Exception:
                log.exception("%s: could not be closed cleanly", name)

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of all watched sources."""
        return tuple(self._watched)

    async def aclose(self) -> None:
        """Stop reading and close every source."""
        for task in tuple(self._rounds):
            task.cancel()
        await self.unwatch(self.source_names)

    # Reading

    async def run(self, first_after_seconds: float = 0.0) -> None:
        """Tick until cancelled. Ticks that were missed because the host was busy are left out, not made up for."""
        await self.sleep(first_after_seconds)
        due = self.clock()
        while True:
            try:
                await self.tick()
            except Exception:
                # readings go on at the next tick; /healthz tells when no Snapshot comes any more
                log.exception("a tick failed: a bug in tokwatt, please report it")
            tick = self.books.plan.tick_seconds
            due = max(due + tick, self.clock() - tick)
            await self.sleep(max(0.0, due - self.clock()))

    async def tick(self) -> None:
        """Read the fast sources together, then settle and publish.

        Meters follow the servers' answers as closely as the age of their numbers allows: energy is interpolated to the
        instants of the token readings, and the nearer the smaller the error of a burst in between. A source that has
        not answered after a third of a tick is left to answer later: its reading counts in the next Snapshot, at the
        instant it was taken.
        Hundreds of servers are spread over the tick, each at its own instant of it: asked all at once, they would wait
        for each other and nobody could tell when each read its counters.
        """
        for kinds in ((PRICE_KIND,), (TOKENS_KIND,), (POWER_KIND, COUNTS_KIND)):
            if POWER_KIND in kinds and (wait := self._meters_wait_seconds()) > 0:
                await self.sleep(wait)
            fast = [w for w in self._watched.values() if w.kind in kinds and w.source.name not in self._timers]
            if len(fast) > STAGGER_ABOVE:
                flights = [self._start_round(fast)]
            else:
                flights = [self._start(watched) for watched in fast if watched.flight is None]
            if flights:
                await asyncio.wait(flights, timeout=self.books.plan.tick_seconds / 3)
        self.publish_now()

    def _meters_wait_seconds(self) -> float:
        """How long meters are read after the servers.

        It is the age that the meters' numbers have on average: so both hold for the same instant.
        """
        ages = [
            info.precision.renewed_every_seconds / 2
            for key, info in self.ledger.devices.items()
            if isinstance(self.ledger.curves[key].last, EnergyCounter)
            and info.meter.source in self._watched
            and info.meter.source not in self._timers
        ]
        return min(max(ages, default=0.0), MOST_WAIT_SHARE * self.books.plan.tick_seconds)

    def _start_round(self, fast: Sequence[Watched]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._spread(fast), name="spread reads")
        self._rounds.add(task)
        task.add_done_callback(self._rounds.discard)
        return task

    async def _spread(self, fast: Sequence[Watched]) -> None:
        """Start the reads of one tick group by group. A server whose last read is still going on is left out."""
        began = self.clock()
        groups = -(-len(fast) // STAGGER_GROUP)
        for number in range(groups):
            due = began + STAGGER_SHARE * self.books.plan.tick_seconds * number / groups
            if number:
                await self.sleep(max(0.0, due - self.clock()))
            for watched in fast[number * STAGGER_GROUP : (number + 1) * STAGGER_GROUP]:
                if watched.flight is None and self._watched.get(watched.source.name) is watched:
                    self._start(watched)

    def _start(self, watched: Watched) -> asyncio.Task[None]:
        watched.flight = asyncio.create_task(self._read(watched), name=f"read {watched.source.name}")
        watched.flight.add_done_callback(lambda _: setattr(watched, "flight", None))
        return watched.flight

    async def _read_on_timer(self, watched: Watched, period_seconds: float) -> None:
        due = self.clock()
        while True:
            await self._read(watched)
            due = max(due + period_seconds, self.clock())
            await self.sleep(max(0.0, due - self.clock()))

    async def _read(self, watched: Watched) -> None:
        started = self.clock()
        name = watched.source.name
        try:
            # twice the source's own deadline: a source that minds it tells more about what went wrong
            async with asyncio.timeout(2 * watched.source.timeout_seconds):
                reading: Reading = await watched.source.read()
        except TimeoutError:
            late = TimedOut(f"no answer within {2 * watched.source.timeout_seconds:g} s", where=name)
            self._failed(watched, late.reason, str(late), started)
        except SourceError as error:
            self._failed(watched, error.reason, str(error), started)
        except Exception as bug:
            log.exception("%s: a bug in tokwatt; the source is treated as down", name)
            self._failed(watched, BUG_REASON, f"{type(bug).__name__}: {bug}", started)
        else:
            self._take(watched, reading, started)

    def _take(self, watched: Watched, reading: Reading, started: float) -> None:
        pace = self.books.plan.pace(watched.source.name)
        if isinstance(reading, PriceReading):
            self.books.prices.take(reading)
        elif isinstance(reading, ServerReading):
            self.ledger.add_server(reading, pace.max_gap_seconds)
            watched.health = replace(watched.health, missing_series=reading.missing)
        elif isinstance(reading, OwnersReading):
            self._take_owners(watched, reading)
        elif isinstance(reading, CountReading):
            self.ledger.add_count(watched.source.name, reading, pace.max_gap_seconds)
        elif reading.failures and not reading.readings:  # every device failed: that is a source which does not answer
            first = reading.failures[0]
            self._failed(watched, first.error.reason, f"{first.device}: {first.error}", started)
            return
        else:
            refused = self.ledger.add_power(reading, pace.max_gap_seconds)
            inside = contained(self.ledger.devices.values(), watched.source.name)
            self._note_devices(watched, (*reading.failures, *refused), (*reading.warnings, *inside))
        self._answered(watched, started)

    def _take_owners(self, watched: Watched, reading: OwnersReading) -> None:
        """Book by new owners, and say what changed."""
        for server, gpus in reading.servers.items():
            before = self.books.attribution.found(server)
            if before is None or before.holds != gpus.holds or before.how != gpus.how:
                level = logging.WARNING if gpus.holds is None else logging.INFO
                held = ", ".join(hold.device for hold in gpus.holds or ()) or "none by name"
                log.log(
                    level, "%s: %s (%s)", watched.source.name, "NOT KNOWN" if gpus.holds is None else held, gpus.how
                )
        self.books.take_owners(reading)

    def _answered(self, watched: Watched, started: float) -> None:
        if watched.health.up is False:
            log.info("%s: answers again", watched.source.name)
        watched.answered_seconds = self.clock()
        watched.health = replace(
            watched.health,
            up=True,
            reason="",
            message="; ".join(sorted(watched.failing_devices)),
            read_seconds=self.clock() - started,
            last_success_unix_seconds=self.wall_clock(),
        )

    def _failed(self, watched: Watched, reason: str, message: str, started: float) -> None:
        if watched.health.up is not False or watched.health.reason != reason:
            log.warning("%s: down: %s", watched.source.name, message)
        watched.health = replace(
            watched.health,
            up=False,
            reason=reason,
            message=message,
            read_seconds=self.clock() - started,
            errors=_counted(watched.health, reason),
        )
        if watched.kind == OWNER_KIND:
            self._lose_owners(watched, message)
        if watched.kind == TOKENS_KIND:
            name = watched.source.name
            self.ledger.miss_server(name, self.clock(), self.books.plan.pace(name).max_gap_seconds)

    def _lose_owners(self, watched: Watched, message: str) -> None:
        """Forget what was found once it is too old to be believed: pods move and processes restart."""
        now = self.clock()
        hold = OWNER_HOLD_PERIODS * self.books.plan.pace(watched.source.name).period_seconds
        if watched.answered_seconds is None or now - watched.answered_seconds > hold:
            self.books.take_owners(OwnersReading(now, {watched.looks_for: ServerGpus(None, message)}))

    def _note_devices(self, watched: Watched, failures: Sequence[DeviceFailure], warnings: Sequence[str]) -> None:
        for failure in failures:
            watched.health = replace(watched.health, errors=_counted(watched.health, failure.error.reason))
        failing = frozenset((*(f"{failure.device}: {failure.error}" for failure in failures), *warnings))
        for message in sorted(failing - watched.failing_devices):
            log.warning("%s: %s", watched.source.name, message)
        watched.failing_devices = failing

    # Publishing

    def publish_now(self) -> None:
        """Settle the books at this instant and publish a Snapshot."""
        now = self.clock()
        down = frozenset(name for name, watched in self._watched.items() if watched.health.up is False)
        self.books.settle(now, down)
        self.publish(
            Snapshot(
                at_unix_seconds=self.wall_clock(),
                at_seconds=now,
                tick_seconds=self.books.plan.tick_seconds,
                window_seconds=self.books.plan.window_seconds,
                min_coverage=self.books.plan.min_coverage,
                simulated=self.simulated,
                servers=server_snapshots(self.books, now, down),
                meters=meter_totals(self.books, now, down),
                devices=tuple(self.ledger.devices.values()),
                sources=tuple(self._health(watched) for watched in self._watched.values()),
                prices=price_snapshot(self.books, now),
                config_reload_successful=self.reload_state.successful,
                config_reload_unix_seconds=self.reload_state.at_unix_seconds,
            )
        )

    def _health(self, watched: Watched) -> SourceHealth:
        name = watched.source.name
        if watched.kind == TOKENS_KIND:
            server = self.ledger.servers.get(name)
            resets, gap = (server.account.resets, server.gap_seconds) if server else (0, 0.0)
        elif watched.kind == COUNTS_KIND:
            count = self.ledger.counts.get(name)
            resets, gap = (count.resets, count.gap_seconds) if count else (0, 0.0)
        else:
            curves = [curve for curve in self.ledger.curves.values() if curve.meter.source == name]
            resets = sum(curve.resets for curve in curves)
            gap = sum(curve.gap_seconds for curve in curves)
        return replace(watched.health, resets=resets, gap_seconds=gap)


def _counted(health: SourceHealth, reason: str) -> dict[str, int]:
    return {**health.errors, reason: health.errors.get(reason, 0) + 1}
