"""A window's sums to the live gauges of one server. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tokwatt.economics import equations
from tokwatt.economics.books import Books, tokens_of
from tokwatt.economics.responses import PerResponse
from tokwatt.economics.window import COST, TOKENS, Tally, WindowSums
from tokwatt.quantities import Seconds, Tokens, TokensPerDollar, TokensPerJoule, TokensPerSecond
from tokwatt.snapshot import BoundaryWindow, Given, LiveWindow, ModelWindow


def live_window(books: Books, name: str, now_seconds: float) -> LiveWindow | None:
    """Live gauges of a server; None before two token readings span a window."""
    sums = books.window_sums(name, now_seconds)
    if sums is None:
        return None
    trusted = sums.covered(books.plan.min_coverage)
    if not sums.tokens_known:
        # power is what it is; what was made with it is not known
        trusted = {key: replace(tally, tokens={}) for key, tally in trusted.items()}
    measured = [boundary for boundary in Given if boundary in sums.sums]
    response = books.responses.per_response(name, sums, trusted)
    return LiveWindow(
        start_seconds=sums.start_seconds,
        end_seconds=sums.end_seconds,
        covered_seconds=sums.sums[TOKENS].seconds if TOKENS in sums.sums else 0.0,
        boundaries=tuple(_boundary(books, name, sums, trusted.get(boundary), boundary) for boundary in measured),
        models=tuple(
            _model(model, trusted, with_ratios=with_ratios, response=response) for model, with_ratios in _rows(sums)
        ),
    )


def _rows(sums: WindowSums) -> list[tuple[str, bool]]:
    """Return rows to publish, and whether the server's energy belongs to each.

    Energy of a server with several models is the server's alone: no measurement divides it.
    """
    models = sorted({model for tally in sums.sums.values() for model in tally.tokens})
    if len(models) <= 1:
        return [(model, True) for model in models]
    return [("", True)] + [(model, False) for model in models if model]


def _boundary(books: Books, name: str, sums: WindowSums, tally: Tally | None, boundary: Given) -> BoundaryWindow:
    physical = boundary if books.attribution.keys(name, boundary) else Given.HOST  # facility: host times PUE
    stated = tally is not None and not books.attribution.by_rule(name, physical)
    return BoundaryWindow(
        boundary,
        coverage_ratio=sums.coverage_ratio(boundary),
        power_watts=tally.joules / tally.seconds if tally else None,
        error_ratio=sums.error_ratios.get(boundary) if stated else None,  # of what a rule gives nobody knows
    )


def _model(model: str, trusted: Mapping[str, Tally], *, with_ratios: bool, response: PerResponse | None) -> ModelWindow:
    tokens = trusted.get(TOKENS)
    of_time = tokens_of(tokens, model) if tokens else None
    seconds = tokens.seconds if tokens else Seconds(0)
    ratios = trusted if with_ratios else {}
    energy = {boundary: ratios[boundary] for boundary in Given if boundary in ratios and ratios[boundary].joules > 0}
    cost = ratios.get(COST)
    whole = response if with_ratios else None
    paid = cost if cost is not None and cost.dollars > 0 else None
    return ModelWindow(
        model=model,
        output_tokens_per_second=_rate(of_time.output_tokens if of_time else None, seconds),
        input_tokens_per_second=_rate(of_time.input_tokens if of_time else None, seconds),
        output_tokens_per_joule=_ratios(energy, model, processed=False),
        processed_tokens_per_joule=_ratios(energy, model, processed=True),
        output_tokens_per_dollar=_per_dollar(paid, model, processed=False),
        processed_tokens_per_dollar=_per_dollar(paid, model, processed=True),
        response_cost_dollars=whole.cost_dollars if whole else None,
        response_energy_joules=whole.energy_joules if whole else {},
        response_terms=whole.terms if whole else None,
    )


def _rate(tokens: Tokens | None, seconds: Seconds) -> TokensPerSecond | None:
    return None if tokens is None or seconds <= 0 else tokens / seconds


def _tokens(tally: Tally, model: str, *, processed: bool) -> Tokens | None:
    """Generated tokens, or computed input plus generated ones; None where a part is not offered."""
    state = tokens_of(tally, model)
    if not processed or state.output_tokens is None:
        return state.output_tokens
    return None if state.input_tokens is None else state.input_tokens + state.output_tokens


def _per_dollar(cost: Tally | None, model: str, *, processed: bool) -> TokensPerDollar | None:
    tokens = _tokens(cost, model, processed=processed) if cost is not None else None
    if cost is None or tokens is None:
        return None
    return equations.tokens_per_dollar(tokens, cost.dollars)


def _ratios(energy: Mapping[Given, Tally], model: str, *, processed: bool) -> dict[Given, TokensPerJoule]:
    ratios: dict[Given, TokensPerJoule] = {}
    for boundary, tally in energy.items():
        tokens = _tokens(tally, model, processed=processed)
        ratio = None if tokens is None else equations.tokens_per_joule(tokens, tally.joules)
        if ratio is not None:
            ratios[boundary] = ratio
    return ratios
