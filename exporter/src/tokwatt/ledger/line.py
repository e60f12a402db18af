"""A cumulative quantity as a piecewise linear function of time. Pure data structure; knows nothing of meters."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from tokwatt.quantities import Joules


@dataclass(frozen=True, slots=True)
class Piece:
    """The straight piece that holds an instant, with its slope and those of its neighbours.

    `slope_before` of the first piece is its own; `slope_after` of the last one is None: not known yet.
    """

    start_seconds: float
    end_seconds: float
    slope: float
    slope_before: float
    slope_after: float | None

    def slope_near(self, part: float) -> float:
        """Slope to expect at a part (0 to 1) of the piece: at its ends, the mean of the two pieces that meet."""
        after = self.slope if self.slope_after is None else self.slope_after
        at_start, at_end = (self.slope_before + self.slope) / 2, (self.slope + after) / 2
        return at_start + part * (at_end - at_start)


class Line:
    """Non-decreasing (time, value) points; values between two points are interpolated linearly."""

    __slots__ = ("_times", "_values")

    def __init__(self, at_seconds: float, value: float) -> None:
        self._times = [at_seconds]
        self._values = [value]

    @property
    def start_seconds(self) -> float:
        """Oldest instant still remembered."""
        return self._times[0]

    @property
    def end_seconds(self) -> float:
        """Newest instant."""
        return self._times[-1]

    @property
    def end_value(self) -> float:
        """Value at the newest instant."""
        return self._values[-1]

    def append(self, at_seconds: float, value: float) -> None:
        """Add the next point. Raises ValueError if time or value goes backwards."""
        if at_seconds <= self._times[-1] or value < self._values[-1]:
            raise ValueError(f"({at_seconds}, {value}) after ({self._times[-1]}, {self._values[-1]})")
        self._times.append(at_seconds)
        self._values.append(value)

    def at(self, at_seconds: float) -> float:
        """Value at an instant; constant outside of the remembered span."""
        times = self._times
        if at_seconds >= times[-1]:
            return self._values[-1]
        right = bisect_right(times, at_seconds)
        if right == 0:
            return self._values[0]
        t0, t1 = times[right - 1], times[right]
        v0, v1 = self._values[right - 1], self._values[right]
        # clamped: rounding must never carry a value past the point that bounds it
        return min(v1, v0 + (v1 - v0) * ((at_seconds - t0) / (t1 - t0)))

    def piece(self, at_seconds: float) -> Piece:
        """Return the piece around an instant; the first or last one outside of the remembered span."""
        last = len(self._times) - 1
        right = min(max(bisect_right(self._times, at_seconds), 1), max(last, 1))
        slope = self._slope(right)
        return Piece(
            start_seconds=self._times[right - 1],
            end_seconds=self._times[min(right, last)],
            slope=slope,
            slope_before=self._slope(right - 1) if right > 1 else slope,
            slope_after=self._slope(right + 1) if right < last else None,
        )

    def _slope(self, right: int) -> float:
        """Slope of the piece that ends at a point; 0 where there is only one point."""
        if right >= len(self._times):
            return 0.0
        rise = self._values[right] - self._values[right - 1]
        return rise / (self._times[right] - self._times[right - 1])

    def points_between(self, after_seconds: float, until_seconds: float) -> list[float]:
        """Return the instants of the points in the half-open span (after, until]."""
        times = self._times
        return times[bisect_right(times, after_seconds) : bisect_right(times, until_seconds)]

    def forget_before(self, at_seconds: float) -> None:
        """Drop points that are not needed to evaluate instants >= `at_seconds`."""
        drop = bisect_left(self._times, at_seconds) - 1
        if drop > 16:  # in batches: a slice per tick would cost more than the memory it saves
            del self._times[:drop]
            del self._values[:drop]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a line of joules, between two instants."""

    line: Line
    start_seconds: float
    end_seconds: float

    def joules(self, start_seconds: float, end_seconds: float) -> Joules:
        """Energy between two instants of it."""
        return Joules(self.line.at(end_seconds) - self.line.at(start_seconds))
