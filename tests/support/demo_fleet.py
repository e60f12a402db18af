"""The demo pipeline on one simulated server under a steady load, in a thread of its own, with faults on demand."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

from tokwatt.app.build import Workshop
from tokwatt.app.demo import demo_setup
from tokwatt.app.exporter import Exporter
from tokwatt.config import ListenAddress
from tokwatt.simulate.fleet import ServerPlan
from tokwatt.simulate.load import ClosedLoop, Mix
from tokwatt.simulate.machines import LLAMA_8B_ON_H100
from tokwatt.simulate.servers import VLLM, SimulatedServer
from tokwatt.simulate.world import World

NAME = "sim-chat"
USERS = 8
MIX = Mix(prompt_tokens=400, output_tokens=200, spread=0.3)


class DemoFleet:
    """A running pipeline. Faults take effect at once; time is real."""

    def __init__(self, window_seconds: float) -> None:
        self.address = ""  # host:port of /metrics
        self._window_seconds = window_seconds
        self._loop = asyncio.new_event_loop()
        self._world: World | None = None
        self._up = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="demo fleet", daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(20), "the demo pipeline did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)

    def crash(self) -> None:
        """The inference server goes down: connections are refused."""
        self._do(self._server.crash())

    def come_back(self) -> None:
        """It starts again, counters from 0."""
        self._do(self._server.come_back())

    def waste(self, factor: float) -> None:
        """The same work takes `factor` times the power, as after a wrong clock setting. 1: healthy."""
        core = self._server.core
        healthy = LLAMA_8B_ON_H100
        with core.lock:
            core.machine = replace(
                healthy,
                joules_per_flop=healthy.joules_per_flop * factor,
                joules_per_byte=healthy.joules_per_byte * factor,
                static_watts=healthy.static_watts * factor,
                limit_watts=healthy.limit_watts * factor,  # the governor must not slow it down
            )

    @property
    def _server(self) -> SimulatedServer:
        assert self._world is not None
        return self._world.server(NAME)

    def _do(self, act: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(act, self._loop).result(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._pipeline())

    async def _pipeline(self) -> None:
        workshop = Workshop(time.monotonic)
        plan = ServerPlan(NAME, VLLM, "sim/llama-3.1-8b", LLAMA_8B_ON_H100, steady_load(USERS))
        async with World((plan,), clock=workshop.clock, spare_gpus=0) as world:
            self._world = world
            listen = ListenAddress("127.0.0.1", 0)
            exporter = Exporter(demo_setup(world, workshop, listen, self._window_seconds), workshop.clock)
            exporter.start()
            try:
                url = await exporter.serve(listen.host, listen.port)
                self.address = url.removeprefix("http://").rstrip("/")
                self._up.set()
                await self._end.wait()
            finally:
                await exporter.stop()
                await workshop.aclose()


def steady_load(users: int) -> Callable[[float, int], ClosedLoop]:
    """The same number of users all the time."""
    return lambda start_seconds, seed: ClosedLoop(MIX, start_seconds=start_seconds, users=users, seed=seed)


@contextlib.contextmanager
def running_demo_fleet(window_seconds: float = 10.0) -> Iterator[DemoFleet]:
    """Start the pipeline; it serves /metrics when the block starts."""
    fleet = DemoFleet(window_seconds)
    fleet.start()
    try:
        yield fleet
    finally:
        fleet.stop()
