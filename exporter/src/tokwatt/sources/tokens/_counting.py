"""From the series of one page to the counters of one reading, as a spec says. Pure: no I/O, no clock, no state."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tokwatt.readings import CounterSample, Malformed, Quantity, Work, WorkSample
from tokwatt.sources.tokens._exposition import Page, Series, series_id
from tokwatt.sources.tokens._spec import (
    KV_TOKENS,
    REQUESTS_RUNNING,
    REQUESTS_WAITING,
    Candidate,
    Moves,
    TokenSpec,
)

TOKEN_QUANTITIES = (Quantity.COMPUTED_INPUT, Quantity.PROMPT, Quantity.CACHED_INPUT, Quantity.OUTPUT)
# Prompt tokens with and without the cached ones: the exact one is enough, so the other is neither read nor missed.
_INPUT_QUANTITIES = (Quantity.COMPUTED_INPUT, Quantity.PROMPT)
# A product of two numbers of six digits is off by 1e-5 of itself at most, so two of them by twice that.
_PRODUCT_ROUNDING = 2e-5

Values = Collection[tuple[Series, float]]


@dataclass(frozen=True, slots=True)
class Counted:
    """What a page offers of a spec. `missing` holds the names of series that should be there and are not."""

    counters: tuple[CounterSample, ...]
    requests_running: float | None
    requests_waiting: float | None
    missing: tuple[str, ...]
    has_tokens: bool  # at least one token counter is there
    output_at_finish: bool = False  # output tokens appear when their request ends
    input_by_prefill_end: bool = False  # input tokens appear no later than when their prefill ends
    work: tuple[WorkSample, ...] = ()
    kv_tokens: float | None = None


def detect(specs: Iterable[TokenSpec], page: Page) -> tuple[TokenSpec, ...]:
    """Find the specs whose engine wrote this page. Exactly one is an answer; none or several is for a person."""
    return tuple(spec for spec in specs if _wrote(spec, page))


def _wrote(spec: TokenSpec, page: Page) -> bool:
    if not (spec.detect or spec.detect_all):
        return False
    return (
        (not spec.detect or any(page.shows(name) for name in spec.detect))
        and all(page.shows(name) for name in spec.detect_all)
        and not any(page.shows(name) for name in spec.detect_not)
    )


def count(spec: TokenSpec, page: Page, where: str, model: str, *, model_is_fixed: bool) -> Counted:
    """Pick what `spec` wants from `page`. `model` is for series without a model label, or for all if fixed.

    Raises Malformed for a wanted line that cannot be read and for a counter that is negative or not finite.
    """
    labels = () if model_is_fixed else spec.model_labels
    samples: list[CounterSample] = []
    offered: set[str] = set()
    output_at_finish = input_by_prefill_end = False
    for quantity in Quantity:
        if quantity is Quantity.PROMPT and Quantity.COMPUTED_INPUT in offered:
            continue
        chosen = _choose(spec.quantities.get(quantity, ()), page)
        if chosen is None:
            continue
        offered.add(quantity)
        if quantity is Quantity.OUTPUT:
            output_at_finish = chosen.moves is Moves.AT_FINISH
        elif quantity in _INPUT_QUANTITIES:
            input_by_prefill_end = chosen.moves in (Moves.LIVE, Moves.PREFILL_END)
        samples += [
            CounterSample(quantity, _model(series.labels, labels, model), series.id, value)
            for series, value in _counter_values(chosen, page, where)
        ]
    gauges = {name: _choose(spec.quantities.get(name, ()), page) for name in (REQUESTS_RUNNING, REQUESTS_WAITING)}
    offered.update(name for name, chosen in gauges.items() if chosen)
    running = _total(gauges[REQUESTS_RUNNING], page)
    # before its first request, a server that shows series only then misses nothing
    unused = spec.appears_on_first_request and not samples and not running
    return Counted(
        counters=tuple(samples),
        requests_running=running,
        requests_waiting=_total(gauges[REQUESTS_WAITING], page),
        missing=() if unused else _missing(spec, offered),
        has_tokens=any(quantity in offered for quantity in TOKEN_QUANTITIES),
        output_at_finish=output_at_finish,
        input_by_prefill_end=input_by_prefill_end,
        work=tuple(_work(spec, page)),
        kv_tokens=_total(_choose(spec.work.get(KV_TOKENS, ()), page), page),
    )


def _work(spec: TokenSpec, page: Page) -> Iterator[WorkSample]:
    """Samples of the work counters. A kind with a value that no counter has is left out, and tokens are read."""
    for name, candidates in spec.work.items():
        chosen = None if name == KV_TOKENS else _choose(candidates, page)
        if chosen is None:
            continue
        values = _largest(_filtered(chosen, page), chosen.max_over)
        if all(0.0 <= value < math.inf for _, value in values):
            rounding = _PRODUCT_ROUNDING if chosen.times else 0.0
            for series, value in values:
                yield WorkSample(Work(name), series.id, value, rounding * value)


def _choose(candidates: tuple[Candidate, ...], page: Page) -> Candidate | None:
    """First candidate the page offers: its name with the labels that its filter needs, whatever their values.

    A filter that matches nothing yet (no request was aborted so far) still decides: otherwise a counter would change
    its source in the middle of a server's life.
    """
    for candidate in candidates:
        values = page.values(candidate.metric)
        if not values or (candidate.help_contains and candidate.help_contains not in page.help_text(candidate.metric)):
            continue
        if candidate.where and not any(_has_labels(series, candidate) for series, _ in values.values()):
            continue
        if not candidate.times or _factors(candidate, page):
            return candidate
    return None


def _has_labels(series: Series, candidate: Candidate) -> bool:
    return all(label in series.labels for label, _ in candidate.where)


def _counter_values(candidate: Candidate, page: Page, where: str) -> Values:
    values = _filtered(candidate, page)
    for series, value in values:
        if not 0.0 <= value < math.inf:
            raise Malformed(f"counter {series.id} has the impossible value {value}", where=where)
    return _largest(values, candidate.max_over)


def _filtered(candidate: Candidate, page: Page) -> Values:
    wanted: Values = page.values(candidate.metric).values()
    if candidate.where:
        wanted = [
            (series, value)
            for series, value in wanted
            if all(series.labels.get(label) in accepted for label, accepted in candidate.where)
        ]
    return _multiplied(wanted, _factors(candidate, page)) if candidate.times else wanted


def _factors(candidate: Candidate, page: Page) -> list[tuple[Mapping[str, str], float]]:
    """What `times` multiplies by, with the labels that tell which series it is for."""
    found: list[tuple[Mapping[str, str], float]] = []
    for series, value in page.values(candidate.times).values():
        try:
            numbers = [float(series.labels[label]) for label in candidate.times_labels]
        except (KeyError, ValueError):
            continue  # vLLM writes "None" where it has no number
        labels = {name: text for name, text in series.labels.items() if name not in candidate.times_labels}
        found.append((labels, math.prod(numbers) if numbers else value))
    return found


def _multiplied(values: Values, factors: list[tuple[Mapping[str, str], float]]) -> Values:
    """Each value times the factor that agrees in all labels which both have; left out where not exactly one does."""
    if not values or not factors:
        return ()
    first = next(iter(values))[0].labels
    common = [label for label in factors[0][0] if label in first]
    by_labels: dict[tuple[str | None, ...], list[float]] = {}
    for labels, factor in factors:
        by_labels.setdefault(tuple(labels.get(label) for label in common), []).append(factor)
    found = []
    for series, value in values:
        matching = by_labels.get(tuple(series.labels.get(label) for label in common), ())
        if len(matching) == 1:
            found.append((series, value * matching[0]))
    return found


def _largest(values: Values, over: tuple[str, ...]) -> Values:
    """One series for each group that differs only in the labels `over`: the largest value, under the group's name."""
    if not over:
        return values
    groups: dict[str, tuple[Series, float]] = {}
    for series, value in values:
        labels = {label: text for label, text in series.labels.items() if label not in over}
        group = series_id(series.name, labels)
        if group not in groups or value > groups[group][1]:
            groups[group] = (Series(series.name, labels, group), value)
    return groups.values()


def _model(labels: Mapping[str, str], model_labels: tuple[str, ...], otherwise: str) -> str:
    for label in model_labels:
        if label in labels:
            return labels[label]
    return otherwise


def _total(chosen: Candidate | None, page: Page) -> float | None:
    """Add up a gauge; None where it is not offered or not a number (a gauge is context, not worth an error)."""
    if chosen is None:
        return None
    values = _filtered(chosen, page)
    if not values or not all(0.0 <= value < math.inf for _, value in values):
        return None
    return math.fsum(value for _, value in _largest(values, chosen.max_over))


def _missing(spec: TokenSpec, offered: Collection[str]) -> tuple[str, ...]:
    """Name the series that the page should show: no alternative of them is there, and their absence is not normal."""
    has_input = any(quantity in offered for quantity in _INPUT_QUANTITIES)
    absent = [
        candidates[0].metric
        for quantity, candidates in spec.quantities.items()
        if quantity not in offered
        and not any(candidate.optional for candidate in candidates)
        and not (has_input and quantity in _INPUT_QUANTITIES)
    ]
    return tuple(dict.fromkeys(absent))
