"""Samples of the prefill and decode gauges. A value that is not known is not yielded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tokwatt.metrics.sample import Sample
from tokwatt.snapshot import Given, ModelPhases, Snapshot


def _per_boundary(snapshot: Snapshot, pick: Callable[[ModelPhases], Mapping[Given, float]]) -> Iterable[Sample]:
    for server in snapshot.servers:
        for row in server.phase_live.models if server.phase_live else ():
            for boundary, value in pick(row).items():
                yield {"server": server.name, "model": row.model, "boundary": boundary.value}, value


def _per_model(snapshot: Snapshot, pick: Callable[[ModelPhases], float | None]) -> Iterable[Sample]:
    for server in snapshot.servers:
        for row in server.phase_live.models if server.phase_live else ():
            value = pick(row)
            if value is not None:
                yield {"server": server.name, "model": row.model}, value


def prefill_per_joule(snapshot: Snapshot) -> Iterable[Sample]:
    """Computed prompt tokens per joule of prefill."""
    return _per_boundary(snapshot, lambda row: row.prefill_tokens_per_joule)


def decode_per_joule(snapshot: Snapshot) -> Iterable[Sample]:
    """Generated tokens per joule of decode."""
    return _per_boundary(snapshot, lambda row: row.decode_tokens_per_joule)


def prefill_per_dollar(snapshot: Snapshot) -> Iterable[Sample]:
    """Computed prompt tokens per dollar of prefill."""
    return _per_model(snapshot, lambda row: row.prefill_tokens_per_dollar)


def decode_per_dollar(snapshot: Snapshot) -> Iterable[Sample]:
    """Generated tokens per dollar of decode."""
    return _per_model(snapshot, lambda row: row.decode_tokens_per_dollar)


def share_error(snapshot: Snapshot) -> Iterable[Sample]:
    """Half-width of the interval of prefill's share."""
    for server in snapshot.servers:
        for boundary, error in server.phase_live.error_ratio.items() if server.phase_live else ():
            yield {"server": server.name, "boundary": boundary.value}, error


def energy_error(snapshot: Snapshot) -> Iterable[Sample]:
    """Relative error of each phase's energy."""
    for server in snapshot.servers:
        for boundary, errors in server.phase_live.energy_error_ratio.items() if server.phase_live else ():
            for phase, error in errors.items():
                yield {"server": server.name, "boundary": boundary.value, "phase": phase.value}, error
