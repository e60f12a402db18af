"""What a rule table is made of, and the numbers that its rules share. Knows no metric and writes no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))  # in milliseconds


def setting(default: float | str, meaning: str, *, scales: bool = False) -> Any:
    """Define a field of Settings. `scales`: a duration in seconds, which a compressed copy divides."""
    return field(default=default, metadata={"meaning": meaning, "scales": scales})


@dataclass(frozen=True, slots=True)
class Settings:
    """Every threshold and duration of the rules. Names of recorded series never change with them."""

    job: str = setting("tokwatt", "scrape job whose total absence is an alert")
    runbook_base: str = setting(
        "https://github.com/tokwatt/tokwatt/blob/main/docs/runbooks/", "where runbook_url points"
    )
    short_seconds: float = setting(5 * MINUTE, "window of the series that end in 5m", scales=True)
    long_seconds: float = setting(HOUR, "window of the series that end in 1h", scales=True)
    min_coverage_ratio: float = setting(0.9, "mean window coverage that tokens per joule need, as in the exporter")

    absent_for_seconds: float = setting(10 * MINUTE, "no exporter at all", scales=True)
    down_for_seconds: float = setting(5 * MINUTE, "an exporter or a source does not answer", scales=True)
    never_ready_for_seconds: float = setting(10 * MINUTE, "a source has not answered once", scales=True)
    missing_series_for_seconds: float = setting(15 * MINUTE, "a server lacks an expected series", scales=True)
    contradiction_for_seconds: float = setting(
        30 * MINUTE, "an energy counter and the power beside it disagree", scales=True
    )
    coverage_for_seconds: float = setting(15 * MINUTE, "coverage below the minimum", scales=True)
    reload_for_seconds: float = setting(5 * MINUTE, "the last reload failed", scales=True)
    resets_count: float = setting(3, "counter resets of one source within reset_window that are a storm")
    reset_window_seconds: float = setting(HOUR, "where counter resets are counted", scales=True)

    baseline_range_seconds: float = setting(7 * DAY, "history that efficiency is compared with", scales=True)
    baseline_delay_seconds: float = setting(DAY, "newest history left out of the baseline", scales=True)
    load_cells_per_octave: float = setting(4, "cells of output tokens/s from one doubling to the next")
    mix_cells_per_octave: float = setting(2, "cells of input per output token from one doubling to the next")
    history_samples: float = setting(12, "samples, one every short window, that a cell of load and mix needs")
    busy_tokens_per_second: float = setting(10, "output tokens/s below which efficiency is not judged")
    efficiency_ratio: float = setting(0.8, "share of the expected tokens per joule below which it is a regression")
    efficiency_for_seconds: float = setting(30 * MINUTE, "efficiency below that share", scales=True)

    load_range_seconds: float = setting(7 * DAY, "time whose P90 load is looked at", scales=True)

    idle_dollars_per_hour: float = setting(0.5, "cost of a server without traffic that is worth an alert")
    idle_watts: float = setting(50, "power of a server without traffic and without a price that is worth an alert")
    idle_for_seconds: float = setting(HOUR, "cost or power without one token", scales=True)

    budget_dollars_per_million: float = setting(15, "budget per million output tokens where none is set")
    budget_tokens_per_second: float = setting(1, "output tokens/s below which cost per token is not judged")
    budget_for_seconds: float = setting(30 * MINUTE, "cost per million output tokens over budget", scales=True)

    def scaled(self, factor: float) -> Settings:
        """Return a copy whose durations are `factor` times shorter, for tests that cannot wait for days."""
        shorter = {one.name: getattr(self, one.name) / factor for one in fields(self) if one.metadata["scales"]}
        return replace(self, **shorter)


def duration(seconds: float) -> str:
    """Write a duration as PromQL does: in the largest unit that divides it.

    Raises:
        ValueError: it is shorter than a millisecond.
    """
    milliseconds = round(seconds * 1000)
    if milliseconds < 1:
        raise ValueError(f"{seconds} s is no duration for a rule: at least 1 ms; scale less")
    return next(f"{milliseconds // size}{unit}" for unit, size in _UNITS if milliseconds % size == 0)


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording rule. `help` and `unit` are for its page only."""

    record: str
    expr: str
    help: str
    unit: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule. `meaning` is for its page only; the runbook is the page docs/runbooks/NAME.md."""

    name: str
    expr: str
    for_seconds: float
    severity: str  # warning or critical
    area: str  # measurement, efficiency or cost: for routing
    summary: str
    description: str
    meaning: str

    def labels(self) -> Mapping[str, str]:
        """Labels added to the series of the expression."""
        return {"severity": self.severity, "area": self.area}

    def annotations(self, runbook_base: str) -> Mapping[str, str]:
        """Text for people."""
        return {
            "summary": self.summary,
            "description": self.description,
            "runbook_url": f"{runbook_base.rstrip('/')}/{self.name}.md",
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, so that later ones see the fresh results of earlier ones."""

    name: str
    rules: tuple[Recording | Alert, ...]
    interval_seconds: float | None = None  # None: the server's evaluation_interval

    def recordings(self) -> Iterable[Recording]:
        """Yield the recording rules."""
        return (rule for rule in self.rules if isinstance(rule, Recording))

    def alerts(self) -> Iterable[Alert]:
        """Yield the alerting rules."""
        return (rule for rule in self.rules if isinstance(rule, Alert))
