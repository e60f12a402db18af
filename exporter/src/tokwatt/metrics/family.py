"""What a metric family is: one row of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tokwatt.metrics.sample import Sample
from tokwatt.snapshot import Snapshot

MODEL: Final = ("server", "model")
BOUNDARY: Final = ("server", "model", "boundary")


class Kind(StrEnum):
    """Prometheus metric type."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family.

    `open_labels`: more labels than listed may appear (from the user's configuration).
    `seldom`: its samples stay the same over many Snapshots, so its text is kept.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    samples: Callable[[Snapshot], Iterable[Sample]]
    open_labels: bool = False
    seldom: bool = False

    @property
    def unit(self) -> str:
        """Base unit that ends the name, "" where there is none."""
        stem = self.name.removesuffix("_total")
        last = stem.rsplit("_", 1)[-1]
        return (
            last if last in {"joules", "watts", "seconds", "dollars", "grams", "ratio"} and "_per_" not in stem else ""
        )


def counter(name: str, labels: tuple[str, ...], text: str, samples: Callable[[Snapshot], Iterable[Sample]]) -> Family:
    """Declare a counter."""
    return Family(name, Kind.COUNTER, labels, text, samples)


def gauge(name: str, labels: tuple[str, ...], text: str, samples: Callable[[Snapshot], Iterable[Sample]]) -> Family:
    """Declare a gauge."""
    return Family(name, Kind.GAUGE, labels, text, samples)
