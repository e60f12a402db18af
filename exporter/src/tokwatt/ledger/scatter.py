"""How restless a power is, told from a stream of its values: what happens between two of them nobody saw. Pure.

Values are samples of a gauge, or mean powers between two readings of a counter. Two numbers tell the kind of load: the
squared change from one value to the next, and the squared distance of a value from the straight line between its
neighbours. A power that forgets itself between two values has a distance of 3/4 of the change, one that wanders (a
random walk) 1/2, a smooth one less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MEMORY_WEIGHT: Final = 0.15  # of the newest value in how restless the power is of late
SLOW_MEMORY_WEIGHT: Final = 0.03  # of the newest value in what tells one kind of load from another
VALUES_THAT_TELL: Final = 60
# A deviation from few values is itself uncertain: as Student's t, 1 + 1.85 / n wider; the running mean holds 12 values.
FEW_VALUES: Final = 12
FEW_VALUES_FACTOR: Final = 1.85
WANDERING, FORGETTING = 1 / 2, 3 / 4  # distance over change


@dataclass(slots=True)
class Scatter:
    """Running means of squares, in W^2."""

    change: float = 0.0
    distance: float = 0.0
    _slow_change: float = 0.0
    _slow_distance: float = 0.0
    _taken: int = 0
    _last: tuple[float, float] | None = None  # (instant, watts)
    _before: tuple[float, float] | None = None

    def take(self, at_seconds: float, watts: float) -> None:
        """Take the next value; instants rise."""
        last, before = self._last, self._before
        if last is not None:
            change = (watts - last[1]) ** 2
            self._taken += 1
            weight = max(MEMORY_WEIGHT, 1 / self._taken)  # a plain mean at first
            self.change += weight * (change - self.change)
            if before is not None:
                part = (last[0] - before[0]) / (at_seconds - before[0])
                distance = (last[1] - before[1] - part * (watts - before[1])) ** 2
                self.distance += weight * (distance - self.distance)
                self._slow_distance += SLOW_MEMORY_WEIGHT * (distance - self._slow_distance)
                self._slow_change += SLOW_MEMORY_WEIGHT * (change - self._slow_change)
        self._before, self._last = last, (at_seconds, watts)

    def pause(self) -> None:
        """Forget the last values: the next one does not follow on them."""
        self._before = self._last = None

    @property
    def forgetful(self) -> float:
        """Kind of load: 0 for a power that wanders or is smooth, 1 for one that forgets itself between two values.

        Until many values were seen the worse is assumed.
        """
        if self._slow_change <= 0:
            return 0.0
        ratio = self._slow_distance / self._slow_change
        seen = min(1.0, max(0.0, (ratio - WANDERING) / (FORGETTING - WANDERING)))
        return 1.0 - min(1.0, self._taken / VALUES_THAT_TELL) * (1.0 - seen)

    def missed_square_joules(self, seconds: float) -> float:
        """Variance of the energy that a trapezoid between two samples misses.

        (seconds x distance)^2 times 2/3 where the power forgets itself, times 1/6 where it wanders.
        """
        few = 1 + FEW_VALUES_FACTOR / min(max(self._taken, 1), FEW_VALUES)
        return few**2 * (1 / 6 + self.forgetful / 2) * self.distance * seconds * seconds

    def stray_joules(self, part: float, seconds: float, change_watts: float) -> float:
        """Standard deviation of the energy from a straight line, at a part (0 to 1) between two readings.

        `change_watts` is the change of mean power to the neighbouring intervals. In the middle a power that wanders
        strays by 0.15 x change x seconds, one that forgets itself by 0.35 (a Brownian bridge), near the ends by little.
        """
        return (0.15 + 0.2 * self.forgetful) * 4 * max(0.0, part * (1 - part)) * change_watts * seconds
