"""A node that computes and counts no tokens: a follower of multi-node tensor parallelism, a headless rank.

Its readings say nothing but that time passed, so that its energy and cost are booked. Does no I/O.
"""

from __future__ import annotations

from tokwatt.readings import Clock, ServerReading
from tokwatt.sources._frame import Frame

NO_ENGINE = "none"
_TIMEOUT_SECONDS = 1.0  # never used: a read answers at once


class Follower(Frame):
    """A TokenSource without tokens."""

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__(name, _TIMEOUT_SECONDS)
        self._clock = clock

    async def read(self) -> ServerReading:
        """Return an empty reading of this instant."""
        return ServerReading(self.name, self._clock(), 0.0, (), engine=NO_ENGINE)
