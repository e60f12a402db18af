"""Families of time, energy and tokens by load. They change when a slice of about ten seconds ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from tokwatt.metrics import load
from tokwatt.metrics.family import Family, Kind
from tokwatt.metrics.sample import Sample
from tokwatt.snapshot import Snapshot

_SLICES = "in slices of about 10 s in which tokens and all its energy were measured"
_TIME = f"in the time of tokwatt_load_seconds_total, {_SLICES}"


def _by_load(name: str, text: str, samples: Callable[[Snapshot], Iterable[Sample]]) -> Family:
    return Family(name, Kind.COUNTER, ("server", "load_le"), text, samples, seldom=True)


LOAD: Final[tuple[Family, ...]] = (
    _by_load(
        "tokwatt_load_seconds_total",
        f"Time in which the server generated load_le tokens per second or less, {_SLICES}.",
        load.seconds,
    ),
    _by_load("tokwatt_load_gpu_energy_joules_total", f"GPU energy given to the server {_TIME}.", load.energy("gpu")),
    _by_load("tokwatt_load_host_energy_joules_total", f"Host energy given to the server {_TIME}.", load.energy("host")),
    _by_load(
        "tokwatt_load_facility_energy_joules_total",
        f"Facility energy given to the server {_TIME}.",
        load.energy("facility"),
    ),
    _by_load("tokwatt_load_output_tokens_total", f"Tokens that the server generated {_TIME}.", load.output_tokens),
)
