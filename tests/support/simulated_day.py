"""A day of machines whose power is known at every instant, and clocks, meters and servers that a test drives.

Owns the truth: power by device as a piecewise constant function of monotonic time, and when each meter was read.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from support.clock import FakeClock
from support.readings import tokens

from tokwatt.readings import (
    Boundary,
    DeviceInfo,
    EnergyCounter,
    Fidelity,
    Meter,
    Method,
    PowerReading,
    PriceReading,
    PriceStep,
    ServerReading,
    Unavailable,
)

Span = tuple[float, float]


class Power:
    """Watts of one device: random steps between two bounds, steady inside the given spans."""

    def __init__(self, seed: int, low: float, high: float, seconds: float, steady: Sequence[Span] = ()) -> None:
        rng = random.Random(seed)
        self.times, self.watts = [0.0], [rng.uniform(low, high)]
        at = 0.0
        while at < seconds:
            at += rng.uniform(20.0, 300.0)
            if not any(start <= at <= end for start, end in steady):
                self.times.append(at)
                self.watts.append(rng.uniform(low, high))
        self._joules = [0.0]
        for (a, b), watts in zip(pairwise(self.times), self.watts, strict=False):
            self._joules.append(self._joules[-1] + watts * (b - a))

    def at(self, seconds: float) -> float:
        return self.watts[bisect_right(self.times, seconds) - 1]

    def joules(self, until: float) -> float:
        """Energy since 0."""
        place = bisect_right(self.times, until) - 1
        return self._joules[place] + self.watts[place] * (until - self.times[place])


def inside(at: float, spans: Iterable[Span]) -> bool:
    return any(start <= at < end for start, end in spans)


@dataclass
class CounterMeter:
    """A meter with an energy counter per device. It is silent in `silent`, and its counters restart at `resets`."""

    name: str
    boundary: Boundary
    clock: FakeClock
    devices: dict[str, Power]
    every_seconds: float
    silent: tuple[Span, ...] = ()
    resets: tuple[float, ...] = ()
    read_at: list[float] = field(default_factory=list)
    period_seconds = None
    timeout_seconds = 1.0

    async def read(self) -> PowerReading:
        now = self.clock()
        if inside(now, self.silent):
            raise Unavailable("silent")
        if not self.read_at or now >= self.read_at[-1] + self.every_seconds:
            self.read_at.append(now)
        at = self.read_at[-1]
        since = max((reset for reset in self.resets if reset <= at), default=None)
        readings, infos = [], []
        for index, (device, power) in enumerate(self.devices.items()):
            meter = Meter(self.name, self.boundary, device, Fidelity.HIGHEST, Method.COUNTER)
            shown = 5e8 + power.joules(at) if since is None else power.joules(at) - power.joules(since)
            readings.append(EnergyCounter(meter, shown, at))
            infos.append(DeviceInfo(meter, device, index if self.boundary is Boundary.GPU else None))
        return PowerReading(tuple(readings), tuple(infos))

    async def aclose(self) -> None:
        pass

    def counted(self) -> list[Span]:
        """Stretches whose energy the readings tell: all between the first and the last, but those with a reset."""
        return [(a, b) for a, b in pairwise(self.read_at) if not any(a < reset <= b for reset in self.resets)]


@dataclass
class Server:
    """An inference server that works in bursts, restarts, and is down at times."""

    name: str
    clock: FakeClock
    down: tuple[Span, ...] = ()
    restarts: tuple[float, ...] = ()
    timeout_seconds = 1.0

    async def read(self) -> ServerReading:
        now = self.clock()
        if inside(now, self.down):
            raise Unavailable("connection refused")
        since = max((restart for restart in self.restarts if restart <= now), default=0.0)
        busy = int(now // 600) % 3 != 2
        worked = sum(min(600.0, now - start) for start in range(int(since), int(now), 600) if start // 600 % 3 != 2)
        return tokens(now, 50.0 * worked, server=self.name, running=1.0 if busy else 0.0)

    async def aclose(self) -> None:
        pass


@dataclass
class ScriptedPrice:
    """A price source that reads what a script says, and fails at times; what it read holds for an hour."""

    name: str
    clock: FakeClock
    script: Callable[[float], float]
    fails: tuple[Span, ...] = ()
    said: list[tuple[float, float]] = field(default_factory=list)
    period_seconds = None
    timeout_seconds = 1.0

    def known(self) -> None:
        return None

    async def read(self) -> PriceReading:
        now = self.clock()
        if inside(now, self.fails):
            raise Unavailable("the market is closed")
        value = self.script(now)
        self.said.append((now, value))
        return PriceReading(self.name, (PriceStep(now, value), PriceStep(now + 3600.0, None)))

    async def aclose(self) -> None:
        pass

    def at(self, seconds: float) -> float | None:
        """What was last said, for up to an hour."""
        place = bisect_right(self.said, (seconds, float("inf"))) - 1
        if place < 0 or seconds >= self.said[place][0] + 3600.0:
            return None
        return self.said[place][1]
