"""Holds an energy counter against the power read beside it, so that a counter that lies is found out.

Pure: time arrives with the readings. A power gauge that is read once a second as a mean of that second sees everything.
One that is instantaneous, or read rarely, sees a sample, which may fall in step with the load: then many more reads are
awaited, and only a gross difference is worth a person's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_AGREE: Final = (0.8, 1.25)  # of a gauge that saw all of the time
_AGREE_SAMPLED: Final = (0.5, 2.0)
_FROZEN_RATIO: Final = 0.02
_LEAST_READS: Final = 60
_LEAST_READS_SAMPLED: Final = 300
_LEAST_SECONDS: Final = 60.0  # edges: a lag of 1 s under a jump from idle to full load is below 3 % of it
_LONGEST_STRETCH: Final = 3.5  # intervals; what a gauge showed across a longer pause is unknown


@dataclass(frozen=True, slots=True)
class _Read:
    joules: float
    watts: float
    at_seconds: float


class CounterCheck:
    """Compares one counter with one gauge, stretch after stretch."""

    def __init__(self, averaged_over_seconds: float = 0.0) -> None:
        self._averaged_over_seconds = averaged_over_seconds
        self._last: _Read | None = None
        self._usual_seconds = 0.0
        self._agree = _AGREE
        self._saw_all = True
        self._begin()
        self.ratio: float | None = None  # of the last complete stretch; None before the first

    def add(self, joules: float, watts: float, at_seconds: float) -> None:
        """Take the counter and the power of one instant."""
        last, self._last = self._last, _Read(joules, watts, at_seconds)
        if last is None or at_seconds <= last.at_seconds:
            return
        seconds = at_seconds - last.at_seconds
        usual, self._usual_seconds = self._usual_seconds, seconds
        if joules < last.joules or (usual and seconds > _LONGEST_STRETCH * usual):
            return
        # a mean of just this interval is its power; anything else is joined by a straight line
        saw_all = self._averaged_over_seconds >= seconds / 2
        self._counted += joules - last.joules
        self._integrated += (watts if saw_all else (last.watts + watts) / 2) * seconds
        self._reads += 1
        self._seconds += seconds
        self._saw_all = self._saw_all and saw_all
        self._conclude()

    def miss(self) -> None:
        """Note that one of the two could not be read: nothing is known of this interval."""
        self._last = None

    @property
    def is_frozen(self) -> bool:
        """Whether the counter stood still while power was drawn."""
        return self.ratio is not None and self.ratio < _FROZEN_RATIO

    @property
    def problem(self) -> str:
        """What a person should know, "" where counter and power agree."""
        low, high = self._agree
        if self.ratio is None or low <= self.ratio <= high:
            return ""
        return (
            f"its energy counter gives {self.ratio:.2f} times its own power readings over the last minutes: "
            "one of the two is wrong; compare with another meter before trusting either"
        )

    def _conclude(self) -> None:
        least_reads = _LEAST_READS if self._saw_all else _LEAST_READS_SAMPLED
        if self._reads >= least_reads and self._seconds >= _LEAST_SECONDS:
            self.ratio = self._counted / self._integrated if self._integrated > 0 else None
            self._agree = _AGREE if self._saw_all else _AGREE_SAMPLED
            self._begin()

    def _begin(self) -> None:
        self._counted = self._integrated = self._seconds = 0.0
        self._reads = 0
        self._saw_all = True
