"""What economics must know from the configuration: who owns what, and what it costs. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tokwatt.quantities import DollarsPerJoule, DollarsPerSecond, DollarsPerToken, Tokens


class GpuRule(StrEnum):
    """What divides the energy of a GPU that several servers compute on; no meter does."""

    EQUAL = "equal"
    MIG_SLICES = "mig_slices"
    TOKENS = "tokens"


class RestRule(StrEnum):
    """What divides the energy of a host or outlet that its GPUs did not draw."""

    GPU_COUNT = "gpu_count"
    GPU_ENERGY = "gpu_energy"
    EQUAL = "equal"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Sharing:
    """Rules for what is measured for several servers together. `gpu` None: such energy stays unattributed."""

    gpu: GpuRule | None = None
    rest: RestRule = RestRule.GPU_COUNT
    slices_per_gpu: int = 7  # MIG compute slices of a whole GPU


@dataclass(frozen=True, slots=True)
class Fed:
    """A price that a price source says, and may change while running."""

    source: str  # its name


@dataclass(frozen=True, slots=True)
class Capacity:
    """Price of having the hardware, whether it works or not."""

    dollars_per_second: DollarsPerSecond | Fed
    per_gpu: bool  # True: for each GPU the server owns
    includes_electricity: bool = False  # a lease that covers power: what it is worth is shown, never added


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """What a meaningful response takes: terms that are configured, and where the others are measured."""

    attempts: float = 1.0  # mean attempts per meaningful response; not used where they are measured
    support_tokens: Tokens = Tokens(0)  # pre- and post-processing tokens per response of services that are not measured
    support_dollars_per_token: DollarsPerToken = DollarsPerToken(0)
    meaningful: str = ""  # source that counts meaningful responses; "": none, attempts are configured
    support: tuple[str, ...] = ()  # servers that do pre- and post-processing for these responses


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """How a server's busy energy is split between prefill and decode."""

    method: str = "auto"  # auto, fit, counters, weights, none; a prefill-only or decode-only server needs none of them
    decode_to_prefill: float | None = None  # weights: energy of a decoded token / energy of a computed prompt token
    chunk_tokens: int | None = None  # fit: most prompt tokens of one engine step


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One inference server's devices and prices."""

    name: str
    all_gpus: bool = False
    gpus: tuple[str | int, ...] = ()  # UUIDs or indices; ignored if all_gpus
    found_gpus: bool = False  # an owner source says which GPUs are its own; `gpus` is then empty
    mig_slices: float | None = None  # MIG compute slices it holds on each GPU of `gpus`; None: not said
    hosts: tuple[str, ...] | None = None  # host meters, or devices of theirs, whose energy it shares; None: all
    outlets: tuple[str, ...] | None = None  # outlet meters, or devices of theirs, that feed it; None: all
    role: str = "both"
    phases: PhasePlan = PhasePlan()
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Capacity | None = None
    response: ResponsePlan | None = None
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Prices:
    """Electricity and what surrounds it. None: not configured."""

    electricity_dollars_per_joule: DollarsPerJoule | Fed | None = None
    pue: float = 1.0  # facility energy / host energy, for servers without an outlet meter
    outlet_pue: float = 1.0  # facility energy / outlet energy, for servers with one
    carbon_grams_per_joule: float | Fed | None = None


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
    sharing: Sharing = Sharing()
    window_seconds: float = 60.0
    min_coverage: float = 0.9
    tick_seconds: float = 1.0
    load_distribution: bool = True  # time, energy and tokens by load: some 100 series for each server
    paces: Mapping[str, Pace] = field(default_factory=dict)  # by source name

    def pace(self, source: str) -> Pace:
        """Pace of a source; that of the tick where nothing else is known."""
        return self.paces.get(source) or Pace(self.tick_seconds, 2 * self.tick_seconds)
