"""How one server's time is classified: which parts of the energy of each stretch belong to which phase. Pure data."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from tokwatt.economics.phases.split import Shares
from tokwatt.quantities import Dollars, Joules
from tokwatt.snapshot import Phase

Amount = TypeVar("Amount", Joules, Dollars, float)

# A device that has not been read for long makes segments wait; beyond so many, old neighbours are joined.
MOST_WAITING = 512


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a server's time up to `end_seconds`; it begins where the one before it ends."""

    end_seconds: float
    model: str  # that its energy belongs to, "" where unknown or several
    shares: Shares

    def parts(self, amount: Amount) -> Iterable[tuple[Phase, Amount]]:
        """Divide joules or dollars by phase, leaving out phases that get nothing."""
        shares = self.shares
        named = (
            (Phase.PREFILL, shares.prefill),
            (Phase.DECODE, shares.decode),
            (Phase.IDLE, shares.idle),
            (Phase.UNSPLIT, shares.unsplit),
        )
        return [(phase, amount * share) for phase, share in named if share > 0]


class Segments:
    """Segments of one server, oldest first. Final: what is in here is never revised."""

    __slots__ = ("_ends", "_segments")

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._ends: list[float] = []

    @property
    def end_seconds(self) -> float | None:
        """Instant up to which phases are known, None before the first segment."""
        return self._ends[-1] if self._ends else None

    def append(self, segment: Segment) -> None:
        """Add the next segment. Raises ValueError if it does not end later than the last one."""
        if self._ends and segment.end_seconds <= self._ends[-1]:
            raise ValueError(f"a segment that ends at {segment.end_seconds} after {self._ends[-1]}")
        self._segments.append(segment)
        self._ends.append(segment.end_seconds)

    def between(self, after_seconds: float, until_seconds: float) -> list[Segment]:
        """Segments that close the pieces of (after, until]: those inside it, and the first one at or beyond its end."""
        first = bisect_right(self._ends, after_seconds)
        last = first
        while last < len(self._segments) and self._ends[last] < until_seconds:
            last += 1
        return self._segments[first : last + 1]

    def after(self, at_seconds: float) -> list[Segment]:
        """Segments that end later than an instant."""
        return self._segments[bisect_right(self._ends, at_seconds) :]

    def forget_before(self, at_seconds: float) -> None:
        """Drop segments that end before `at_seconds`; join neighbours where too many are left."""
        drop = bisect_right(self._ends, at_seconds) - 1
        if drop > 16:  # in batches: a slice per tick would cost more than the memory it saves
            del self._segments[:drop]
            del self._ends[:drop]
        if len(self._segments) > 2 * MOST_WAITING:
            self._shorten()

    def _shorten(self) -> None:
        """Join old neighbours of one model: equal ones first, which loses nothing, then whole pairs."""
        old, self._segments = self._segments[:-MOST_WAITING], self._segments[-MOST_WAITING:]
        old = _joined(old, only_equal=True)
        if len(old) > MOST_WAITING:
            old = _joined(old, only_equal=False)
        self._segments[:0] = old
        self._ends = [segment.end_seconds for segment in self._segments]


def _joined(segments: list[Segment], *, only_equal: bool) -> list[Segment]:
    """Join neighbours of one model; of unequal ones each joins one other, shares weighted by time.

    The first one stays as it is: it closes the stretch that somebody may have asked for in part.
    """
    joined = segments[:1]
    begins = [segments[0].end_seconds]  # of the joined ones; the first one's own is not known
    single = [False]
    for segment in segments[1:]:
        last = joined[-1]
        equal = last.shares == segment.shares
        if len(joined) > 1 and last.model == segment.model and (equal if only_equal else single[-1]):
            joined[-1] = _together(begins[-1], last, segment)
            single[-1] = False
        else:
            begins.append(last.end_seconds)
            joined.append(segment)
            single.append(True)
    return joined


def _together(start_seconds: float, one: Segment, other: Segment) -> Segment:
    whole = other.end_seconds - start_seconds
    weight = (one.end_seconds - start_seconds) / whole
    parts = [
        weight * getattr(one.shares, name) + (1 - weight) * getattr(other.shares, name)
        for name in ("prefill", "decode", "idle", "unsplit")
    ]
    return Segment(other.end_seconds, other.model, one.shares if one.shares == other.shares else Shares(*parts))
