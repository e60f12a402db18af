"""Everything that is said about a stretch of one server's time: tokens, joules, dollars, ratios, percentiles. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tokwatt.economics import equations
from tokwatt.economics.error import error_ratio, sum_of
from tokwatt.economics.history import Sums
from tokwatt.economics.intervals import Interval, pieces, summed
from tokwatt.economics.load import LoadMeter, at_percentile
from tokwatt.economics.phases.split import Shares
from tokwatt.economics.responses import PerResponse
from tokwatt.economics.window import COST, TOKENS
from tokwatt.ledger.tokens import TokenState
from tokwatt.quantities import (
    Dollars,
    Joules,
    Seconds,
    Tokens,
    TokensPerDollar,
    TokensPerJoule,
    TokensPerSecond,
    Watts,
)
from tokwatt.snapshot import Given, Phase

# A GPU's counter is renewed every 100 ms, so the power of one second is known to 10 % only, and the highest tenth of
# such values would be noise.
POWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Energy:
    """One boundary over a stretch. All but the coverage is about the covered part of it."""

    coverage_ratio: float  # part of the stretch in which tokens and this boundary's energy were both measured
    joules: Joules
    mean_watts: Watts
    p50_watts: Watts  # by time, of the mean power over pieces of POWER_SECONDS
    p90_watts: Watts
    output_tokens_per_joule: TokensPerJoule | None  # None below min_coverage too
    processed_tokens_per_joule: TokensPerJoule | None
    error_ratio: float | None  # half-width of the 90 % interval of the joules, as a share of them


@dataclass(frozen=True, slots=True)
class BusyLoad:
    """The level of load that holds the 90th percentile of time (`economics.load`)."""

    output_tokens_per_second: TokensPerSecond
    seconds: Seconds
    watts: Mapping[Given, Watts]
    output_tokens_per_joule: Mapping[Given, TokensPerJoule]


@dataclass(frozen=True, slots=True)
class Stretch:
    """One stretch. None: not measured, not offered or not configured."""

    start_seconds: float  # monotonic; both edges are token readings
    end_seconds: float
    tokens: Mapping[str, TokenState]  # by model
    energy: Mapping[Given, Energy]
    phase_joules: Mapping[Given, Mapping[Phase, Joules]]  # empty where the server's energy is not split
    output_tokens_per_second: TokensPerSecond | None
    input_tokens_per_second: TokensPerSecond | None
    dollars: Dollars | None  # capacity and energy
    dollars_coverage_ratio: float
    output_tokens_per_dollar: TokensPerDollar | None
    processed_tokens_per_dollar: TokensPerDollar | None
    response_dollars: Dollars | None  # of a meaningful response
    response_joules: Mapping[Given, Joules]
    p90_load: BusyLoad | None

    @property
    def seconds(self) -> Seconds:
        """Length."""
        return Seconds(self.end_seconds - self.start_seconds)

    def total(self, quantity: str) -> float | None:
        """Sum of a quantity of `TokenState` over all models; None where none offers it."""
        return _total(self.tokens, quantity)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is not in the intervals: rules of the configuration and how energy is split."""

    min_coverage: float = 0.9
    per_response: Callable[[float, float, Mapping[str, Sums]], PerResponse | None] | None = None
    shares: Callable[[Interval], Shares] | None = None  # None: no method splits this server's energy


def stretch(intervals: Sequence[Interval], tokens: Mapping[str, TokenState], terms: Terms) -> Stretch:
    """Sum up a stretch.

    Args:
        intervals: at least one, in order.
        tokens: counted from the first to the last edge, by model.
        terms: what else the figures need.
    """
    start, end = intervals[0].start_seconds, intervals[-1].end_seconds
    length = Seconds(end - start)
    boundaries = [boundary for boundary in Given if any(boundary in part.joules for part in intervals)]
    known = {boundary: [part for part in intervals if boundary in part.joules] for boundary in boundaries}
    paid = [part for part in intervals if part.dollars is not None]
    sums = {TOKENS: _sums(intervals), COST: _sums(paid)} | {b: _sums(parts, b) for b, parts in known.items()}
    trusted = {key: part for key, part in sums.items() if part.seconds >= terms.min_coverage * length}
    response = terms.per_response(start, end, trusted) if terms.per_response else None
    cost = trusted.get(COST)
    output, prompt = _total(tokens, "output_tokens"), _total(tokens, "input_tokens")
    return Stretch(
        start_seconds=start,
        end_seconds=end,
        tokens=tokens,
        energy={
            boundary: _energy(sums[boundary], boundary, known[boundary], length, trusted=boundary in trusted)
            for boundary in boundaries
        },
        phase_joules={boundary: _phases(boundary, known[boundary], terms.shares) for boundary in boundaries},
        output_tokens_per_second=None if output is None else Tokens(output) / length,
        input_tokens_per_second=None if prompt is None else Tokens(prompt) / length,
        dollars=sums[COST].dollars if paid else None,
        dollars_coverage_ratio=min(1.0, sums[COST].seconds / length),
        output_tokens_per_dollar=_per_dollar(cost.output_tokens, cost) if cost else None,
        processed_tokens_per_dollar=_per_dollar(_processed(cost), cost) if cost else None,
        response_dollars=response.cost_dollars if response else None,
        response_joules=response.energy_joules if response else {},
        p90_load=busy_load(intervals, boundaries),
    )


def _tokens(amount: float | None) -> Tokens | None:
    return None if amount is None else Tokens(amount)


def _sums(parts: Sequence[Interval], boundary: Given | None = None) -> Sums:
    """Sums over those intervals in which tokens were measured too."""
    whole = [part for part in parts if part.tokens is not None]
    tokens = summed(part.tokens or {} for part in whole)
    return Sums(
        seconds=_seconds(whole),
        joules=sum((part.joules[boundary] for part in whole), Joules(0)) if boundary else Joules(0),
        dollars=sum((part.dollars or Dollars(0) for part in whole), Dollars(0)),
        input_tokens=_tokens(_total(tokens, "input_tokens")),
        output_tokens=_tokens(_total(tokens, "output_tokens")),
        responses=_total(tokens, "responses"),
    )


def _energy(sums: Sums, boundary: Given, parts: Sequence[Interval], length: Seconds, *, trusted: bool) -> Energy:
    joules, seconds = sums.joules, sums.seconds
    powers = sorted((part.joules[boundary] / part.seconds, part.seconds) for part in pieces(parts, POWER_SECONDS))
    return Energy(
        coverage_ratio=min(1.0, seconds / length),
        joules=joules,
        mean_watts=joules / seconds if seconds > 0 else Watts(0),
        p50_watts=percentile(powers, 0.5),
        p90_watts=percentile(powers, 0.9),
        output_tokens_per_joule=_per_joule(sums.output_tokens, joules) if trusted else None,
        processed_tokens_per_joule=_per_joule(_processed(sums), joules) if trusted else None,
        error_ratio=_error_ratio(joules, boundary, parts) if trusted else None,
    )


def _error_ratio(joules: Joules, boundary: Given, parts: Sequence[Interval]) -> float | None:
    """As of a live window: what the meters declare, and what is not known of the energy at the two edges."""
    start, end = parts[0].start_errors.get(boundary), parts[-1].end_errors.get(boundary)
    if start is None or end is None or joules <= 0:
        return None
    return error_ratio(joules, sum_of(part.errors[boundary] for part in parts if boundary in part.errors), start, end)


def _phases(
    boundary: Given, parts: Iterable[Interval], shares_of: Callable[[Interval], Shares] | None
) -> Mapping[Phase, Joules]:
    if shares_of is None:
        return {}
    sums = dict.fromkeys(Phase, Joules(0))
    for part in parts:
        if part.tokens is None:
            continue
        shares = shares_of(part)
        for phase in Phase:
            sums[phase] += part.joules[boundary] * float(getattr(shares, phase.value))
    return sums


def busy_load(
    intervals: Iterable[Interval],
    boundaries: Sequence[Given],
) -> BusyLoad | None:
    """Power and efficiency at P90 load, as the recording rules find them; None where no slice is whole."""
    meter = LoadMeter()
    for part in intervals:
        meter.add(part, boundaries)
    found = at_percentile(meter.totals, 0.9) if meter.totals else None
    if found is None:
        return None
    ratios = {boundary: equations.tokens_per_joule(found.tokens, joules) for boundary, joules in found.joules.items()}
    return BusyLoad(
        output_tokens_per_second=found.load,
        seconds=found.seconds,
        watts={boundary: joules / found.seconds for boundary, joules in found.joules.items()},
        output_tokens_per_joule={boundary: ratio for boundary, ratio in ratios.items() if ratio is not None},
    )


def percentile(values: Sequence[tuple[Watts, Seconds]], share: float) -> Watts:
    """Smallest value that holds for at least this share of the time. `values`: sorted, each with its seconds."""
    due, passed = share * sum(seconds for _, seconds in values), 0.0
    for value, seconds in values:
        passed += seconds
        if passed >= due - 1e-9:
            return value
    return Watts(0)


def _seconds(intervals: Iterable[Interval]) -> Seconds:
    return sum((part.seconds for part in intervals), Seconds(0))


def _total(tokens: Mapping[str, TokenState], quantity: str) -> float | None:
    known = [value for state in tokens.values() if (value := getattr(state, quantity)) is not None]
    return sum(known) if known else None


def _processed(sums: Sums) -> Tokens | None:
    return None if sums.output_tokens is None or sums.input_tokens is None else sums.input_tokens + sums.output_tokens


def _per_joule(tokens: Tokens | None, joules: Joules) -> TokensPerJoule | None:
    return None if tokens is None else equations.tokens_per_joule(tokens, joules)


def _per_dollar(tokens: Tokens | None, cost: Sums) -> TokensPerDollar | None:
    return None if tokens is None else equations.tokens_per_dollar(tokens, cost.dollars)
