"""A time-of-use tariff: which price holds at an instant, and when it switches. Pure: the caller says what time it is.

Rules are about local wall time. When clocks are set back, the repeated hour is priced twice as what it is called; when
they are set forward, the hour that does not exist is not priced. Source of the zones: the IANA data behind `zoneinfo`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

_DAY_MINUTES: Final = 24 * 60
_HOUR_SECONDS: Final = 3600
MonthDay = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rule:
    """A price and when it applies: all of its conditions hold for the local time. An empty condition always holds."""

    price: float
    weekdays: frozenset[int] = frozenset()  # 0: Monday
    hours: tuple[tuple[int, int], ...] = ()  # minutes of the day, [from, to); to <= from: past midnight
    seasons: tuple[tuple[MonthDay, MonthDay], ...] = ()  # first and last day; last before first: past New Year

    def applies(self, local: datetime) -> bool:
        """Whether this is its price at a local time. Weekday and date are those of that instant itself."""
        minute = 60 * local.hour + local.minute
        day = (local.month, local.day)
        return (
            (not self.weekdays or local.weekday() in self.weekdays)
            and (not self.hours or any(_within(minute, start, end) for start, end in self.hours))
            and (not self.seasons or any(_on(day, first, last) for first, last in self.seasons))
        )


def _within(minute: int, start: int, end: int) -> bool:
    return start <= minute < end if start < end else minute >= start or minute < end


def _on(day: MonthDay, first: MonthDay, last: MonthDay) -> bool:
    return first <= day <= last if first <= last else day >= first or day <= last


@dataclass(frozen=True, slots=True)
class Tariff:
    """Rules in order: the first that applies sets the price, and `default` holds where none does."""

    zone: tzinfo
    default: float
    rules: tuple[Rule, ...] = ()

    def price_at(self, unix_seconds: float) -> float:
        """Price at an instant."""
        local = datetime.fromtimestamp(unix_seconds, self.zone)
        return next((rule.price for rule in self.rules if rule.applies(local)), self.default)

    def switches(self, start_unix_seconds: float, end_unix_seconds: float) -> list[tuple[float, float]]:
        """Return the instants in (start, end] from which another price holds, each with that price."""
        found: list[tuple[float, float]] = []
        price = self.price_at(start_unix_seconds)
        for at in sorted({*self._edges(start_unix_seconds, end_unix_seconds)}):
            if start_unix_seconds < at <= end_unix_seconds and self.price_at(at) != price:
                price = self.price_at(at)
                found.append((at, price))
        return found

    def _edges(self, start: float, end: float) -> Iterator[float]:
        """Every instant at which the price may change: edges of hours, midnights, and changes of the zone's offset."""
        marks = {0} | {minute % _DAY_MINUTES for rule in self.rules for span in rule.hours for minute in span}
        day = datetime.fromtimestamp(start, self.zone).date() - timedelta(days=1)
        last = datetime.fromtimestamp(end, self.zone).date() + timedelta(days=1)
        while day <= last:
            for minute in marks:
                yield from self._instants(day, minute)
            day += timedelta(days=1)
        yield from self._offset_changes(int(start) - 1, int(end) + 1)

    def _instants(self, day: date, minute: int) -> Iterator[float]:
        """When a clock on the wall shows a time: twice on the night it is set back."""
        for fold in (0, 1):
            shown = time(minute // 60, minute % 60, fold=fold)
            yield datetime.combine(day, shown, tzinfo=self.zone).timestamp()

    def _offset_changes(self, start: int, end: int) -> Iterator[float]:
        for hour in range(start, end, _HOUR_SECONDS):
            before, after = hour, min(hour + _HOUR_SECONDS, end)
            if self._offset(before) == self._offset(after):
                continue
            while after - before > 1:
                middle = (before + after) // 2
                if self._offset(middle) == self._offset(before):
                    before = middle
                else:
                    after = middle
            yield float(after)

    def _offset(self, unix_seconds: int) -> timedelta | None:
        return datetime.fromtimestamp(unix_seconds, UTC).astimezone(self.zone).utcoffset()
