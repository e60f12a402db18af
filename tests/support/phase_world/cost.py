"""Time and energy of one engine step."""

from __future__ import annotations

from dataclasses import dataclass

from support.phase_world.machines import Machine


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompt tokens of a step. `attended`: positions that they attend to, summed; `read`: context tokens read."""

    tokens: float = 0.0
    attended: float = 0.0
    read: float = 0.0


def step_cost(
    machine: Machine, clock: float, static_watts: float, prompts: Prompts | None, sequences: float, context: float
) -> tuple[float, float]:
    """(seconds, joules) of a step.

    Args:
        machine: the model and its hardware.
        clock: of the maximum, 0 to 1; voltage falls with it.
        static_watts: drawn all the while.
        prompts: the step's prompt tokens, None without.
        sequences: decoding sequences.
        context: tokens in their KV cache, summed.
    """
    queries = sequences * (1 + machine.drafts)
    tokens = queries
    attended = context * (1 + machine.drafts)
    kv_tokens = context + queries
    if prompts is not None:
        tokens += prompts.tokens
        attended += prompts.attended
        kv_tokens += prompts.read + prompts.tokens
    worked = -(-tokens // machine.padding) * machine.padding
    flops = 2 * machine.active_parameters * worked + 4 * machine.layers * machine.width * attended
    moved = machine.dense_bytes + machine.kv_bytes * kv_tokens + 8 * machine.layers * machine.width * worked
    if machine.expert_bytes:
        moved += machine.expert_bytes * (1 - (1 - machine.expert_share) ** tokens)
    rate = machine.flops_per_second * clock
    if machine.small_batch_tokens:
        rate *= (worked + 8) / (worked + machine.small_batch_tokens)
    r = machine.softness
    seconds = ((flops / rate) ** r + (moved / machine.bytes_per_second) ** r) ** (1 / r)
    linked = machine.link_bytes * tokens
    seconds += machine.link_seconds + linked / machine.link_bytes_per_second
    seconds += machine.host_seconds + sequences * machine.sequence_seconds
    voltage = 0.6 + 0.4 * clock
    joules = machine.joules_per_flop * voltage * voltage * flops + machine.joules_per_byte * moved
    joules += machine.joules_per_link_byte * linked + static_watts * seconds
    return seconds, joules
