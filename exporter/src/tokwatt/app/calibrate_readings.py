"""What `tokwatt calibrate` reads: the server's counters when asked, and its meters all the time.

Owns no arithmetic: sources, ledger and rules of ownership are the exporter's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tokwatt.economics.books import Books
from tokwatt.economics.plan import Plan
from tokwatt.ledger.ledger import DeviceKey, Ledger
from tokwatt.readings import Clock, OwnerSource, PowerSource, ServerReading, SourceError, TokenSource
from tokwatt.snapshot import Given

FAST_SECONDS = 0.1  # between reads of meters that the exporter reads with the tick
GAP_SECONDS = 3600.0  # between two readings of the server: longer than any load
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Counted:
    """Totals of a server, all models together. None: it does not count them."""

    prefill_tokens: float | None
    cached_tokens: float
    output_tokens: float | None

    def since(self, earlier: Counted) -> Counted:
        """What was counted after an earlier reading."""
        return Counted(
            _difference(self.prefill_tokens, earlier.prefill_tokens),
            self.cached_tokens - earlier.cached_tokens,
            _difference(self.output_tokens, earlier.output_tokens),
        )


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None else now - (before or 0.0)


class Readings:
    """One server and the meters around it. `start()` begins to read the meters."""

    def __init__(
        self,
        server: str,
        tokens: TokenSource,
        power: Sequence[PowerSource],
        plan: Plan,
        clock: Clock,
        sleep: Sleep,
        owners: Sequence[OwnerSource] = (),
    ) -> None:
        self._server = server
        self._tokens = tokens
        self._power = power
        self._owners = owners
        self._clock = clock
        self._sleep = sleep
        paces = {name: replace(pace, period_seconds=max(1.0, pace.period_seconds)) for name, pace in plan.paces.items()}
        self._books = Books(replace(plan, paces=paces), Ledger())
        self._readers: list[asyncio.Task[None]] = []
        self.troubles: dict[str, str] = {}  # by meter or owner source: the last failure

    @property
    def settle_seconds(self) -> float:
        """How long to wait until every meter that serves this server has shown what was drawn before."""
        sources = {self._books.ledger.curves[key].meter.source for key in self._keys()}
        return max([1.0, *(3 * (source.period_seconds or 0.0) for source in self._power if source.name in sources)])

    @property
    def boundaries(self) -> tuple[Given, ...]:
        """Boundaries at which meters have been read for this server."""
        return tuple(given for given in Given if self._books.attribution.keys(self._server, given))

    def _keys(self) -> list[DeviceKey]:
        return [key for given in Given for key in self._books.attribution.keys(self._server, given)]

    def start(self) -> None:
        """Begin to read the meters, and to look for the servers' GPUs."""
        self._readers = [asyncio.create_task(self._read_on(source)) for source in self._power]
        self._readers += [asyncio.create_task(self._look_on(owner)) for owner in self._owners]

    async def aclose(self) -> None:
        """Stop reading and close every source."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        await self._tokens.aclose()
        for source in self._power:
            await source.aclose()
        for owner in self._owners:
            await owner.aclose()

    async def _read_on(self, source: PowerSource) -> None:
        pause = source.period_seconds or FAST_SECONDS
        gap = 3.5 * max(1.0, pause)
        while True:
            try:
                async with asyncio.timeout(2 * source.timeout_seconds):
                    reading = await source.read()
                self._books.ledger.add_power(reading, gap)
                self._settle()
                self.troubles.pop(source.name, None)
            except SourceError as error:
                self.troubles[source.name] = str(error)
            except TimeoutError:
                self.troubles[source.name] = f"no answer within {2 * source.timeout_seconds:g} s"
            await self._sleep(pause)

    async def _look_on(self, owner: OwnerSource) -> None:
        while True:
            try:
                async with asyncio.timeout(2 * owner.timeout_seconds):
                    reading = await owner.read()
                self._books.take_owners(reading)
                self.troubles.pop(owner.name, None)
            except SourceError as error:
                self.troubles[owner.name] = str(error)
            except TimeoutError:
                self.troubles[owner.name] = f"no answer within {2 * owner.timeout_seconds:g} s"
            await self._sleep(owner.period_seconds)

    def _settle(self) -> None:
        """Divide what was measured by the rules of ownership; nothing is booked, so that no history is dropped."""
        self._books.attribution.divide(self._clock(), frozenset())

    async def server(self) -> ServerReading:
        """Read the server's counters once. Raises SourceError."""
        reading = await self._tokens.read()
        self._books.ledger.add_server(reading, GAP_SECONDS)
        return reading

    def counted(self) -> Counted:
        """Totals of the server since its first reading."""
        ledger = self._books.ledger.servers.get(self._server)
        models = list(ledger.account.models.values()) if ledger else []
        return Counted(
            _total([model.input_tokens for model in models]),
            _total([model.cached_input_tokens for model in models]) or 0.0,
            _total([model.output_tokens for model in models]),
        )

    def joules(self, start_seconds: float, end_seconds: float) -> Mapping[Given, float]:
        """Energy given to the server in a stretch, at each boundary whose meters vouch for all of it."""
        self._settle()
        found = {
            boundary: self._books.attribution.given_joules(self._server, boundary, start_seconds, end_seconds)
            for boundary in self.boundaries
        }
        return {boundary: amount for boundary, amount in found.items() if amount is not None}


def _total(amounts: Sequence[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None
