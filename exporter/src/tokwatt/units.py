"""Unit conversions, in one place. Everything inside the program is in base units: joules, watts, seconds, dollars."""

from __future__ import annotations

import re

from tokwatt.quantities import DollarsPerJoule, DollarsPerSecond, Joules, TokensPerJoule

JOULES_PER_WATT_HOUR = 3600.0
JOULES_PER_KWH = 3.6e6  # 1 kWh = 1000 W x 3600 s, exact
SECONDS_PER_MINUTE = 60.0
SECONDS_PER_HOUR = 3600.0
SECONDS_PER_DAY = 86_400.0
JOULES_PER_MILLIJOULE = 1e-3
WATTS_PER_MILLIWATT = 1e-3


def joules_of_kwh(kwh: float) -> Joules:
    """Convert energy from kWh."""
    return Joules(kwh * JOULES_PER_KWH)


def kwh_of_joules(joules: Joules) -> float:
    """Convert energy to kWh."""
    return joules / JOULES_PER_KWH


def dollars_per_joule(dollars_per_kwh: float) -> DollarsPerJoule:
    """Convert an electricity price from $/kWh to $/J."""
    return DollarsPerJoule(dollars_per_kwh / JOULES_PER_KWH)


def dollars_per_kwh(dollars_per_joule: DollarsPerJoule) -> float:
    """Convert an electricity price from $/J to $/kWh."""
    return dollars_per_joule * JOULES_PER_KWH


def grams_per_joule(grams_per_kwh: float) -> float:
    """Convert a carbon intensity from g/kWh to g/J."""
    return grams_per_kwh / JOULES_PER_KWH


def dollars_per_second(dollars_per_hour: float) -> DollarsPerSecond:
    """Convert a capacity price from $/h to $/s."""
    return DollarsPerSecond(dollars_per_hour / SECONDS_PER_HOUR)


def dollars_per_hour(dollars_per_second: DollarsPerSecond) -> float:
    """Convert a capacity price from $/s to $/h."""
    return dollars_per_second * SECONDS_PER_HOUR


def tokens_per_kwh(tokens_per_joule: TokensPerJoule) -> float:
    """Convert tokens/J (tokens per watt-second) to tokens/kWh."""
    return tokens_per_joule * JOULES_PER_KWH


def tokens_per_joule(tokens_per_kwh: float) -> TokensPerJoule:
    """Convert tokens/kWh to tokens/J (tokens per watt-second)."""
    return TokensPerJoule(tokens_per_kwh / JOULES_PER_KWH)


def mig_slices_of(profile: str) -> float | None:
    """Compute slices of a MIG profile: 3 of 3g.40gb, 1 of 1c.3g.40gb; None where it is no profile."""
    match = re.fullmatch(r"(?:MIG )?(?:(\d+)c\.)?(\d+)g\.\d+gb(?:[+-][a-z.]+)*", profile.strip())
    return None if match is None else float(match[1] or match[2])
