"""The demo's fleet: which models run on which simulated GPUs, and how their users behave over a day.

Owns data only. Numbers are chosen so that a ten-minute day shows night, rush and everything between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tokwatt.simulate.load import Day, DayShape, Load, Mix
from tokwatt.simulate.machines import LLAMA_8B_ON_H100, LLAMA_70B_ON_4_H100, LLAMACPP_3B_ON_H100, Machine
from tokwatt.simulate.servers import LLAMACPP, VLLM

CHAT, GUARDRAIL = "sim-chat", "sim-guard"

MakeLoad = Callable[[float, int], Load]  # (start instant, seed)


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One server of a fleet. `machine.gpu_count` GPUs are its own."""

    name: str
    engine: str  # "vllm" or "llamacpp"
    model: str
    machine: Machine
    make_load: MakeLoad


# Weights over the hours of a day: people by day, batch jobs by night.
DAYTIME = ((0.0, 0.3), (7.0, 0.5), (10.0, 1.0), (18.0, 1.0), (22.0, 0.5))
NIGHTLY = ((0.0, 1.0), (5.0, 0.8), (8.0, 0.05), (20.0, 0.05), (23.0, 0.8))

CHAT_DAY = DayShape(
    hours=((0.0, 3.0), (4.0, 1.2), (7.0, 4.0), (9.5, 11.0), (12.5, 9.0), (15.0, 11.0), (20.0, 14.0), (22.5, 6.0)),
    mixes=(
        Mix(450, 220, cached_ratio=0.35, abort_ratio=0.04, hours=DAYTIME),
        Mix(1800, 350, cached_ratio=0.55, abort_ratio=0.02, hours=((0.0, 0.1), (9.0, 0.3), (17.0, 0.3), (20.0, 0.15))),
        Mix(3500, 120, hours=NIGHTLY),
    ),
)
CODE_DAY = DayShape(
    hours=((0.0, 0.25), (6.0, 0.15), (8.5, 1.2), (10.5, 2.4), (12.5, 1.3), (14.5, 2.6), (18.0, 1.4), (21.0, 0.5)),
    mixes=(
        Mix(2600, 160, cached_ratio=0.6, abort_ratio=0.06, hours=DAYTIME),
        Mix(900, 500, cached_ratio=0.2, hours=((0.0, 0.2), (9.0, 0.4), (18.0, 0.4))),
        Mix(6000, 300, hours=NIGHTLY),
    ),
)
# a guardrail reads each chat answer once and says a few tokens: the hours are those of chat
GUARD_DAY = DayShape(
    hours=((0.0, 3.0), (4.0, 1.2), (7.0, 4.0), (9.5, 11.0), (12.5, 9.0), (15.0, 11.0), (20.0, 14.0), (22.5, 6.0)),
    mixes=(Mix(600, 6, spread=0.3, cached_ratio=0.3),),
)
EDGE_DAY = DayShape(
    hours=((0.0, 0.2), (5.0, 0.05), (7.5, 2.5), (12.0, 4.0), (17.5, 6.0), (22.0, 1.0)),
    mixes=(Mix(140, 60, cached_ratio=0.3), Mix(600, 150, cached_ratio=0.1, hours=((0.0, 0.1), (12.0, 0.5)))),
    bursts_per_day=18.0,
)


def over_a_day(shape: DayShape, day_seconds: float) -> MakeLoad:
    """Return how to make a load that follows a day of this length."""
    scaled = replace(shape, day_seconds=day_seconds)
    return lambda start_seconds, seed: Day(scaled, start_seconds=start_seconds, seed=seed)


def demo_fleet(day_seconds: float = 600.0) -> tuple[ServerPlan, ...]:
    """Return the demo's four servers on seven GPUs; the last one is the guardrail of the first."""
    return (
        ServerPlan(CHAT, VLLM, "sim/llama-3.1-8b", LLAMA_8B_ON_H100, over_a_day(CHAT_DAY, day_seconds)),
        ServerPlan("sim-code", VLLM, "sim/llama-3.3-70b", LLAMA_70B_ON_4_H100, over_a_day(CODE_DAY, day_seconds)),
        ServerPlan("sim-edge", LLAMACPP, "sim/llama-3.2-3b-q4", LLAMACPP_3B_ON_H100, over_a_day(EDGE_DAY, day_seconds)),
        ServerPlan(GUARDRAIL, VLLM, "sim/llama-guard-3-8b", LLAMA_8B_ON_H100, over_a_day(GUARD_DAY, day_seconds)),
    )
