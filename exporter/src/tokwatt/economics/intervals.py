"""What happened between two consecutive token readings of a server, and how such intervals add up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tokwatt.economics.error import EdgeError, EnergySums, sum_of
from tokwatt.economics.window import COST, TOKENS, Point, Tally
from tokwatt.ledger.tokens import TokenState
from tokwatt.quantities import Dollars, Joules, Seconds, Tokens
from tokwatt.snapshot import Given


@dataclass(frozen=True, slots=True)
class Interval:
    """The time between two instants at which a server's tokens were read, with energy interpolated to them.

    What was not measured throughout is absent: a boundary from `joules`, dollars as None, tokens as None.
    """

    start_seconds: float  # monotonic
    end_seconds: float
    tokens: Mapping[str, TokenState] | None  # by model
    joules: Mapping[Given, Joules] = field(default_factory=dict)
    dollars: Dollars | None = None
    in_flight: float | None = None  # running requests at its end, of a server that counts tokens when a request ends
    edge: bool = True  # False: it ends between two finishes of such a server
    errors: Mapping[Given, EnergySums] = field(default_factory=dict)  # of the joules, apart from the edges
    start_errors: Mapping[str, EdgeError] = field(default_factory=dict)  # by boundary name
    end_errors: Mapping[str, EdgeError] = field(default_factory=dict)

    @property
    def seconds(self) -> Seconds:
        """Length."""
        return Seconds(self.end_seconds - self.start_seconds)

    @property
    def output_tokens(self) -> Tokens | None:
        """Generated tokens of all models; None where they were not measured or are not offered."""
        return output_tokens(self.tokens)


def output_tokens(tokens: Mapping[str, TokenState] | None) -> Tokens | None:
    """Generated tokens of all models."""
    known = [state.output_tokens for state in (tokens or {}).values() if state.output_tokens is not None]
    return Tokens(sum(known)) if known else None


def between(before: Point, after: Point) -> Interval | None:
    """Return the interval between two points of one window; None where the window began anew in between."""
    started = before.tallies.get(TOKENS, Tally())
    if after.at_seconds <= before.at_seconds or after.tallies.get(TOKENS, Tally()).seconds < started.seconds:
        return None
    length = after.at_seconds - before.at_seconds
    whole = {
        name: tally.minus(before.tallies.get(name, Tally()))
        for name, tally in after.tallies.items()
        if tally.seconds - before.tallies.get(name, Tally()).seconds > 0.999 * length
    }
    return Interval(
        start_seconds=before.at_seconds,
        end_seconds=after.at_seconds,
        tokens=whole[TOKENS].tokens if TOKENS in whole else None,
        joules={boundary: Joules(whole[boundary].joules) for boundary in Given if boundary in whole},
        dollars=Dollars(whole[COST].dollars) if COST in whole else None,
        in_flight=after.in_flight,
        edge=after.edge,
        errors={boundary: whole[boundary].errors for boundary in Given if boundary in whole},
        start_errors=before.errors,
        end_errors=after.errors,
    )


def joined(intervals: Iterable[Interval]) -> Interval:
    """Return consecutive intervals as one. What one of them lacks, the whole lacks."""
    parts = list(intervals)
    boundaries = [boundary for boundary in Given if all(boundary in part.joules for part in parts)]
    dollars = [part.dollars for part in parts if part.dollars is not None]
    tokens = [part.tokens for part in parts if part.tokens is not None]
    return Interval(
        start_seconds=parts[0].start_seconds,
        end_seconds=parts[-1].end_seconds,
        tokens=summed(tokens) if len(tokens) == len(parts) else None,
        joules={boundary: sum((part.joules[boundary] for part in parts), Joules(0)) for boundary in boundaries},
        dollars=sum(dollars, Dollars(0)) if len(dollars) == len(parts) else None,
        in_flight=parts[-1].in_flight,
        edge=parts[-1].edge,
        errors={
            boundary: sum_of(part.errors[boundary] for part in parts)
            for boundary in boundaries
            if all(boundary in part.errors for part in parts)
        },
        start_errors=parts[0].start_errors,
        end_errors=parts[-1].end_errors,
    )


def pieces(intervals: Iterable[Interval], at_least_seconds: float) -> list[Interval]:
    """Join neighbours to pieces of at least a length; what is left at an end goes with the piece before it.

    A meter's number is of some age when it is read, so the power of a short interval is mostly noise.
    """
    found: list[Interval] = []
    waiting: list[Interval] = []
    for part in intervals:
        if waiting and part.start_seconds > waiting[-1].end_seconds:
            found, waiting = _ended(found, waiting), []
        waiting.append(part)
        if part.end_seconds - waiting[0].start_seconds >= at_least_seconds:
            found.append(joined(waiting))
            waiting = []
    return _ended(found, waiting)


def _ended(found: list[Interval], rest: list[Interval]) -> list[Interval]:
    if not rest:
        return found
    if found and found[-1].end_seconds == rest[0].start_seconds:
        return [*found[:-1], joined([found[-1], *rest])]
    return [*found, joined(rest)]


def summed(tokens: Iterable[Mapping[str, TokenState]]) -> Mapping[str, TokenState]:
    """Sums by model; a quantity that is not offered stays None."""
    tally = Tally()
    for part in tokens:
        tally = tally.plus(Seconds(0), Joules(0), Dollars(0), part)
    return tally.tokens
