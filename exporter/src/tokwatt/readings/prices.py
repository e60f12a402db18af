"""Readings of prices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PriceStep:
    """A price from an instant on."""

    at_seconds: float  # monotonic
    value: float | None  # dollars per joule or per second, grams per joule; None: no price from here on


@dataclass(frozen=True, slots=True)
class PriceReading:
    """A price from now on, as far ahead as its source knows: steps in order of time, the first one in force now."""

    source: str
    steps: tuple[PriceStep, ...]
