"""Samples of everything counted: tokens, measured and attributed energy, dollars, and the prices behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tokwatt.metrics.sample import Sample
from tokwatt.snapshot import Aside, Given, ServerSnapshot, Snapshot, TokenTotals


def _per_model(snapshot: Snapshot, pick: Callable[[TokenTotals], float | None]) -> Iterable[Sample]:
    for server in snapshot.servers:
        for row in server.tokens:
            value = pick(row)
            if value is not None:
                yield {"server": server.name, "model": row.model}, value


def input_tokens(snapshot: Snapshot) -> Iterable[Sample]:
    """Computed prompt tokens."""
    return _per_model(snapshot, lambda row: row.input_tokens)


def cached_input_tokens(snapshot: Snapshot) -> Iterable[Sample]:
    """Prompt tokens from a cache."""
    return _per_model(snapshot, lambda row: row.cached_input_tokens)


def output_tokens(snapshot: Snapshot) -> Iterable[Sample]:
    """Generated tokens."""
    return _per_model(snapshot, lambda row: row.output_tokens)


def requests(snapshot: Snapshot) -> Iterable[Sample]:
    """Ended requests by outcome."""
    for server in snapshot.servers:
        for row in server.tokens:
            for outcome, count in row.requests.items():
                yield {"server": server.name, "model": row.model, "outcome": outcome}, count


def meaningful_responses(snapshot: Snapshot) -> Iterable[Sample]:
    """Meaningful responses that applications counted."""
    for server in snapshot.servers:
        if server.meaningful_responses is not None:
            yield {"server": server.name}, server.meaningful_responses


def measured(boundary: str) -> Callable[[Snapshot], Iterable[Sample]]:
    """Return the samples of measured energy at one boundary."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for total in snapshot.meters:
            if total.meter.boundary == boundary:
                yield {"device": total.meter.device, "source": total.meter.source}, total.joules

    return samples


def unattributed(boundary: str) -> Callable[[Snapshot], Iterable[Sample]]:
    """Return the samples of measured energy of no server at one boundary."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for total in snapshot.meters:
            if total.meter.boundary == boundary and total.unattributed_joules is not None:
                yield {"device": total.meter.device}, total.unattributed_joules

    return samples


def non_gpu_power(snapshot: Snapshot) -> Iterable[Sample]:
    """Power of hosts less that of their GPUs."""
    for total in snapshot.meters:
        if total.non_gpu_watts is not None:
            yield {"device": total.meter.device}, total.non_gpu_watts


def given(boundary: str) -> Callable[[Snapshot], Iterable[Sample]]:
    """Return the samples of energy given to servers at one boundary."""
    key = Given(boundary)

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for server in snapshot.servers:
            for row in server.phases:
                if key in row.joules:
                    yield {"server": server.name, "model": row.model, "phase": row.phase.value}, row.joules[key]

    return samples


def cost(snapshot: Snapshot) -> Iterable[Sample]:
    """Dollars by phase and component."""
    for server in snapshot.servers:
        for row in server.phases:
            for component, dollars in row.dollars.items():
                labels = {
                    "server": server.name,
                    "model": row.model,
                    "phase": row.phase.value,
                    "component": component.value,
                }
                yield labels, dollars


def aside(name: str) -> Callable[[Snapshot], Iterable[Sample]]:
    """Return the samples of what is counted beside the cost, by phase."""
    key = Aside(name)

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for server in snapshot.servers:
            for row in server.phases:
                if key in row.aside:
                    yield {"server": server.name, "model": row.model, "phase": row.phase.value}, row.aside[key]

    return samples


def _priced(servers: Iterable[ServerSnapshot]) -> Iterable[Sample]:
    for server in servers:
        if server.capacity_dollars_per_second is not None:
            yield {"server": server.name}, server.capacity_dollars_per_second


def capacity_price(snapshot: Snapshot) -> Iterable[Sample]:
    """Capacity price by server."""
    return _priced(snapshot.servers)


def electricity_price(snapshot: Snapshot) -> Iterable[Sample]:
    """Electricity price."""
    price = snapshot.prices.electricity_dollars_per_joule
    return [] if price is None else [({}, price)]


def carbon_intensity(snapshot: Snapshot) -> Iterable[Sample]:
    """Carbon intensity of the grid."""
    intensity = snapshot.prices.carbon_grams_per_joule
    return [] if intensity is None else [({}, intensity)]


def pue(snapshot: Snapshot) -> Iterable[Sample]:
    """Power usage effectiveness."""
    return [({}, snapshot.prices.pue_ratio)]


def outlet_pue(snapshot: Snapshot) -> Iterable[Sample]:
    """Facility energy over outlet energy."""
    return [({}, snapshot.prices.outlet_pue_ratio)]
