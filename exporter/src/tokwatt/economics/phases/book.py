"""Feeds one server's ticks to its splitter and keeps what it answers. Pure: time arrives in the cuts.

A tick is the time between two neighbouring cuts of the server's timeline. It is handed over once its energy is known,
or cannot become known any more, and comes back with its shares when the splitter has settled it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tokwatt.economics.phases.segments import Segment, Segments
from tokwatt.economics.phases.split import UNSPLIT, Splitter
from tokwatt.economics.phases.ticks import tick_of
from tokwatt.ledger.timeline import Cut, Timeline

Joules = Callable[[float, float], float | None]  # (start, end] -> joules of the split's boundary, None if unknown
Ready = Callable[[float], bool]  # False while the energy up to an instant can still become known


class PhaseBook:
    """Segments of one server, complete up to what its splitter has settled."""

    __slots__ = ("_before", "_models", "segments", "splitter")

    def __init__(self, splitter: Splitter) -> None:
        self.splitter = splitter
        self.segments = Segments()
        self._before: Cut | None = None
        self._models: deque[str] = deque()  # of the ticks that the splitter holds

    @property
    def taken_until_seconds(self) -> float:
        """Cuts up to here have been handed to the splitter."""
        return self._before.at_seconds if self._before else float("-inf")

    def advance(self, timeline: Timeline, joules: Joules, ready: Ready) -> None:
        """Hand over every new cut whose energy is ready, and book what the splitter has settled."""
        for cut in timeline.after(self.taken_until_seconds):
            if self.splitter.needs_joules and not ready(cut.at_seconds):
                break
            self._take(cut, joules)
        self._book_settled()

    def _take(self, cut: Cut, joules: Joules) -> None:
        before, self._before = self._before, cut
        if before is None:  # energy from before the first reading: nobody knows what was going on
            self.segments.append(Segment(cut.at_seconds, cut.model, UNSPLIT))
            return
        self._models.append(cut.model)
        self.splitter.take(tick_of(before, cut, joules(before.at_seconds, cut.at_seconds)))

    def change(self, splitter: Splitter) -> None:
        """Go on with another splitter; the old one settles what it has taken."""
        self.splitter.finish()
        self._book_settled()
        self.splitter = splitter

    def _book_settled(self) -> None:
        for tick, shares in self.splitter.settled():
            self.segments.append(Segment(tick.end_seconds, self._models.popleft(), shares))
