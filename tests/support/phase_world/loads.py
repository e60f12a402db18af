"""What clients send: arrivals over time, or users who wait for an answer before they ask again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from support.phase_world.cost import Prompts, step_cost
from support.phase_world.machines import Machine


@dataclass(slots=True)
class Request:
    prompt: int  # tokens, cached ones included
    cached: int
    output: int


@dataclass(frozen=True, slots=True)
class Load:
    """A traffic pattern: Poisson arrivals at `utilisation(t)` of what the machine can do, or a closed loop."""

    name: str
    prompt: float  # mean tokens
    output: float
    spread: float = 0.6  # sigma of the lognormal lengths
    utilisation: Callable[[float], float] = lambda _: 0.5
    cached: float = 0.0
    users: float = 0.0  # closed loop with that share of `batch`
    burst: int = 1
    alternates: tuple[float, float] | None = None  # mean lengths of every second 40 s
    lock_step: bool = False
    kv_share: float = 1.0  # of the machine's KV cache
    one_at_a_time: bool = False  # utilisation is of one request's own latency


def typical_batch(machine: Machine) -> float:
    return min(32, machine.max_sequences)


def request_seconds(machine: Machine, load: Load, batch: float) -> float:
    """Server seconds of a mean request when `batch` decode together."""
    prompt, output = load.prompt * machine.length_scale, load.output * machine.length_scale
    computed = prompt * (1 - load.cached)
    whole, _ = step_cost(machine, 1.0, 0.0, Prompts(2048, 2048 * prompt / 2, prompt / 2), 0, 0)
    step, _ = step_cost(machine, 1.0, 0.0, None, batch, batch * (prompt + output / 2))
    return computed * whole / 2048 + output / machine.tokens_per_sequence_step * step / batch


def draw(machine: Machine, load: Load, rng: random.Random, now: float) -> Request:
    prompt, output = load.prompt, load.output
    if load.alternates is not None and int(now / 40) % 2:
        prompt, output = load.alternates
    prompt, output = prompt * machine.length_scale, output * machine.length_scale
    if not load.lock_step:
        bias = load.spread**2 / 2
        prompt *= math.exp(rng.gauss(-bias, load.spread))
        output *= math.exp(rng.gauss(-bias, load.spread))
    tokens = max(8, min(round(prompt), int(machine.kv_tokens * load.kv_share / 4)))
    return Request(tokens, int(tokens * load.cached), max(2, round(output)))


def arrivals(machine: Machine, load: Load, rng: random.Random, until: float) -> Iterator[tuple[float, Request]]:
    """Open-loop arrivals (instant, request), by instant."""
    batch = 1.0 if load.one_at_a_time else typical_batch(machine)
    rate = 1.0 / request_seconds(machine, load, batch) / load.burst
    peak = max(load.utilisation(t) for t in range(0, int(until), 5)) * rate
    now = 0.0
    while True:
        now += rng.expovariate(peak)
        if now > until:
            return
        if rng.random() * peak < load.utilisation(now) * rate:
            for _ in range(load.burst):
                yield now, draw(machine, load, rng, now)


LOADS = (
    Load("steady chat", 600, 250),
    Load("alternating mixes", 1500, 80, alternates=(200, 400)),
    Load("varying rate", 700, 250, utilisation=lambda t: 0.45 + 0.35 * math.sin(t / 19.1)),
    Load("near idle", 700, 150, utilisation=lambda _: 0.25, one_at_a_time=True),
    Load("retrieval", 6000, 120),
    Load("saturation", 800, 300, users=1.5),
    Load("long contexts", 24_000, 300, spread=0.3),
    Load("long answers", 200, 1500),
    Load("cache hits", 4000, 200, cached=0.8),
    Load("bursts", 800, 200, burst=16, utilisation=lambda _: 0.4),
    Load("lock step", 512, 128, users=0.25, lock_step=True),
    Load("KV pressure", 1500, 600, utilisation=lambda _: 0.75, kv_share=0.12),
)
