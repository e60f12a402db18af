"""A recorded run of one server: the whole of it, and its steady state. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokwatt.economics.intervals import Interval
from tokwatt.economics.phases.split import Shares
from tokwatt.economics.recorder import Recorder
from tokwatt.economics.steady import SHORTEST, steady_part
from tokwatt.economics.stretch import Stretch, Terms, stretch
from tokwatt.economics.window import finishes_needed

SEEN_SHARE = 0.8  # of the readings with new tokens; where so many saw a request run, their number is the load


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What one server did between the last reading before a run and the first one after it."""

    whole: Stretch
    steady: Stretch | None
    why_not_steady: str  # "" where there is a steady state
    intervals: tuple[Interval, ...]  # of the whole run
    shares: tuple[Shares, ...]  # of each interval's energy by phase; empty where it is not split


def run_figures(recorder: Recorder, start_seconds: float, end_seconds: float, terms: Terms) -> RunFigures | None:
    """Sum up a run; None where the server was not read around it with its energy.

    Args:
        recorder: of the server, from before the run until after it.
        start_seconds: the run's tokens begin after this instant.
        end_seconds: and end before this one.
        terms: what else the figures need.
    """
    start, end = recorder.reading_before(start_seconds), recorder.reading_after(end_seconds)
    intervals = recorder.within(start, end) if start is not None and end is not None else []
    if start is None or end is None or not intervals:
        return None
    whole = stretch(intervals, recorder.tokens(start, end), terms)
    found = find_steady(intervals)
    steady = None
    if not isinstance(found, str):
        tokens = recorder.tokens(found[0].start_seconds, found[-1].end_seconds)
        steady = stretch(found, tokens, terms)
    shares = tuple(terms.shares(part) for part in intervals) if terms.shares else ()
    return RunFigures(whole, steady, found if isinstance(found, str) else "", tuple(intervals), shares)


def find_steady(intervals: Sequence[Interval]) -> Sequence[Interval] | str:
    """Return the intervals of the steady state, or why there is none.

    Load is generated tokens per second. Where tokens are counted when a request ends, and requests last long enough to
    be seen, it is the number of requests that run. There the steady state begins and ends at finishes.
    """
    found = steady_part(_loads(intervals))
    if found is None:
        return f"load never was steady for half of the run, or the run is shorter than {SHORTEST} token readings"
    steady = list(intervals[found[0] : found[1]])
    if all(part.in_flight is None for part in steady):
        return steady
    edges = [number for number, part in enumerate(steady) if part.edge]
    needed = finishes_needed(max(part.in_flight or 0.0 for part in steady))
    if len(edges) < 2 or len(edges) - 1 < needed:
        return (
            "this server counts tokens when a request ends, and too few readings of the steady state saw one end "
            f"({len(edges)} of {max(2, needed + 1)}): run longer"
        )
    return steady[edges[0] + 1 : edges[-1] + 1]


def _loads(intervals: Sequence[Interval]) -> list[float]:
    rates = [0.0 if (tokens := part.output_tokens) is None else tokens / part.seconds for part in intervals]
    requests = [part.in_flight or 0.0 for part in intervals]
    moving = sum(rate > 0 for rate in rates)
    return requests if sum(number > 0 for number in requests) >= SEEN_SHARE * moving else rates
