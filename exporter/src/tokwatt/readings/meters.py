"""Readings of meters: energy counters and power gauges, and what a meter declares of itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tokwatt.quantities import Joules, Watts
from tokwatt.readings.errors import SourceError


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


def fidelity_of(boundary: Boundary) -> Fidelity:
    """How far a meter at this boundary is trusted for inference."""
    by_boundary = {Boundary.GPU: Fidelity.HIGHEST, Boundary.OUTLET: Fidelity.LOW}
    return by_boundary.get(boundary, Fidelity.HIGH)


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
    joules: Joules
    at_seconds: float  # monotonic
    wraps_at_joules: Joules | None = None


@dataclass(frozen=True, slots=True)
class PowerSample:
    """A power gauge, to be integrated. `averaged_over_seconds` is 0 for an instantaneous sensor."""

    meter: Meter
    watts: Watts
    at_seconds: float  # monotonic
    averaged_over_seconds: float = 0.0


EnergyReading = EnergyCounter | PowerSample  # the kind is in the type, never guessed


@dataclass(frozen=True, slots=True)
class Precision:
    """How wrong a meter may be: 90 % half-widths. What the error interval of a window is made from."""

    gain_ratio: float  # of the reading, fixed for one device (sensor gain, board to board)
    resolution_joules: Joules = Joules(0)  # smallest step of a counter
    resolution_watts: Watts = Watts(0)  # smallest step of a power gauge
    renewed_every_seconds: float = 0.0  # the device renews its number this often: its age at a read is up to this
    renewed_together: bool = False  # one pass renews all devices of the source: their numbers are equally old


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """Identity of a device behind a meter, for `tokwatt_gpu_info` and for humans, and how good the meter is."""

    meter: Meter
    name: str  # for example "NVIDIA H100 80GB HBM3"
    index: int | None = None  # index in the vendor's order, where there is one
    details: tuple[tuple[str, str], ...] = ()  # (key, value): driver version, BMC address
    precision: Precision = Precision(gain_ratio=0.05)
    energy_to_power_ratio: float | None = None  # energy counter / integrated power of this device; None: not compared


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
    warnings: tuple[str, ...] = ()  # what a person should know although it was read: a counter that contradicts itself
