"""Amounts with units as people type them: `3000tok/s`, `1kW`, `0.17$/kWh`. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tokwatt.units import JOULES_PER_WATT_HOUR, SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

# (tokens, joules, seconds, dollars): powers of the base units in a unit
Dimension = tuple[int, int, int, int]


class Kind(StrEnum):
    """What an amount is an amount of; the value is its base unit."""

    TOKENS = "tok"
    RATE = "tok/s"
    EFFICIENCY = "tok/J"
    TOKENS_PER_DOLLAR = "tok/$"
    ENERGY = "J"
    POWER = "W"
    JOULES_EACH = "J/tok"
    TIME = "s"
    DOLLARS = "$"
    CAPACITY = "$/s"
    ELECTRICITY = "$/J"
    DOLLARS_EACH = "$/tok"
    NUMBER = ""


_DIMENSIONS: Mapping[Dimension, Kind] = {
    (1, 0, 0, 0): Kind.TOKENS,
    (1, 0, -1, 0): Kind.RATE,
    (1, -1, 0, 0): Kind.EFFICIENCY,
    (1, 0, 0, -1): Kind.TOKENS_PER_DOLLAR,
    (0, 1, 0, 0): Kind.ENERGY,
    (0, 1, -1, 0): Kind.POWER,
    (-1, 1, 0, 0): Kind.JOULES_EACH,
    (0, 0, 1, 0): Kind.TIME,
    (0, 0, 0, 1): Kind.DOLLARS,
    (0, 0, -1, 1): Kind.CAPACITY,
    (0, -1, 0, 1): Kind.ELECTRICITY,
    (-1, 0, 0, 1): Kind.DOLLARS_EACH,
    (0, 0, 0, 0): Kind.NUMBER,
}
_NONE: Dimension = (0, 0, 0, 0)
_TOKENS: Dimension = (1, 0, 0, 0)
_JOULES: Dimension = (0, 1, 0, 0)
_SECONDS: Dimension = (0, 0, 1, 0)
_DOLLARS: Dimension = (0, 0, 0, 1)
_WATTS: Dimension = (0, 1, -1, 0)
_SCALED: tuple[tuple[str, str, float, Dimension], ...] = (  # symbol, its prefixes, base units in it, dimension
    ("tok", "kMG", 1.0, _TOKENS),
    ("token", "", 1.0, _TOKENS),
    ("tokens", "", 1.0, _TOKENS),
    ("J", "mkMG", 1.0, _JOULES),
    ("Ws", "mkMG", 1.0, _JOULES),
    ("Wh", "mkMG", JOULES_PER_WATT_HOUR, _JOULES),
    ("W", "mkMG", 1.0, _WATTS),
    ("s", "m", 1.0, _SECONDS),
    ("min", "", SECONDS_PER_MINUTE, _SECONDS),
    ("h", "", SECONDS_PER_HOUR, _SECONDS),
    ("hour", "", SECONDS_PER_HOUR, _SECONDS),
    ("d", "", SECONDS_PER_DAY, _SECONDS),
    ("day", "", SECONDS_PER_DAY, _SECONDS),
    ("$", "", 1.0, _DOLLARS),
    ("USD", "", 1.0, _DOLLARS),
)
_PREFIXES: Mapping[str, float] = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9}
_UNITS: Mapping[str, tuple[float, Dimension]] = {
    prefix + symbol: (_PREFIXES[prefix] * size, dimension)
    for symbol, prefixes, size, dimension in _SCALED
    for prefix in ("", *prefixes)
}
_NUMBER = re.compile(r"([+-]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*)", re.DOTALL)
EXAMPLES = "3000tok/s, 1kW, 0.17$/kWh, 2.5$/h, 150tok, 0.00015$/tok, 90J"


@dataclass(frozen=True, slots=True)
class Amount:
    """One number in the base unit of its kind, and how it was written."""

    value: float
    kind: Kind
    text: str


def parse(text: str) -> Amount:
    """Read one amount. A leading `$` counts as the unit's: `$0.17/kWh`.

    Raises:
        ValueError: it is no amount; the message says what is expected.
    """
    written = text.strip()
    if written.startswith("$"):
        written = re.sub(r"^\$\s*([^\s/]+)", r"\1$", written)
    match = _NUMBER.fullmatch(written)
    if match is None:
        raise ValueError(f"{text!r} does not begin with a number; write a number and its unit, like {EXAMPLES}")
    size, divisor, dimension = _unit(match[2].strip(), text)
    value = float(match[1].replace(",", "").replace("_", "")) * size / divisor
    kind = _DIMENSIONS.get(dimension)
    if kind is None:
        known = ", ".join(kind.value for kind in Kind if kind is not Kind.NUMBER)
        raise ValueError(f"{text!r}: no equation uses this unit; known are {known} and multiples of them")
    if value < 0 or not math.isfinite(value):
        raise ValueError(f"{text!r}: must be a finite number, 0 or more")
    return Amount(value, kind, text.strip())


def _unit(text: str, whole: str) -> tuple[float, float, Dimension]:
    """Base units above and below the slash of `A` or `A/B`, and the dimension."""
    above, _, below = (part.strip() for part in text.partition("/"))
    size, (tokens, joules, seconds, dollars) = _symbol(above, whole) if above else (1.0, _NONE)
    divisor, (less_tokens, less_joules, less_seconds, less_dollars) = _symbol(below, whole) if below else (1.0, _NONE)
    return (
        size,
        divisor,
        (tokens - less_tokens, joules - less_joules, seconds - less_seconds, dollars - less_dollars),
    )


def _symbol(symbol: str, whole: str) -> tuple[float, Dimension]:
    if symbol in _UNITS:
        return _UNITS[symbol]
    alike = [known for known in _UNITS if known.casefold() == symbol.casefold()]
    hint = f"did you mean {' or '.join(alike)}?" if alike else f"units are like in {EXAMPLES}"
    raise ValueError(f"{whole!r}: unknown unit {symbol!r}; {hint}")
