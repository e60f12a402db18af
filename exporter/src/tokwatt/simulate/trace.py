"""The recent past of cumulative numbers, exactly, so that a test or the demo can ask for the truth of [t0, t1].

Owns rows of (instant, totals) and two ways to read between rows. Knows nothing of what the columns mean.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

TRIM_EVERY_ROWS = 4096


class Trace:
    """Rows of cumulative totals at rising instants, kept for at least `keep_seconds`."""

    def __init__(self, start_seconds: float, columns: int, *, keep_seconds: float) -> None:
        self._times = array("d", [start_seconds])
        self._columns = [array("d", [0.0]) for _ in range(columns)]
        self._keep_seconds = keep_seconds
        self._appended = 0

    @property
    def last_seconds(self) -> float:
        """Instant of the newest row."""
        return self._times[-1]

    def last(self) -> tuple[float, ...]:
        """Return the totals of the newest row."""
        return tuple(column[-1] for column in self._columns)

    def append(self, at_seconds: float, *values: float) -> None:
        """Add a row; the instant is not before the newest one."""
        self._times.append(at_seconds)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        self._appended += 1
        if self._appended % TRIM_EVERY_ROWS == 0:
            self._trim()

    def move_last(self, at_seconds: float, *values: float) -> None:
        """Replace the newest row: a segment with unchanged slopes got longer, or was cut short."""
        self._times[-1] = at_seconds
        for column, value in zip(self._columns, values, strict=True):
            column[-1] = value

    def interpolated(self, at_seconds: float) -> tuple[float, ...]:
        """Return totals that grow linearly between rows (joules, seconds)."""
        after = self._index_after(at_seconds)
        if after == len(self._times):
            return self.last()
        start, end = self._times[after - 1], self._times[after]
        part = (at_seconds - start) / (end - start)
        return tuple(column[after - 1] + part * (column[after] - column[after - 1]) for column in self._columns)

    def stepped(self, at_seconds: float) -> tuple[float, ...]:
        """Return totals that jump at each row (tokens, requests)."""
        row = self._index_after(at_seconds) - 1
        return tuple(column[row] for column in self._columns)

    def _index_after(self, at_seconds: float) -> int:
        index = bisect_right(self._times, at_seconds)
        if index == 0:
            raise LookupError(
                f"no record of {at_seconds:.3f} s: the simulation remembers from {self._times[0]:.3f} s on "
                f"(last {self._keep_seconds:.0f} s)"
            )
        return index

    def _trim(self) -> None:
        # Keep one row at or before the horizon, so that the horizon itself can be read.
        first = bisect_right(self._times, self._times[-1] - self._keep_seconds) - 1
        if first > 0:
            del self._times[:first]
            for column in self._columns:
                del column[:first]
