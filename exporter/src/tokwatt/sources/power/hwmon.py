"""CPU sockets and hosts through Linux hwmon: NVIDIA Grace, ACPI power meters, AMD's energy driver.

Owns the options, the spec and the rules that say what a sensor's number contains. Never guesses: a sensor that no rule
knows is read only where the configuration names its boundary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tokwatt.quantities import Joules, Watts
from tokwatt.readings import (
    Boundary,
    DeviceFailure,
    DeviceInfo,
    DuplicateDevice,
    EnergyCounter,
    EnergyReading,
    Meter,
    Method,
    PowerReading,
    PowerSample,
    PowerSourceSpec,
    SourceContext,
    SourceError,
    Unavailable,
)
from tokwatt.sources._frame import above_zero
from tokwatt.sources.power._hwmon_sensors import Sensor, find_sensors
from tokwatt.sources.power._precision import HWMON_COUNTER, HWMON_POWER, declared
from tokwatt.sources.power._sysfs import entries, text_or
from tokwatt.sources.power._worker_meter import WorkerMeter

# Chip and label of sensors whose meaning is certain. The socket's number makes the name that RAPL gives a package.
_CPU_SENSORS: Final = (
    ("power_meter", re.compile(r"CPU Power Socket (\d+)")),  # NVIDIA Grace: the CPU rail
    ("amd_energy", re.compile(r"Esocket(\d+)")),
)
_GRACE_SENSOR: Final = re.compile(r"(CPU|Grace|SysIO|Module) Power Socket \d+")
_MODULE_NAME: Final = re.compile(r"(^|/)Module Power Socket \d+(@|$)")
_SOCKET: Final = re.compile(r"[Ss]ocket ?(\d+)")
_NOT_READ: Final = "none"
_CHOICES: Final = (Boundary.CPU.value, Boundary.DRAM.value, Boundary.HOST.value, _NOT_READ)
_SENSORS_SHOWN: Final = 12
_PERMISSION_HINT: Final = "run as root, or give tokwatt's group the right to read it by a udev rule"


@dataclass(frozen=True, slots=True)
class HwmonOptions:
    """Options of `source: hwmon`."""

    boundaries: Mapping[str, str] = field(
        default_factory=dict,
        metadata={
            "help": "what sensors contain, by chip, label or chip/label as `tokwatt probe` shows them: cpu, dram, "
            "host (one sensor) or none. For example `power_meter: host` for an ACPI meter of the whole server"
        },
    )
    sysfs_root: str = field(default="/sys", metadata={"help": "where sysfs is mounted; in a container the host's"})
    timeout_seconds: float = field(default=1.0, metadata={"help": "longest wait for one pass", "unit": "s"})

    def __post_init__(self) -> None:
        for name, boundary in self.boundaries.items():
            if boundary not in _CHOICES:
                raise ValueError(f"boundaries.{name} must be one of {', '.join(_CHOICES)}, not {boundary!r}")
            if _MODULE_NAME.search(name) and boundary in (Boundary.CPU, Boundary.DRAM):
                raise ValueError(
                    f"boundaries.{name} contains the GPU too: it is no {boundary}; `Grace Power` is the CPU's"
                )
        if not self.sysfs_root.startswith("/"):
            raise ValueError("sysfs_root must be an absolute path")
        above_zero(timeout_seconds=self.timeout_seconds)


class HwmonSource(WorkerMeter):
    """The known sensors of this host, read with the tick."""

    def __init__(self, options: HwmonOptions, context: SourceContext) -> None:
        super().__init__(context, options.timeout_seconds)
        self._options = options
        self._root = Path(options.sysfs_root)

    def _read(self) -> PowerReading:
        readings: dict[tuple[Boundary, str], EnergyReading] = {}
        devices: list[DeviceInfo] = []
        failures: list[DeviceFailure] = []
        for sensor, meter in self._wanted():
            key = (meter.boundary, meter.device)
            try:
                if key in readings:
                    hint = (
                        f"its {meter.boundary.value} power counts once; give the other sensors `none` in `boundaries`"
                    )
                    raise DuplicateDevice("a second sensor of this device", where=sensor.names[0], hint=hint)
                readings[key] = self._reading(sensor, meter)
            except SourceError as error:
                failures.append(DeviceFailure(sensor.title, error))
                continue
            devices.append(_info(readings[key], sensor, self._context))
        if failures and not readings:
            raise failures[0].error
        return PowerReading(tuple(readings.values()), tuple(devices), tuple(failures))

    def _wanted(self) -> list[tuple[Sensor, Meter]]:
        """Choose the sensors, each with its meter. Raises Unavailable where there is none."""
        sensors = find_sensors(self._root / "class/hwmon")
        told = [(sensor, self._meter(sensor, boundary)) for sensor in sensors if (boundary := self._told(sensor))]
        taken = {(meter.boundary, meter.device) for _, meter in told}
        wanted = list(told)
        for sensor in sensors:
            meter = self._known(sensor)
            if meter is not None and (meter.boundary, meter.device) not in taken:
                wanted.append((sensor, meter))
        if not wanted:
            raise _nothing(sensors, str(self._root / "class/hwmon"))
        return wanted

    def _told(self, sensor: Sensor) -> Boundary | None:
        """Return the boundary that the configuration names."""
        choice = self._choice(sensor)
        return Boundary(choice) if choice not in (None, _NOT_READ) else None

    def _choice(self, sensor: Sensor) -> str | None:
        boundaries = self._options.boundaries
        return next((boundaries[name] for name in sensor.names if name in boundaries), None)

    def _known(self, sensor: Sensor) -> Meter | None:
        """Return the meter of a sensor that a rule knows and that nobody else counts."""
        if self._choice(sensor) is not None:
            return None
        if not any(sensor.chip == chip and label.fullmatch(sensor.label) for chip, label in _CPU_SENSORS):
            return None
        meter = self._meter(sensor, Boundary.CPU)
        return None if self._powercap_counts(meter.device) else meter

    def _meter(self, sensor: Sensor, boundary: Boundary) -> Meter:
        method = Method.COUNTER if sensor.is_counter else Method.INTEGRATED
        return self._context.meter(boundary, self._device(sensor, boundary), method)

    def _powercap_counts(self, package: str) -> bool:
        """Whether RAPL shows this package too: then it is RAPL's."""
        powercap = self._root / "class/powercap"
        zones = (zone for zone in entries(powercap) if zone.startswith("intel-rapl:"))
        return any(text_or(powercap / zone / "name", "") == package for zone in zones)

    def _device(self, sensor: Sensor, boundary: Boundary) -> str:
        if boundary is Boundary.HOST:
            return self._context.name
        socket = _SOCKET.search(sensor.label)
        if socket is None:
            return sensor.names[0]
        return f"package-{socket[1]}-dram" if boundary is Boundary.DRAM else f"package-{socket[1]}"

    def _reading(self, sensor: Sensor, meter: Meter) -> EnergyReading:
        clock = self._context.clock
        before = clock()
        amount = sensor.read(_PERMISSION_HINT)
        at_seconds = (before + clock()) / 2
        if sensor.is_counter:
            return EnergyCounter(meter, Joules(amount), at_seconds)
        return PowerSample(meter, Watts(amount), at_seconds, sensor.averaged_over_seconds)


def _nothing(sensors: Sequence[Sensor], where: str) -> Unavailable:
    if not sensors:
        return Unavailable("no sensor shows power or energy", where=where)
    shown = ", ".join(sensor.names[0] for sensor in sensors[:_SENSORS_SHOWN])
    more = f" and {len(sensors) - _SENSORS_SHOWN} more" if len(sensors) > _SENSORS_SHOWN else ""
    hint = "set `boundaries` for those that you know, for example power_meter: host"
    return Unavailable(f"no power sensor whose meaning is certain; found {shown}{more}", where=where, hint=hint)


def _info(reading: EnergyReading, sensor: Sensor, context: SourceContext) -> DeviceInfo:
    details = [("sensor", sensor.title), ("place", sensor.place)]
    if _GRACE_SENSOR.fullmatch(sensor.label):
        details.append(("part_of", "superchip"))
    if isinstance(reading, PowerSample) and reading.averaged_over_seconds:
        details.append(("averaged_over_seconds", f"{reading.averaged_over_seconds:g}"))
    stated = sensor.accuracy_ratio
    known = {} if stated is None else {"gain_ratio": stated}
    if isinstance(reading, PowerSample) and reading.averaged_over_seconds:
        known["renewed_every_seconds"] = reading.averaged_over_seconds
    precision = declared(HWMON_COUNTER if sensor.is_counter else HWMON_POWER, context, **known)
    return DeviceInfo(reading.meter, sensor.label, details=tuple(details), precision=precision)


SPEC = PowerSourceSpec(
    name="hwmon",
    summary="power sensors of Linux hwmon: NVIDIA Grace CPUs, AMD's energy driver; ACPI power meters where named",
    needs="a driver that shows power in hwmon (acpi_power_meter, amd_energy); in a container the host's /sys",
    boundaries=(Boundary.CPU, Boundary.DRAM, Boundary.HOST),
    method="counter of AMD's driver; the powers are integrated",
    resolution="the driver's, usually 1 microwatt written and far less measured",
    precisions=(("energy counter", HWMON_COUNTER), ("power", HWMON_POWER)),
    options=HwmonOptions,
    build=HwmonSource,
    detect=True,
    traps=(
        "Only sensors whose meaning is certain are read by themselves: Grace's CPU rail and AMD's sockets.",
        "Grace: `CPU Power` lacks the SoC rail (SysIO) and DRAM; `Grace Power` has them, `Module Power` the GPU too.",
        "Where NVML reads the whole module (GH200), the CPU's energy is inside the GPU's.",
        "An ACPI power meter is mostly the whole server's, but may be a part's: compare it with the BMC once.",
        "A package that RAPL shows too is left to RAPL.",
        "Powers are averages over up to seconds, integrated: bursts below that are not seen.",
    ),
)
