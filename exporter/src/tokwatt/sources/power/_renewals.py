"""Tells a renewed value from a repeated one, and places it in time, for meters that are read through a cache.

An exporter that renews its counter every 30 s shows the same joules twice when it is read every 15 s: taken as two
readings, that is no power and then double power. Pure: time arrives with the value.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokwatt.readings import Unavailable

_STILL_PERIODS = 4.0  # a value that stands still for longer is not renewed any more, whatever answers


@dataclass(frozen=True, slots=True)
class _Seen:
    value: float
    looked_at_seconds: float
    changed_at_seconds: float  # first seen with this value
    placed_at_seconds: float | None


class Renewals:
    """Remembers the last value of each device.

    `every_seconds` is how often the other side renews its values, 0 for one that measures at each read;
    `period_seconds` how often it is read.
    """

    def __init__(self, every_seconds: float, period_seconds: float, where: str) -> None:
        self._every_seconds = every_seconds
        self._patience_seconds = _STILL_PERIODS * max(every_seconds, period_seconds)
        self._where = where
        self._seen: dict[str, _Seen] = {}

    def place(self, device: str, value: float, at_seconds: float) -> float:
        """Return the instant that `value`, seen at `at_seconds`, holds for.

        A new value was made after the last look at the old one, and at most `every_seconds` ago: it is placed in the
        middle of that. A repeated value keeps its instant. The first value of all may be of any age up to
        `every_seconds`; as a baseline it would turn the energy before it into power that was never drawn.

        Raises:
            Unavailable: the age of the value is not known yet, or it has not changed for far too long.
        """
        seen = self._look(device, value, at_seconds)
        still_seconds = seen.looked_at_seconds - seen.changed_at_seconds
        if still_seconds > self._patience_seconds:
            raise Unavailable(
                f"the value of {device} has not changed for {still_seconds:.0f} s",
                where=self._where,
                hint="what answers may serve an old value; one that is renewed slowly or in coarse steps must say so",
            )
        if seen.placed_at_seconds is None:
            raise Unavailable(
                f"the age of the first value of {device} is not known: counting begins at its next change",
                where=self._where,
                hint=f"expected within {self._every_seconds:g} s",
            )
        return seen.placed_at_seconds

    def _look(self, device: str, value: float, at_seconds: float) -> _Seen:
        last = self._seen.get(device)
        if last is None:
            seen = _Seen(value, at_seconds, at_seconds, at_seconds if self._every_seconds == 0 else None)
        elif value == last.value:
            seen = _Seen(value, at_seconds, last.changed_at_seconds, last.placed_at_seconds)
        else:
            age = min(at_seconds - last.looked_at_seconds, self._every_seconds) / 2
            seen = _Seen(value, at_seconds, at_seconds, at_seconds - age)
        self._seen[device] = seen
        return seen
