"""Samples of time, energy and tokens by load."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from tokwatt.metrics.sample import Sample
from tokwatt.snapshot import Given, LoadTotals, Snapshot


def seconds(snapshot: Snapshot) -> Iterable[Sample]:
    """Seconds at each load or less."""
    for server, load in _known(snapshot):
        for level, amount in zip(_names(load.levels), load.seconds, strict=True):
            yield {"server": server, "load_le": level}, amount


def output_tokens(snapshot: Snapshot) -> Iterable[Sample]:
    """Generated tokens at each load or less."""
    for server, load in _known(snapshot):
        for level, amount in zip(_names(load.levels), load.output_tokens, strict=True):
            yield {"server": server, "load_le": level}, amount


def energy(boundary: str) -> Callable[[Snapshot], Iterable[Sample]]:
    """Return the samples of joules of one boundary at each load or less."""
    key = Given(boundary)

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for server, load in _known(snapshot):
            for level, amount in zip(_names(load.levels), load.joules.get(key, ()), strict=False):
                yield {"server": server, "load_le": level}, amount

    return samples


def unchanged(before: Snapshot, now: Snapshot) -> bool:
    """Whether these samples are the same in both: slices of time end once in ten Snapshots or so."""
    then, later = _known(before), _known(now)
    return len(then) == len(later) and all(
        a == b and one is other for (a, one), (b, other) in zip(then, later, strict=True)
    )


def _known(snapshot: Snapshot) -> list[tuple[str, LoadTotals]]:
    return [(server.name, server.load) for server in snapshot.servers if server.load is not None]


def _names(levels: Sequence[float]) -> list[str]:
    return ["+Inf" if math.isinf(level) else f"{level:g}" for level in levels]
