"""Series of well-known exporters that are easily read wrongly: what they count, and what is no meter at all. Pure.

Owns names and their units. Sources: help texts of prometheus/snmp_exporter snmp.yml (APC PowerNet-MIB, Sentry4-MIB),
sustainable-computing-io/kepler docs/user/metrics.md, hubblo-org/scaphandre, NVIDIA/dcgm-exporter, ROCm
device-metrics-exporter, DRuggeri/nut_exporter, prometheus/node_exporter collector/rapl_linux.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tokwatt.units import JOULES_PER_KWH

_TENTH_OF_KWH: Final = JOULES_PER_KWH / 10
_WH: Final = JOULES_PER_KWH / 1000


@dataclass(frozen=True, slots=True)
class _Unit:
    """What 1 of a series is: watts of a gauge, or joules of a counter."""

    is_power: bool
    amount: float
    name: str


_UNITS: Final[Mapping[str, _Unit]] = {
    "rPDU2DeviceStatusPower": _Unit(True, 10.0, "hundredths of a kilowatt"),
    "rPDU2PhaseStatusPower": _Unit(True, 10.0, "hundredths of a kilowatt"),
    "rPDU2OutletMeteredStatusPower": _Unit(True, 1.0, "watts"),
    "rPDU2DeviceStatusEnergy": _Unit(False, _TENTH_OF_KWH, "tenths of a kWh"),
    "rPDU2OutletMeteredStatusEnergy": _Unit(False, _TENTH_OF_KWH, "tenths of a kWh"),
    "st4OutletActivePower": _Unit(True, 1.0, "watts"),
    "st4OutletEnergy": _Unit(False, _WH, "Wh"),
    "st4InputCordActivePower": _Unit(True, 1.0, "watts"),
    "st4InputCordEnergy": _Unit(False, _TENTH_OF_KWH, "tenths of a kWh"),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": _Unit(False, 1e-3, "millijoules"),
    "DCGM_FI_DEV_POWER_USAGE": _Unit(True, 1.0, "watts"),
    "gpu_energy_consumed": _Unit(False, 1e-6, "microjoules"),
    "scaph_host_energy_microjoules": _Unit(False, 1e-6, "microjoules"),
    "scaph_host_power_microwatts": _Unit(True, 1e-6, "microwatts"),
    "habanalabs_power_mW": _Unit(True, 1e-3, "milliwatts"),
    "nv_energy_consumption": _Unit(False, 1.0, "joules"),
    "nv_gpu_power_usage": _Unit(True, 1.0, "watts"),
    "kepler_node_cpu_joules_total": _Unit(False, 1.0, "joules"),
    "kepler_node_gpu_joules_total": _Unit(False, 1.0, "joules"),
    "kepler_platform_watts": _Unit(True, 1.0, "watts"),
    "ipmi_dcmi_power_consumption_watts": _Unit(True, 1.0, "watts"),
}
_SHARE: Final = re.compile(r"kepler_(process|container|pod|vm)_\w+|scaph_process_\w+|scaph_domain_\w+_per_process\w*")
_APPARENT: Final = re.compile(
    r"\w*(apparent|volt_?amp(ere)?s?)\w*|network_ups_tools_ups_power(_nominal)?", re.IGNORECASE
)
_LOAD: Final = re.compile(r"network_ups_tools_ups_load|\w*_ups_load(_percent)?")
_ZONED: Final = re.compile(r"kepler_node_cpu_(joules_total|watts)")
_WRAPPING: Final = re.compile(r"node_rapl_\w+_joules_total")
_TOLERANCE: Final = 1e-6


def objection(metric: str, *, is_power: bool, scale_to_si: float, device_label: str | None) -> str:
    """Say why a series, read like this, would give a wrong number; "" where nothing is known against it.

    `scale_to_si` turns its value into watts (`is_power`) or joules.
    """
    if _SHARE.fullmatch(metric):
        return f"{metric} is a share of a meter's energy, split by a model: read the node's counter or gauge instead"
    if _APPARENT.fullmatch(metric):
        return f"{metric} is apparent power (VA), which no factor turns into power (W): read the real power instead"
    if _LOAD.fullmatch(metric):
        return f"{metric} is a share of the nominal load: times a rating it would be an estimate, not a measurement"
    if _ZONED.fullmatch(metric) and device_label == "zone":
        return f"the zones of {metric} contain each other: choose one in labels, for example zone: package"
    unit = _UNITS.get(metric)
    if unit is None:
        return ""
    if unit.is_power != is_power:
        return f"{metric} counts {'power' if unit.is_power else 'energy'} in {unit.name}: set kind to fit"
    if abs(scale_to_si / unit.amount - 1) > _TOLERANCE:
        return (
            f"{metric} is in {unit.name}: its kind and scale make {scale_to_si / unit.amount:g} times the truth of it"
        )
    return ""


def warning(metric: str, *, wraps: bool) -> str:
    """Say what will be lost of a series that is read like this; "" for nothing known."""
    if _WRAPPING.fullmatch(metric) and not wraps:
        return (
            f"{metric} starts over within minutes, as the CPU's counter does: each time the energy between two reads "
            "is lost. Set wraps_at_joules to the zone's max_energy_range_uj / 1e6"
        )
    return ""
