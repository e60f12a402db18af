"""Models on hardware: the constants from which a step's time and energy follow."""

from __future__ import annotations

from dataclasses import dataclass, replace

VLLM, SGLANG, LLAMACPP = "vllm", "sglang", "llamacpp"


@dataclass(frozen=True, slots=True)
class Machine:
    """A model on its hardware. Bytes, FLOP/s, byte/s, joules and seconds; boards of one server are taken together."""

    name: str
    group: str  # row of the table of results
    active_parameters: float
    dense_bytes: float  # weights that every step reads
    layers: int
    width: int
    kv_bytes: float  # per token of context
    flops_per_second: float
    bytes_per_second: float
    idle_watts: float
    static_watts: float  # while working, beyond what FLOPs and bytes cost
    limit_watts: float
    joules_per_flop: float = 0.75e-12
    joules_per_byte: float = 90e-12
    expert_bytes: float = 0.0
    expert_share: float = 0.0  # experts a token touches, of all
    link_seconds: float = 0.0  # per step
    link_bytes: float = 0.0  # per token
    link_bytes_per_second: float = 1.0
    joules_per_link_byte: float = 0.0
    host_seconds: float = 0.0015  # per step
    sequence_seconds: float = 10e-6  # per decoding sequence of a step
    softness: float = 2.2  # of the roofline's knee: t = (t_flop^r + t_byte^r)^(1/r)
    chunk: int = 2048  # tokens of one step
    max_sequences: int = 256
    kv_tokens: int = 380_000
    drafts: int = 0
    tokens_per_sequence_step: float = 1.0
    mixes: bool = True  # prompts and decoding share a step
    engine: str = VLLM
    jitter: float = 0.03
    length_scale: float = 1.0  # of the loads' prompts and answers
    padding: int = 1  # tokens of a step are padded to a multiple
    small_batch_tokens: float = 0.0  # FLOP/s falls to half at this many tokens
    leakage_drift: float = 0.0  # static watts wander by this share over minutes
    idle_fall_seconds: float = 0.0  # time constant of the fall from static to idle watts


DENSE_8B = Machine(
    "8B, H100",
    "dense vLLM",
    8e9,
    16e9,
    32,
    4096,
    131_072,
    600e12,
    2.7e12,
    idle_watts=75,
    static_watts=130,
    limit_watts=700,
)
DENSE_70B = Machine(
    "70B, 4 x H100",
    "dense vLLM",
    70e9,
    140e9,
    80,
    8192,
    327_680,
    2300e12,
    10e12,
    300,
    520,
    2800,
    link_seconds=0.004,
    link_bytes=4e6,
    link_bytes_per_second=1.2e12,
    joules_per_link_byte=15e-12,
    softness=2.5,
    chunk=8192,
    kv_tokens=366_000,
    jitter=0.04,
)
MOE_120B = Machine(
    "MoE 120B/5B, H100",
    "mixture of experts",
    5.1e9,
    3e9,
    36,
    2880,
    73_728,
    400e12,
    2.4e12,
    72,
    135,
    700,
    expert_bytes=60e9,
    expert_share=4 / 128,
    softness=2.0,
    chunk=8192,
    kv_tokens=200_000,
    joules_per_flop=0.9e-12,
)
MOE_30B = Machine(
    "MoE 30B/3B, H100",
    "mixture of experts",
    3.3e9,
    2e9,
    48,
    2048,
    98_304,
    380e12,
    2.5e12,
    74,
    125,
    700,
    expert_bytes=28e9,
    expert_share=8 / 128,
    softness=1.8,
    kv_tokens=400_000,
    joules_per_flop=0.9e-12,
    jitter=0.05,
)
SMALL_HALF_B = Machine(
    "0.5B, 72 W card",
    "dense vLLM",
    0.5e9,
    1e9,
    24,
    896,
    12_288,
    60e12,
    0.25e12,
    16,
    30,
    72,
    joules_per_flop=0.55e-12,
    joules_per_byte=85e-12,
    host_seconds=0.002,
    kv_tokens=900_000,
    jitter=0.05,
)
CAPPED_32B = Machine(
    "32B, H100 capped at 450 W",
    "power-capped",
    32e9,
    32e9,
    64,
    5120,
    131_072,
    620e12,
    2.6e12,
    75,
    135,
    450,
    joules_per_flop=0.8e-12,
    kv_tokens=280_000,
)
SPECULATIVE_8B = replace(
    DENSE_8B,
    name="8B speculative, H100",
    group="speculative",
    drafts=3,
    tokens_per_sequence_step=2.4,
    host_seconds=0.004,
    kv_tokens=340_000,
    jitter=0.05,
)
SGLANG_8B = Machine(
    "8B SGLang, A100",
    "non-mixing",
    8e9,
    16e9,
    32,
    4096,
    131_072,
    210e12,
    1.6e12,
    55,
    95,
    400,
    joules_per_flop=1.15e-12,
    joules_per_byte=100e-12,
    mixes=False,
    engine=SGLANG,
    chunk=8192,
    kv_tokens=380_000,
)
LLAMACPP_1B = Machine(
    "1B llama.cpp, CPU, 4 slots",
    "llama.cpp",
    1.2e9,
    1.3e9,
    16,
    2048,
    32_768,
    2.0e12,
    90e9,
    45,
    62,
    190,
    joules_per_flop=35e-12,
    joules_per_byte=480e-12,
    host_seconds=0.001,
    sequence_seconds=100e-6,
    engine=LLAMACPP,
    max_sequences=4,
    kv_tokens=64_000,
    length_scale=0.25,
    jitter=0.04,
)
ROUGH_8B = replace(
    DENSE_8B,
    name="rough 8B, H100",
    group="rough",
    softness=1.6,
    padding=64,
    small_batch_tokens=96,
    leakage_drift=0.2,
    idle_fall_seconds=4.0,
    jitter=0.06,
)
# Not looked at while the method was written and its constants were set.
UNSEEN_ROUGH_14B = Machine(
    "rough 14B, A100 (unseen)",
    "unseen",
    14e9,
    28e9,
    40,
    5120,
    204_800,
    220e12,
    1.55e12,
    58,
    98,
    400,
    joules_per_flop=1.1e-12,
    joules_per_byte=105e-12,
    softness=1.7,
    padding=32,
    small_batch_tokens=64,
    leakage_drift=0.2,
    idle_fall_seconds=3.0,
    jitter=0.06,
    chunk=4096,
    kv_tokens=220_000,
)
UNSEEN_MOE_235B = Machine(
    "MoE 235B/22B, 4 x H200 (unseen)",
    "unseen",
    22e9,
    16e9,
    94,
    4096,
    192_512,
    1900e12,
    15e12,
    310,
    560,
    2800,
    expert_bytes=219e9,
    expert_share=8 / 128,
    link_seconds=0.005,
    link_bytes=2.3e6,
    link_bytes_per_second=1.2e12,
    joules_per_link_byte=15e-12,
    joules_per_flop=0.85e-12,
    softness=2.0,
    chunk=8192,
    kv_tokens=900_000,
    jitter=0.05,
)

TUNED = (
    DENSE_8B,
    DENSE_70B,
    SMALL_HALF_B,
    MOE_120B,
    MOE_30B,
    CAPPED_32B,
    SPECULATIVE_8B,
    SGLANG_8B,
    LLAMACPP_1B,
    ROUGH_8B,
)
UNSEEN = (UNSEEN_ROUGH_14B, UNSEEN_MOE_235B)
