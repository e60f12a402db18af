"""How long a server ran at which load, and what that took: the way to power and efficiency at P90 load. Pure.

Load is generated tokens per second over slices of about ten seconds between two token readings. Seconds, joules and
tokens of a slice go to the level that holds its load. Levels are cumulative, so that PromQL finds any percentile:

    F(level)      = seconds at this load or less / all seconds
    power at P90  = joules in the level where F passes 0.9 / seconds in it

Loads are averaged by time, idle time included. A hardware limit or a price says nothing here; all is measured.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tokwatt.economics.intervals import Interval, joined
from tokwatt.economics.window import finishes_needed
from tokwatt.quantities import Joules, Seconds, Tokens, TokensPerSecond
from tokwatt.snapshot import Given, LoadTotals

# The E6 series of preferred numbers (IEC 60063): six levels a decade, each about 1.5 times the last.
E6 = (1.0, 1.5, 2.2, 3.3, 4.7, 6.8)
LEVELS: tuple[float, ...] = (
    *(mantissa * 10**decade for decade in range(5) for mantissa in E6),
    100_000.0,
    math.inf,
)
SLICE_SECONDS = 10.0
LONGEST_SLICES = 10  # an at-finish slice that is still open after so many is given up: its tokens are of another time


@dataclass(frozen=True, slots=True)
class AtLoad:
    """Time, energy and tokens of the slices whose load lies in one level."""

    load: TokensPerSecond  # mean in the level
    seconds: Seconds
    tokens: Tokens
    joules: Mapping[Given, Joules]


class LoadMeter:
    """Cuts the intervals of one server into slices and adds them up by load.

    Slices end at multiples of `slice_seconds` of the clock, for all servers in the same tick. A slice counts only where
    tokens and each boundary in `boundaries` were measured throughout, so that all sums are about the same time. Where
    tokens are counted when a request ends, a slice ends at a finish (or at rest) and holds as many as a window needs
    (ADR 6), or is left out.
    """

    __slots__ = ("_joules", "_open", "_seconds", "_tokens", "slice_seconds", "totals")

    def __init__(self, slice_seconds: float = SLICE_SECONDS) -> None:
        self.slice_seconds = slice_seconds
        self.totals: LoadTotals | None = None  # replaced when a slice ends, the same object in between
        self._open: list[Interval] = []
        self._seconds = [0.0] * len(LEVELS)
        self._tokens = [0.0] * len(LEVELS)
        self._joules: dict[Given, list[float]] = {}

    def restart(self) -> None:
        """Drop the open slice: the next interval does not follow the last."""
        self._open.clear()

    def add(self, interval: Interval, boundaries: Collection[Given]) -> None:
        """Take the next interval of the server."""
        if self.totals is None or any(boundary not in self._joules for boundary in boundaries):
            for boundary in boundaries:
                self._joules.setdefault(boundary, [0.0] * len(LEVELS))
            self._publish()  # from 0, so that an increase() misses nothing of the first slice
        if self._open and interval.start_seconds > self._open[-1].end_seconds:
            self.restart()
        self._open.append(interval)
        start = self._open[0].start_seconds
        due = self.slice_seconds * math.ceil((start + self.slice_seconds / 2) / self.slice_seconds)
        if interval.end_seconds >= due and self._may_end():
            self._count(joined(self._open), boundaries)
            self.restart()
        elif interval.end_seconds - start > LONGEST_SLICES * self.slice_seconds:
            self.restart()

    def _may_end(self) -> bool:
        last = self._open[-1]
        if last.in_flight is None:
            return True
        return last.edge and sum(interval.edge for interval in self._open) >= finishes_needed(last.in_flight)

    def _count(self, whole: Interval, boundaries: Collection[Given]) -> None:
        tokens = whole.output_tokens
        if tokens is None or any(boundary not in whole.joules for boundary in boundaries):
            return
        level = level_of(tokens / whole.seconds)
        self._seconds[level] += whole.seconds
        self._tokens[level] += tokens
        for boundary in boundaries:
            self._joules[boundary][level] += whole.joules[boundary]
        self._publish()

    def _publish(self) -> None:
        self.totals = LoadTotals(
            levels=LEVELS,
            seconds=_cumulative(self._seconds),
            output_tokens=tuple(map(Tokens, _cumulative(self._tokens))),
            joules={boundary: tuple(map(Joules, _cumulative(amounts))) for boundary, amounts in self._joules.items()},
        )


def level_of(load: TokensPerSecond) -> int:
    """Index of the lowest level that is at least this load."""
    return bisect_left(LEVELS, load)


def _cumulative(amounts: Sequence[float]) -> tuple[float, ...]:
    total, sums = 0.0, []
    for amount in amounts:
        total += amount
        sums.append(total)
    return tuple(sums)


def at_percentile(totals: LoadTotals, share: float) -> AtLoad | None:
    """What the level that holds a percentile of load took, as the recording rules find it; None without any slice.

    Args:
        totals: of one server.
        share: 0.9 for the 90th percentile of time.
    """
    if totals.seconds[-1] <= 0:
        return None
    level = next(i for i, seconds in enumerate(totals.seconds) if seconds >= share * totals.seconds[-1])
    seconds, tokens = Seconds(_inside(totals.seconds, level)), Tokens(_inside(totals.output_tokens, level))
    return AtLoad(
        load=tokens / seconds,
        seconds=seconds,
        tokens=tokens,
        joules={boundary: Joules(_inside(amounts, level)) for boundary, amounts in totals.joules.items()},
    )


def _inside(sums: Sequence[float], level: int) -> float:
    return sums[level] - (sums[level - 1] if level else 0.0)
