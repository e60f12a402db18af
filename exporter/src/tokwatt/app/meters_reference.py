"""Writes docs/meters.md: for each meter what it reads and needs, how joules come about, how finely, and its traps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from tokwatt.readings import Boundary, PowerSourceSpec, Precision, fidelity_of

_INTRO = """\
# Meters

*Written by `make docs` from the specs in `exporter/src/tokwatt/sources/power/`; don't edit it by hand.*

tokwatt publishes energy that was measured. What a meter doesn't show is absent, never 0, and never the last value
again. `tokwatt probe` reads every meter once and says what it found, or what is missing and what to do about it.

**Boundary** is what a meter's number contains. Boundaries are published under names of their own and never added to
each other, because an outer one contains the inner ones.
"""
_CONTENTS: Mapping[Boundary, str] = {
    Boundary.GPU: "the GPU board with its memory",
    Boundary.CPU: "CPU packages, without DRAM unless the sensor has it",
    Boundary.DRAM: "the host's memory",
    Boundary.HOST: "the whole server; usually its power supplies' input. GPUs in a tray of their own may be missing",
    Boundary.OUTLET: "what hangs on an outlet, supply loss included. A server with two cords has two outlets",
}
_RULES = """\
**Fidelity** is how far a meter is trusted for inference: on the GPU, in the server, outside of it.

**Method**: a *counter* of the hardware counts joules by itself, so nothing is missed between two reads. *Integrated*
power is summed up here; what happens between two reads is not seen. Prefer counters.

**Declared error** is what a meter says of itself, and what the error interval of a window is made from
(`tokwatt_meter_info` shows it): the half-width of the 90 % interval of its gain, its smallest step, and how old its
number may be when it is read. A maker's own figure goes before ours: Redfish `Accuracy`, the accuracy in an IPMI sensor
record, hwmon `powerN_accuracy`, or `accuracy_ratio` in the configuration of an external meter. ±5 % is assumed where
nobody states one.

**A counter beside a power reading** (`nvml`, `amdsmi`, `amd_exporter`) is held against it all the time:
`tokwatt_meter_energy_to_power_ratio`. A counter that stands still while power is drawn is absent, not 0 J.

**One owner**: a device (a GPU's UUID, a host's name) that two meters read under one name is counted once; readings of
the second are refused. The same server under two names can't be recognised: configure one meter for it.

**A fall of a counter** is a reset: nothing is added for that interval. Where the energy at which it starts over is
known (RAPL), it is a wrap, and nothing is lost.

**Slow meters** have a timer of their own, `period_seconds`. A pause of more than 3.5 periods between two readings is a
gap: a power gauge gives no energy for it, a counter's difference is kept, and ratios over it are withheld. So
`period_seconds` must not be far below the pace at which the numbers behind a meter are renewed.

**Numbers that pass through another program** (dcgm-exporter, an exporter's page, a Prometheus server) are older than
they look. A repeated counter value is no new reading, a new one is placed between the two looks that saw it change, and
a counter whose age isn't known yet gives nothing until it moves.
"""
_EXAMPLES = """\
## Recipes for other exporters

```yaml
meters:
  - source: prometheus                    # ipmi_exporter
    name: bmc1
    url: http://127.0.0.1:9290/ipmi?target=10.0.0.7
    metric: ipmi_dcmi_power_consumption_watts
    kind: watts
    boundary: host
    period_seconds: 15
    timeout_seconds: 10                   # it asks the BMC at every read
  - source: prometheus                    # a PDU behind snmp_exporter: two cords of one server
    name: rack3
    url: http://127.0.0.1:9116/snmp?target=10.0.0.9&module=apcups
    metric: rPDU2DeviceStatusPower
    kind: watts
    scale: 10                             # hundredths of a kilowatt
    boundary: outlet
    device_label: rPDU2DeviceStatusIndex
  - source: prometheus                    # CPU package through node_exporter
    name: cpu0
    url: http://127.0.0.1:9100/metrics
    metric: node_rapl_package_joules_total
    labels: {index: "0"}
    kind: joules
    wraps_at_joules: 262143.32885         # max_energy_range_uj / 1e6 of this zone
    boundary: cpu
  - source: prometheus                    # Kepler: one zone, as zones contain each other
    name: cpu-kepler
    url: http://127.0.0.1:28282/metrics
    metric: kepler_node_cpu_joules_total
    labels: {zone: package}
    kind: joules
    boundary: cpu
    device_label: path
  - source: prometheus                    # nvidia_gpu_exporter
    name: gpus
    url: http://127.0.0.1:9835/metrics
    metric: nvidia_smi_power_draw_watts
    kind: watts
    boundary: gpu
    device_label: uuid
    device_prefix: GPU-                   # as NVML and the servers' `gpus` write it
  - source: prometheus                    # an energy meter that counts Wh in steps of 1
    name: plug
    url: http://127.0.0.1:9850/metrics
    metric: plug_energy_wh_total
    kind: kwh
    scale: 0.001                          # Wh
    update_seconds: 12                    # 1 Wh at 300 W
    accuracy_ratio: 0.01                  # its maker states 1 %
    boundary: outlet
  - source: promql                        # whatever a Prometheus server scrapes already
    name: psu
    url: http://127.0.0.1:9090
    query: 'smart_plug_power_watts{plug="inference"}'
    kind: watts
    boundary: outlet
    period_seconds: 30                    # its scrape interval
```

Metric names are those of the exporters' own documentation; look at your page for yours.
"""


def render_meters(specs: Mapping[str, PowerSourceSpec]) -> str:
    """Return the page."""
    parts = [_INTRO, _boundaries(), _RULES, _overview(specs), *(_section(spec) for spec in specs.values()), _EXAMPLES]
    return "\n".join(parts)


def _boundaries() -> str:
    rows = [[f"`{boundary}`", _CONTENTS[boundary], fidelity_of(boundary).value] for boundary in Boundary]
    return _table(["boundary", "contains", "fidelity"], rows)


def _overview(specs: Mapping[str, PowerSourceSpec]) -> str:
    rows = [
        [f"[`{spec.name}`](#{spec.name})", spec.summary, _listed(spec), "yes" if spec.detect else "no"]
        for spec in specs.values()
    ]
    return _table(["source", "reads", "boundaries", "found by itself"], rows)


def _section(spec: PowerSourceSpec) -> str:
    options = ", ".join(f"`{option.name}`" for option in fields(spec.options))
    found = "tried where no meters are configured" if spec.detect else "only where the configuration names it"
    lines = [
        f"## {spec.name}",
        "",
        f"Reads {spec.summary}.",
        "",
        f"- Needs: {spec.needs}.",
        f"- Boundaries: {_listed(spec)}.",
        f"- Method: {spec.method or 'not stated'}.",
        f"- Resolution: {spec.resolution or 'not stated'}.",
        f"- Declared error: {'; '.join(f'{what} {_declared(one)}' for what, one in spec.precisions)}.",
        f"- Found by itself: {found}.",
        f"- Options: {options}; see [configuration](configuration.md#source-{spec.name}).",
        "",
        "Traps:",
        "",
        *(f"- {trap}" for trap in spec.traps),
        "",
    ]
    return "\n".join(lines)


def _declared(precision: Precision) -> str:
    steps = ((precision.resolution_joules, "J"), (precision.resolution_watts, "W"))
    parts = [f"±{precision.gain_ratio * 100:g} % of the reading"]
    parts += [f"steps of {step:g} {unit}" for step, unit in steps if step]
    if precision.renewed_every_seconds:
        parts.append(f"renewed every {precision.renewed_every_seconds:g} s")
    return ", ".join(parts)


def _listed(spec: PowerSourceSpec) -> str:
    return ", ".join(f"`{boundary}`" for boundary in spec.boundaries)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
