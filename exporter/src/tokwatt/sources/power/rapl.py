"""CPU packages and their DRAM through the RAPL energy counters of Linux powercap.

Owns the options, the spec and the choice of zones of `source: rapl`. Never adds zones that contain each other.
Source: Linux, Documentation/power/powercap and ABI/testing/sysfs-class-powercap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tokwatt.quantities import Joules
from tokwatt.readings import (
    Boundary,
    Clock,
    DeviceFailure,
    DeviceInfo,
    DuplicateDevice,
    EnergyCounter,
    Method,
    PowerReading,
    PowerSourceSpec,
    SourceContext,
    SourceError,
    Unavailable,
)
from tokwatt.sources._frame import above_zero
from tokwatt.sources.power._precision import RAPL_DRAM, RAPL_PACKAGE, declared
from tokwatt.sources.power._sysfs import JOULES_PER_MICROJOULE, entries, exists, number_or_none, read_number, read_text
from tokwatt.sources.power._worker_meter import WorkerMeter

# `intel-rapl` is the control type of AMD too. `intel-rapl-mmio` shows the same packages a second time.
_ZONE: Final = re.compile(r"intel-rapl(:\d+)+")
_PACKAGE: Final = re.compile(r"package-\d+(-die-\d+)?")
_PERMISSION_HINT: Final = (
    "only root may read it since the fix of CVE-2020-8694: run as root, or give the service AmbientCapabilities="
    "CAP_DAC_READ_SEARCH, or let its group read the file by a udev rule (chgrp and chmod g+r on energy_uj)"
)
_MASKED_HINT: Final = (
    "container runtimes hide powercap: mount the host's /sys into the container, in Kubernetes as a hostPath volume, "
    "and set sysfs_root to it"
)


@dataclass(frozen=True, slots=True)
class RaplOptions:
    """Options of `source: rapl`."""

    sysfs_root: str = field(default="/sys", metadata={"help": "where sysfs is mounted; in a container the host's"})
    timeout_seconds: float = field(default=1.0, metadata={"help": "longest wait for one pass over zones", "unit": "s"})

    def __post_init__(self) -> None:
        if not self.sysfs_root.startswith("/"):
            raise ValueError("sysfs_root must be an absolute path")
        above_zero(timeout_seconds=self.timeout_seconds)


@dataclass(frozen=True, slots=True)
class _Zone:
    """A zone that is counted: a package, or the DRAM beside one."""

    boundary: Boundary
    device: str  # stable name: package-0, package-0-dram
    folder: Path


class RaplSource(WorkerMeter):
    """All CPU packages of this host, read with the tick."""

    def __init__(self, options: RaplOptions, context: SourceContext) -> None:
        super().__init__(context, options.timeout_seconds)
        self._options = options

    def _read(self) -> PowerReading:
        readings: dict[tuple[Boundary, str], EnergyCounter] = {}
        devices: list[DeviceInfo] = []
        failures: list[DeviceFailure] = []
        for zone in _zones(Path(self._options.sysfs_root) / "class/powercap"):
            key = (zone.boundary, zone.device)
            try:
                if key in readings:
                    raise DuplicateDevice("a second zone of this name", where=str(zone.folder), hint="it is left out")
                readings[key] = self._counter(zone, self._context.clock)
            except SourceError as error:
                failures.append(DeviceFailure(zone.device, error))
                continue
            devices.append(_info(readings[key], zone, self._context))
        if failures and not readings:
            raise failures[0].error
        return PowerReading(tuple(readings.values()), tuple(devices), tuple(failures))

    def _counter(self, zone: _Zone, clock: Clock) -> EnergyCounter:
        # a range of 0 or none makes a fall of the counter a reset: that interval is then dropped
        range_microjoules = number_or_none(zone.folder / "max_energy_range_uj") or 0
        before = clock()
        microjoules = read_number(zone.folder / "energy_uj", _PERMISSION_HINT)
        at_seconds = (before + clock()) / 2
        if microjoules == 0:  # a counter that counts stands at 0 for some microseconds in half an hour
            hint = "the CPU or the firmware does not count this zone"
            raise Unavailable("the energy counter stands at 0", where=str(zone.folder), hint=hint)
        meter = self._context.meter(zone.boundary, zone.device, Method.COUNTER)
        wraps_at_joules = Joules(range_microjoules * JOULES_PER_MICROJOULE) if range_microjoules > 0 else None
        return EnergyCounter(meter, Joules(microjoules * JOULES_PER_MICROJOULE), at_seconds, wraps_at_joules)


def _zones(folder: Path) -> Iterator[_Zone]:
    """Find packages and their DRAM, in the order of the folder. Raises SourceError where there is no package."""
    names = [name for name in entries(folder) if _ZONE.fullmatch(name)]
    if not names:
        hint = "no RAPL on this CPU or in this virtual machine; on a host: modprobe intel_rapl_msr (AMD CPUs too)"
        raise Unavailable("no RAPL zones", where=str(folder), hint=hint)
    if not any(exists(folder / name) for name in names):
        raise Unavailable("its zones lead nowhere", where=str(folder), hint=_MASKED_HINT)
    titles = {name: title for name in names if (title := _title(folder / name))}
    packages = [name for name, title in titles.items() if _PACKAGE.fullmatch(title)]
    if not packages:
        seen = ", ".join(sorted(set(titles.values()))) or "none with a name"
        raise Unavailable(f"no package among the RAPL zones ({seen})", where=str(folder))
    for name in packages:
        yield _Zone(Boundary.CPU, titles[name], folder / name)
        # `core` and `uncore` are inside the package; `dram` is beside it
        for child, title in titles.items():
            if title == "dram" and child.rpartition(":")[0] == name:
                yield _Zone(Boundary.DRAM, f"{titles[name]}-dram", folder / child)


def _title(zone: Path) -> str:
    try:
        return read_text(zone / "name")
    except SourceError:  # a zone that goes away while it is looked at, or one that is masked
        return ""


def _info(counter: EnergyCounter, zone: _Zone, context: SourceContext) -> DeviceInfo:
    details = [("zone", zone.folder.name)]
    if counter.wraps_at_joules is not None:
        details.append(("wraps_at_joules", f"{counter.wraps_at_joules:.0f}"))
    is_package = zone.boundary is Boundary.CPU
    kind = "CPU package" if is_package else "DRAM beside a CPU package"
    precision = declared(RAPL_PACKAGE if is_package else RAPL_DRAM, context)
    return DeviceInfo(counter.meter, kind, details=tuple(details), precision=precision)


SPEC = PowerSourceSpec(
    name="rapl",
    summary="CPU packages and their DRAM: RAPL energy counters of Intel and AMD CPUs",
    needs="Linux powercap (intel_rapl_msr, AMD too) and the right to read energy_uj: root, CAP_DAC_READ_SEARCH or a "
    "udev rule; in a container the host's /sys",
    boundaries=(Boundary.CPU, Boundary.DRAM),
    method="counter",
    resolution="15 to 61 microjoules on most CPUs, renewed about every millisecond",
    precisions=(("package", RAPL_PACKAGE), ("DRAM", RAPL_DRAM)),
    options=RaplOptions,
    build=RaplSource,
    detect=True,
    traps=(
        "The counter wraps, at 150 W about every 30 minutes: a gap longer than that loses whole wraps unseen.",
        "psys is not read: what it contains is the platform's choice. core and uncore are inside the package.",
        "AMD CPUs and many desktop CPUs have no DRAM zone.",
        "Intel CPUs before Haswell model the energy instead of measuring it.",
        "Virtual machines have no RAPL.",
    ),
)
