"""Energy readings of one meter to a monotone curve of cumulative joules. Pure: time arrives in the reading."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

from tokwatt.ledger.line import Line
from tokwatt.ledger.scatter import Scatter
from tokwatt.readings import EnergyCounter, EnergyReading, Meter, PowerSample

FADE = 0.95  # of the longest pause between two readings, from one reading to the next


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of monotonic time that no reading vouches for."""

    start_seconds: float
    end_seconds: float


class EnergyCurve:
    """Cumulative joules of one physical meter since its first reading, which is the baseline.

    Rules (contract, "Rules that hold always"):
    - a counter that falls was reset, or wrapped where its modulus is known. After a reset nothing is added for the
      interval: what was used before the reset is unknown, and what the counter shows may be a glitch;
    - a counter's difference across a gap is real and kept, but no second inside the gap is vouched for;
    - a power gauge is integrated by trapezoid between samples and never across a gap.
    """

    __slots__ = (
        "_gaps",
        "gap_seconds",
        "last",
        "line",
        "max_gap_seconds",
        "meter",
        "missed",
        "orphaned",
        "pause_seconds",
        "resets",
        "scatter",
    )

    def __init__(self, first: EnergyReading, max_gap_seconds: float) -> None:
        self.meter: Meter = first.meter
        self.max_gap_seconds = max_gap_seconds
        self.line = Line(first.at_seconds, 0.0)
        self.orphaned = False
        self.resets = 0
        self.gap_seconds = 0.0
        self.last = first
        self.missed = Line(first.at_seconds, 0.0)  # variance, J^2, of what a gauge missed between its samples
        self.scatter = Scatter()
        self.pause_seconds = 0.0  # usual time between two readings, the longest of late
        self._gaps: list[Span] = []

    def add(self, reading: EnergyReading) -> bool:
        """Take the next reading. False if it was ignored: not newer than the last one, or not a finite amount."""
        amount = reading.joules if isinstance(reading, EnergyCounter) else reading.watts
        if reading.at_seconds <= self.last.at_seconds or not math.isfinite(amount) or amount < 0:
            return False
        joules = self._difference(reading)
        gap = reading.at_seconds - self.last.at_seconds > self.max_gap_seconds
        if gap:
            self.gap_seconds += reading.at_seconds - self.last.at_seconds
        if gap or joules is None:
            self._gaps.append(Span(self.last.at_seconds, reading.at_seconds))
            del self._gaps[:-64]
        self.line.append(reading.at_seconds, self.line.end_value + (joules or 0.0))
        self._watch_power(reading, joules)
        if not gap:
            self.pause_seconds = max(reading.at_seconds - self.last.at_seconds, FADE * self.pause_seconds)
        self.meter = reading.meter
        self.orphaned = False
        self.last = reading
        return True

    def _difference(self, reading: EnergyReading) -> float | None:
        """Joules since the last reading; None if they are unknown."""
        last = self.last
        if isinstance(reading, EnergyCounter) and isinstance(last, EnergyCounter):
            if reading.joules >= last.joules:
                return reading.joules - last.joules
            if reading.wraps_at_joules is not None and last.joules <= reading.wraps_at_joules:
                return reading.wraps_at_joules - last.joules + reading.joules
            self.resets += 1
            return None
        if isinstance(reading, PowerSample) and isinstance(last, PowerSample):
            seconds = reading.at_seconds - last.at_seconds
            if seconds > self.max_gap_seconds:
                return None
            return 0.5 * (reading.watts + last.watts) * seconds
        return None  # the meter changed its kind: a new baseline

    def _watch_power(self, reading: EnergyReading, joules: float | None) -> None:
        """Learn how restless the power is, and for a gauge what its trapezoid missed."""
        seconds = reading.at_seconds - self.last.at_seconds
        if joules is None or seconds > self.max_gap_seconds:
            self.scatter.pause()
        if isinstance(reading, PowerSample):
            self.scatter.take(reading.at_seconds, reading.watts)
            unseen = max(0.0, 1 - reading.averaged_over_seconds / seconds)
            variance = unseen * self.scatter.missed_square_joules(seconds) if joules is not None else 0.0
            self.missed.append(reading.at_seconds, self.missed.end_value + variance)
        elif joules is not None:
            self.scatter.take(reading.at_seconds - seconds / 2, joules / seconds)

    def orphan(self) -> None:
        """Give up the source: the next reading of any source takes the device over."""
        self.orphaned = True

    def forget_before(self, at_seconds: float) -> None:
        """Drop what is not needed to evaluate instants >= `at_seconds`."""
        self.line.forget_before(at_seconds)
        self.missed.forget_before(at_seconds)

    def vouched(self, start_seconds: float, end_seconds: float) -> bool:
        """Whether readings vouch for every second of (start, end]."""
        if start_seconds < self.line.start_seconds or end_seconds > self.line.end_seconds:
            return False
        first = bisect_right(self._gaps, start_seconds, key=lambda gap: gap.end_seconds)
        return first == len(self._gaps) or self._gaps[first].start_seconds >= end_seconds
