"""A server with known seconds and joules for each request, prefill token, decode step and decode token.

On a SimClock: requests are answered by `complete`, counters and energy are what sources would read of it. Prompts are
prefilled one after another, answers are decoded together, one step after another.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from support.readings import gpu_meter, host_meter
from support.simclock import SimClock

from tokwatt.app.calibrate_load import Usage
from tokwatt.readings import (
    CounterSample,
    DeviceInfo,
    EnergyCounter,
    PowerReading,
    PowerSample,
    Quantity,
    ServerReading,
    SourceError,
)


@dataclass(frozen=True, slots=True)
class Work:
    """What one unit of work takes."""

    request: float
    prefill_token: float
    step: float
    token: float


SECONDS = Work(0.012, 0.00012, 0.03, 0.0003)
JOULES = Work(4.8, 0.063, 10.2, 0.15)


@dataclass
class MachineDouble:
    """`jitter`: relative standard deviation of every step's seconds and joules."""

    clock: SimClock
    seconds: Work = SECONDS
    joules: Work = JOULES
    idle_watts: float = 90.0
    jitter: float = 0.0
    seed: int = 1
    slots: int = 64
    requests: int = 0
    prompts: list[str] = field(default_factory=list)
    trouble: SourceError | None = None

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._counts = {Quantity.COMPUTED_INPUT: 0.0, Quantity.OUTPUT: 0.0, Quantity.REQUESTS_SUCCESS: 0.0}
        self._prefill = asyncio.Lock()
        self._slots = asyncio.Semaphore(self.slots)
        self._decoding: dict[int, tuple[int, asyncio.Future[None]]] = {}
        self._stepping: asyncio.Task[None] | None = None
        self.running = 0
        self._energy = 0.0
        self._watts = self.idle_watts
        self._since = self.clock()

    # What it does

    async def complete(self, prompt: str, max_tokens: int) -> Usage:
        if self.trouble is not None:
            raise self.trouble
        self.requests += 1
        number, tokens = self.requests, len(prompt.split())
        self.prompts.append(prompt)
        async with self._slots:
            self.running += 1
            async with self._prefill:
                await self._work(
                    self.seconds.request + tokens * self.seconds.prefill_token,
                    self.joules.request + tokens * self.joules.prefill_token,
                )
            self._counts[Quantity.COMPUTED_INPUT] += tokens
            self._counts[Quantity.OUTPUT] += 1
            if max_tokens > 1:
                done = asyncio.get_running_loop().create_future()
                self._decoding[number] = (max_tokens - 1, done)
                if self._stepping is None or self._stepping.done():
                    self._stepping = asyncio.create_task(self._decode())
                await done
            self.running -= 1
        self._counts[Quantity.REQUESTS_SUCCESS] += 1
        return Usage(float(tokens), 0.0, float(max_tokens))

    async def _decode(self) -> None:
        while self._decoding:
            async with self._prefill:  # prompts and steps take turns
                batch = len(self._decoding)
                await self._work(
                    self.seconds.step + batch * self.seconds.token, self.joules.step + batch * self.joules.token
                )
            for number, (left, done) in list(self._decoding.items())[:batch]:
                self._counts[Quantity.OUTPUT] += 1
                self._decoding[number] = (left - 1, done)
                if left == 1:
                    del self._decoding[number]
                    done.set_result(None)

    async def _work(self, seconds: float, joules: float) -> None:
        seconds *= max(0.1, self._rng.gauss(1.0, self.jitter))
        joules *= max(0.1, self._rng.gauss(1.0, self.jitter))
        self._set_watts(joules / seconds)
        await self.clock.sleep(seconds)
        self._set_watts(self.idle_watts)

    def _set_watts(self, watts: float) -> None:
        self._energy = self.energy_now()
        self._since, self._watts = self.clock(), watts

    def energy_now(self) -> float:
        return self._energy + self._watts * (self.clock() - self._since)

    # What is read of it

    def count_for_others(self, output: float) -> None:
        """Tokens that nobody of us asked for."""
        self._counts[Quantity.OUTPUT] += output

    def reading(self) -> ServerReading:
        counters = tuple(CounterSample(quantity, "m", quantity, value) for quantity, value in self._counts.items())
        return ServerReading(
            "chat", self.clock(), 0.0, counters, requests_running=self.running, requests_waiting=0, engine="double"
        )


class DoubleServer:
    """The token source."""

    name = "chat"
    timeout_seconds = 1.0

    def __init__(self, machine: MachineDouble) -> None:
        self.machine = machine

    async def read(self) -> ServerReading:
        return self.machine.reading()

    async def aclose(self) -> None:
        pass


class DoubleGpu:
    """The GPU's energy counter, renewed every 100 ms."""

    name = "nvml"
    timeout_seconds = 1.0
    period_seconds = None

    def __init__(self, machine: MachineDouble) -> None:
        self.machine = machine
        self._latched = (machine.clock(), machine.energy_now())
        self._task = asyncio.create_task(self._latch())
        self.trouble: SourceError | None = None

    async def _latch(self) -> None:
        while True:
            await self.machine.clock.sleep(0.1)
            self._latched = (self.machine.clock(), self.machine.energy_now())

    async def read(self) -> PowerReading:
        if self.trouble is not None:
            raise self.trouble
        counter = EnergyCounter(gpu_meter(0), self._latched[1], self.machine.clock())
        return PowerReading((counter,), (DeviceInfo(gpu_meter(0), "double GPU", 0),))

    async def aclose(self) -> None:
        self._task.cancel()


class DoubleBmc:
    """The host's power: 200 W more than the GPU's mean of the last second, 1 W steps, read each second."""

    name = "bmc1"
    timeout_seconds = 1.0
    period_seconds = 1.0

    def __init__(self, machine: MachineDouble) -> None:
        self.machine = machine
        self._seen = (machine.clock(), machine.energy_now())

    async def read(self) -> PowerReading:
        now, energy = self.machine.clock(), self.machine.energy_now()
        seconds = now - self._seen[0]
        watts = (energy - self._seen[1]) / seconds if seconds else self.machine.idle_watts
        self._seen = (now, energy)
        sample = PowerSample(host_meter(), round(200.0 + watts), now - seconds / 2, seconds)
        return PowerReading((sample,), (DeviceInfo(host_meter(), "double BMC"),))

    async def aclose(self) -> None:
        pass
