"""What economics must know from the configuration: who owns what, and what it costs. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Capacity:
    """Price of having the hardware, whether it works or not."""

    dollars_per_second: float
    per_gpu: bool  # True: for each GPU the server owns
    includes_electricity: bool = False  # a lease that covers power: energy dollars are shown, never added to ratios


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """Terms of cost and energy per meaningful response that are configured and not measured."""

    attempts: float = 1.0  # mean attempts per meaningful response
    support_tokens: float = 0.0  # pre- and post-processing tokens per response
    support_dollars_per_token: float = 0.0


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """How a server's busy energy is split between prefill and decode."""

    method: str = "auto"  # auto, fit, counters, weights, none; a prefill-only or decode-only server needs none of them
    decode_to_prefill: float | None = None  # weights: energy of a decoded token / energy of a computed prompt token


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One inference server's devices and prices."""

    name: str
    all_gpus: bool = False
    gpus: tuple[str | int, ...] = ()  # UUIDs or indices; ignored if all_gpus
    hosts: tuple[str, ...] | None = None  # devices of host meters whose energy it shares; None: all
    role: str = "both"
    phases: PhasePlan = PhasePlan()
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Capacity | None = None
    response: ResponsePlan | None = None
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Prices:
    """Electricity and what surrounds it."""

    electricity_dollars_per_joule: float | None = None
    pue: float = 1.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How a source is read: what decides when it is late and when it has a gap."""

    period_seconds: float
    timeout_seconds: float

    @property
    def max_gap_seconds(self) -> float:
        """Longest pause between two readings that is still bridged: three periods, and half of one for jitter."""
        return 3.5 * self.period_seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything economics needs from the configuration."""

    servers: tuple[ServerPlan, ...]
    prices: Prices = Prices()
    window_seconds: float = 60.0
    min_coverage: float = 0.9
    tick_seconds: float = 1.0
    load_distribution: bool = True  # time, energy and tokens by load: some 100 series for each server
    paces: Mapping[str, Pace] = field(default_factory=dict)  # by source name

    def pace(self, source: str) -> Pace:
        """Pace of a source; that of the tick where nothing else is known."""
        return self.paces.get(source) or Pace(self.tick_seconds, 2 * self.tick_seconds)
