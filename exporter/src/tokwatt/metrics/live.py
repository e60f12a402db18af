"""Samples of the live gauges. A value that is not known is not yielded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tokwatt.metrics.sample import Sample
from tokwatt.snapshot import Given, ModelWindow, ResponseTerms, Snapshot


def _per_model(snapshot: Snapshot, pick: Callable[[ModelWindow], float | None]) -> Iterable[Sample]:
    for server in snapshot.servers:
        for row in server.window.models if server.window else ():
            value = pick(row)
            if value is not None:
                yield {"server": server.name, "model": row.model}, value


def _per_boundary(snapshot: Snapshot, pick: Callable[[ModelWindow], Mapping[Given, float]]) -> Iterable[Sample]:
    for server in snapshot.servers:
        for row in server.window.models if server.window else ():
            for boundary, value in pick(row).items():
                yield {"server": server.name, "model": row.model, "boundary": boundary.value}, value


def _per_response(snapshot: Snapshot, pick: Callable[[ResponseTerms], float | None]) -> Iterable[Sample]:
    return _per_model(snapshot, lambda row: pick(row.response_terms) if row.response_terms else None)


def output_per_second(snapshot: Snapshot) -> Iterable[Sample]:
    """Generated tokens per second."""
    return _per_model(snapshot, lambda row: row.output_tokens_per_second)


def input_per_second(snapshot: Snapshot) -> Iterable[Sample]:
    """Computed prompt tokens per second."""
    return _per_model(snapshot, lambda row: row.input_tokens_per_second)


def output_per_joule(snapshot: Snapshot) -> Iterable[Sample]:
    """Generated tokens per joule."""
    return _per_boundary(snapshot, lambda row: row.output_tokens_per_joule)


def processed_per_joule(snapshot: Snapshot) -> Iterable[Sample]:
    """Computed input and generated tokens per joule."""
    return _per_boundary(snapshot, lambda row: row.processed_tokens_per_joule)


def output_per_dollar(snapshot: Snapshot) -> Iterable[Sample]:
    """Generated tokens per dollar."""
    return _per_model(snapshot, lambda row: row.output_tokens_per_dollar)


def processed_per_dollar(snapshot: Snapshot) -> Iterable[Sample]:
    """Computed input and generated tokens per dollar."""
    return _per_model(snapshot, lambda row: row.processed_tokens_per_dollar)


def response_cost(snapshot: Snapshot) -> Iterable[Sample]:
    """Dollars per meaningful response."""
    return _per_model(snapshot, lambda row: row.response_cost_dollars)


def response_energy(snapshot: Snapshot) -> Iterable[Sample]:
    """Joules per meaningful response."""
    return _per_boundary(snapshot, lambda row: row.response_energy_joules)


def response_output_tokens(snapshot: Snapshot) -> Iterable[Sample]:
    """Generated tokens per finished response."""
    return _per_response(snapshot, lambda terms: terms.output_tokens)


def response_attempts(snapshot: Snapshot) -> Iterable[Sample]:
    """Finished responses per meaningful one."""
    return _per_response(snapshot, lambda terms: terms.attempts_ratio)


def response_support_tokens(snapshot: Snapshot) -> Iterable[Sample]:
    """Tokens of pre- and post-processing per meaningful response."""
    return _per_response(snapshot, lambda terms: terms.support_tokens)


def response_support_dollars(snapshot: Snapshot) -> Iterable[Sample]:
    """Dollars of pre- and post-processing per meaningful response."""
    return _per_response(snapshot, lambda terms: terms.support_dollars)


def response_support_energy(snapshot: Snapshot) -> Iterable[Sample]:
    """Joules of the support servers per meaningful response."""
    return _per_boundary(snapshot, lambda row: row.response_terms.support_joules if row.response_terms else {})


def power(snapshot: Snapshot) -> Iterable[Sample]:
    """Mean measured power by boundary."""
    for server in snapshot.servers:
        for row in server.window.boundaries if server.window else ():
            if row.power_watts is not None:
                yield {"server": server.name, "boundary": row.boundary.value}, row.power_watts


def coverage(snapshot: Snapshot) -> Iterable[Sample]:
    """Coverage of the window by boundary; also shown where it is too low for the other gauges."""
    for server in snapshot.servers:
        for row in server.window.boundaries if server.window else ():
            yield {"server": server.name, "boundary": row.boundary.value}, row.coverage_ratio


def energy_error(snapshot: Snapshot) -> Iterable[Sample]:
    """Half-width of the 90 % interval of the window's energy by boundary, as a share of it."""
    for server in snapshot.servers:
        for row in server.window.boundaries if server.window else ():
            if row.error_ratio is not None:
                yield {"server": server.name, "boundary": row.boundary.value}, row.error_ratio


def window_length(snapshot: Snapshot) -> Iterable[Sample]:
    """Length of the live window."""
    for server in snapshot.servers:
        if server.window is not None:
            yield {"server": server.name}, server.window.end_seconds - server.window.start_seconds


def window_end(snapshot: Snapshot) -> Iterable[Sample]:
    """Unix time of the live window's end."""
    for server in snapshot.servers:
        if server.window is not None:
            yield {"server": server.name}, snapshot.at_unix_seconds - snapshot.at_seconds + server.window.end_seconds
