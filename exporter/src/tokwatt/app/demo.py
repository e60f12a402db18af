"""`tokwatt demo`: the whole pipeline on simulated servers and meters, plainly marked."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Collection, Sequence
from typing import Protocol

from tokwatt.app.build import Workshop
from tokwatt.app.exporter import Exporter
from tokwatt.app.setup import PowerEntry, Setup, TokenEntry
from tokwatt.config import (
    CapacityPrice,
    Config,
    ElectricityPrice,
    GpuSelection,
    GridCarbon,
    ListenAddress,
    Prices,
    ResponseConfig,
    Role,
    ServerConfig,
)
from tokwatt.readings import PowerSource, SourceContext
from tokwatt.simulate.fleet import CHAT, GUARDRAIL
from tokwatt.simulate.world import World
from tokwatt.sources.power._bmc import BmcSession
from tokwatt.sources.power._nvml_binding import NvmlBinding
from tokwatt.sources.power.ipmi import IpmiOptions, IpmiSource
from tokwatt.sources.power.nvml import NvmlOptions, NvmlSource

DEMO_PRICES = Prices(
    capacity=CapacityPrice(dollars_per_gpu_hour=2.50),
    electricity=ElectricityPrice(dollars_per_kwh=0.17),
    pue=1.2,
    carbon=GridCarbon(grams_per_kwh=380.0),
)
NVML_NAME = "sim-nvml"
BMC_PERIOD_SECONDS = 2.0
SIMULATED_GREETING = (
    "tokwatt demo: everything is SIMULATED (4 inference servers, 8 GPUs, 1 BMC; a day of load in ten minutes)"
)
REAL_GREETING = "tokwatt demo: REAL tokens of a llama.cpp server on this CPU; its power and the BMC are SIMULATED"


class DemoServer(Protocol):
    """What the demo must know of an inference server."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def gpus(self) -> tuple[str, ...]: ...


class DemoWorld(Protocol):
    """A host with servers and simulated meters: `simulate.world.World`, or `RealWorld` around a real server."""

    @property
    def bmc_name(self) -> str: ...
    @property
    def servers(self) -> Sequence[DemoServer]: ...
    def nvml_binding(self) -> NvmlBinding: ...
    def bmc_session(self) -> BmcSession: ...


def demo_setup(
    world: DemoWorld,
    workshop: Workshop,
    listen: ListenAddress,
    window_seconds: float = 60.0,
    *,
    simulated_servers: bool = True,
) -> Setup:
    """Describe a started world as a setup: the scraper's and the meters' own code, simulated counterparts."""
    servers = tuple(
        ServerConfig(
            name=server.name,
            url=server.url,
            gpus=GpuSelection(devices=server.gpus),
            role=Role.SUPPORT if server.name == GUARDRAIL else Role.BOTH,
        )
        for server in world.servers
    )

    names = {server.name for server in servers}

    def nvml() -> PowerSource:
        context = SourceContext(NVML_NAME, workshop.clock, simulated=True)
        return NvmlSource(NvmlOptions(), context, world.nvml_binding())

    def bmc() -> PowerSource:
        context = SourceContext(world.bmc_name, workshop.clock, simulated=True)
        # never used: the session is simulated; but an account without a password would be refused
        options = IpmiOptions("simulated", "simulated", "", "NONE", period_seconds=BMC_PERIOD_SECONDS)
        return IpmiSource(options, context, world.bmc_session)

    return Setup(
        config=Config(
            listen=listen,
            servers=servers,
            meters=(),
            prices=DEMO_PRICES,
            responses=tuple(_response(server.name, names) for server in servers if server.role is not Role.SUPPORT),
            window_seconds=window_seconds,
        ),
        tokens={server.name: _token_entry(server, workshop) for server in servers},
        power={
            NVML_NAME: PowerEntry(NVML_NAME, "simulated NVML", nvml),
            world.bmc_name: PowerEntry(world.bmc_name, "simulated BMC", bmc),
        },
        simulated_servers=frozenset(server.name for server in servers) if simulated_servers else frozenset(),
        simulated=True,
    )


def _response(server: str, names: Collection[str]) -> ResponseConfig:
    """Support is measured where the fleet has a guardrail for a server, and configured for the others."""
    if server == CHAT and GUARDRAIL in names:
        return ResponseConfig(server, attempts=1.2, support=(GUARDRAIL,))
    return ResponseConfig(server, 1.2, 150, 0.000002)


def _token_entry(server: ServerConfig, workshop: Workshop) -> TokenEntry:
    return TokenEntry(server, server.url, lambda: workshop.token_source(server))


async def demo(listen: ListenAddress) -> None:
    """Run the simulated fleet until SIGTERM or SIGINT. Raises OSError where the address cannot be had."""
    workshop = Workshop(time.monotonic)
    async with World(clock=workshop.clock) as world:
        await _show(demo_setup(world, workshop, listen), workshop, SIMULATED_GREETING)


async def demo_real(listen: ListenAddress) -> None:
    """Run a real llama.cpp server under simulated meters until SIGTERM or SIGINT.

    Raises MissingPackagesError, StartFailedError, and OSError where the address cannot be had.
    """
    from tokwatt.simulate.real_world import RealWorld  # noqa: PLC0415  needs packages of the extra `real`

    workshop = Workshop(time.monotonic)
    print("starting a real llama.cpp server", flush=True)
    async with RealWorld(clock=workshop.clock) as world:
        await _show(demo_setup(world, workshop, listen, simulated_servers=False), workshop, REAL_GREETING)


async def _show(setup: Setup, workshop: Workshop, greeting: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, stop.set)
    exporter = Exporter(setup, workshop.clock)
    exporter.start()
    try:
        url = await exporter.serve(setup.config.listen.host, setup.config.listen.port)
        print(f"{greeting}\n  live page   {url}\n  metrics     {url}metrics\n  stop        Ctrl-C", flush=True)
        await stop.wait()
    finally:
        await exporter.stop()
        await workshop.aclose()
