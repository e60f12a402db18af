"""Readings of an application's counter to one running total. Pure: time arrives in the reading."""

from __future__ import annotations

from tokwatt.ledger.energy import Span
from tokwatt.ledger.line import Line
from tokwatt.readings import CountReading


class CountCurve:
    """Running total of a counter since its first reading, which is the baseline.

    Its series are parts of one count, and resets are found per series: one that fell was restarted from zero, so its
    whole new value is new. A series that joins between two reads that are no gap began at zero in between: client
    libraries show a labelled series once it counts. What was counted across a gap is real and kept; where a series
    fell or joined in a gap, a part was lost, and no count over that stretch is known.
    """

    __slots__ = ("_gaps", "_last", "_lost", "gap_seconds", "line", "max_gap_seconds", "resets")

    def __init__(self, first: CountReading, max_gap_seconds: float) -> None:
        self.max_gap_seconds = max_gap_seconds
        self.line = Line(first.at_seconds, 0.0)
        self.resets = 0
        self.gap_seconds = 0.0
        self._last: dict[str, float] | None = {sample.series: sample.value for sample in first.samples}
        self._gaps: list[Span] = []
        self._lost: list[Span] = []

    @property
    def total(self) -> float:
        """Everything counted so far."""
        return self.line.end_value

    def add(self, reading: CountReading) -> bool:
        """Take the next reading. False if it was ignored because it is not newer than the last one."""
        before = self.line.end_seconds
        if reading.at_seconds <= before:
            return False
        span = Span(before, reading.at_seconds)
        gap = reading.at_seconds - before > self.max_gap_seconds
        anew, last = self._last is None, self._last or {}
        fell = any(sample.value < last.get(sample.series, 0.0) for sample in reading.samples)
        joined = any(sample.series not in last for sample in reading.samples)
        self.resets += fell
        if gap:
            self.gap_seconds += reading.at_seconds - before
            self._gaps = [*self._gaps[-63:], span]
        if anew or (gap and (fell or joined)):
            self._lost = [*self._lost[-63:], span]
        counted = 0.0
        for sample in reading.samples:
            known = last.get(sample.series, sample.value if gap or anew else 0.0)
            counted += sample.value - known if sample.value >= known else sample.value
        self._last = {**last, **{sample.series: sample.value for sample in reading.samples}}
        self.line.append(reading.at_seconds, self.line.end_value + counted)
        return True

    def begin_anew(self) -> None:
        """Take the next reading as a new baseline: another counter has taken this one's place. The total goes on."""
        self._last = None

    def between(self, start_seconds: float, end_seconds: float) -> float | None:
        """Count in (start, end]; None where it is not known: not read there, an edge in a gap, a part lost."""
        if start_seconds < self.line.start_seconds or end_seconds > self.line.end_seconds:
            return None
        if any(
            gap.start_seconds < edge < gap.end_seconds for gap in self._gaps for edge in (start_seconds, end_seconds)
        ):
            return None
        if any(lost.start_seconds < end_seconds and lost.end_seconds > start_seconds for lost in self._lost):
            return None
        return self.line.at(end_seconds) - self.line.at(start_seconds)
