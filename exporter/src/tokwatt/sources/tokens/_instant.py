"""When did the server read its counters? Somewhere between our request and its answer: this estimates where.

Owns the rule of docs/adr/0003-token-reading-instant.md. Pure arithmetic on instants handed in.
"""

from __future__ import annotations

from collections import deque

_ROUND_TRIPS = 64  # about a minute of one-second ticks: long enough to hold a fast one, short enough to forget it


class ReadingInstant:
    """Places readings in time from round trips; remembers the fastest of the last 64."""

    def __init__(self) -> None:
        self._round_trips: deque[float] = deque(maxlen=_ROUND_TRIPS)

    def place(self, sent_seconds: float, answered_seconds: float) -> tuple[float, float]:
        """Return the instant a reading holds for and its uncertainty, both in (monotonic) seconds.

        The uncertainty is the half-width of the interval from request to answer, which surely holds the instant.
        """
        round_trip = max(answered_seconds - sent_seconds, 0.0)
        self._round_trips.append(round_trip)
        fastest = min(self._round_trips)
        waited = round_trip - fastest
        at = min(max(answered_seconds - fastest / 2, sent_seconds), answered_seconds)
        return at, (waited + fastest) / 2
