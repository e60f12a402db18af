"""The one live window of a server: which instants it spans, and what was measured inside. Pure.

Points are kept at instants where the server's tokens were read, and energy is interpolated to them, so tokens, joules
and dollars of a ratio always cover the same instants.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tokwatt.economics.error import NO_ERRORS, EdgeError, EnergySums, error_ratio, sum_of
from tokwatt.ledger.tokens import TokenState
from tokwatt.quantities import Dollars, Joules, Seconds, Tokens

# Moving an edge of the window by one second is worth this much less blur (seconds at the power of the edge).
# An edge's blur is an error of every ratio; the window's exact length does no harm, as it is stated.
BLUR_PER_SECOND_MOVED = 0.002

# An at-finish counter may widen a window up to this many times its configured length; requests that last longer leave
# the tokens of the window unknown.
WIDEST_WINDOWS = 10
# How far requests in flight at the two edges may blur the tokens of such a window, as a share of them.
FINISH_BLUR = 0.05
MOST_FINISHES = 100  # remembered beyond the window; enough for 150 requests in flight


def finishes_needed(in_flight: float) -> int:
    """Finishes that a window must hold so that requests in flight at its edges blur its tokens by FINISH_BLUR at most.

    At a finish the other n - 1 requests are anywhere in their answers: what they have made uncounted varies with
    standard deviation sqrt((n - 1) / 12) answers at each edge, sqrt((n - 1) / 6) between two edges.
    """
    return min(MOST_FINISHES, math.ceil(math.sqrt(max(0.0, in_flight - 1) / 6) / FINISH_BLUR))


@dataclass(frozen=True, slots=True)
class Tally:
    """Cumulative sums over the intervals in which one boundary and the tokens were both measured."""

    seconds: Seconds = Seconds(0)
    joules: Joules = Joules(0)
    dollars: Dollars = Dollars(0)
    tokens: Mapping[str, TokenState] = field(default_factory=dict)  # by model
    errors: EnergySums = NO_ERRORS  # of the joules

    def plus(
        self,
        seconds: Seconds,
        joules: Joules,
        dollars: Dollars,
        tokens: Mapping[str, TokenState],
        errors: EnergySums = NO_ERRORS,
    ) -> Tally:
        """Return the tally with one more interval."""
        merged = dict(self.tokens)
        for model, step in tokens.items():
            merged[model] = _add(merged.get(model), step)
        return Tally(
            self.seconds + seconds,
            self.joules + joules,
            self.dollars + dollars,
            merged,
            sum_of((self.errors, errors)),
        )

    def minus(self, earlier: Tally) -> Tally:
        """Sums of the intervals between two points."""
        return Tally(
            seconds=self.seconds - earlier.seconds,
            joules=max(Joules(0), self.joules - earlier.joules),
            dollars=self.dollars - earlier.dollars,  # below 0 where electricity had a negative price
            tokens={model: _without(state, earlier.tokens.get(model)) for model, state in self.tokens.items()},
            errors=self.errors.minus(earlier.errors),
        )


def step(now: TokenState, before: TokenState | None) -> TokenState:
    """Tokens between two totals. A quantity that was not offered before starts at its first reading."""
    if before is None:
        before = now
    return TokenState(
        _difference(now.input_tokens, before.input_tokens),
        _difference(now.output_tokens, before.output_tokens),
        _difference(now.responses, before.responses),
    )


def _add(total: TokenState | None, more: TokenState) -> TokenState:
    if total is None:
        return more
    return TokenState(
        _sum(total.input_tokens, more.input_tokens),
        _sum(total.output_tokens, more.output_tokens),
        _sum(total.responses, more.responses),
    )


def _without(total: TokenState, earlier: TokenState | None) -> TokenState:
    """Sums of the later intervals; a model without earlier intervals started at zero."""
    if earlier is None:
        return total
    return TokenState(
        _rest(total.input_tokens, earlier.input_tokens),
        _rest(total.output_tokens, earlier.output_tokens),
        _rest(total.responses, earlier.responses),
    )


Count = TypeVar("Count", Tokens, float)  # tokens stay tokens, requests are plain numbers


def _rest(total: Count | None, earlier: Count | None) -> Count | None:
    return total if total is None or earlier is None else total - earlier


def _sum(total: Count | None, more: Count | None) -> Count | None:
    if total is None or more is None:
        return more if total is None else total
    return total + more


def _difference(now: Count | None, before: Count | None) -> Count | None:
    if now is None:
        return None
    return now - (before if before is not None else now)


TOKENS = "tokens"  # the tally that asks for tokens alone
COST = "cost"  # the tally over which dollars are complete


@dataclass(frozen=True, slots=True)
class Point:
    """Cumulative tallies at one instant at which the server's tokens were read."""

    at_seconds: float
    uncertainty_seconds: float
    tallies: Mapping[str, Tally]  # by boundary name, TOKENS and COST
    edge: bool = True  # False: between two finishes of a server that counts output tokens when a request ends
    in_flight: float | None = None  # running requests of such a server; None: it counts tokens as they are made
    errors: Mapping[str, EdgeError] = field(default_factory=dict)  # of the energy up to here, by boundary name


@dataclass(frozen=True, slots=True)
class WindowSums:
    """What was measured between two points, and over which stretch coverage is counted."""

    start_seconds: float
    end_seconds: float
    nominal_start_seconds: float
    nominal_end_seconds: float
    sums: Mapping[str, Tally]
    # False: its edges are not finishes, so an at-finish counter's tokens are not of this time
    tokens_known: bool = True
    error_ratios: Mapping[str, float] = field(default_factory=dict)  # half-width of each energy's 90 % interval

    def coverage_ratio(self, name: str) -> float:
        """Part of the window in which this tally was measured."""
        tally = self.sums.get(name)
        nominal = self.nominal_end_seconds - self.nominal_start_seconds
        return min(1.0, tally.seconds / nominal) if tally is not None and nominal > 0 else 0.0

    def covered(self, min_coverage: float) -> dict[str, Tally]:
        """Tallies that were measured in enough of the window to be published."""
        return {
            name: tally
            for name, tally in self.sums.items()
            if tally.seconds > 0 and self.coverage_ratio(name) >= min_coverage
        }


class Window:
    """Recent points of one server.

    Where output tokens are counted at the end of a request (llama.cpp, TGI, ...), a window between two arbitrary
    instants would show 0 and then a spike. There both edges are put at finishes, or where the server was at rest, and
    the window is widened until it holds enough finishes: tokens and energy between two finishes belong together.
    """

    __slots__ = ("_finishes", "_keep_seconds", "_points", "_slack_seconds", "_widest_seconds", "_window_seconds")

    def __init__(self, window_seconds: float, tick_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._slack_seconds = min(2.5 * tick_seconds, 0.25 * window_seconds)
        self._keep_seconds = window_seconds + 2 * self._slack_seconds + 2 * tick_seconds
        self._widest_seconds = WIDEST_WINDOWS * window_seconds
        self._points: deque[Point] = deque()
        self._finishes: deque[Point] = deque(maxlen=MOST_FINISHES)  # older than any plain window

    @property
    def last(self) -> Point | None:
        """Newest point."""
        return self._points[-1] if self._points else None

    def points_after(self, at_seconds: float) -> list[Point]:
        """Points later than an instant, as far as they are still kept."""
        return [point for point in self._points if point.at_seconds > at_seconds]

    def clear(self) -> None:
        """Start anew."""
        self._points.clear()
        self._finishes.clear()

    def append(self, point: Point) -> None:
        """Add the next point and drop those that no window can use any more."""
        self._points.append(point)
        while len(self._points) > 2 and self._points[1].at_seconds < point.at_seconds - self._keep_seconds:
            old = self._points.popleft()
            if old.edge and old.in_flight is not None:
                self._finishes.append(old)
        while self._finishes and self._finishes[0].at_seconds < point.at_seconds - self._widest_seconds:
            self._finishes.popleft()

    def sums(self, fresh_until_seconds: float) -> WindowSums | None:
        """Sums over the window that ends now, or at the last finish. None until two points span it.

        `fresh_until_seconds`: the instant up to which points should exist by now. Time missing before it counts as not
        covered, so that a server that stops answering loses coverage tick by tick.
        """
        points = list(self._points)
        if len(points) < 2:
            return None
        overdue_seconds = max(0.0, fresh_until_seconds - self._slack_seconds - points[-1].at_seconds)
        if points[-1].in_flight is None:
            return self._plain(points, overdue_seconds)
        finishes = [*self._finishes, *(point for point in points if point.edge)]
        found = self._between_finishes(finishes, overdue_seconds)
        plain = self._plain(points, overdue_seconds) if found is None else None
        return found if plain is None else replace(plain, tokens_known=False)

    def _plain(self, points: list[Point], overdue_seconds: float) -> WindowSums | None:
        """Return the window of the configured length; shorter where the time before it is not known."""
        times = [point.at_seconds for point in points]
        end = self._near(points, times, times[-1]) or points[-1]
        target = end.at_seconds + overdue_seconds - self._window_seconds
        start = points[0] if target <= times[0] else self._near(points, times, target)
        if start is not None:
            return _sums(start, end, overdue_seconds, start.at_seconds)
        return _sums(points[min(bisect_left(times, target), len(points) - 1)], end, overdue_seconds, target)

    def _between_finishes(self, finishes: list[Point], overdue_seconds: float) -> WindowSums | None:
        """Return a window of the configured length or wider, from one finish to another with enough in between."""
        if len(finishes) < 2:
            return None
        times = [point.at_seconds for point in finishes]
        target = times[-1] + overdue_seconds - self._window_seconds
        by_length = self._near(finishes, times, target) or finishes[max(0, bisect_right(times, target) - 1)]
        by_count = len(finishes) - 1 - finishes_needed(finishes[-1].in_flight or 0.0)
        if by_count < 0:
            return None
        start = min(by_length, finishes[by_count], key=lambda point: point.at_seconds)
        return _sums(start, finishes[-1], overdue_seconds, start.at_seconds)

    def _near(self, points: list[Point], times: list[float], target: float) -> Point | None:
        """Return the point near `target` whose instant is known best; None where none is near."""
        first, last = target - self._slack_seconds, target + self._slack_seconds
        near = points[bisect_left(times, first) : bisect_right(times, last)]
        return min(near, key=lambda point: _edge_cost(point, target), default=None)


def _sums(start: Point, end: Point, overdue_seconds: float, nominal_start_seconds: float) -> WindowSums | None:
    if start.at_seconds >= end.at_seconds:
        return None
    sums = {name: tally.minus(start.tallies.get(name, Tally())) for name, tally in end.tallies.items()}
    return WindowSums(
        start_seconds=start.at_seconds,
        end_seconds=end.at_seconds,
        nominal_start_seconds=nominal_start_seconds,
        nominal_end_seconds=end.at_seconds + overdue_seconds,
        sums=sums,
        error_ratios={
            name: error_ratio(sums[name].joules, sums[name].errors, start.errors.get(name, EdgeError()), edge)
            for name, edge in end.errors.items()
            if name in sums and sums[name].joules > 0
        },
    )


def _edge_cost(point: Point, target_seconds: float) -> float:
    """Joules by which an edge here may be wrong, or seconds where no energy is measured."""
    moved = abs(point.at_seconds - target_seconds)
    finest = next(iter(point.errors.values()), None)
    if finest is None or finest.watts <= 0:
        return point.uncertainty_seconds + BLUR_PER_SECOND_MOVED * moved
    return math.sqrt(finest.variance) + finest.watts * BLUR_PER_SECOND_MOVED * moved
