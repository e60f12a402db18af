"""Snapshot to text, classic and OpenMetrics, rendered by prometheus_client and kept until the next Snapshot."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from tokwatt.metrics.catalogue import CATALOGUE
from tokwatt.metrics.family import Family
from tokwatt.snapshot import Snapshot


def families(snapshot: Snapshot) -> Iterable[Metric]:
    """Yield every family of the catalogue that has samples."""
    for family in CATALOGUE:
        metric = _metric(family, snapshot)
        if metric.samples:
            yield metric


def _metric(family: Family, snapshot: Snapshot) -> Metric:
    metric = Metric(family.name.removesuffix("_total"), family.help, family.kind.value, family.unit)
    for labels, value in family.samples(snapshot):
        metric.add_sample(family.name, dict(labels), value)
    return metric


class _Page(Collector):
    """One Snapshot as a collector; prometheus_client's encoders ask for nothing else."""

    def __init__(self, snapshot: Snapshot, own: Iterable[Collector]) -> None:
        self._snapshot = snapshot
        self._own = own

    def collect(self) -> Iterable[Metric]:
        yield from families(self._snapshot)
        for collector in self._own:
            yield from collector.collect()


@dataclass(frozen=True, slots=True)
class Body:
    """An encoded exposition."""

    content: bytes
    content_type: str
    gzipped: bool


class Exposition:
    """Bodies of the latest Snapshot. Rendering happens at most once per Snapshot and format, however many ask."""

    def __init__(self, *, with_process: bool = True) -> None:
        registry = CollectorRegistry()  # of its own: nothing else is ever registered there
        self._own: tuple[Collector, ...] = (
            (ProcessCollector(registry=registry), PlatformCollector(registry=registry)) if with_process else ()
        )
        self._snapshot: Snapshot | None = None
        self._bodies: dict[tuple[str, bool], Body] = {}

    def update(self, snapshot: Snapshot) -> None:
        """Replace the Snapshot whole."""
        self._snapshot = snapshot
        self._bodies = {}

    def body(self, accept: str, *, gzipped: bool) -> Body | None:
        """Return the body for an Accept header; None before the first Snapshot."""
        if self._snapshot is None:
            return None
        encoder, content_type = choose_encoder(accept)
        key = (content_type, gzipped)
        if key not in self._bodies:
            self._bodies[key] = self._render(self._snapshot, encoder, content_type, gzipped=gzipped)
        return self._bodies[key]

    def _render(
        self, snapshot: Snapshot, encoder: Callable[[CollectorRegistry], bytes], content_type: str, *, gzipped: bool
    ) -> Body:
        plain_key = (content_type, False)
        if gzipped and plain_key in self._bodies:
            text = self._bodies[plain_key].content
        else:
            text = encoder(_Page(snapshot, self._own))  # type: ignore[arg-type]  # encoders only call collect()
        return Body(gzip.compress(text, compresslevel=4) if gzipped else text, content_type, gzipped)
