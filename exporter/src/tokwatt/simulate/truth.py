"""The shapes of truth: what really happened on a simulated engine, beside which a measurement is put.

Owns two records of totals and their difference. No behaviour.
"""

from __future__ import annotations

from typing import NamedTuple


class EnergyTruth(NamedTuple):
    """Joules and seconds of one engine, cumulative or of an interval; they grow linearly inside a step.

    Shared joules of a step with both phases are split by Shapley value: half of what each phase saves the other.
    `joules` = prefill + decode + idle, over all GPUs of the engine.
    """

    joules: float
    prefill_joules: float
    decode_joules: float
    idle_joules: float
    busy_seconds: float
    idle_seconds: float


class TokenTruth(NamedTuple):
    """Tokens and requests of one engine over all its restarts, cumulative or of an interval."""

    computed_input_tokens: float
    cached_input_tokens: float
    output_tokens: float  # generated
    finished_output_tokens: float  # of requests that ended: what llama.cpp counts
    finished_requests: float  # ended by themselves
    aborted_requests: float  # ended because the client left
