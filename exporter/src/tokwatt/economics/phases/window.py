"""The live window of the phase gauges: the server's window, as far as its phases are settled. Pure.

A split may come later than its energy (a meter that is awaited), so these gauges have a window
of their own. As in the other one, tokens, joules and dollars of a ratio cover exactly the same instants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tokwatt.economics.phases.segments import Segment, Segments
from tokwatt.economics.window import Point, Tally, Window, WindowSums
from tokwatt.snapshot import Phase

PHASES: Final = (Phase.PREFILL, Phase.DECODE, Phase.IDLE)


def key_of(phase: Phase, tally: str) -> str:
    """Name of the tally that holds a phase's part of another tally."""
    return f"{phase.value} {tally}"


class PhaseWindow:
    """Points of one server's window, with each tally divided by phase. What is unsplit is not covered."""

    __slots__ = ("_pending", "_window")

    def __init__(self, window_seconds: float, tick_seconds: float) -> None:
        self._window = Window(window_seconds, tick_seconds)
        self._pending: deque[tuple[Point | None, Point]] = deque()

    def clear(self) -> None:
        """Start anew."""
        self._window.clear()
        self._pending.clear()

    def offer(self, before: Point | None, point: Point) -> None:
        """Take the next point of the server's window; it counts once its phases are settled."""
        self._pending.append((before, point))

    def settle(self, segments: Segments) -> None:
        """Append every pending point up to which the phases are settled."""
        end = segments.end_seconds
        while self._pending and end is not None and self._pending[0][1].at_seconds <= end:
            before, point = self._pending.popleft()
            last = self._window.last
            tallies = last.tallies if last else {}
            if before is not None:
                tallies = _extended(tallies, before, point, segments)
            self._window.append(replace(point, tallies=tallies))

    def sums(self, fresh_until_seconds: float) -> WindowSums | None:
        """Sums by phase; see `Window.sums`."""
        return self._window.sums(fresh_until_seconds)


def _extended(tallies: Mapping[str, Tally], before: Point, point: Point, segments: Segments) -> Mapping[str, Tally]:
    parts = segments.between(before.at_seconds, point.at_seconds)
    if not parts or any(part.shares.unsplit > 0 for part in parts):
        return tallies
    extended = dict(tallies)
    for name, tally in point.tallies.items():
        gained = tally.minus(before.tallies.get(name, Tally()))
        if gained.seconds <= 0:
            continue
        for phase in PHASES:
            share = _mean_share(phase, parts, before.at_seconds)
            key = key_of(phase, name)
            extended[key] = extended.get(key, Tally()).plus(
                gained.seconds, gained.joules * share, gained.dollars * share, gained.tokens
            )
    return extended


def _mean_share(phase: Phase, parts: list[Segment], start_seconds: float) -> float:
    """Return the part of a phase over several segments, weighted by time."""
    weighted, start = 0.0, start_seconds
    for part in parts:
        weighted += getattr(part.shares, phase.value) * (part.end_seconds - start)
        start = part.end_seconds
    return weighted / (start - start_seconds)
