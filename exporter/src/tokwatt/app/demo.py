"""`tokwatt demo`: the whole pipeline on simulated servers and meters, plainly marked."""

from __future__ import annotations

import asyncio
import signal
import time

from tokwatt.app.build import Workshop
from tokwatt.app.exporter import Exporter
from tokwatt.app.setup import PowerEntry, Setup, TokenEntry
from tokwatt.config import (
    CapacityPrice,
    Config,
    ElectricityPrice,
    GpuSelection,
    ListenAddress,
    Prices,
    ServerConfig,
)
from tokwatt.readings import PowerSource, SourceContext
from tokwatt.simulate.servers import SimulatedServer
from tokwatt.simulate.world import World
from tokwatt.sources.power.ipmi import IpmiOptions, IpmiSource
from tokwatt.sources.power.nvml import NvmlOptions, NvmlSource

DEMO_PRICES = Prices(
    capacity=CapacityPrice(dollars_per_gpu_hour=2.50), electricity=ElectricityPrice(dollars_per_kwh=0.17), pue=1.2
)
NVML_NAME = "sim-nvml"


def demo_setup(world: World, workshop: Workshop, listen: ListenAddress, window_seconds: float = 60.0) -> Setup:
    """Describe a started world as a setup: real scraper and real meters' code, simulated counterparts."""
    servers = tuple(_server(server) for server in world.servers)

    def nvml() -> PowerSource:
        context = SourceContext(NVML_NAME, workshop.clock, simulated=True)
        return NvmlSource(NvmlOptions(), context, world.nvml_binding())

    def bmc() -> PowerSource:
        context = SourceContext(world.bmc_name, workshop.clock, simulated=True)
        options = IpmiOptions(host="simulated", username="simulated", period_seconds=2.0)
        return IpmiSource(options, context, lambda: world.bmc_session())

    return Setup(
        config=Config(listen=listen, servers=servers, meters=(), prices=DEMO_PRICES, window_seconds=window_seconds),
        tokens={s.name: TokenEntry(s, s.url, lambda s=s: workshop.token_source(s)) for s in servers},
        power={
            NVML_NAME: PowerEntry(NVML_NAME, "simulated NVML", nvml),
            world.bmc_name: PowerEntry(world.bmc_name, "simulated BMC", bmc),
        },
        simulated_servers=frozenset(server.name for server in servers),
        simulated=True,
    )


def _server(server: SimulatedServer) -> ServerConfig:
    return ServerConfig(name=server.name, url=server.url, gpus=GpuSelection(devices=server.gpus))


async def demo(listen: ListenAddress) -> None:
    """Run the demo until SIGTERM or SIGINT. Raises OSError where the address cannot be had."""
    workshop = Workshop(time.monotonic)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, stop.set)
    async with World(clock=workshop.clock) as world:
        exporter = Exporter(demo_setup(world, workshop, listen), workshop.clock)
        exporter.start()
        try:
            url = await exporter.serve(listen.host, listen.port)
            print(_greeting(url), flush=True)
            await stop.wait()
        finally:
            await exporter.stop()
            await workshop.aclose()


def _greeting(url: str) -> str:
    return (
        "tokwatt demo: everything is SIMULATED (3 inference servers, 8 GPUs, 1 BMC; a day of load in ten minutes)\n"
        f"  live page   {url}\n"
        f"  metrics     {url}metrics\n"
        "  stop        Ctrl-C"
    )
