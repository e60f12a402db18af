"""A price as a piecewise constant function of monotonic time. Pure data structure; knows nothing of money's purpose.

A step holds from its instant on, until the next one. Steps may lie in the future: a tariff knows its next switch, and a
price that must be renewed ends at a known instant. A step never changes what lies before it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

BEGINNING: Final = float("-inf")
# A price that changes every minute, for two weeks. Only a meter that has been away for longer waits for older ones.
MOST_STEPS: Final = 20_000


class PriceLine:
    """Price by time; None: not known, or none agreed."""

    __slots__ = ("_times", "_values")

    def __init__(self, value: float | None = None) -> None:
        self._times = [BEGINNING]
        self._values = [value]

    def set_from(self, at_seconds: float, value: float | None) -> None:
        """Let a price hold from an instant on, in place of everything that was planned from there on."""
        self.follow([(at_seconds, value)])

    def follow(self, steps: Sequence[tuple[float, float | None]]) -> None:
        """Take over a schedule, in order of time, in place of everything that was planned from its first instant on."""
        if not steps:
            return
        keep = bisect_left(self._times, steps[0][0])
        del self._times[keep:]
        del self._values[keep:]
        for at_seconds, value in steps:
            if not self._values or value != self._values[-1]:
                self._times.append(at_seconds)
                self._values.append(value)
        surplus = len(self._times) - MOST_STEPS
        if surplus > 0:
            del self._times[:surplus]
            del self._values[:surplus]

    def at(self, at_seconds: float) -> float | None:
        """Price in force at an instant."""
        place = bisect_right(self._times, at_seconds) - 1
        return self._values[place] if place >= 0 else None

    def steps_inside(self, start_seconds: float, end_seconds: float) -> list[float]:
        """Return the instants at which it changes, strictly between two others."""
        times = self._times
        if times[-1] <= start_seconds:
            return []
        return times[bisect_right(times, start_seconds) : bisect_left(times, end_seconds)]

    def forget_before(self, at_seconds: float) -> None:
        """Drop steps that are not needed for instants from `at_seconds` on."""
        drop = bisect_right(self._times, at_seconds) - 1
        if drop > 0:
            del self._times[:drop]
            del self._values[:drop]


def pieces(
    lines: Sequence[PriceLine], start_seconds: float, end_seconds: float
) -> Iterator[tuple[float, float, tuple[float | None, ...]]]:
    """Cut a stretch of time where any of the prices changes: start, end and the prices in force of each piece."""
    inside = [at for line in lines for at in line.steps_inside(start_seconds, end_seconds)]
    if not inside:  # as nearly always
        yield start_seconds, end_seconds, tuple(line.at(start_seconds) for line in lines)
        return
    for start, end in pairwise([start_seconds, *sorted(set(inside)), end_seconds]):
        yield start, end, tuple(line.at(start) for line in lines)
