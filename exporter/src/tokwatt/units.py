"""Unit conversions, in one place. Everything inside the program is in base units: joules, watts, seconds, dollars."""

import re

JOULES_PER_KWH = 3.6e6  # 1 kWh = 1000 W x 3600 s, exact
SECONDS_PER_HOUR = 3600.0
JOULES_PER_MILLIJOULE = 1e-3
WATTS_PER_MILLIWATT = 1e-3


def dollars_per_joule(dollars_per_kwh: float) -> float:
    """Convert an electricity price from $/kWh to $/J."""
    return dollars_per_kwh / JOULES_PER_KWH


def grams_per_joule(grams_per_kwh: float) -> float:
    """Convert a carbon intensity from g/kWh to g/J."""
    return grams_per_kwh / JOULES_PER_KWH


def dollars_per_second(dollars_per_hour: float) -> float:
    """Convert a capacity price from $/h to $/s."""
    return dollars_per_hour / SECONDS_PER_HOUR


def tokens_per_kwh(tokens_per_joule: float) -> float:
    """Convert tokens/J (tokens per watt-second) to tokens/kWh."""
    return tokens_per_joule * JOULES_PER_KWH


def mig_slices_of(profile: str) -> float | None:
    """Compute slices of a MIG profile: 3 of 3g.40gb, 1 of 1c.3g.40gb; None where it is no profile."""
    match = re.fullmatch(r"(?:MIG )?(?:(\d+)c\.)?(\d+)g\.\d+gb(?:[+-][a-z.]+)*", profile.strip())
    return None if match is None else float(match[1] or match[2])
