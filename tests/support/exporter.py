"""The real app without its process: an Exporter whose time and meters a test owns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from support.clock import FakeClock
from support.readings import gpu_pass

from tokwatt.app.build import Workshop
from tokwatt.app.exporter import Exporter
from tokwatt.app.setup import PowerEntry, Setup, setup_of
from tokwatt.config import Config
from tokwatt.metrics.exposition import Exposition
from tokwatt.readings import PowerReading, SourceError

UNIX_START = 1_760_000_000.0


class SteadyGpu:
    """One GPU at constant power with an energy counter; `error` makes it fail."""

    period_seconds = None
    timeout_seconds = 1.0

    def __init__(self, clock: FakeClock, watts: float, name: str = "nvml") -> None:
        self.name = name
        self.error: SourceError | None = None
        self._clock = clock
        self._watts = watts

    async def read(self) -> PowerReading:
        if self.error is not None:
            raise self.error
        return gpu_pass(self._clock(), {0: 1e6 + self._watts * self._clock()}, self.name)

    async def aclose(self) -> None:
        pass


@asynccontextmanager
async def ticking_exporter(config: Config, clock: FakeClock, gpu: SteadyGpu | None = None) -> AsyncIterator[Exporter]:
    """Open an exporter of a configuration; the test calls `tick()` and moves the clock."""
    workshop = Workshop(clock)
    setup: Setup = setup_of(config, workshop)
    if gpu is not None:
        setup = replace(setup, power={gpu.name: PowerEntry(gpu.name, "test GPU", lambda: gpu)})
    start = clock()
    exporter = Exporter(setup, clock, lambda: UNIX_START + clock() - start, Exposition(with_process=False))
    exporter.open()
    try:
        yield exporter
    finally:
        await exporter.stop()
        await workshop.aclose()
