"""Meters of one server's input power behind a BMC: slow, so on a timer of their own and with a deadline that says more.

Owns the deadline and the meter's identity. Knows no protocol.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from tokwatt.readings import Boundary, Method, PowerReading, SourceContext, TimedOut
from tokwatt.sources._frame import TimedFrame, Timing


class ServerMeter(TimedFrame, ABC):
    """One server, a device by the name of its meter. `where` names the BMC to people."""

    def __init__(self, context: SourceContext, timing: Timing, where: str) -> None:
        super().__init__(context.name, timing)
        self._context = context
        self._where = where
        self._meter = context.meter(Boundary.HOST, context.name, Method.INTEGRATED)

    async def read(self) -> PowerReading:
        """Read the server's power once. Raises SourceError subclasses only.

        What takes longer than one read, as logging in and looking for sensors may, goes on in the next.
        """
        try:
            async with asyncio.timeout(self.own_deadline_seconds):
                return await self._read()
        except TimeoutError:
            raise TimedOut(
                f"no complete answer within {self.timeout_seconds:g} s{self._progress()}",
                where=self._where,
                hint="a slow BMC may need a higher timeout_seconds",
            ) from None

    @abstractmethod
    async def _read(self) -> PowerReading:
        """Read once. Raises SourceError subclasses only."""

    @abstractmethod
    def _progress(self) -> str:
        """Say in parentheses, after a blank, how far a read came that ran out of time; "" where there is nothing."""
