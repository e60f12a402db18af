"""Prometheus text in the shape of real servers, cheap to render again: everything that stands still is text already.

Owns families as data and their compilation into one template. Knows no engine's names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client import utils

from tokwatt.simulate.counters import Histogram
from tokwatt.simulate.engine import Engine

Value = Callable[[Engine], float]


def number_text(value: float) -> str:
    """Return a value as Python's client prints it: 1443.0, 2.177818624e+09."""
    return str(utils.floatToGoString(value))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Series:
    """One sample line: labels beside the common ones, and a constant or a way to read the value."""

    value: float | Value
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family as a server writes it. `name` is the name of the TYPE line."""

    name: str
    kind: str
    help_text: str
    series: tuple[Series, ...]
    common: bool = True  # carries the labels that all of the engine's families share
    created: str = ""  # name of the gauge with the time at which the family was made; "" for none


def histogram(
    name: str, help_text: str, bounds: tuple[float, ...], read: Callable[[Engine], Histogram] | None, **labels: str
) -> Family:
    """Return a histogram family; without `read` one that stays empty."""
    rows = [
        Series(_bucket(read, row), {**labels, "le": number_text(bound)}, "_bucket")
        for row, bound in enumerate((*bounds, float("inf")))
    ]
    rows.append(Series(0.0 if read is None else lambda engine: read(engine).count, labels, "_count"))
    rows.append(Series(0.0 if read is None else lambda engine: read(engine).total, labels, "_sum"))
    return Family(name, "histogram", help_text, tuple(rows), created=f"{name}_created")


def _bucket(read: Callable[[Engine], Histogram] | None, row: int) -> float | Value:
    if read is None:
        return 0.0
    return lambda engine: read(engine).cumulative(row)


def counter(name: str, help_text: str, *series: Series | Value | float, common: bool = True) -> Family:
    """Return a counter family with its `_created` gauge, as Python's client writes it in the classic text format."""
    rows = tuple(row if isinstance(row, Series) else Series(row) for row in series)
    return Family(name, "counter", help_text, rows, common=common, created=f"{name.removesuffix('_total')}_created")


def gauge(name: str, help_text: str, *series: Series | Value | float, common: bool = True) -> Family:
    """Return a gauge family."""
    rows = tuple(row if isinstance(row, Series) else Series(row) for row in series)
    return Family(name, "gauge", help_text, rows, common=common)


class Template:
    """A compiled list of families: `render` formats only the values that can move."""

    def __init__(self, families: tuple[Family, ...], common: Mapping[str, str], *, created_unix_seconds: float) -> None:
        lines: list[str] = []
        self._values: list[Value] = []
        for family in families:
            self._add(lines, family, common if family.common else {}, created_unix_seconds)
        self._format = "\n".join([*lines, ""])

    def render(self, engine: Engine) -> str:
        """Return the text for the present state of an engine; the caller holds its lock."""
        return self._format % tuple([number_text(value(engine)) for value in self._values])

    def _add(self, lines: list[str], family: Family, common: Mapping[str, str], created_unix_seconds: float) -> None:
        lines += _head(family.name, family.kind, family.help_text)
        for row in family.series:
            labels = _labels({**common, **row.labels})
            lines.append(f"{family.name}{row.suffix}{labels} {self._value_text(row.value)}")
        if family.created:
            lines += _head(family.created, "gauge", family.help_text)
            for label_set in _label_sets(family):
                created = number_text(created_unix_seconds + len(lines) * 2e-5)
                lines.append(f"{family.created}{_labels({**common, **label_set})} {created}")

    def _value_text(self, value: float | Value) -> str:
        if callable(value):
            self._values.append(value)
            return "%s"
        return number_text(value)


def _head(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP {name} {help_text}".replace("%", "%%"), f"# TYPE {name} {kind}"]


def _label_sets(family: Family) -> list[dict[str, str]]:
    """Return the label sets of a family's children: one `_created` each."""
    sets: list[dict[str, str]] = []
    for row in family.series:
        labels = {key: value for key, value in row.labels.items() if key != "le"}
        if labels not in sets:
            sets.append(labels)
    return sets


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{key}="{_escaped(labels[key])}"' for key in sorted(labels))
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"").replace("%", "%%")
