"""Expositions as dictionaries: {(name, labels): value}. Parsed by prometheus_client, strictly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

SeriesKey = tuple[str, frozenset[tuple[str, str]]]
Samples = Mapping[SeriesKey, float]


def classic_samples(text: str) -> Samples:
    """Samples of the classic text format."""
    return _samples(parse_classic(text))


def openmetrics_samples(text: str) -> Samples:
    """Samples of an OpenMetrics text. The parser refuses what the format forbids: order, types, a missing `# EOF`."""
    return _samples(parse_openmetrics(text))


def total(samples: Samples, name: str, **labels: str) -> float:
    """Sum of all series of a name that carry these labels. Raises KeyError when there is none: absence is not 0."""
    values = [value for (found, series), value in samples.items() if found == name and labels.items() <= set(series)]
    if not values:
        known = sorted({found for found, _ in samples})
        raise KeyError(f"no series {name} with {labels}; names: {known}")
    return sum(values)


def present(samples: Samples, name: str, **labels: str) -> bool:
    """True when at least one series of that name carries these labels."""
    return any(found == name and labels.items() <= set(series) for found, series in samples)


def _samples(families: Iterable[Metric]) -> Samples:
    result: dict[SeriesKey, float] = {}
    for family in families:
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in result, f"series appears twice: {sample.name} {sample.labels}"
            result[key] = sample.value
    return result
