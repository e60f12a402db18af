"""The world of `tokwatt demo --real`: a real llama.cpp server, and simulated meters that follow its busy slots.

Owns the wiring. Tokens are real; watts are simulated, and every meter says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

from tokwatt.readings import Clock
from tokwatt.simulate.bmc import SimulatedBmc
from tokwatt.simulate.meters import HostModel, LiveEnergy, SimulatedGpu, host_energy
from tokwatt.simulate.nvml import SimulatedNvml
from tokwatt.simulate.real import RealLlamaServer
from tokwatt.simulate.real_load import BackgroundLoad
from tokwatt.simulate.servers import LLAMACPP
from tokwatt.simulate.world import BMC_NAME, gpu_uuid

SERVER_NAME = "real-llama"
GPU_NAME = "Stand-in for a GPU (simulated)"
IDLE_WATTS = 30.0
FIRST_SLOT_WATTS = 55.0  # the first busy slot streams the weights
NEXT_SLOT_WATTS = 20.0
LIMIT_WATTS = 200.0
HOST = HostModel(base_watts=60.0, fan_ratio=0.05, psu_efficiency=0.92)
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class RealServer:
    """What the demo needs to know of the server."""

    name: str
    url: str
    engine: str
    model: str
    gpus: tuple[str, ...]


def watts_of(busy_slots: int) -> float:
    """Return the simulated power of a device with this many busy slots."""
    return IDLE_WATTS + (FIRST_SLOT_WATTS + NEXT_SLOT_WATTS * (busy_slots - 1) if busy_slots else 0.0)


class RealWorld:
    """Like `World`, with one real server `real-llama`. Needs the packages of `tokwatt[real]`."""

    def __init__(
        self,
        *,
        seed: int = 1,
        clock: Clock = time.monotonic,
        unix_clock: Callable[[], float] = time.time,
        server: RealLlamaServer | None = None,
        users: int = 2,
    ) -> None:
        self.llama = server or RealLlamaServer()
        self.load: BackgroundLoad | None = None
        self.bmc_name = BMC_NAME
        self._seed = seed
        self._users = users
        self._clock = clock
        self.start_seconds = clock()
        self._energy = LiveEnergy(IDLE_WATTS, start_seconds=self.start_seconds)
        gpu = SimulatedGpu(0, gpu_uuid(0), GPU_NAME, LIMIT_WATTS, IDLE_WATTS, self._energy.joules_at)
        host_joules_at = host_energy(HOST, (gpu.joules_at,), start_seconds=self.start_seconds)
        self._nvml = SimulatedNvml([gpu], clock, unix_clock=unix_clock)
        self._bmc = SimulatedBmc(
            BMC_NAME,
            host_joules_at,
            clock,
            unix_clock=unix_clock,
            watts_at_start=HOST.joules(IDLE_WATTS, 1.0),
        )
        self._watcher: asyncio.Task[None] | None = None

    @property
    def servers(self) -> tuple[RealServer, ...]:
        """The one server."""
        return (RealServer(SERVER_NAME, self.llama.url, LLAMACPP, "", (gpu_uuid(0),)),)

    @property
    def watts(self) -> float:
        """Simulated power of the device now."""
        return self._energy.watts

    async def start(self) -> None:
        """Start the server, its users and the meters. Raises what `RealLlamaServer.start` raises."""
        await self.llama.start()
        self.load = BackgroundLoad(self.llama.base_url, users=self._users, seed=self._seed)
        await self.load.start()
        self._watcher = asyncio.create_task(self._watch_slots())

    async def stop(self) -> None:
        """Stop all of it; the child is gone afterwards."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.wait([watcher])
        if self.load is not None:
            await self.load.stop()
        await self.llama.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def nvml_binding(self) -> SimulatedNvml:
        """Return what stands in for the module `pynvml`."""
        return self._nvml

    def bmc_session(self) -> SimulatedBmc:
        """Return what stands in for a session with the BMC."""
        return self._bmc

    def gpu_joules_between(self, start_seconds: float, end_seconds: float) -> float:
        """Return the simulated joules of the device in the last ten minutes."""
        return self._energy.joules_at(end_seconds) - self._energy.joules_at(start_seconds)

    async def _watch_slots(self) -> None:
        """Let the watts follow the slots, so that requests of anybody cost energy."""
        shown_slots = 0
        timeout = aiohttp.ClientTimeout(total=5.0)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                busy_slots = 0
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
                    busy_slots = await _busy_slots(session, f"{self.llama.base_url}/slots")
                if busy_slots != shown_slots:
                    self._energy.set_watts(self._clock(), watts_of(busy_slots))
                    shown_slots = busy_slots
                await asyncio.sleep(POLL_SECONDS)


async def _busy_slots(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as response:
        response.raise_for_status()
        return sum(1 for slot in await response.json() if slot.get("is_processing"))
