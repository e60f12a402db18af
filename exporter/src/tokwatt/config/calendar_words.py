"""Words of a time-of-use tariff: hours, seasons, weekdays and time zones. Text to checked values."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tokwatt.config.mistakes import Rejected, nearest, shown

_HOURS: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})")
_SEASON: Final = re.compile(r"([0-9]{1,2})-([0-9]{1,2})\s*\.\.\s*([0-9]{1,2})-([0-9]{1,2})")
_DAYS_OF_MONTH: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAY_MINUTES: Final = 24 * 60
_WRITE_HOURS: Final = "write FROM-TO in local time, for example 17:00-21:00, or 22:00-06:00 past midnight"
_WRITE_SEASON: Final = "write the first and the last day as MONTH-DAY, for example 04-01..09-30, or 11-01..03-31"


class Weekday(StrEnum):
    """Days of the week, Monday first."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


@dataclass(frozen=True, slots=True)
class HourRange:
    """Minutes of the day, from the first up to, not including, the second; past midnight where that is not later."""

    start_minute: int
    end_minute: int


@dataclass(frozen=True, slots=True)
class Season:
    """First and last day of a part of every year, as (month, day); past New Year where the last comes first."""

    first: tuple[int, int]
    last: tuple[int, int]


def parse_hours(text: str) -> HourRange:
    """Read FROM-TO. Raises Rejected."""
    match = _HOURS.fullmatch(text)
    if not match:
        raise Rejected(f"{shown(text)} is no range of hours", _WRITE_HOURS)
    hour, minute, to_hour, to_minute = (int(group) for group in match.groups())
    start, end = 60 * hour + minute, 60 * to_hour + to_minute
    if minute > 59 or to_minute > 59 or start >= _DAY_MINUTES or end > _DAY_MINUTES:
        raise Rejected(f"{shown(text)} holds a time that no clock shows", "hours are 00:00 to 24:00")
    if start == end:
        raise Rejected(f"{shown(text)} begins where it ends", "for the whole day leave `hours` out")
    return HourRange(start, end % _DAY_MINUTES)


def parse_season(text: str) -> Season:
    """Read MONTH-DAY..MONTH-DAY. Raises Rejected."""
    match = _SEASON.fullmatch(text)
    if not match:
        raise Rejected(f"{shown(text)} is no season", _WRITE_SEASON)
    month, day, to_month, to_day = (int(group) for group in match.groups())
    for one, of_it in ((month, day), (to_month, to_day)):
        if not 1 <= one <= 12 or not 1 <= of_it <= _DAYS_OF_MONTH[one - 1]:
            raise Rejected(f"{shown(text)}: there is no {one:02d}-{of_it:02d}", _WRITE_SEASON)
    return Season((month, day), (to_month, to_day))


def parse_time_zone(text: str) -> str:
    """Check the name of an IANA time zone. Raises Rejected; without any zone data it says how to get them."""
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        if not known:
            raise Rejected(
                "this host has no time zone data",
                "install the package tzdata, of the system or with pip install 'tokwatt[tariff]'",
            ) from None
        raise Rejected(f"unknown time zone {shown(text)}", _nearest_zone(text, known)) from None
    return text


def _nearest_zone(text: str, known: set[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    close = nearest(text.replace(" ", "_"), by_lower).partition("?")[0].removeprefix("did you mean ")
    return f"did you mean {by_lower[close]}?" if close in by_lower else "write an IANA name such as Europe/Berlin"
