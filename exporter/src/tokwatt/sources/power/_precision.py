"""How wrong each kind of meter may be: one justified `Precision` per kind, in one place.

Owns the numbers and where they come from. A figure that no vendor states is an assumption, and says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tokwatt.quantities import Joules, Watts
from tokwatt.readings import Precision, SourceContext

_MILLI: Final = 1e-3
# Assumed where nobody states one: DCMI has no field for it and BMC makers rarely publish it. PDUs that do state theirs
# lie between 3 % (APC AP8xxx, Schneider FA156074) and 5 % (AP7xxx above 10 A).
UNSTATED_GAIN_RATIO: Final = 0.05

# Gain: of over 70 boards against external meters most were within 5 %, one model 11 % off (Yang, Adamek, Armour, arXiv
# 2312.02741: gauges; no study of the counter is published, so it is taken to be alike). Renewed every 0.1 s (Zeus).
NVML_COUNTER: Final = Precision(0.05, resolution_joules=Joules(_MILLI), renewed_every_seconds=0.1)
NVML_POWER: Final = Precision(0.05, resolution_watts=Watts(_MILLI), renewed_every_seconds=0.1)
# Accumulators count in 2^-16 J (15.3 uJ) on most boards, and each tells its own step; power comes in whole watts. Gain
# and pace are not documented: assumed, the pace as NVIDIA's.
AMD_COUNTER: Final = Precision(UNSTATED_GAIN_RATIO, resolution_joules=Joules(15.3e-6), renewed_every_seconds=0.1)
AMD_POWER: Final = Precision(UNSTATED_GAIN_RATIO, resolution_watts=Watts(1.0), renewed_every_seconds=0.1)
# RAPL counts in 2^-14 J (61 uJ) or finer steps, about every millisecond (Intel SDM vol. 3, 16.10.1). Gain: assumed.
RAPL_PACKAGE: Final = Precision(UNSTATED_GAIN_RATIO, resolution_joules=Joules(61e-6), renewed_every_seconds=_MILLI)
# DRAM RAPL was within 20 % of the modules' real power (Desrochers, Paradis, Weaver, MEMSYS 2016).
RAPL_DRAM: Final = Precision(0.2, resolution_joules=Joules(61e-6), renewed_every_seconds=_MILLI)
# DCMI 1.5 section 6.6.1: whole watts; BMCs renew them about once a second. Gain: assumed.
DCMI: Final = Precision(UNSTATED_GAIN_RATIO, resolution_watts=Watts(1.0), renewed_every_seconds=1.0)
# hwmon writes microwatts and microjoules whatever its chip resolves. amd_energy adds up RAPL's registers. ACPI meters
# and Grace renew about once a second where they name no averaging interval. Gain: assumed where the chip states none.
HWMON_COUNTER: Final = Precision(UNSTATED_GAIN_RATIO, resolution_joules=Joules(61e-6), renewed_every_seconds=_MILLI)
HWMON_POWER: Final = Precision(UNSTATED_GAIN_RATIO, resolution_watts=Watts(1e-6), renewed_every_seconds=1.0)
# Redfish writes what its sensor resolves, usually whole watts, and has Accuracy and SensingInterval, rarely filled.
REDFISH_POWER: Final = Precision(UNSTATED_GAIN_RATIO, resolution_watts=Watts(1.0), renewed_every_seconds=1.0)
# Of somebody else's series nothing is known; most meters renew about once a second.
UNSTATED: Final = Precision(UNSTATED_GAIN_RATIO, renewed_every_seconds=1.0)


def declared(precision: Precision, context: SourceContext, **known: float) -> Precision:
    """Return what a device declares: `precision` with what is `known` of this one. Simulated sensors have no gain."""
    precision = replace(precision, **known)  # type: ignore[arg-type]  # mypy cannot tell which name has which value
    return replace(precision, gain_ratio=0.0) if context.simulated else precision
