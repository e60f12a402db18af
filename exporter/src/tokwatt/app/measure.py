"""`tokwatt measure`: a command under the same pipeline as `tokwatt run`, with exact edges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tokwatt.app.exporter import Exporter
from tokwatt.economics.books import Books
from tokwatt.economics.history import Sums
from tokwatt.economics.phases.split import NO_SPLIT
from tokwatt.economics.recorder import Recorder
from tokwatt.economics.responses import Measured, PerResponse
from tokwatt.economics.run_figures import RunFigures, run_figures
from tokwatt.economics.stretch import Terms
from tokwatt.economics.window import WindowSums
from tokwatt.readings import Clock
from tokwatt.snapshot import ServerSnapshot, Snapshot, SourceHealth

READY_SECONDS = 20.0  # for every source to be tried once and every server to be read with its meters
SPLIT_SECONDS = 15.0  # what a split of energy by phase may lie behind
Sleep = Callable[[float], Awaitable[None]]


class Load(Protocol):
    """What is measured: a command, or what stands for one in tests."""

    @property
    def started_seconds(self) -> float: ...
    @property
    def ended_seconds(self) -> float | None: ...
    async def start(self) -> None: ...
    async def wait(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ServerRun:
    """One server over the run. `figures` None: it was not read around it."""

    server: ServerSnapshot  # as it was at the end
    figures: RunFigures | None


@dataclass(frozen=True, slots=True)
class Run:
    """A measured run."""

    started_seconds: float  # monotonic
    ended_seconds: float
    servers: tuple[ServerRun, ...]
    down: tuple[SourceHealth, ...]  # sources that did not answer at its end


class NothingToMeasureError(Exception):
    """No inference server could be read."""


class Measurement:
    """Ticks an opened exporter before, during and after a command, and keeps what the books would forget."""

    def __init__(self, exporter: Exporter, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._exporter = exporter
        self._clock = clock
        self._sleep = sleep
        self._tick_seconds = exporter.setup.config.tick_seconds
        self._due_seconds = clock()
        self.recorders = {server.name: Recorder(server.name) for server in exporter.setup.config.servers}

    @property
    def snapshot(self) -> Snapshot:
        """The latest picture."""
        found = self._exporter.face.snapshot
        assert found is not None
        return found

    @property
    def now_seconds(self) -> float:
        """The clock."""
        return self._clock()

    @property
    def books(self) -> Books:
        """The exporter's books."""
        return self._exporter.books

    async def _tick_until(self, done: Callable[[], bool], on_tick: Callable[[], None] | None = None) -> None:
        """Tick on time, also from one call to the next: readings closer together than a tick would only be noise."""
        while True:
            await self._sleep(max(0.0, self._due_seconds - self._clock()))
            self._due_seconds = max(self._due_seconds, self._clock() - self._tick_seconds) + self._tick_seconds
            await self._exporter.tick()
            for recorder in self.recorders.values():
                recorder.collect(self.books)
            if on_tick is not None:
                on_tick()
            if done():
                return

    async def get_ready(self) -> tuple[SourceHealth, ...]:
        """Read every source, and every server with its meters; returns the sources that do not answer.

        Raises:
            NothingToMeasureError: no inference server answers.
        """
        deadline = self._clock() + READY_SECONDS

        def ready() -> bool:
            if self._clock() > deadline:
                return True
            tried = all(health.up is not None for health in self.snapshot.sources)
            return tried and all(self.recorders[name].end_seconds is not None for name in self._answering())

        await self._tick_until(ready)
        if not self._answering():
            raise NothingToMeasureError(_why_nothing(self.snapshot.sources))
        return self._down()

    def _answering(self) -> list[str]:
        up = {health.source for health in self.snapshot.sources if health.up}
        return [name for name in self.recorders if name in up]

    def _down(self) -> tuple[SourceHealth, ...]:
        return tuple(health for health in self.snapshot.sources if not health.up)

    async def run(self, command: Load, on_tick: Callable[[], None] | None = None) -> Run:
        """Measure a command: from the last token reading before it to the first one a whole tick after its end.

        That tick lets a server count what it answered last. Raises OSError where the command cannot be started.
        """
        await command.start()
        ending = asyncio.create_task(command.wait())
        try:
            await self._tick_until(ending.done, on_tick)
        finally:
            if not ending.done():
                ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        ended = command.ended_seconds
        assert ended is not None
        last = ended + self._tick_seconds
        patience = last + self._lag_seconds()

        def complete() -> bool:
            known = [at for name in self._answering() for at in self._known_until(name)]
            return self._clock() > patience or all(at is not None and at >= last for at in known)

        await self._tick_until(complete)
        return Run(
            command.started_seconds,
            ended,
            tuple(self._server(server, command.started_seconds, last) for server in self.snapshot.servers),
            self._down(),
        )

    def _known_until(self, name: str) -> list[float | None]:
        """Instants up to which a server's energy is known, and its phases where they are split."""
        recorder = self.recorders[name]
        return [recorder.end_seconds, recorder.phases_end_seconds] if self._splits(name) else [recorder.end_seconds]

    def _splits(self, name: str) -> bool:
        return self.books.accounts[name].phases.splitter.method != NO_SPLIT

    def _lag_seconds(self) -> float:
        """How long after a token reading its energy, and its division by phase, may take to be known."""
        paces = self.books.plan.paces.values()
        lag = 3 * self._tick_seconds + max((pace.period_seconds + pace.timeout_seconds for pace in paces), default=0)
        return lag + (SPLIT_SECONDS if any(self._splits(name) for name in self.recorders) else 0)

    def _server(self, server: ServerSnapshot, started: float, ended: float) -> ServerRun:
        recorder = self.recorders[server.name]

        def per_response(start_seconds: float, end_seconds: float, sums: Mapping[str, Sums]) -> PerResponse | None:
            window = WindowSums(start_seconds, end_seconds, start_seconds, end_seconds, {})
            return self.books.responses.per_response(Measured(server.name, window, sums))

        terms = Terms(
            self.books.plan.min_coverage, per_response, recorder.shares if self._splits(server.name) else None
        )
        return ServerRun(server, run_figures(recorder, started, ended, terms))


def _why_nothing(sources: Sequence[SourceHealth]) -> str:
    tokens = [health for health in sources if health.kind == "tokens"]
    if not tokens:
        return "no inference server was found; name one in a configuration: servers: [{name: ..., url: ...}]"
    return "no inference server answers:\n" + "\n".join(f"  {health.source}: {health.message}" for health in tokens)
