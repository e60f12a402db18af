"""Meters that are read with the tick by calls that block: each on a worker thread of its own.

Owns the thread and the order of its calls. Knows no vendor.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

from tokwatt.readings import PowerReading, SourceContext, SourceError
from tokwatt.sources._frame import Frame
from tokwatt.sources._worker import Worker

_SHUTDOWN_SECONDS: Final = 0.5


class WorkerMeter(Frame, ABC):
    """A meter whose `_read` blocks."""

    period_seconds: None = None  # read with the tick

    def __init__(self, context: SourceContext, timeout_seconds: float) -> None:
        super().__init__(context.name, timeout_seconds)
        self._context = context
        self._worker = Worker(context.name, context.clock)

    async def read(self) -> PowerReading:
        """Read all devices once. Raises SourceError subclasses only.

        A device that fails is told in `failures` while others are read; where none can be read its error is raised.
        """
        return await self._worker.call(self._read, self.own_deadline_seconds)

    async def aclose(self) -> None:
        """Let the reading thread end."""
        self._worker.close()

    @abstractmethod
    def _read(self) -> PowerReading:
        """Read once, on the thread. Raises SourceError subclasses only."""


class BoardReader(Protocol):
    """The boards behind one vendor library. All calls come from one thread."""

    @property
    def is_sampled(self) -> bool:
        """Whether a board has no counter to believe, so that its power is wanted between reads."""
        ...

    def read(self) -> PowerReading:
        """Read all boards once. Raises SourceError subclasses only."""
        ...

    def sample(self) -> None:
        """Take the power of boards that are sampled. Raises nothing."""
        ...

    def shut_down(self) -> None:
        """Give the library back."""
        ...


class BoardMeter(WorkerMeter):
    """The boards of one vendor library, with power sampled between reads where a board needs it.

    The first read starts the library and may time out, where the driver has to be loaded first; a later read finds it
    started.
    """

    def __init__(
        self, reader: BoardReader, context: SourceContext, *, timeout_seconds: float, sampling_seconds: float
    ) -> None:
        super().__init__(context, timeout_seconds)
        self._reader = reader
        self._sampling_seconds = sampling_seconds

    async def aclose(self) -> None:
        """Shut the library down, unless a call hangs."""
        with contextlib.suppress(SourceError):
            await self._worker.call(self._shut_down, _SHUTDOWN_SECONDS)
        await super().aclose()

    def _read(self) -> PowerReading:
        reading = self._reader.read()
        if self._reader.is_sampled:
            self._worker.run_between_calls(self._sampling_seconds, self._reader.sample)
        else:
            self._worker.stop_between_calls()
        return reading

    def _shut_down(self) -> None:
        self._worker.stop_between_calls()
        self._reader.shut_down()


def wanted_gpus(gpus: Sequence[str]) -> tuple[str, ...]:
    """Return the option `gpus` as names: one of it may have been given bare, an index as a number."""
    return (gpus,) if isinstance(gpus, str) else tuple(str(gpu) for gpu in gpus)
