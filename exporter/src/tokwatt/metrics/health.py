"""Samples about the exporter, its sources and the identity of what it measures."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable

from tokwatt import __version__
from tokwatt.metrics.sample import Sample
from tokwatt.readings import Boundary, Precision
from tokwatt.snapshot import Snapshot, SourceHealth


def build_info(_: Snapshot) -> Iterable[Sample]:
    """Version of the exporter."""
    return [({"version": __version__, "pythonversion": platform.python_version()}, 1)]


def server_info(snapshot: Snapshot) -> Iterable[Sample]:
    """Identity of inference servers."""
    for server in snapshot.servers:
        identity = {
            "server": server.name,
            "engine": server.engine,
            "engine_version": server.engine_version,
            "role": server.role,
            "input": server.input_kind,
            "output": server.output_kind,
            "phases": server.phase_method,
            "simulated": "true" if server.simulated else "false",
        }
        yield {**server.labels, **identity}, 1


def gpu_info(snapshot: Snapshot) -> Iterable[Sample]:
    """Identity of GPUs."""
    for info in snapshot.devices:
        if info.meter.boundary is Boundary.GPU:
            index = "" if info.index is None else str(info.index)
            identity = {"device": info.meter.device, "name": info.name, "index": index, "source": info.meter.source}
            yield identity, 1


def meter_info(snapshot: Snapshot) -> Iterable[Sample]:
    """How each device is measured, and how finely."""
    known = {(info.meter.boundary, info.meter.device): info.precision for info in snapshot.devices}
    for total in snapshot.meters:
        meter = total.meter
        identity = {
            "source": meter.source,
            "boundary": meter.boundary.value,
            "device": meter.device,
            "fidelity": meter.fidelity.value,
            "method": meter.method.value,
            **_precision(known.get((meter.boundary, meter.device))),
        }
        yield identity, 1


def _precision(declared: Precision | None) -> dict[str, str]:
    if declared is None:
        return {"error_ratio": "", "resolution": "", "renewed_seconds": ""}
    steps = ((declared.resolution_joules, "J"), (declared.resolution_watts, "W"))
    return {
        "error_ratio": f"{declared.gain_ratio:g}",
        "resolution": next((f"{step:g} {unit}" for step, unit in steps if step), ""),
        "renewed_seconds": f"{declared.renewed_every_seconds:g}" if declared.renewed_every_seconds else "",
    }


def energy_to_power(snapshot: Snapshot) -> Iterable[Sample]:
    """Energy counters held against the power read beside them."""
    for info in snapshot.devices:
        if info.energy_to_power_ratio is not None:
            yield {"source": info.meter.source, "device": info.meter.device}, info.energy_to_power_ratio


def _per_source(snapshot: Snapshot, pick: Callable[[SourceHealth], float | None]) -> Iterable[Sample]:
    for health in snapshot.sources:
        value = pick(health)
        if value is not None:
            yield {"source": health.source, "kind": health.kind}, value


def up(snapshot: Snapshot) -> Iterable[Sample]:
    """1 or 0 per source."""
    return _per_source(snapshot, lambda health: None if health.up is None else float(health.up))


def read_seconds(snapshot: Snapshot) -> Iterable[Sample]:
    """Duration of the last read."""
    return _per_source(snapshot, lambda health: health.read_seconds)


def last_success(snapshot: Snapshot) -> Iterable[Sample]:
    """Unix time of the last success."""
    return _per_source(snapshot, lambda health: health.last_success_unix_seconds)


def resets(snapshot: Snapshot) -> Iterable[Sample]:
    """Counter resets of sources that had any.

    Not from 0 on: promtool's linter objects to the word "counter" in this name, which is API (ADR 4).
    """
    return _per_source(snapshot, lambda health: health.resets or None)


def gap_seconds(snapshot: Snapshot) -> Iterable[Sample]:
    """Seconds without readings."""
    return _per_source(snapshot, lambda health: health.gap_seconds)


def errors(snapshot: Snapshot) -> Iterable[Sample]:
    """Failed reads by reason."""
    for health in snapshot.sources:
        for reason, count in health.errors.items():
            yield {"source": health.source, "reason": reason}, count


def missing_series(snapshot: Snapshot) -> Iterable[Sample]:
    """Series that a spec names and a healthy server does not show."""
    for health in snapshot.sources:
        for series in sorted(set(health.missing_series)):  # two quantities may name one series
            yield {"source": health.source, "series": series}, 1


def reload_successful(snapshot: Snapshot) -> Iterable[Sample]:
    """1 if the last reload succeeded."""
    return [({}, float(snapshot.config_reload_successful))]


def reload_timestamp(snapshot: Snapshot) -> Iterable[Sample]:
    """Unix time of the last successful load."""
    return [({}, snapshot.config_reload_unix_seconds)]
