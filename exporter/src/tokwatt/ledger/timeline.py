"""The instants at which one inference server's tokens were read, or could not be. Pure: time arrives in the reading."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

from tokwatt.ledger.tokens import TokenState
from tokwatt.readings import Work


@dataclass(frozen=True, slots=True)
class Cut:
    """The end of an interval of a server's time. Energy is given and classified interval by interval."""

    at_seconds: float
    read: bool  # False: the server did not answer here
    idle: bool  # no request ran and no token moved since the previous cut, both cuts read
    model: str  # model that the interval's energy belongs to, "" where unknown or several
    tokens: Mapping[str, TokenState]  # totals by model; empty where not read
    uncertainty_seconds: float = 0.0
    edge: bool = True  # a window may begin or end here: an at-finish counter just moved, or counts as tokens are made
    in_flight: float | None = None  # requests whose tokens are not counted before they end; None: counted as made
    work: Mapping[Work, float] = field(default_factory=dict)  # totals of the kinds that the engine offers
    kv_tokens: float | None = None  # context in the KV cache; None: not offered
    running: float | None = None  # requests that run, that wait; None: not offered or not read
    waiting: float | None = None


class Timeline:
    """Cuts of one server, oldest first."""

    __slots__ = ("_cuts", "_times")

    def __init__(self) -> None:
        self._cuts: list[Cut] = []
        self._times: list[float] = []

    @property
    def end_seconds(self) -> float | None:
        """The newest cut, None before the first."""
        return self._times[-1] if self._times else None

    def append(self, cut: Cut) -> bool:
        """Add the next cut. False if it is not newer than the last one."""
        if self._times and cut.at_seconds <= self._times[-1]:
            return False
        self._cuts.append(cut)
        self._times.append(cut.at_seconds)
        return True

    def between(self, after_seconds: float, until_seconds: float) -> list[Cut]:
        """Cuts that close the pieces of (after, until]: those inside it, and the first one at or beyond its end."""
        first = bisect_right(self._times, after_seconds)
        last = first
        while last < len(self._cuts) and self._times[last] < until_seconds:
            last += 1
        return self._cuts[first : last + 1]

    def after(self, at_seconds: float) -> list[Cut]:
        """Cuts later than an instant."""
        return self._cuts[bisect_right(self._times, at_seconds) :]

    def forget_before(self, at_seconds: float) -> None:
        """Drop cuts that close intervals ending before `at_seconds`."""
        drop = bisect_right(self._times, at_seconds) - 1
        if drop > 16:
            del self._cuts[:drop]
            del self._times[:drop]
