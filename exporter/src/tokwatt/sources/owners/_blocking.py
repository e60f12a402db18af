"""An owner source whose look blocks: it runs on a worker thread of its own, with a deadline."""

from __future__ import annotations

from collections.abc import Callable

from tokwatt.readings import OwnerContext, OwnersReading, ServerGpus
from tokwatt.sources._worker import Worker

_OWN_DEADLINE_SHARE = 0.95  # the message of the inner deadline says more than the sampler's


class BlockingOwner:
    """Runs `look` for one server. `look` raises SourceError subclasses only."""

    def __init__(
        self, context: OwnerContext, period_seconds: float, timeout_seconds: float, look: Callable[[], ServerGpus]
    ) -> None:
        self._context = context
        self._period_seconds = period_seconds
        self._timeout_seconds = timeout_seconds
        self._look = look
        self._worker = Worker(context.name, context.clock)

    @property
    def name(self) -> str:
        """Name of the source."""
        return self._context.name

    @property
    def server(self) -> str:
        """The server whose GPUs are looked for."""
        return self._context.server

    @property
    def period_seconds(self) -> float:
        """Time between looks."""
        return self._period_seconds

    @property
    def timeout_seconds(self) -> float:
        """Longest time a look may take."""
        return self._timeout_seconds

    async def read(self) -> OwnersReading:
        """Look once. Raises SourceError subclasses only."""
        gpus = await self._worker.call(self._look, self._timeout_seconds * _OWN_DEADLINE_SHARE)
        return OwnersReading(self._context.clock(), {self._context.server: gpus})

    async def aclose(self) -> None:
        """Let the thread end."""
        self._worker.close()
