"""The command that `tokwatt measure` measures: a process of its own, with an end that is seen at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from tokwatt.readings import Clock

PATIENCE_SECONDS = 10.0  # after Ctrl-C, until the command is asked more firmly


class Command:
    """A command in a session of its own, so that one Ctrl-C reaches it once, with everything that it started."""

    def __init__(self, argv: Sequence[str], clock: Clock) -> None:
        self._argv = tuple(argv)
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._endings: asyncio.Task[None] | None = None
        self.interrupted = False
        self.started_seconds = float("nan")
        self.ended_seconds: float | None = None  # None while it runs
        self.status: int | None = None  # exit status; negative: the signal that ended it

    async def start(self) -> None:
        """Start it. Raises OSError where that is not possible."""
        self.started_seconds = self._clock()
        self._process = await asyncio.create_subprocess_exec(*self._argv, start_new_session=True)

    async def wait(self) -> None:
        """Wait for its end."""
        assert self._process is not None
        self.status = await self._process.wait()
        self.ended_seconds = self._clock()
        if self._endings is not None:
            self._endings.cancel()

    def interrupt(self) -> None:
        """Ask it to end: like Ctrl-C, more firmly when it takes too long or is asked again."""
        if self._process is None or self.ended_seconds is not None:
            return
        if self.interrupted:
            self._signal(signal.SIGTERM)
            return
        self.interrupted = True
        self._endings = asyncio.create_task(self._end())

    async def _end(self) -> None:
        for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            self._signal(ending)
            await asyncio.sleep(PATIENCE_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                os.killpg(self._process.pid, number)
