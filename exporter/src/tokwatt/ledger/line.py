"""A cumulative quantity as a piecewise linear function of time. Pure data structure; knows nothing of meters."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass


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

    def joules(self, start_seconds: float, end_seconds: float) -> float:
        """Energy between two instants of it."""
        return self.line.at(end_seconds) - self.line.at(start_seconds)
