"""What the numbers of a configured series mean: kind, scale, boundary, and which device each belongs to.

Owns the options that `prometheus` and `promql` share and the rules for numbers that cannot be measurements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from tokwatt.quantities import Joules, Watts
from tokwatt.readings import (
    Boundary,
    DeviceInfo,
    EnergyCounter,
    EnergyReading,
    Malformed,
    Meter,
    Method,
    PowerSample,
    Precision,
    SourceContext,
    Unavailable,
)
from tokwatt.sources.power._fall_guard import WrapGuard
from tokwatt.sources.power._known_series import objection, warning
from tokwatt.sources.power._precision import UNSTATED_GAIN_RATIO, declared
from tokwatt.sources.power._renewals import Renewals
from tokwatt.sources.power._samples import listed, written
from tokwatt.sources.power._web import WebOptions
from tokwatt.units import JOULES_PER_KWH

T = TypeVar("T")
_WORST_ACCURACY_RATIO = 0.5
_UNKNOWN_RENEWAL_SECONDS = 1.0  # most meters renew their number about once a second; nobody's page says so
# Inside a machine counters are fine and fast: one that moves slowly is collected by a program, all devices in a pass.
_COLLECTED_IN_ONE_PASS = (Boundary.GPU, Boundary.CPU, Boundary.DRAM)
_GAP_PERIODS = 2.5  # of the 3.5 that the ledger bridges; one more period may pass until a renewal is seen


class Kind(StrEnum):
    """What a series counts."""

    WATTS = "watts"
    JOULES = "joules"
    KWH = "kwh"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutOptions(WebOptions):
    """Options that say what a series means."""

    kind: Kind = field(metadata={"help": "what the value is, after `scale`: power now, or energy counted up"})
    boundary: Boundary = field(metadata={"help": "what the meter's number contains"})
    scale: float = field(
        default=1.0,
        metadata={"help": "the value times this is in `kind`: 0.001 for milliwatts or Wh as kwh", "above": 0},
    )
    device_label: str | None = field(
        default=None, metadata={"help": "label whose value names the device; one series is one device"}
    )
    device_prefix: str = field(
        default="",
        metadata={"help": "written before the label's value: `GPU-` where an exporter leaves it off the UUID"},
    )
    device: str | None = field(
        default=None, metadata={"help": "name of the only device; omit: the meter's name. Not with device_label"}
    )
    accuracy_ratio: float | None = field(
        default=None,
        metadata={
            "help": "the meter's accuracy as its maker states it: 0.01 for 1 %. Omit: 0.05 is assumed",
            "above": 0,
            "maximum": _WORST_ACCURACY_RATIO,
        },
    )
    update_seconds: float = field(
        default=0.0,
        metadata={
            "help": "how often an energy counter moves, where that is slow or in coarse steps; 0: at each read",
            "unit": "s",
            "minimum": 0,
        },
    )
    wraps_at_joules: float | None = field(
        default=None,
        metadata={
            "help": "energy at which the counter starts over (RAPL of node_exporter); omit: a fall is a reset",
            "unit": "J",
            "above": 0,
        },
    )

    def __post_init__(self) -> None:
        WebOptions.__post_init__(self)  # super() has no class to start from under slots
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError("scale must be above 0")
        if self.device and self.device_label:
            raise ValueError("device names the only device, device_label one per series: give one of the two")
        if self.accuracy_ratio is not None and not 0 < self.accuracy_ratio <= _WORST_ACCURACY_RATIO:
            raise ValueError(f"accuracy_ratio must be above 0 and at most {_WORST_ACCURACY_RATIO:g}: 0.01 is 1 %")
        if self.wraps_at_joules is not None and self.kind is Kind.WATTS:
            raise ValueError("wraps_at_joules goes with an energy counter, not with watts")
        check_renewal("update_seconds", self.update_seconds, self.period_seconds)


def refuse_known_mistakes(options: ReadoutOptions, metric: str) -> None:
    """Refuse what would read a well-known series wrongly. Raises ValueError."""
    is_power = options.kind is Kind.WATTS
    scale_to_si = options.scale * (JOULES_PER_KWH if options.kind is Kind.KWH else 1.0)
    wrong = objection(metric, is_power=is_power, scale_to_si=scale_to_si, device_label=options.device_label)
    if wrong:
        raise ValueError(wrong)


def warnings_of(options: ReadoutOptions, metric: str) -> tuple[str, ...]:
    """Return what a person should know of a well-known series as it is read."""
    text = warning(metric, wraps=options.wraps_at_joules is not None)
    return (text,) if text else ()


def check_renewal(name: str, update_seconds: float, period_seconds: float) -> None:
    """Refuse a period so short that every pause between two renewals would be a gap. Raises ValueError."""
    if update_seconds < 0:
        raise ValueError(f"{name} must not be below 0")
    if update_seconds > _GAP_PERIODS * period_seconds:
        least = update_seconds / _GAP_PERIODS
        raise ValueError(f"period_seconds must be at least {least:g}: {name} is {update_seconds:g}")


class Readout:
    """Turns samples of a configured series into readings."""

    def __init__(self, options: ReadoutOptions, context: SourceContext, where: str) -> None:
        self._options = options
        self._context = context
        self._where = where
        self._renewals = Renewals(options.update_seconds, options.period_seconds, where)
        wraps_at = options.wraps_at_joules
        self._wraps = WrapGuard(None if wraps_at is None else Joules(wraps_at), options.period_seconds)
        self._is_power = options.kind is Kind.WATTS
        self._units = JOULES_PER_KWH if options.kind is Kind.KWH else 1.0
        # A renewal is placed between two looks, so what remains unknown of its instant is no more than their distance.
        renewed_every_seconds = min(options.update_seconds or _UNKNOWN_RENEWAL_SECONDS, options.period_seconds)
        gain = Precision(UNSTATED_GAIN_RATIO if options.accuracy_ratio is None else options.accuracy_ratio)
        self._precision = declared(
            gain,
            context,
            renewed_every_seconds=renewed_every_seconds,
            # a slow counter of a whole host or an outlet counts in coarse steps, each in its own time
            renewed_together=options.update_seconds > 0 and options.boundary in _COLLECTED_IN_ONE_PASS,
        )

    def by_device(self, series: Sequence[tuple[Mapping[str, str], T]]) -> Mapping[str, T]:
        """Name the device of each series.

        Raises:
            Malformed: two series would be one device, or a series lacks the label that names it.
        """
        label = self._options.device_label
        if label is None and len(series) > 1:
            raise Malformed(
                f"{len(series)} series match where one is wanted: {listed([labels for labels, _ in series])}",
                where=self._where,
                hint="narrow the filter to one, or name the label that tells devices apart as device_label",
            )
        devices: dict[str, T] = {}
        for labels, item in series:
            device = self._name(labels, label)
            if device in devices:
                same = [labels for labels, _ in series if self._name(labels, label) == device]
                raise Malformed(
                    f"{len(same)} series are the same device {device!r}: {listed(same)}",
                    where=self._where,
                    hint="narrow the filter, or choose a device_label that differs",
                )
            devices[device] = item
        return devices

    def reading(self, device: str, value: float, at_seconds: float) -> EnergyReading:
        """Make a reading of a value seen at an instant.

        Raises:
            Malformed: the value cannot be a measurement.
            Unavailable: it is none now, or its age is not known yet.
        """
        if not math.isfinite(value) or value < 0:
            raise Malformed(f"{device} shows {value:g}", where=self._where, hint="neither power nor energy can be that")
        amount = value * self._options.scale * self._units
        if self._is_power:
            if amount == 0 and self._options.boundary is not Boundary.OUTLET:
                raise Unavailable(f"{device} shows 0 W, which is no measurement", where=self._where)
            return PowerSample(self._meter(device), Watts(amount), at_seconds)
        placed = self._renewals.place(device, value, at_seconds)
        modulus = self._wraps.modulus(device, Joules(amount), placed)
        return EnergyCounter(self._meter(device), Joules(amount), placed, modulus)

    def info(self, device: str, name: str, labels: Mapping[str, str]) -> DeviceInfo:
        """Describe a device."""
        details = (("address", self._where), ("series", written(labels)))
        return DeviceInfo(self._meter(device), name, details=details, precision=self._precision)

    def _name(self, labels: Mapping[str, str], label: str | None) -> str:
        if label is None:
            return self._options.device or self._context.name
        value = labels.get(label, "")
        if not value:
            raise Malformed(
                f"a series has no label {label!r}: {written(labels)}",
                where=self._where,
                hint="device_label must be one of its labels",
            )
        return f"{self._options.device_prefix}{value}"

    def _meter(self, device: str) -> Meter:
        method = Method.INTEGRATED if self._is_power else Method.COUNTER
        return self._context.meter(self._options.boundary, device, method)
