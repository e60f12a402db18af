"""An owner source whose look blocks: it runs on a worker thread of its own, with a deadline."""

from __future__ import annotations

from collections.abc import Callable

from tokwatt.readings import OwnerContext, OwnersReading, ServerGpus
from tokwatt.sources._frame import TimedFrame, Timing
from tokwatt.sources._worker import Worker


class BlockingOwner(TimedFrame):
    """Runs `look` for one server. `look` raises SourceError subclasses only."""

    def __init__(self, context: OwnerContext, timing: Timing, look: Callable[[], ServerGpus]) -> None:
        super().__init__(context.name, timing)
        self.server = context.server
        self._clock = context.clock
        self._look = look
        self._worker = Worker(context.name, context.clock)

    async def read(self) -> OwnersReading:
        """Look once. Raises SourceError subclasses only."""
        gpus = await self._worker.call(self._look, self.own_deadline_seconds)
        return OwnersReading(self._clock(), {self.server: gpus})

    async def aclose(self) -> None:
        """Let the thread end."""
        self._worker.close()
