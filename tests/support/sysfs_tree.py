"""Trees of small files like those of sysfs, which a test builds and changes while they are read."""

from __future__ import annotations

import os
from pathlib import Path

RANGE_MICROJOULES = 262_143_328_850  # of a Xeon


class Powercap:
    """`class/powercap` under `root`, with zones as the kernel names them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "class/powercap"
        (self.folder / "intel-rapl").mkdir(parents=True)  # the control type itself is listed beside its zones

    def add(self, zone: str, name: str, joules: float = 0.0, range_microjoules: int | None = RANGE_MICROJOULES) -> None:
        folder = self.folder / zone
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        if range_microjoules is not None:
            (folder / "max_energy_range_uj").write_text(f"{range_microjoules}\n")
        self.set(zone, joules)

    def set(self, zone: str, joules: float) -> None:
        replace(self.folder / zone / "energy_uj", f"{round(joules * 1e6)}\n")


class Hwmon:
    """`class/hwmon` under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "class/hwmon"
        self.folder.mkdir(parents=True)

    def add(self, number: int, chip: str, *, device: str = "", **files: object) -> Path:
        """One chip. With `device`, the files lie in its device's folder, as those of ACPI meters do."""
        folder = self.folder / f"hwmon{number}"
        folder.mkdir()
        place = folder
        if device:
            place = self.root / "devices" / device
            place.mkdir(parents=True)
            (folder / "device").symlink_to(place)
        (place / "name" if device else folder / "name").write_text(f"{chip}\n")
        if device:
            (folder / "name").write_text(f"{chip}\n")
        for name, value in files.items():
            (place / name).write_text(f"{value}\n")
        return place


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new, as with sysfs."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.rename(path)


def as_pipe(path: Path) -> None:
    """Make a file hang its reader, as a driver does that waits for dead hardware."""
    path.unlink()
    os.mkfifo(path)
