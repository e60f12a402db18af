"""Any meter that some exporter already shows on a Prometheus metrics page: PDU, BMC, RAPL, GPU, smart plug.

Owns the spec of `source: prometheus`.
"""

from __future__ import annotations

from tokwatt.readings import Boundary, PowerSourceSpec
from tokwatt.sources.power._page_meter import PrometheusOptions, PrometheusSource
from tokwatt.sources.power._precision import UNSTATED

__all__ = ["SPEC", "PrometheusOptions", "PrometheusSource"]


SPEC = PowerSourceSpec(
    name="prometheus",
    summary="any series in watts, joules or kWh on the metrics page of another exporter",
    needs="the exporter's address, the metric's name and unit, and labels that leave one series per device",
    boundaries=tuple(Boundary),
    method="joules and kwh: counter; watts: integrated",
    resolution="that of the exporter; an energy counter renewed less often than it is read needs update_seconds",
    precisions=(("any series", UNSTATED),),
    options=PrometheusOptions,
    build=PrometheusSource,
    traps=(
        "Nothing is added up: several matching series need device_label, or are refused with their labels.",
        "Zones that contain each other are no two devices: psys holds package, package holds core and uncore.",
        "Of Kepler's node counters choose one zone; its pod and process counters are shares of them, and refused.",
        "node_rapl_*_joules_total wraps within minutes: set wraps_at_joules to the zone's max_energy_range_uj / 1e6.",
        "The units of well-known series (APC, Sentry4, DCGM, Scaphandre, Kepler) are known: a wrong scale is refused.",
        "Energy in steps of 0.1 kWh moves every 20 min at 300 W: read the watts instead.",
        "ipmi_exporter asks the BMC at every read, which takes seconds: period_seconds 15 or more, timeout above that.",
        "nvidia_gpu_exporter writes UUIDs without GPU-: device_label: uuid with device_prefix: GPU-.",
        "0 W is taken for a measurement at an outlet only; some PDUs show 0 below 50 W.",
        "Apparent power (VA) is not power (W), no factor turns one into the other: it is refused.",
    ),
)
