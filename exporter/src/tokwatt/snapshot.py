"""The immutable picture that every consumer reads: `/metrics`, the live page, `/api/v1/snapshot`, the terminal.

One writer replaces it whole, once a tick. `None` is "unknown" and becomes an absent series; 0 is a measured zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tokwatt.quantities import (
    Dollars,
    DollarsPerJoule,
    DollarsPerSecond,
    Joules,
    Tokens,
    TokensPerDollar,
    TokensPerJoule,
    TokensPerSecond,
    Watts,
)
from tokwatt.readings import DeviceInfo, Meter


class Phase(StrEnum):
    """Where a server's energy and dollars went. The phases of a server sum to what it was given."""

    PREFILL = "prefill"
    DECODE = "decode"
    IDLE = "idle"
    UNSPLIT = "unsplit"


class Given(StrEnum):
    """Boundary of energy given to a server. `facility` is its outlets' energy, or the host's times PUE."""

    GPU = "gpu"
    HOST = "host"
    FACILITY = "facility"


class Component(StrEnum):
    """Part of a server's cost."""

    CAPACITY = "capacity"
    ENERGY = "energy"


class Aside(StrEnum):
    """What is counted beside a server's cost, and never added to it."""

    ENERGY_CREDIT_DOLLARS = "energy_credit_dollars"  # got for energy while electricity had a negative price
    INCLUDED_ENERGY_DOLLARS = "included_energy_dollars"  # worth of energy that a lease covers
    CARBON_GRAMS = "carbon_grams"


@dataclass(frozen=True, slots=True)
class TokenTotals:
    """Tokens and requests of one model on one server since the exporter first read it. None: not offered."""

    model: str
    input_tokens: Tokens | None
    cached_input_tokens: Tokens | None
    output_tokens: Tokens | None
    requests: Mapping[str, float]  # by outcome: success, error, abort


@dataclass(frozen=True, slots=True)
class PhaseTotals:
    """Joules by boundary and dollars by component of one phase of one model on one server, cumulative."""

    model: str
    phase: Phase
    joules: Mapping[Given, Joules]
    dollars: Mapping[Component, Dollars]
    aside: Mapping[Aside, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BoundaryWindow:
    """Energy given to a server inside the live window, for one boundary."""

    boundary: Given
    coverage_ratio: float  # part of the window in which tokens and this boundary's energy were both measured
    power_watts: Watts | None  # None below min_coverage
    error_ratio: float | None = None  # half-width of the 90 % interval of the energy, as a share; None as for power


@dataclass(frozen=True, slots=True)
class ResponseTerms:
    """Terms of cost and energy per meaningful response over the live window. None: not known.

    Cost is `output_tokens` * `attempts_ratio` * dollars per output token + `support_dollars`; energy likewise.
    """

    output_tokens: Tokens | None  # generated tokens per finished response, reasoning included
    attempts_ratio: float | None  # finished responses per meaningful one, or as configured
    support_tokens: Tokens | None  # pre- and post-processing tokens per meaningful response
    support_dollars: Dollars | None  # what these cost
    support_joules: Mapping[Given, Joules]  # energy of the support servers per meaningful response


@dataclass(frozen=True, slots=True)
class ModelWindow:
    """Rates and ratios of one model inside the live window. None: not measured, not offered or below min_coverage."""

    model: str
    output_tokens_per_second: TokensPerSecond | None
    input_tokens_per_second: TokensPerSecond | None
    output_tokens_per_joule: Mapping[Given, TokensPerJoule]
    processed_tokens_per_joule: Mapping[Given, TokensPerJoule]
    output_tokens_per_dollar: TokensPerDollar | None
    processed_tokens_per_dollar: TokensPerDollar | None
    response_cost_dollars: Dollars | None = None
    response_energy_joules: Mapping[Given, Joules] = field(default_factory=dict)
    response_terms: ResponseTerms | None = None  # None: no `responses` entry names this server


@dataclass(frozen=True, slots=True)
class LiveWindow:
    """The one window behind all live gauges of a server. All its numbers cover the same instants."""

    start_seconds: float  # monotonic; an instant at which the server's tokens were read
    end_seconds: float
    covered_seconds: float
    boundaries: tuple[BoundaryWindow, ...]
    models: tuple[ModelWindow, ...]


@dataclass(frozen=True, slots=True)
class LoadTotals:
    """Seconds, tokens and joules of a server by load, cumulative over levels of load (`economics.load.LEVELS`).

    Entry i is about all time at levels[i] generated tokens per second or less; the last one about all time.
    """

    levels: tuple[float, ...]
    seconds: tuple[float, ...]
    output_tokens: tuple[Tokens, ...]
    joules: Mapping[Given, tuple[Joules, ...]]


@dataclass(frozen=True, slots=True)
class ModelPhases:
    """Ratios of prefill and decode of one model; each divides a phase's own tokens by that phase's energy or cost."""

    model: str
    prefill_tokens_per_joule: Mapping[Given, TokensPerJoule]
    decode_tokens_per_joule: Mapping[Given, TokensPerJoule]
    prefill_tokens_per_dollar: TokensPerDollar | None
    decode_tokens_per_dollar: TokensPerDollar | None


@dataclass(frozen=True, slots=True)
class PhaseLive:
    """The window behind the phase gauges of a server: the other window, as far as it is split."""

    start_seconds: float  # monotonic
    end_seconds: float
    models: tuple[ModelPhases, ...]
    error_ratio: Mapping[Given, float]  # half-width of the 90 % interval of prefill's share of busy energy
    energy_error_ratio: Mapping[Given, Mapping[Phase, float]]  # the same as a share of the phase's own energy


@dataclass(frozen=True, slots=True)
class OwnedGpu:
    """One GPU that an inference server computes on."""

    device: str
    part_ratio: float | None  # 1: its own; less: shared, divided by `rule`; None: shared, and no rule divides it
    rule: str = ""


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """Everything known about one inference server."""

    name: str
    engine: str
    engine_version: str
    role: str
    input_kind: str  # "computed", "all", or "" before the first reading
    output_kind: str  # "live", "at_finish": output tokens are counted when a request ends; "" before the first reading
    labels: Mapping[str, str]
    simulated: bool
    tokens: tuple[TokenTotals, ...]
    phases: tuple[PhaseTotals, ...]
    window: LiveWindow | None
    requests_running: float | None
    requests_waiting: float | None
    capacity_dollars_per_second: DollarsPerSecond | None
    capacity_includes_electricity: bool  # a lease that covers power: energy dollars are beside the cost, not in it
    gpus: tuple[OwnedGpu, ...] = ()
    gpus_found_by: str = ""  # how its GPUs were found out at run time, for a person; "" where they are configured
    energy_basis: Given | None = None  # widest measured boundary: what energy dollars are made from
    phase_method: str = "none"  # how busy energy is split: role, counters, fit, weights, none
    phase_live: PhaseLive | None = None
    meaningful_responses: float | None = None  # counted by the application; None: no counter is named, or not read yet
    notes: tuple[str, ...] = ()  # what a person should know: why a ratio is absent, what to configure
    load: LoadTotals | None = None  # None: no slice of time is complete yet, or not wanted


@dataclass(frozen=True, slots=True)
class MeterTotal:
    """Energy one physical meter measured since its first reading. `unattributed_joules`: no server's."""

    meter: Meter
    joules: Joules
    unattributed_joules: Joules | None  # None where this boundary is not given to servers
    non_gpu_watts: Watts | None = None  # of a host, over the window: its power less that of its GPUs; None: not known


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """State of one source."""

    source: str
    kind: str  # "tokens", "power", "price", "owner" or "responses"
    up: bool | None  # None before the first attempt
    reason: str = ""  # of the present failure: a SourceError reason
    message: str = ""  # of the present failure, for a person
    read_seconds: float | None = None
    last_success_unix_seconds: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict)  # by reason
    resets: int = 0
    gap_seconds: float = 0.0
    missing_series: tuple[str, ...] = ()
    target: str = ""  # URL, address or interface, without secrets


@dataclass(frozen=True, slots=True)
class PriceSnapshot:
    """Prices in force. None: not configured, or not known at present."""

    electricity_dollars_per_joule: DollarsPerJoule | None
    pue_ratio: float
    carbon_grams_per_joule: float | None = None
    electricity_configured: bool = False  # tells a price that is not known at present from one that nobody gave
    outlet_pue_ratio: float = 1.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole picture at one tick."""

    at_unix_seconds: float
    at_seconds: float  # monotonic
    tick_seconds: float
    window_seconds: float
    min_coverage: float
    simulated: bool
    servers: tuple[ServerSnapshot, ...]
    meters: tuple[MeterTotal, ...]
    devices: tuple[DeviceInfo, ...]
    sources: tuple[SourceHealth, ...]
    prices: PriceSnapshot
    config_reload_successful: bool
    config_reload_unix_seconds: float
