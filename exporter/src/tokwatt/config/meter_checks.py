"""Checks between servers and the meters of hosts and outlets: names, and machines that two meters would count twice.

Reports mistakes; changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tokwatt.config.binder import Binder
from tokwatt.config.mistakes import nearest, shown
from tokwatt.config.schema import Config, MeterConfig
from tokwatt.readings import Boundary, PowerSourceSpec

Specs = Mapping[str, PowerSourceSpec]


def check_meters_of_servers(config: Config, binder: Binder, power_specs: Specs) -> None:
    """Check the names in `hosts` and `outlets`, and that no machine has two host meters."""
    for boundary in (Boundary.HOST, Boundary.OUTLET):
        _named_meters(config, binder, power_specs, boundary)
    _machines(config, binder, power_specs)
    _several_hosts(config, binder, power_specs)


def _named_meters(config: Config, binder: Binder, power_specs: Specs, boundary: Boundary) -> None:
    if config.meters is None:
        sources = {name: name for name, spec in power_specs.items() if spec.detect}
    else:
        sources = {meter.name: meter.source for meter in config.meters if meter.name}
    good = {name for name, source in sources.items() if _may_measure(power_specs.get(source), boundary)}
    several = {name for name in good if len(_boundaries(power_specs.get(sources[name]))) > 1}
    for index, server in enumerate(config.servers):
        key = f"{boundary.value}s"
        for position, name in enumerate(getattr(server, key) or ()):
            path = f"servers[{index}].{key}[{position}]"
            # a meter of many devices names them itself, so a device of it can only be known once it answers
            if not name or name in good or several:
                continue
            kind = "a host" if boundary is Boundary.HOST else "an outlet"
            message = f"unknown meter {shown(name)}"
            if name in sources:
                message = f"meter {shown(name)} does not measure {kind} (source {sources[name]})"
            binder.report.mistake(binder.place(path), path, message, nearest(name, good, f"{boundary.value} meters"))


def _boundaries(spec: PowerSourceSpec | None) -> Collection[Boundary]:
    return spec.boundaries if spec is not None else ()


def _may_measure(spec: PowerSourceSpec | None, boundary: Boundary) -> bool:
    # an unknown source is its own mistake, so nothing is said here about the meter's boundaries
    return spec is None or boundary in spec.boundaries


def _measures_host(meter: MeterConfig, power_specs: Specs) -> bool:
    """Whether a meter surely measures a whole host; where a source may, its options tell (`boundary`, `boundaries`)."""
    spec = power_specs.get(meter.source)
    if spec is None or Boundary.HOST not in spec.boundaries:
        return False
    chosen = getattr(meter.options, "boundary", None), *dict(getattr(meter.options, "boundaries", {})).values()
    return tuple(spec.boundaries) == (Boundary.HOST,) or Boundary.HOST.value in [str(one) for one in chosen if one]


def _bmc_address(meter: MeterConfig) -> str:
    """Address of the BMC that a meter asks, "" where it asks none or through a tunnel."""
    host = str(getattr(meter.options, "host", "")).lower().strip("[]")
    return "" if host == "localhost" or host.startswith("127.") or host == "::1" else host


def _one_machine(one: MeterConfig, other: MeterConfig, power_specs: Specs) -> bool:
    """Whether two host meters measure one machine: as configured, both in band, or one BMC by two protocols."""
    if one.machine or other.machine:
        return one.machine == other.machine
    specs = power_specs.get(one.source), power_specs.get(other.source)
    if all(spec is not None and spec.detect for spec in specs):
        return True  # what can be detected without an address is this machine
    # by one protocol, ports and chassis tell BMCs apart, and equal ones are refused as one device
    return one.source != other.source and _bmc_address(one) != "" and _bmc_address(one) == _bmc_address(other)


def _machines(config: Config, binder: Binder, power_specs: Specs) -> None:
    earlier: list[tuple[str, MeterConfig]] = []
    for index, meter in enumerate(config.meters or ()):
        path = f"meters[{index}]"
        if binder.report.has_mistake(path) or not _measures_host(meter, power_specs):
            continue
        twin = next((first for first, other in earlier if _one_machine(meter, other, power_specs)), None)
        if twin:
            binder.report.mistake(
                binder.place(f"{path}.machine", path),
                path,
                f"measures the machine that {twin} measures: its energy would count twice",
                "keep one host meter of each machine",
            )
        earlier.append((path, meter))


def _several_hosts(config: Config, binder: Binder, power_specs: Specs) -> None:
    """Warn where one server is given several host meters by default: energy of two meters of one machine adds up."""
    meters = [meter for meter in config.meters or () if _measures_host(meter, power_specs)]
    said = len({meter.machine for meter in meters if meter.machine}) == len(meters)
    if len(meters) < 2 or said:
        return
    for index, server in enumerate(config.servers):
        path = f"servers[{index}]"
        if server.hosts is None and not binder.report.has_mistake(path):
            binder.report.warn(
                binder.place(path),
                path,
                f"the energy of {len(meters)} host meters adds up: {', '.join(meter.name for meter in meters)}",
                "if two of them measure one machine, keep one; else set `hosts`, or `machine` of each meter",
            )
