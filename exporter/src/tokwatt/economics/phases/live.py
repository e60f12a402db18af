"""A phase window's sums to the gauges of prefill and decode. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tokwatt.economics import equations
from tokwatt.economics.books import Books, tokens_of
from tokwatt.economics.phases.window import key_of
from tokwatt.economics.window import COST, TOKENS, Tally, WindowSums
from tokwatt.quantities import Tokens, TokensPerDollar, TokensPerJoule
from tokwatt.snapshot import Given, ModelPhases, Phase, PhaseLive


def phase_live(books: Books, name: str, now_seconds: float) -> PhaseLive | None:
    """Gauges of prefill and decode; None while nothing is split or too little of the window is."""
    sums = books.phase_sums(name, now_seconds)
    if sums is None:
        return None
    trusted = sums.covered(books.plan.min_coverage)
    if key_of(Phase.PREFILL, TOKENS) not in trusted:
        return None
    return PhaseLive(
        start_seconds=sums.start_seconds,
        end_seconds=sums.end_seconds,
        models=tuple(_model(model, trusted, tokens_known=sums.tokens_known) for model in _models(sums)),
        error_ratio=_errors(books, name, trusted),
        energy_error_ratio=_energy_errors(books, name, trusted),
    )


def _models(sums: WindowSums) -> list[str]:
    """Return the one model; "" stands for several, whose energy no measurement divides."""
    models = {model for tally in sums.sums.values() for model in tally.tokens}
    return sorted(models) if len(models) <= 1 else [""]


def _model(model: str, trusted: Mapping[str, Tally], *, tokens_known: bool) -> ModelPhases:
    def per_joule(phase: Phase) -> dict[Given, TokensPerJoule]:
        ratios: dict[Given, TokensPerJoule] = {}
        for boundary in Given if tokens_known else ():
            tally = trusted.get(key_of(phase, boundary))
            tokens = _tokens(tally, phase, model) if tally is not None else None
            ratio = equations.tokens_per_joule(tokens, tally.joules) if tally and tokens is not None else None
            if ratio is not None:
                ratios[boundary] = ratio
        return ratios

    def per_dollar(phase: Phase) -> TokensPerDollar | None:
        tally = trusted.get(key_of(phase, COST)) if tokens_known else None
        tokens = _tokens(tally, phase, model) if tally is not None else None
        return equations.tokens_per_dollar(tokens, tally.dollars) if tally and tokens is not None else None

    return ModelPhases(
        model=model,
        prefill_tokens_per_joule=per_joule(Phase.PREFILL),
        decode_tokens_per_joule=per_joule(Phase.DECODE),
        prefill_tokens_per_dollar=per_dollar(Phase.PREFILL),
        decode_tokens_per_dollar=per_dollar(Phase.DECODE),
    )


def _tokens(tally: Tally, phase: Phase, model: str) -> Tokens | None:
    """Return a phase's own tokens: computed input for prefill, generated ones for decode."""
    state = tokens_of(tally, model)
    return state.input_tokens if phase is Phase.PREFILL else state.output_tokens


def _errors(books: Books, name: str, trusted: Mapping[str, Tally]) -> Mapping[Given, float]:
    estimate = books.accounts[name].phases.splitter.estimate
    if estimate is None:
        return {}
    return {boundary: estimate.half_width for boundary in Given if key_of(Phase.PREFILL, boundary) in trusted}


def _energy_errors(books: Books, name: str, trusted: Mapping[str, Tally]) -> Mapping[Given, Mapping[Phase, float]]:
    """Half-width of the share / the phase's own share of the busy energy: what an error of the split does to it."""
    errors: dict[Given, Mapping[Phase, float]] = {}
    for boundary, half_width in _errors(books, name, trusted).items():
        joules = {phase: trusted[key_of(phase, boundary)].joules for phase in (Phase.PREFILL, Phase.DECODE)}
        busy = sum(joules.values())
        errors[boundary] = {phase: half_width * busy / amount for phase, amount in joules.items() if amount > 0}
    return errors
