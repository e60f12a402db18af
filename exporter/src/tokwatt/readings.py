"""What a source hands over: readings in base units with the monotonic instant they hold for.

Owns the vocabulary between `sources/` and the rest. Does no I/O and reads no clock.
`None` means "this source does not offer it"; an absent item means "not read"; 0 is always a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Boundary(StrEnum):
    """What a meter's number contains: GPU board, CPU package, DRAM, whole host, or the outlet that feeds it."""

    GPU = "gpu"
    CPU = "cpu"
    DRAM = "dram"
    HOST = "host"
    OUTLET = "outlet"


class Fidelity(StrEnum):
    """How far the field trusts a meter for inference: on the GPU, in the server, outside of it."""

    HIGHEST = "highest"
    HIGH = "high"
    LOW = "low"


class Method(StrEnum):
    """How joules come about: a hardware counter, integrated power, a named split, or a simulation."""

    COUNTER = "counter"
    INTEGRATED = "integrated"
    ATTRIBUTED = "attributed"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Meter:
    """One physical meter. (`boundary`, `device`) is owned by exactly one source."""

    source: str  # the configured name of the source that reads it
    boundary: Boundary
    device: str  # stable id: GPU UUID, BMC name, outlet name
    fidelity: Fidelity
    method: Method


@dataclass(frozen=True, slots=True)
class EnergyCounter:
    """A cumulative hardware energy counter.

    `wraps_at_joules` is the modulus of a counter that wraps (RAPL); None for one that can only fall by a reset (NVML).
    """

    meter: Meter
    joules: float
    at_seconds: float  # monotonic
    wraps_at_joules: float | None = None


@dataclass(frozen=True, slots=True)
class PowerSample:
    """A power gauge, to be integrated. `averaged_over_seconds` is 0 for an instantaneous sensor."""

    meter: Meter
    watts: float
    at_seconds: float  # monotonic
    averaged_over_seconds: float = 0.0


EnergyReading = EnergyCounter | PowerSample  # the kind is in the type, never guessed


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """Identity of a device behind a meter, for `tokwatt_gpu_info` and for humans."""

    meter: Meter
    name: str  # for example "NVIDIA H100 80GB HBM3"
    index: int | None = None  # index in the vendor's order, where there is one
    details: tuple[tuple[str, str], ...] = ()  # (key, value): driver version, BMC address


@dataclass(frozen=True, slots=True)
class DeviceFailure:
    """One device of a source that could not be read while the others could."""

    device: str
    error: SourceError


@dataclass(frozen=True, slots=True)
class PowerReading:
    """One pass over one power source."""

    readings: tuple[EnergyReading, ...]
    devices: tuple[DeviceInfo, ...]
    failures: tuple[DeviceFailure, ...] = ()


class Quantity(StrEnum):
    """What a raw counter of an inference server counts.

    PROMPT includes cached tokens; COMPUTED_INPUT excludes them. A reading carries one of the two, or both.
    """

    COMPUTED_INPUT = "computed_input"
    PROMPT = "prompt"
    CACHED_INPUT = "cached_input"
    OUTPUT = "output"
    REQUESTS_SUCCESS = "requests_success"
    REQUESTS_ERROR = "requests_error"
    REQUESTS_ABORT = "requests_abort"


@dataclass(frozen=True, slots=True)
class CounterSample:
    """One raw series of a cumulative counter. Resets are found per series, so `series` must identify one uniquely."""

    quantity: Quantity
    model: str  # "" where the server does not say
    series: str  # raw name and labels as the server wrote them
    value: float  # finite, >= 0


@dataclass(frozen=True, slots=True)
class ServerReading:
    """All wanted numbers of one inference server at one instant."""

    server: str
    at_seconds: float  # monotonic: best estimate of when the server read its counters
    uncertainty_seconds: float  # half-width of the interval that holds that instant
    counters: tuple[CounterSample, ...]
    requests_running: float | None = None
    requests_waiting: float | None = None
    engine: str = ""
    engine_version: str = ""
    missing: tuple[str, ...] = ()  # series that the spec names and a healthy server did not show
    output_at_finish: bool = False  # output tokens are counted when a request ends, not while they are made
    series_begin_at_zero: bool = False  # the engine shows a series only once it counted: before, it was 0


@dataclass(frozen=True, slots=True)
class GpuHold:
    """One GPU that an inference server computes on, or one part of it.

    `own` and `others` name holders: processes or pods. Who is another holder to one server may be another server here.
    """

    device: str  # UUID of the whole GPU, also where a MIG instance of it is held
    mig_slices: float | None = None  # MIG compute slices held; None: not a MIG instance
    own: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ServerGpus:
    """What an owner source found out about one inference server's GPUs."""

    holds: tuple[GpuHold, ...] | None  # None: could not be found out; empty: it computes on none
    how: str  # for a person: by which pod, port and process; or why it could not be found out
    but: tuple[str, ...] | None = None  # it also owns every measured GPU but these and `holds`; None: only `holds`


@dataclass(frozen=True, slots=True)
class OwnersReading:
    """One look at who computes on which GPU."""

    at_seconds: float  # monotonic
    servers: Mapping[str, ServerGpus]  # by server


class SourceError(Exception):
    """A source could not be read. Subclasses fix `reason`, the label of `tokwatt_source_errors_total`.

    Message parts, so that a person knows what to do: what failed, `where` (URL, device, file), `hint` (next step).
    """

    reason = "error"

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.hint})" if self.hint else text


class Unavailable(SourceError):
    """Not on this host or nothing listens there."""

    reason = "unavailable"


class Refused(SourceError):
    """Permission or credentials."""

    reason = "refused"


class TimedOut(SourceError):
    """No answer within the deadline."""

    reason = "timeout"


class Malformed(SourceError):
    """An answer that cannot be what the source promises; keeps the offending text in `what`."""

    reason = "malformed"


class DeviceLost(SourceError):
    """The device was there and is gone (GPU off the bus, sensor removed)."""

    reason = "lost"


class DuplicateDevice(SourceError):
    """Another source already owns this device at this boundary."""

    reason = "duplicate_device"


class TokenSource(Protocol):
    """One inference server."""

    @property
    def name(self) -> str: ...

    @property
    def timeout_seconds(self) -> float: ...

    async def read(self) -> ServerReading:
        """Read once. Raises SourceError subclasses only."""
        ...

    async def aclose(self) -> None: ...


class PowerSource(Protocol):
    """One meter or a set of meters behind one interface (NVML, a BMC)."""

    @property
    def name(self) -> str: ...

    @property
    def period_seconds(self) -> float | None:
        """Own timer of a slow source; None for one that is read with the tick."""
        ...

    @property
    def timeout_seconds(self) -> float: ...

    async def read(self) -> PowerReading:
        """Read once. Raises SourceError subclasses only."""
        ...

    async def aclose(self) -> None: ...


class OwnerSource(Protocol):
    """Finds out which GPUs one inference server computes on, again and again: pods move and processes restart."""

    @property
    def name(self) -> str: ...

    @property
    def server(self) -> str: ...

    @property
    def period_seconds(self) -> float: ...

    @property
    def timeout_seconds(self) -> float: ...

    async def read(self) -> OwnersReading:
        """Look once. Raises SourceError subclasses only."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What the composition root lends to a source factory."""

    name: str  # configured name of the source
    clock: Clock
    simulated: bool = False


class Clock(Protocol):
    """Monotonic seconds. Passed in so that tests can own time."""

    def __call__(self) -> float: ...


@dataclass(frozen=True, slots=True)
class PowerSourceSpec:
    """What a file in `sources/power/` declares as `SPEC`: read by config, `tokwatt sources` and the docs."""

    name: str  # value of `source:` in the config = file name
    summary: str  # one line: what it reads
    needs: str  # what must be true for it to work: package, permission, setting
    boundaries: tuple[Boundary, ...]
    options: type  # frozen dataclass; each field has metadata {"help": ..., "unit": ...}; secrets have {"secret": True}
    open: OpenPowerSource
    detect: bool = False  # True: tried by `tokwatt run` without a config
    traps: tuple[str, ...] = field(default=())
    method: str = ""  # how the joules come about, where a source has several ways: which one when
    resolution: str = ""  # smallest step and how often the number is renewed, as far as it is known


class OpenPowerSource(Protocol):
    """Build a source from its options. Must not do I/O: the first `read()` does."""

    def __call__(self, options: object, context: SourceContext) -> PowerSource: ...


@dataclass(frozen=True, slots=True)
class OwnerContext:
    """What the composition root lends to an owner source."""

    name: str  # of the source
    server: str  # whose GPUs are looked for
    url: str  # where that server answers; "" for one without tokens
    clock: Clock


@dataclass(frozen=True, slots=True)
class OwnerSourceSpec:
    """What a file in `sources/owners/` declares as `SPEC`."""

    name: str  # value of `gpus.source` in the config = file name
    summary: str  # one line: how it finds the GPUs of a server
    needs: str  # what must be true for it to work
    options: type  # frozen dataclass, as for meters
    open: OpenOwnerSource
    traps: tuple[str, ...] = ()
    configured: bool = True  # False: chosen by tokwatt, never named in a configuration


class OpenOwnerSource(Protocol):
    """Build an owner source from its options. Must not do I/O: the first `read()` does."""

    def __call__(self, options: object, context: OwnerContext) -> OwnerSource: ...
