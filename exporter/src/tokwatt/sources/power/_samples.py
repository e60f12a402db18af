"""The samples of one metric on a Prometheus metrics page. Format knowledge only: no I/O, no meaning.

Unwanted lines are skipped by name; what a wanted line means is prometheus_client's to say.
Source: Prometheus text exposition format 0.0.4; OpenMetrics 1.0 for its timestamps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tokwatt.readings import Malformed

_PARSE_ERRORS = (ValueError, IndexError, KeyError, TypeError, OverflowError)
_QUOTED_CHARS = 200
_AFTER_NAME = b"{ \t"
_LISTED: Final = 5
_ENERGY_NAMES: Final = re.compile(rb"^[a-zA-Z_:][\w:]*(?:watt|joule|power|energy)[\w:]*", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a metric. `at_unix_seconds` only where the page carries timestamps of its own."""

    labels: Mapping[str, str]
    value: float
    at_unix_seconds: float | None = None


def samples_of(body: bytes, metric: str, where: str, *, openmetrics: bool = False) -> list[Sample]:
    """Return every sample of `metric`.

    Raises:
        Malformed: a wanted line cannot be read, or stands there twice.
    """
    found: dict[tuple[tuple[str, str], ...], Sample] = {}
    for line in body.split(b"\n"):
        if not _is_of(line, metric.encode()):
            continue
        sample = _parse(line, where, milliseconds=not openmetrics)
        key = tuple(sorted(sample.labels.items()))
        if key in found:
            raise Malformed(f"the same series twice: {_quote(line)}", where=where)
        found[key] = sample
    return list(found.values())


def chosen(samples: Iterable[Sample], labels: Mapping[str, str]) -> list[Sample]:
    """Keep the samples that carry all of `labels`."""
    return [sample for sample in samples if labels.items() <= sample.labels.items()]


def energy_names(body: bytes) -> str:
    """Name metrics of a page that sound like power or energy, for messages to people."""
    names = sorted({match.group().decode() for match in _ENERGY_NAMES.finditer(body)})
    more = f" and {len(names) - 2 * _LISTED} more" if len(names) > 2 * _LISTED else ""
    return ", ".join(names[: 2 * _LISTED]) + more


def written(labels: Mapping[str, str]) -> str:
    """Write labels as in an exposition, sorted."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def listed(many: Sequence[Mapping[str, str]]) -> str:
    """Write the first few label sets, for messages to people."""
    more = f" and {len(many) - _LISTED} more" if len(many) > _LISTED else ""
    return "; ".join(written(labels) for labels in many[:_LISTED]) + more


def _is_of(line: bytes, metric: bytes) -> bool:
    text = line.lstrip(b" \t")
    return text.startswith(metric) and text[len(metric) : len(metric) + 1] in _AFTER_NAME and len(text) > len(metric)


def _parse(line: bytes, where: str, *, milliseconds: bool) -> Sample:
    try:
        (family,) = text_string_to_metric_families(line.decode().strip() + "\n")
        (sample,) = family.samples
        stamp = None if sample.timestamp is None else float(sample.timestamp)
        value = float(sample.value)
    except _PARSE_ERRORS as error:
        raise Malformed(f"cannot read the line {_quote(line)}", where=where) from error
    if stamp is not None and not milliseconds:
        stamp *= 1000  # OpenMetrics writes seconds, which the parser of the older format took for milliseconds
    return Sample(sample.labels, value, stamp)


def _quote(line: bytes) -> str:
    return repr(line[:_QUOTED_CHARS].decode("utf-8", "backslashreplace")) + ("…" if len(line) > _QUOTED_CHARS else "")
