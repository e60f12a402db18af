"""A node that computes and counts no tokens: a follower of multi-node tensor parallelism, a headless rank.

Its readings say nothing but that time passed, so that its energy and cost are booked. Does no I/O.
"""

from __future__ import annotations

from tokwatt.readings import Clock, ServerReading

NO_ENGINE = "none"


class Follower:
    """A TokenSource without tokens."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock

    @property
    def name(self) -> str:
        """Configured name."""
        return self._name

    @property
    def timeout_seconds(self) -> float:
        """Never used: a read answers at once."""
        return 1.0

    async def read(self) -> ServerReading:
        """Return an empty reading of this instant."""
        return ServerReading(self._name, self._clock(), 0.0, (), engine=NO_ENGINE)

    async def aclose(self) -> None:
        """Nothing to close."""
