"""Meters whose numbers contain each other although their boundaries have different names. Pure.

Only superchips do that: the energy counter of a GH200 is its module's, with the Grace CPU and its memory.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokwatt.readings import Boundary, DeviceInfo

_INSIDE_A_MODULE = (Boundary.CPU, Boundary.DRAM)


def contained(devices: Iterable[DeviceInfo], source: str) -> tuple[str, ...]:
    """Tell which devices of `source` are measured inside a GPU module too. One text each, for people.

    Devices say so themselves: a GPU by the detail `scope: module`, a Grace CPU by the detail `part_of: superchip`.
    """
    known = tuple(devices)
    modules = [info.meter for info in known if ("scope", "module") in info.details]
    inside = [info.meter for info in known if ("part_of", "superchip") in info.details]
    if not modules:
        return ()
    of_modules = ", ".join(f"{meter.device} ({meter.source})" for meter in modules)
    return tuple(
        f"{meter.device}: its energy is inside that of the GPU module {of_modules} too: never add "
        f"tokwatt_{meter.boundary.value}_energy_joules_total to tokwatt_gpu_energy_joules_total of this host"
        for meter in inside
        if meter.source == source and meter.boundary in _INSIDE_A_MODULE
    )
