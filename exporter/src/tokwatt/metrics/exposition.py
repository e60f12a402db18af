"""Snapshot to text, classic and OpenMetrics, rendered by prometheus_client and kept until the next Snapshot."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from tokwatt.metrics import load
from tokwatt.metrics.catalogue import CATALOGUE
from tokwatt.metrics.family import Family
from tokwatt.snapshot import Snapshot

OPENMETRICS_END = b"# EOF\n"


def families(snapshot: Snapshot, *, seldom: bool | None = None) -> Iterable[Metric]:
    """Yield every family of the catalogue that has samples; `seldom`: those that change seldom, or all others."""
    for family in CATALOGUE:
        if seldom is not None and family.seldom is not seldom:
            continue
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

    def __init__(self, snapshot: Snapshot, own: Iterable[Collector], *, seldom: bool) -> None:
        self._snapshot = snapshot
        self._own = own
        self._seldom = seldom

    def collect(self) -> Iterable[Metric]:
        yield from families(self._snapshot, seldom=self._seldom)
        for collector in self._own:
            yield from collector.collect()


@dataclass(frozen=True, slots=True)
class Body:
    """An encoded exposition."""

    content: bytes
    content_type: str
    gzipped: bool


class Exposition:
    """Bodies of the latest Snapshot. Rendering happens at most once per Snapshot and format, however many ask.

    Families that change seldom are most of a page's samples; their text is kept until one of them changes.
    """

    def __init__(self, *, with_process: bool = True) -> None:
        registry = CollectorRegistry()  # of its own: nothing else is ever registered there
        self._own: tuple[Collector, ...] = (
            (ProcessCollector(registry=registry), PlatformCollector(registry=registry)) if with_process else ()
        )
        self._snapshot: Snapshot | None = None
        self._bodies: dict[tuple[str, bool], Body] = {}
        self._seldom: dict[str, bytes] = {}  # text by content type

    def update(self, snapshot: Snapshot) -> None:
        """Replace the Snapshot whole."""
        if self._snapshot is None or not load.unchanged(self._snapshot, snapshot):
            self._seldom = {}
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
            if content_type not in self._seldom:
                self._seldom[content_type] = _encode(encoder, _Page(snapshot, (), seldom=True))
            text = self._seldom[content_type].removesuffix(OPENMETRICS_END)
            text += _encode(encoder, _Page(snapshot, self._own, seldom=False))
        return Body(gzip.compress(text, compresslevel=4) if gzipped else text, content_type, gzipped)


def _encode(encoder: Callable[[CollectorRegistry], bytes], page: _Page) -> bytes:
    return encoder(page)  # type: ignore[arg-type]  # encoders only call collect()
