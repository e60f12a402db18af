"""Simulated machines: how long one engine step takes and how many joules it costs.

Owns the roofline and its parameters. Pure: no state, no clock, no randomness.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepWork:
    """The work of one engine step."""

    prompt_tokens: int  # prompt tokens computed in this step
    sequences: int  # sequences that decode one token each
    attended_positions: float  # (query, key) pairs of attention
    kv_read_tokens: float  # tokens whose keys and values are read


@dataclass(frozen=True, slots=True)
class Machine:
    """A model on its hardware. Speeds, watts and the KV capacity are totals over all its GPUs.

    The numbers of the presets are fitted by hand to published steady states, so that demo figures look plausible
    (8B on one H100: 2 tokens/J at 8 sequences, 14 at 512; 70B on four: 0.3 and 2.5). They are no benchmark.
    """

    name: str
    gpu_count: int  # 0: computes on the CPU, its joules belong to the host
    parameters_count: float
    weight_bytes: float
    layers: int
    width: int
    kv_bytes_per_token: float
    kv_capacity_tokens: int
    flops_per_second: float
    bytes_per_second: float
    overhead_seconds: float  # host work and links of one step
    seconds_per_sequence: float  # sampling and bookkeeping of one sequence in one step
    joules_per_flop: float
    joules_per_byte: float
    static_watts: float  # while stepping
    idle_watts: float  # no request in the engine
    limit_watts: float
    chunk_tokens: int  # most tokens of one step
    max_sequences: int
    roofline_softness: float = 2.0  # exponent that joins compute and memory time; large: the slower one decides
    jitter_ratio: float = 0.03  # standard deviation of a step's time

    def step_cost(self, work: StepWork) -> tuple[float, float]:
        """Return (seconds, joules without static watts) of a step, before jitter.

        Power above the limit stretches the step: a governor lowers the clock until the mean fits.
        """
        tokens = work.prompt_tokens + work.sequences
        flops = 2.0 * self.parameters_count * tokens + 4.0 * self.layers * self.width * work.attended_positions
        moved_bytes = self.weight_bytes + self.kv_bytes_per_token * (work.kv_read_tokens + tokens)
        soft = self.roofline_softness
        compute_seconds = flops / self.flops_per_second
        memory_seconds = moved_bytes / self.bytes_per_second
        seconds = (compute_seconds**soft + memory_seconds**soft) ** (1.0 / soft)
        seconds += self.overhead_seconds + work.sequences * self.seconds_per_sequence
        dynamic_joules = self.joules_per_flop * flops + self.joules_per_byte * moved_bytes
        return max(seconds, dynamic_joules / (self.limit_watts - self.static_watts)), dynamic_joules

    def step_joules(self, work: StepWork) -> float:
        """Return all joules of a step, before jitter."""
        seconds, dynamic_joules = self.step_cost(work)
        return dynamic_joules + self.static_watts * seconds

    def prefill_ratio(self, prefill: StepWork, decode: StepWork, whole: StepWork) -> float:
        """Return the prefill share of a step's joules by Shapley value. `prefill` and `decode` make up `whole`."""
        if not prefill.prompt_tokens:
            return 0.0
        if not decode.sequences:
            return 1.0
        together = self.step_joules(whole)
        return (self.step_joules(prefill) + together - self.step_joules(decode)) / (2.0 * together)


LLAMA_8B_ON_H100 = Machine(
    name="8B on one H100",
    gpu_count=1,
    parameters_count=8.03e9,
    weight_bytes=16.06e9,
    layers=32,
    width=4096,
    kv_bytes_per_token=131_072,
    kv_capacity_tokens=430_000,
    flops_per_second=6.0e14,
    bytes_per_second=2.7e12,
    overhead_seconds=2.5e-3,
    seconds_per_sequence=2.0e-5,
    joules_per_flop=1.0e-12,
    joules_per_byte=1.5e-10,
    static_watts=125.0,
    idle_watts=71.0,
    limit_watts=700.0,
    chunk_tokens=8192,
    max_sequences=256,
)

LLAMA_70B_ON_4_H100 = Machine(
    name="70B on 4xH100",
    gpu_count=4,
    parameters_count=70.6e9,
    weight_bytes=141.2e9,
    layers=80,
    width=8192,
    kv_bytes_per_token=327_680,
    kv_capacity_tokens=420_000,
    flops_per_second=2.1e15,
    bytes_per_second=1.08e13,
    overhead_seconds=6.0e-3,
    seconds_per_sequence=2.0e-5,
    joules_per_flop=1.0e-12,
    joules_per_byte=1.5e-10,
    static_watts=500.0,
    idle_watts=290.0,
    limit_watts=2800.0,
    chunk_tokens=8192,
    max_sequences=256,
)

LLAMACPP_3B_ON_H100 = Machine(
    name="3B Q4 llama.cpp on one H100",
    gpu_count=1,
    parameters_count=3.2e9,
    weight_bytes=2.0e9,
    layers=28,
    width=3072,
    kv_bytes_per_token=114_688,
    kv_capacity_tokens=65_536,
    flops_per_second=2.0e14,
    bytes_per_second=1.6e12,
    overhead_seconds=3.5e-3,
    seconds_per_sequence=1.2e-4,
    joules_per_flop=1.2e-12,
    joules_per_byte=1.8e-10,
    static_watts=115.0,
    idle_watts=69.0,
    limit_watts=700.0,
    chunk_tokens=2048,
    max_sequences=8,
)

LLAMACPP_1B_ON_CPU = Machine(
    name="1B llama.cpp on CPU",
    gpu_count=0,
    parameters_count=1.24e9,
    weight_bytes=0.8e9,
    layers=16,
    width=2048,
    kv_bytes_per_token=32_768,
    kv_capacity_tokens=16_384,
    flops_per_second=1.0e12,
    bytes_per_second=6.0e10,
    overhead_seconds=1.0e-3,
    seconds_per_sequence=5.0e-4,
    joules_per_flop=8.0e-11,
    joules_per_byte=6.0e-10,
    static_watts=45.0,
    idle_watts=18.0,
    limit_watts=180.0,
    chunk_tokens=512,
    max_sequences=4,
)
