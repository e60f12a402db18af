"""A time-of-use tariff as a price source: its next switches are computed ahead, from the wall clock as it is now.

The wall clock decides which price is due; money is an integral over monotonic time. So a wall clock that is stepped
changes which price holds from then on, and neither loses nor repeats a second.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from tokwatt.readings import Clock, KeyedSourceSpec, PriceReading, PriceStep
from tokwatt.sources._frame import Frame
from tokwatt.sources.prices._calendar import Tariff

_TIMEOUT_SECONDS: Final = 1.0  # never used: a read answers at once
_BACK_SECONDS: Final = 3600.0  # a wall clock set back by less needs no new computation
_AHEAD_SECONDS: Final = 48 * 3600.0
_RENEWED_SECONDS: Final = 24 * 3600.0


class TariffPrice(Frame):
    """A tariff and the two clocks. Costs no I/O, so it is asked at each tick."""

    period_seconds: None = None  # with the tick, to follow a wall clock that is set

    def __init__(self, name: str, tariff: Tariff, clock: Clock, wall_clock: Clock) -> None:
        super().__init__(name, _TIMEOUT_SECONDS)
        self._tariff = tariff
        self._clock = clock
        self._wall_clock = wall_clock
        self._computed_at = float("-inf")  # Unix time around which switches are computed
        self._times: list[float] = []
        self._prices: list[float] = []

    def known(self) -> PriceReading:
        """Return the price now and its switches of at least a day."""
        now, unix = self._clock(), self._wall_clock()
        if not -_BACK_SECONDS <= unix - self._computed_at <= _RENEWED_SECONDS:
            self._compute(unix)
        place = bisect_right(self._times, unix) - 1
        ahead = zip(self._times[place + 1 :], self._prices[place + 1 :], strict=True)
        steps = (PriceStep(now + (at - unix), price) for at, price in ahead)
        return PriceReading(self.name, (PriceStep(now, self._prices[place]), *steps))

    async def read(self) -> PriceReading:
        """Return what is known."""
        return self.known()

    def _compute(self, unix: float) -> None:
        start = unix - _BACK_SECONDS
        switches = self._tariff.switches(start, unix + _AHEAD_SECONDS)
        self._times = [start, *(at for at, _ in switches)]
        self._prices = [self._tariff.price_at(start), *(price for _, price in switches)]
        self._computed_at = unix


SPEC = KeyedSourceSpec(
    name="tariff",
    summary="the price of electricity by time of use: time zone, hours, weekdays, seasons",
    needs="a wall clock that is right, and IANA time zones: the system's, or pip install 'tokwatt[tariff]'",
    keys=("prices.electricity.tariff",),
    traps=(
        "Rules are about local time: when clocks are set back, the repeated hour is priced twice as what it is called.",
    ),
)
