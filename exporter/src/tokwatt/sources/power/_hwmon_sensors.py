"""Power and energy sensors of Linux hwmon: finding them, naming them, reading one.

Owns the file names of hwmon. Decides nothing about what a sensor's number contains.
Source: Linux, Documentation/hwmon/sysfs-interface.rst and acpi_power_meter.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokwatt.readings import SourceError, Unavailable
from tokwatt.sources.power._sysfs import (
    JOULES_PER_MICROJOULE,
    WATTS_PER_MICROWATT,
    entries,
    exists,
    number_or_none,
    read_number,
    text_or,
)

_CHIP: Final = re.compile(r"hwmon\d+")
_SENSOR: Final = re.compile(r"(?P<channel>(?P<kind>power|energy)\d+)_(average|input)")
_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)%?")
_LEAST_PERCENT: Final = 50  # a sensor that is wrong by half is none
_SECONDS_PER_MILLISECOND: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Sensor:
    """One power or energy channel of one chip. hwmon numbers change from boot to boot and are no names."""

    chip: str  # name of the driver's chip: power_meter, amd_energy
    label: str  # what the chip calls the channel, else the channel
    place: str  # the device behind the chip: ACPI000D:00
    file: Path

    @property
    def title(self) -> str:
        """Name for people and for the option `boundaries`."""
        return f"{self.chip}/{self.label}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the option `boundaries` may call it by, the most exact first."""
        return (f"{self.title}@{self.place}", self.title, self.label, self.chip)

    @property
    def is_counter(self) -> bool:
        """Whether it counts energy; else it is a power gauge."""
        return self.file.name.startswith("energy")

    @property
    def averaged_over_seconds(self) -> float:
        """Interval that a power gauge averages over, 0 where the chip does not tell."""
        if not self.file.name.endswith("_average"):
            return 0.0
        milliseconds = number_or_none(self.file.with_name(f"{self.file.name}_interval")) or 0
        return max(0, milliseconds) * _SECONDS_PER_MILLISECOND

    @property
    def accuracy_ratio(self) -> float | None:
        """Half-width that the chip states of itself in `powerN_accuracy`: 97.5 % accurate is 0.025. None: not stated.

        100 % and the like are no statement. Source: ACPI 6.5, section 10.4.1 (_PMC).
        """
        channel = self.file.name.partition("_")[0]
        percent = _PERCENT.fullmatch(text_or(self.file.with_name(f"{channel}_accuracy"), ""))
        accurate = float(percent[1]) if percent else 0.0
        return 1 - accurate / 100 if _LEAST_PERCENT <= accurate < 100 else None

    def read(self, permission_hint: str) -> float:
        """Return joules of a counter or watts of a gauge. Raises SourceError, also for what is no measurement."""
        amount = read_number(self.file, permission_hint)
        if amount <= 0:
            hint = "switched off, or not measured by this firmware"
            raise Unavailable(f"a reading of {amount} is no measurement", where=str(self.file), hint=hint)
        return amount * (JOULES_PER_MICROJOULE if self.is_counter else WATTS_PER_MICROWATT)


def find_sensors(folder: Path) -> tuple[Sensor, ...]:
    """List the sensors of `class/hwmon`, by chip, place and label. Raises Refused, Unavailable."""
    found = [sensor for name in entries(folder) if _CHIP.fullmatch(name) for sensor in _of_chip(folder / name)]
    return tuple(sorted(found, key=lambda sensor: (sensor.chip, sensor.place, sensor.label, sensor.file.name)))


def _of_chip(chip: Path) -> Iterator[Sensor]:
    device = chip / "device"
    place = device.resolve().name if exists(device) else chip.name
    title = text_or(chip / "name", "") or text_or(device / "name", "")
    for folder in (chip, device):  # drivers of the old style, ACPI's among them, put their files beside the device's
        channels = _channels(folder)
        for channel, file in channels.items():
            if number_or_none(folder / f"{channel}_enable") == 0 or number_or_none(folder / f"{channel}_is_battery"):
                continue
            label = text_or(folder / f"{channel}_label", "") or text_or(folder / f"{channel}_oem_info", "")
            yield Sensor(title, label or channel, place, file)
        if channels:
            return


def _channels(folder: Path) -> dict[str, Path]:
    """Return one file for each channel, its average before its instantaneous value."""
    channels: dict[str, Path] = {}
    try:
        names = entries(folder)
    except SourceError:
        return channels
    for name in names:  # sorted: `_average` comes before `_input`
        if found := _SENSOR.fullmatch(name):
            channels.setdefault(found["channel"], folder / name)
    return channels
