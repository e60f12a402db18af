"""Keeps everything that is measured about one server from some moment on: interval by interval. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping

from tokwatt.economics.books import Books
from tokwatt.economics.intervals import Interval, between
from tokwatt.economics.phases.segments import Segment
from tokwatt.economics.phases.split import UNSPLIT, Shares
from tokwatt.economics.window import Point, step
from tokwatt.ledger.tokens import TokenState


class Recorder:
    """Everything about one server since the first `collect()`. Call it after each tick: books forget what is old."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.intervals: list[Interval] = []
        self._last: Point | None = None
        self._states: dict[float, Mapping[str, TokenState]] = {}  # totals by the instant of their reading
        self._segments: list[Segment] = []
        self._segment_ends: list[float] = []

    @property
    def end_seconds(self) -> float | None:
        """Newest token reading whose energy is known; None before the first."""
        return self._last.at_seconds if self._last else None

    @property
    def phases_end_seconds(self) -> float | None:
        """Instant up to which energy is divided by phase; None before the first reading."""
        return self._segment_ends[-1] if self._segment_ends else None

    def collect(self, books: Books) -> None:
        """Take what the last tick made known."""
        ledger = books.ledger.servers.get(self.server)
        if ledger is None:
            return
        account = books.accounts[self.server]
        newest = max(self._states, default=float("-inf"))
        self._states |= {cut.at_seconds: cut.tokens for cut in ledger.timeline.after(newest) if cut.read}
        for segment in account.phases.segments.after(self._segment_ends[-1] if self._segment_ends else float("-inf")):
            self._segments.append(segment)
            self._segment_ends.append(segment.end_seconds)
        for point in account.window.points_after(self._last.at_seconds if self._last else float("-inf")):
            interval = between(self._last, point) if self._last else None
            if interval is not None:
                self.intervals.append(interval)
            self._last = point

    def reading_before(self, at_seconds: float) -> float | None:
        """Newest reading with known energy at or before an instant."""
        times = self._times()
        place = bisect_right(times, at_seconds)
        return times[place - 1] if place else None

    def reading_after(self, at_seconds: float) -> float | None:
        """Oldest reading with known energy at or after an instant."""
        times = self._times()
        place = bisect_left(times, at_seconds)
        return times[place] if place < len(times) else None

    def _times(self) -> list[float]:
        if not self.intervals:
            return [self._last.at_seconds] if self._last else []
        return sorted({time for part in self.intervals for time in (part.start_seconds, part.end_seconds)})

    def within(self, start_seconds: float, end_seconds: float) -> list[Interval]:
        """Intervals between two readings."""
        return [
            part for part in self.intervals if part.start_seconds >= start_seconds and part.end_seconds <= end_seconds
        ]

    def tokens(self, start_seconds: float, end_seconds: float) -> Mapping[str, TokenState]:
        """Tokens by model counted between two readings, whatever happened in between: counters lose nothing."""
        before, after = self._states.get(start_seconds, {}), self._states.get(end_seconds, {})
        return {model: step(state, before.get(model)) for model, state in after.items()}

    def shares(self, interval: Interval) -> Shares:
        """Return the parts of an interval's energy by phase; what is not settled is unsplit."""
        parts, start, settled = [0.0] * 4, interval.start_seconds, 0.0
        for place in range(bisect_right(self._segment_ends, start), len(self._segments)):
            segment = self._segments[place]
            end = min(segment.end_seconds, interval.end_seconds)
            weight = (end - start) / interval.seconds
            shares = segment.shares
            for number, share in enumerate((shares.prefill, shares.decode, shares.idle, shares.unsplit)):
                parts[number] += weight * share
            settled += weight
            start = end
            if end >= interval.end_seconds:
                break
        if settled <= 0:
            return UNSPLIT
        prefill, decode, idle, unsplit = parts
        return Shares(prefill, decode, idle, unsplit + max(0.0, 1 - settled))
