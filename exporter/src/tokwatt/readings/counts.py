"""Readings of an application's own counters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CountSample:
    """One raw series of a counter that is no inference server's; `series` as in CounterSample."""

    series: str
    value: float  # finite, >= 0


@dataclass(frozen=True, slots=True)
class CountReading:
    """A counter of an application, such as its accepted answers, at one instant; its series are parts of one count."""

    at_seconds: float  # monotonic
    samples: tuple[CountSample, ...]
