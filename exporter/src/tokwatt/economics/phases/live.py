"""A phase window's sums to the gauges of prefill and decode. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tokwatt.economics.books import Books, tokens_of
from tokwatt.economics.phases.window import key_of
from tokwatt.economics.window import COST, TOKENS, Tally, WindowSums
from tokwatt.snapshot import Given, ModelPhases, Phase, PhaseLive


def phase_live(books: Books, name: str, now_seconds: float) -> PhaseLive | None:
    """Gauges of prefill and decode; None while nothing is split or too little of the window is."""
    sums = books.phase_sums(name, now_seconds)
    if sums is None:
        return None
    trusted = {
        key: tally
        for key, tally in sums.sums.items()
        if tally.seconds > 0 and sums.coverage_ratio(key) >= books.plan.min_coverage
    }
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
    def per_joule(phase: Phase) -> dict[Given, float]:
        ratios = {boundary: _ratio(trusted, phase, boundary, model) for boundary in Given}
        return {boundary: ratio for boundary, ratio in ratios.items() if ratio is not None and tokens_known}

    def per_dollar(phase: Phase) -> float | None:
        return _ratio(trusted, phase, COST, model) if tokens_known else None

    return ModelPhases(
        model=model,
        prefill_tokens_per_joule=per_joule(Phase.PREFILL),
        decode_tokens_per_joule=per_joule(Phase.DECODE),
        prefill_tokens_per_dollar=per_dollar(Phase.PREFILL),
        decode_tokens_per_dollar=per_dollar(Phase.DECODE),
    )


def _ratio(trusted: Mapping[str, Tally], phase: Phase, name: str, model: str) -> float | None:
    """Return a phase's own tokens / its joules or dollars: computed input for prefill, generated tokens for decode."""
    tally = trusted.get(key_of(phase, name))
    if tally is None:
        return None
    state = tokens_of(tally, model)
    tokens = state.input_tokens if phase is Phase.PREFILL else state.output_tokens
    amount = tally.dollars if name == COST else tally.joules
    return None if tokens is None or amount <= 0 else tokens / amount


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
