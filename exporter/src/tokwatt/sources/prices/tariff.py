"""A time-of-use tariff as a price source: its next switches are computed ahead, from the wall clock as it is now.

The wall clock decides which price is due; money is an integral over monotonic time. So a wall clock that is stepped
changes which price holds from then on, and neither loses nor repeats a second.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from tokwatt.readings import Clock, PriceReading, PriceStep
from tokwatt.sources.prices._calendar import Tariff

_BACK_SECONDS: Final = 3600.0  # a wall clock set back by less needs no new computation
_AHEAD_SECONDS: Final = 48 * 3600.0
_RENEWED_SECONDS: Final = 24 * 3600.0


class TariffPrice:
    """A tariff and the two clocks. Costs no I/O, so it is asked at each tick."""

    def __init__(self, name: str, tariff: Tariff, clock: Clock, wall_clock: Clock) -> None:
        self._name = name
        self._tariff = tariff
        self._clock = clock
        self._wall_clock = wall_clock
        self._computed_at = float("-inf")  # Unix time around which switches are computed
        self._times: list[float] = []
        self._prices: list[float] = []

    @property
    def name(self) -> str:
        """Key path of its configuration."""
        return self._name

    @property
    def period_seconds(self) -> float | None:
        """Asked at each tick, to follow a wall clock that is set."""
        return None

    @property
    def timeout_seconds(self) -> float:
        """Longest time a read may take."""
        return 1.0

    def known(self) -> PriceReading:
        """Return the price now and its switches of at least a day."""
        now, unix = self._clock(), self._wall_clock()
        if not -_BACK_SECONDS <= unix - self._computed_at <= _RENEWED_SECONDS:
            self._compute(unix)
        place = bisect_right(self._times, unix) - 1
        ahead = zip(self._times[place + 1 :], self._prices[place + 1 :], strict=True)
        steps = (PriceStep(now + (at - unix), price) for at, price in ahead)
        return PriceReading(self._name, (PriceStep(now, self._prices[place]), *steps))

    async def read(self) -> PriceReading:
        """Return what is known."""
        return self.known()

    async def aclose(self) -> None:
        """Nothing is open."""

    def _compute(self, unix: float) -> None:
        start = unix - _BACK_SECONDS
        switches = self._tariff.switches(start, unix + _AHEAD_SECONDS)
        self._times = [start, *(at for at, _ in switches)]
        self._prices = [self._tariff.price_at(start), *(price for _, price in switches)]
        self._computed_at = unix
