"""Random scenarios of load, jitter, lag and gaps on one simulated machine whose truth is known.

Owns what is drawn from a seed, and a metrics page that notes when its counters were really read. Truth comes from the
simulated engine alone; nothing here uses the product's ledger or economics.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from statistics import NormalDist
from typing import Any

from support.clock import FakeClock
from yarl import URL

from tokwatt.readings import Unavailable
from tokwatt.simulate.engine import Engine
from tokwatt.simulate.fleet import CHAT_DAY, CODE_DAY
from tokwatt.simulate.load import ClosedLoop, Day, Load, Mix, RateLoad
from tokwatt.simulate.machines import LLAMA_8B_ON_H100, LLAMA_70B_ON_4_H100, Machine
from tokwatt.simulate.meters import HostModel, SimulatedGpu, host_energy, share_of_engine
from tokwatt.sources._http import Answer

GOLDEN = 0.6180339887498949
HALF_WIDTH_90 = NormalDist().inv_cdf(0.95)
SIMULATED_DAY_SECONDS = 60.0


@dataclass(frozen=True)
class Lag:
    """How late a server answers: seconds drawn evenly up to these limits, before and after it reads its counters."""

    before: float = 0.0
    after: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """Everything that is drawn. Chances are for each read."""

    seed: int
    machine: Machine
    load: str
    jitter_seconds: float  # of the tick
    lag: Lag
    latch_seconds: float  # of the energy counter; 99 to 106 ms on real boards
    server_misses: float
    meter_misses: float
    outage: tuple[float, float] | None  # (start, seconds) after the run's start, of the server
    meter_outage: tuple[float, float] | None

    def gain(self, method: str) -> float:
        """True gain of a method's sensor, from a normal distribution whose 90 % half-width is 5 %.

        Drawn evenly over its quantiles from seed to seed, so that 200 scenarios hold the distribution and not a
        sample of it.
        """
        offset = Random(f"gain {method}").random()
        quantile = (self.seed * GOLDEN + offset) % 1.0
        return 1.0 + NormalDist(0.0, 0.05 / HALF_WIDTH_90).inv_cdf(min(max(quantile, 1e-4), 1 - 1e-4))


def scenario(seed: int, run_seconds: float) -> Scenario:
    """Draw the scenario of a seed; outages fall into a run of this length."""
    rng = Random(f"scenario {seed}")
    return Scenario(
        seed=seed,
        machine=rng.choices((LLAMA_8B_ON_H100, LLAMA_70B_ON_4_H100), (0.75, 0.25))[0],
        load=rng.choices(("jumps", "day", "users"), (0.6, 0.25, 0.15))[0],
        jitter_seconds=rng.uniform(0.005, 0.05),
        lag=Lag(before=rng.uniform(0.05, 0.3)) if rng.random() < 0.6 else Lag(),
        latch_seconds=rng.uniform(0.099, 0.106),
        server_misses=rng.choice((0.0, 0.0, 0.03)),
        meter_misses=rng.choice((0.0, 0.0, 0.03)),
        outage=_outage(rng, run_seconds),
        meter_outage=_outage(rng, run_seconds),
    )


def _outage(rng: Random, run_seconds: float) -> tuple[float, float] | None:
    drawn = (rng.uniform(0.1, 0.9) * run_seconds, rng.uniform(2.0, 7.0))
    return drawn if rng.random() < 0.15 else None


class Jumps(RateLoad):
    """Rate and kind of request jump every few seconds: from nothing to everything, from prompts to answers."""

    KINDS = (Mix(2500, 20, spread=0.4), Mix(150, 450, spread=0.4), Mix(600, 200, cached_ratio=0.4))

    def __init__(self, start_seconds: float, seed: int, peak_per_second: float) -> None:
        self._jump_rng = Random(f"jumps {seed}")
        self._until = start_seconds
        self._level, self._kind = 0.0, self.KINDS[2]
        super().__init__(start_seconds=start_seconds, peak_per_second=peak_per_second, seed=seed)

    def rate_at(self, at_seconds: float) -> float:
        while at_seconds >= self._until:
            self._until += self._jump_rng.uniform(1.0, 8.0)
            self._level = self._jump_rng.choice((0.0, 0.1, 0.3, 0.6, 1.0))
            self._kind = self._jump_rng.choice(self.KINDS)
        return self._level * self._peak_per_second

    def mix_at(self, at_seconds: float) -> Mix:
        return self._kind


def load_of(drawn: Scenario, start_seconds: float) -> Load:
    small = drawn.machine.gpu_count == 1
    if drawn.load == "jumps":
        return Jumps(start_seconds, drawn.seed, 14.0 if small else 5.0)
    if drawn.load == "day":
        shape = replace(CHAT_DAY if small else CODE_DAY, day_seconds=SIMULATED_DAY_SECONDS)
        return Day(shape, start_seconds=start_seconds, seed=drawn.seed)
    users = Random(f"users {drawn.seed}").randint(2, 40)
    return ClosedLoop(Mix(500, 200), start_seconds=start_seconds, users=users, seed=drawn.seed, pause_seconds=1.0)


class Machinery:
    """One machine under a scenario: its engine, its boards, its host, and its metrics page."""

    def __init__(self, drawn: Scenario, clock: FakeClock) -> None:
        self.drawn = drawn
        self.clock = clock
        self.start = clock()
        self.engine = Engine(drawn.machine, load_of(drawn, self.start), start_seconds=self.start, seed=drawn.seed)
        count = drawn.machine.gpu_count
        self.gpus = [
            SimulatedGpu(
                number,
                f"GPU-{number}",
                "NVIDIA H100 80GB HBM3",
                700.0,
                drawn.machine.idle_watts / count,
                share_of_engine(self.engine, 1.0 / count),
            )
            for number in range(count)
        ]
        self._host_joules_at = host_energy(
            HostModel(base_watts=350.0), (lambda at: self.engine.energy_at(at).joules,), start_seconds=self.start
        )

    def gpu_joules_at(self, at_seconds: float) -> float:
        return self.engine.energy_at(at_seconds).joules

    def host_joules_at(self, at_seconds: float) -> float:
        return self._host_joules_at(at_seconds)

    def output_tokens_at(self, at_seconds: float) -> float:
        return self.engine.tokens_at(at_seconds).output_tokens

    def is_out(self, outage: tuple[float, float] | None) -> bool:
        return outage is not None and outage[0] <= self.clock() - self.start < outage[0] + outage[1]


class Page:
    """Stands in for the HTTP client under the product's scraper: the machine's metrics page, late as drawn."""

    def __init__(self, machinery: Machinery) -> None:
        self._machinery = machinery
        self._rng = Random(f"page {machinery.drawn.seed}")
        self.read_at = 0.0  # when the counters of the last answer were really read
        self.output_tokens = 0.0
        self.answered = False

    async def get(self, url: URL, **_: Any) -> Answer:
        machinery, clock, lag = self._machinery, self._machinery.clock, self._machinery.drawn.lag
        self.answered = False
        if url.path != "/metrics":
            raise Unavailable("not here")
        sent = clock()
        if machinery.is_out(machinery.drawn.outage) or self._rng.random() < machinery.drawn.server_misses:
            clock.advance(0.05)
            raise Unavailable("connection refused")
        clock.advance(self._rng.uniform(0.0003, 0.001))  # the way there
        clock.advance(self._rng.uniform(0.0, lag.before) if lag.before else 0.0)
        body = self._body()
        clock.advance(self._rng.uniform(0.0, lag.after) if lag.after else 0.0)
        clock.advance(self._rng.uniform(0.0005, 0.003))  # writing it, and the way back
        self.answered = True
        return Answer(body, "text/plain; version=0.0.4", sent, clock(), True)

    def _body(self) -> bytes:
        engine, now = self._machinery.engine, self._machinery.clock()
        engine.advance_to(now)
        counters = engine.counters
        self.read_at, self.output_tokens = now, float(counters.output_tokens)
        labels = 'engine="0",model_name="m"'
        return (
            f'vllm:prompt_tokens_by_source_total{{{labels},source="local_compute"}} {counters.computed_input_tokens}\n'
            f"vllm:generation_tokens_total{{{labels}}} {counters.output_tokens}\n"
            f"vllm:num_requests_running{{{labels}}} {engine.running}\n"
            f"vllm:num_requests_waiting{{{labels}}} {engine.waiting}\n"
        ).encode()
