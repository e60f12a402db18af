"""The result of `tokwatt calibrate` for people and for scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokwatt.app.calibrate import Outcome
from tokwatt.app.tables import table
from tokwatt.economics.calibration import Estimate, Rates
from tokwatt.snapshot import Given

BATCHES = (1.0, 8.0, 32.0)  # at which the ratio is named, beside the one that was measured
Pick = Callable[[Rates], Estimate | None]


def _rows(outcome: Outcome) -> list[tuple[str, Pick]]:
    rows: list[tuple[str, Pick]] = [
        ("request, beside its tokens", lambda rates: rates.per_request),
        ("prefill token", lambda rates: rates.per_prefill_token),
        ("decode token, alone", lambda rates: rates.decode_token(1.0)),
    ]
    if outcome.at_once > 1:
        rows.append((f"decode token, {outcome.at_once:g} at once", lambda rates: rates.decode_token(outcome.at_once)))
        rows.append(("decode step, beside its tokens", lambda rates: rates.per_decode_step))
    return rows


def as_text(name: str, outcome: Outcome) -> str:
    """Lay the result out for a terminal."""
    boundaries = [boundary for boundary in Given if boundary in outcome.joules]
    held = (
        f"{outcome.requests:,} requests in {outcome.took_seconds:.0f} s; {len(outcome.blocks)} stretches hold "
        f"{outcome.prompt_tokens:,.0f} prefill and {outcome.output_tokens:,.0f} generated tokens"
    )
    lines = [
        f"{name}: {outcome.engine} {outcome.engine_version}".rstrip(),
        held,
        *(
            f"idle power ({boundary}): {idle.watts:.1f} W, {2 * idle.half_width_watts:.1f} W apart before and after"
            for boundary, idle in outcome.idle.items()
        ),
        "",
        table(
            ("ONE", "SECONDS", *(f"JOULES ({boundary})" for boundary in boundaries)),
            [
                (what, _shown(pick(outcome.seconds)), *(_shown(pick(outcome.joules[given])) for given in boundaries))
                for what, pick in _rows(outcome)
            ],
        ),
        "",
        "± is half of the 90 % interval, from repeats; the meter's own gain is not in it.",
        "Joules are those of busy time, idle power included.",
    ]
    return "\n".join([*lines, *_advice(name, outcome), *_warnings(outcome)])


def _advice(name: str, outcome: Outcome) -> list[str]:
    """How to use the result: the ratio for the split by weights, at the batch that is usual in production."""
    boundary = next((given for given in (Given.FACILITY, Given.HOST, Given.GPU) if given in outcome.joules), None)
    if boundary is None:
        return ["", "No meter measured this server all the time, so there are no joules: see `tokwatt probe`."]
    rates = outcome.joules[boundary]
    ratio = rates.decode_to_prefill(outcome.at_once)
    if ratio is None:
        return ["", "A prefill token takes nothing that could be measured: use longer prompts (--prompt-tokens)."]
    batches = sorted({*BATCHES, outcome.at_once})
    others = ", ".join(f"{batch:g}: {_shown(rates.decode_to_prefill(batch))}" for batch in batches)
    lines = ["", f"Energy of a decode token / energy of a prefill token ({boundary}), by sequences at once: {others}"]
    if outcome.at_once > 1:
        lines.append(f"(beyond {outcome.at_once:g} at once: by the line through what was measured)")
    lines += [
        "To split this server's energy by it, take the ratio at the batch that is usual in production:",
        "  servers:",
        f"    - name: {name}",
        f"      phases: {{method: weights, decode_to_prefill: {ratio.value:.4g}}}",
    ]
    return lines


def _warnings(outcome: Outcome) -> list[str]:
    lines = []
    if outcome.disturbed:
        lines.append(f"left out: {outcome.disturbed} stretches with tokens of others")
    lines += [
        f"the idle power ({boundary}) moved by more than 10 %: let the machine rest, then measure again"
        for boundary, idle in outcome.idle.items()
        if idle.half_width_watts > 0.05 * idle.watts
    ]
    lines += [f"meter {meter}: {trouble}" for meter, trouble in outcome.troubles.items()]
    return ["", *lines] if lines else []


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return "unknown"
    if estimate.value == 0:
        return "0"
    return f"{estimate.value:.4g} ± {100 * (estimate.error_ratio or 0.0):.1f} %"


def as_json(name: str, outcome: Outcome) -> Mapping[str, Any]:
    """Return the result as JSON values. Half-widths are of 90 % intervals."""
    return {
        "server": name,
        "engine": outcome.engine,
        "engine_version": outcome.engine_version,
        "seconds": _rates(outcome.seconds, outcome.at_once),
        "joules": {boundary.value: _rates(rates, outcome.at_once) for boundary, rates in outcome.joules.items()},
        "decode_to_prefill": {
            boundary.value: _estimate(rates.decode_to_prefill(outcome.at_once))
            for boundary, rates in outcome.joules.items()
        },
        "sequences_at_once": outcome.at_once,
        "idle_watts": {
            boundary.value: {"value": idle.watts, "half_width": idle.half_width_watts}
            for boundary, idle in outcome.idle.items()
        },
        "requests": outcome.requests,
        "prefill_tokens": outcome.prompt_tokens,
        "output_tokens": outcome.output_tokens,
        "took_seconds": outcome.took_seconds,
        "disturbed": outcome.disturbed,
        "meter_troubles": dict(outcome.troubles),
        "blocks": [
            {
                "kind": block.kind,
                "requests": block.requests,
                "prefill_tokens": block.prefill_tokens,
                "decode_tokens": block.decode_tokens,
                "sequences_at_once": block.batch,
                "busy_seconds": block.busy_seconds,
                "quiet_seconds": block.quiet_seconds,
                "joules": {boundary.value: amount for boundary, amount in block.joules.items()},
            }
            for block in outcome.blocks
        ],
    }


def _rates(rates: Rates, at_once: float) -> Mapping[str, Any]:
    return {
        "per_request": _estimate(rates.per_request),
        "per_prefill_token": _estimate(rates.per_prefill_token),
        "per_decode_step": _estimate(rates.per_decode_step),
        "per_decode_token_alone": _estimate(rates.decode_token(1.0)),
        "per_decode_token_at_once": _estimate(rates.decode_token(at_once)),
        "residual_ratio": rates.residual_ratio,
    }


def _estimate(estimate: Estimate | None) -> Mapping[str, float] | None:
    return None if estimate is None else {"value": estimate.value, "half_width": estimate.half_width}
