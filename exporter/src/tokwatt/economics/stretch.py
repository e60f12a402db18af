"""Everything that is said about a stretch of one server's time: tokens, joules, dollars, ratios, percentiles. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tokwatt.economics import equations
from tokwatt.economics.intervals import Interval, summed
from tokwatt.economics.load import LoadMeter, at_percentile
from tokwatt.economics.phases.split import Shares
from tokwatt.economics.plan import ResponsePlan
from tokwatt.ledger.tokens import TokenState
from tokwatt.quantities import (
    Dollars,
    DollarsPerToken,
    Joules,
    JoulesPerToken,
    Seconds,
    Tokens,
    TokensPerDollar,
    TokensPerJoule,
    TokensPerSecond,
    Watts,
)
from tokwatt.snapshot import Given, Phase


@dataclass(frozen=True, slots=True)
class Energy:
    """One boundary over a stretch. All but the coverage is about the covered part of it."""

    coverage_ratio: float  # part of the stretch in which tokens and this boundary's energy were both measured
    joules: Joules
    mean_watts: Watts
    p50_watts: Watts  # of the mean power between two token readings, by time
    p90_watts: Watts
    output_tokens_per_joule: TokensPerJoule | None  # None below min_coverage too
    processed_tokens_per_joule: TokensPerJoule | None
    response_joules: Joules | None
    phase_joules: Mapping[Phase, Joules]  # empty where the server's energy is not split


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
    output_tokens_per_second: TokensPerSecond | None
    input_tokens_per_second: TokensPerSecond | None
    dollars: Dollars | None  # capacity and energy
    dollars_coverage_ratio: float
    output_tokens_per_dollar: TokensPerDollar | None
    processed_tokens_per_dollar: TokensPerDollar | None
    response_dollars: Dollars | None
    p90_load: BusyLoad | None
    energy_error_ratio: Mapping[Given, float] = field(default_factory=dict)  # half-width of the 90 % interval

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
    response: ResponsePlan | None = None
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
    output, prompt = _total(tokens, "output_tokens"), _total(tokens, "input_tokens")
    paid = [part for part in intervals if part.dollars is not None and part.tokens is not None]
    dollars = sum((part.dollars or Dollars(0) for part in paid), Dollars(0)) if paid else None
    paid_tokens = summed(part.tokens or {} for part in paid)
    dollars_coverage = _seconds(paid) / length
    trusted = dollars if dollars_coverage >= terms.min_coverage else None
    boundaries = [boundary for boundary in Given if any(boundary in part.joules for part in intervals)]
    return Stretch(
        start_seconds=start,
        end_seconds=end,
        tokens=tokens,
        energy={boundary: _energy(boundary, intervals, length, terms) for boundary in boundaries},
        output_tokens_per_second=None if output is None else Tokens(output) / length,
        input_tokens_per_second=None if prompt is None else Tokens(prompt) / length,
        dollars=dollars,
        dollars_coverage_ratio=dollars_coverage,
        output_tokens_per_dollar=_per_dollar(_total(paid_tokens, "output_tokens"), trusted),
        processed_tokens_per_dollar=_per_dollar(_processed(paid_tokens), trusted),
        response_dollars=_response_dollars(paid_tokens, trusted, terms.response),
        p90_load=busy_load(intervals, boundaries),
    )


def _energy(boundary: Given, intervals: Iterable[Interval], length: Seconds, terms: Terms) -> Energy:
    known = [part for part in intervals if boundary in part.joules and part.tokens is not None]
    joules = sum((part.joules[boundary] for part in known), Joules(0))
    seconds = _seconds(known)
    tokens = summed(part.tokens or {} for part in known)
    trusted = seconds / length >= terms.min_coverage
    powers = sorted((part.joules[boundary] / part.seconds, part.seconds) for part in known)
    return Energy(
        coverage_ratio=min(1.0, seconds / length),
        joules=joules,
        mean_watts=joules / seconds if seconds > 0 else Watts(0),
        p50_watts=percentile(powers, 0.5),
        p90_watts=percentile(powers, 0.9),
        output_tokens_per_joule=_per_joule(_total(tokens, "output_tokens"), joules) if trusted else None,
        processed_tokens_per_joule=_per_joule(_processed(tokens), joules) if trusted else None,
        response_joules=_response_joules(tokens, joules, terms.response) if trusted else None,
        phase_joules=_phases(boundary, known, terms.shares),
    )


def _phases(
    boundary: Given, known: Iterable[Interval], shares_of: Callable[[Interval], Shares] | None
) -> Mapping[Phase, Joules]:
    if shares_of is None:
        return {}
    sums = dict.fromkeys(Phase, Joules(0))
    for part in known:
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


def _processed(tokens: Mapping[str, TokenState]) -> float | None:
    output, prompt = _total(tokens, "output_tokens"), _total(tokens, "input_tokens")
    return None if output is None or prompt is None else output + prompt


def _per_joule(tokens: float | None, joules: Joules) -> TokensPerJoule | None:
    return None if tokens is None else equations.tokens_per_joule(Tokens(tokens), joules)


def _per_dollar(tokens: float | None, dollars: Dollars | None) -> TokensPerDollar | None:
    return None if tokens is None or dollars is None else equations.tokens_per_dollar(Tokens(tokens), dollars)


def _response_dollars(
    tokens: Mapping[str, TokenState], dollars: Dollars | None, response: ResponsePlan | None
) -> Dollars | None:
    responses = _total(tokens, "responses")
    if response is None or dollars is None or not responses:
        return None
    support, price = Tokens(response.support_tokens), DollarsPerToken(response.support_dollars_per_token)
    return equations.response_cost(dollars / responses, response.attempts, support, price)


def _response_joules(tokens: Mapping[str, TokenState], joules: Joules, response: ResponsePlan | None) -> Joules | None:
    responses = _total(tokens, "responses")
    if response is None or not responses:
        return None
    return equations.response_energy(joules / responses, response.attempts, Tokens(0), JoulesPerToken(0))
