"""What a server did up to any recent instant, so that one server's window can be asked of another. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tokwatt.economics.window import WIDEST_WINDOWS, Point, Tally
from tokwatt.quantities import Dollars, Joules, Seconds, Tokens

POINTS_PER_WINDOW = 120  # the newest point replaces the one before it where ticks are closer than that


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the intervals in which one boundary and the tokens were both measured, all models together."""

    seconds: Seconds = Seconds(0)
    joules: Joules = Joules(0)
    dollars: Dollars = Dollars(0)
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    responses: float | None = None

    def toward(self, later: Sums, share: float) -> Sums:
        """Sums at an instant between this one and a later one."""
        return Sums(
            self.seconds + share * (later.seconds - self.seconds),
            self.joules + share * (later.joules - self.joules),
            self.dollars + share * (later.dollars - self.dollars),
            _toward(self.input_tokens, later.input_tokens, share),
            _toward(self.output_tokens, later.output_tokens, share),
            _toward(self.responses, later.responses, share),
        )

    def since(self, earlier: Sums) -> Sums:
        """Sums of the time after an earlier instant."""
        return Sums(
            self.seconds - earlier.seconds,
            self.joules - earlier.joules,
            self.dollars - earlier.dollars,
            _since(self.input_tokens, earlier.input_tokens),
            _since(self.output_tokens, earlier.output_tokens),
            _since(self.responses, earlier.responses),
        )


Count = TypeVar("Count", Tokens, float)  # tokens stay tokens, requests are plain numbers


def _toward(first: Count | None, later: Count | None, share: float) -> Count | None:
    if later is None or first is None:
        return later if later is None else share * later
    return first + share * (later - first)


def _since(now: Count | None, earlier: Count | None) -> Count | None:
    return now if now is None or earlier is None else now - earlier


NOTHING = Sums()


class History:
    """Points of one server's window, older ones than the window itself needs, and what lies between them."""

    __slots__ = ("_keep_seconds", "_points", "_spacing_seconds", "_times")

    def __init__(self, window_seconds: float) -> None:
        self._keep_seconds = (WIDEST_WINDOWS + 1) * window_seconds
        self._spacing_seconds = window_seconds / POINTS_PER_WINDOW
        self._times: list[float] = []
        self._points: list[Mapping[str, Sums]] = []

    @property
    def end_seconds(self) -> float | None:
        """Newest instant; None before the first."""
        return self._times[-1] if self._times else None

    def add(self, point: Point) -> None:
        """Take the window's next point. One without sums begins a new window: what was before belongs to another."""
        if not point.tallies:
            self._times.clear()
            self._points.clear()
        elif len(self._times) > 1 and point.at_seconds - self._times[-2] < self._spacing_seconds:
            del self._times[-1], self._points[-1]
        self._times.append(point.at_seconds)
        self._points.append({name: summed(tally) for name, tally in point.tallies.items()})
        drop = bisect_right(self._times, point.at_seconds - self._keep_seconds) - 1
        if drop > 16:
            del self._times[:drop], self._points[:drop]

    def between(self, start_seconds: float, end_seconds: float) -> Mapping[str, Sums]:
        """Sums in (start, end] by boundary name, TOKENS and COST. Time that was not measured adds nothing."""
        if not self._times:
            return {}
        start, end = self._at(start_seconds), self._at(end_seconds)
        return {name: sums.since(start.get(name, NOTHING)) for name, sums in end.items()}

    def _at(self, at_seconds: float) -> Mapping[str, Sums]:
        right = bisect_right(self._times, at_seconds)
        if right in (0, len(self._times)):
            return self._points[max(0, right - 1)]
        first, later = self._points[right - 1], self._points[right]
        start, end = self._times[right - 1], self._times[right]
        share = (at_seconds - start) / (end - start)
        return {name: first.get(name, NOTHING).toward(sums, share) for name, sums in later.items()}


def summed(tally: Tally) -> Sums:
    """Add up the models of a tally."""
    states = tuple(tally.tokens.values())
    return Sums(
        tally.seconds,
        tally.joules,
        tally.dollars,
        _total([state.input_tokens for state in states]),
        _total([state.output_tokens for state in states]),
        _total([state.responses for state in states]),
    )


def _total(amounts: Iterable[Count | None]) -> Count | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known[1:], known[0]) if known else None
