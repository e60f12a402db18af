"""One simulated host: servers on GPUs, NVML, a BMC, and the truth that a measurement can be compared with.

Owns the wiring and the life of the HTTP servers. Used by the demo and by tests, never by the exporter itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random
from types import TracebackType
from typing import Self

from tokwatt.readings import Clock
from tokwatt.simulate.bmc import SimulatedBmc
from tokwatt.simulate.engine import Engine
from tokwatt.simulate.faults import Fault, Victims, timeline
from tokwatt.simulate.fleet import ServerPlan, demo_fleet
from tokwatt.simulate.meters import HostModel, JoulesAt, SimulatedGpu, host_energy, share_of_engine, steady
from tokwatt.simulate.nvml import SimulatedNvml
from tokwatt.simulate.servers import SimulatedServer, Sleep
from tokwatt.simulate.truth import EnergyTruth, TokenTruth

GPU_NAME = "NVIDIA H100 80GB HBM3 (simulated)"
BMC_NAME = "sim-bmc"
SPARE_GPU_WATTS = 68.0
SPARE_GPU_LIMIT_WATTS = 700.0
BOARD_SPREAD = 0.02  # boards of one server differ a little in what they draw


def gpu_uuid(index: int) -> str:
    """Return the UUID of a simulated GPU; it says what it is."""
    return f"GPU-51d00000-0000-4000-8000-{index:012x}"


class World:
    """A simulated host. Time starts at construction, HTTP with `start()`.

    Same seed and clock readings, same history. `faults` are counted from `start()`.
    """

    def __init__(
        self,
        fleet: tuple[ServerPlan, ...] | None = None,
        *,
        seed: int = 1,
        clock: Clock = time.monotonic,
        unix_clock: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
        spare_gpus: int = 1,
        host: HostModel | None = None,
        faults: tuple[Fault, ...] = (),
        sensor_gain: dict[str, float] | None = None,
    ) -> None:
        self.start_seconds = clock()
        self.bmc_name = BMC_NAME
        self._clock = clock
        self._unix_clock = unix_clock
        self._sleep = sleep
        self._gpus: list[SimulatedGpu] = []
        self._servers: dict[str, SimulatedServer] = {}
        self._cpu_energy: list[JoulesAt] = []  # engines without a GPU: their joules are the host's
        for number, plan in enumerate(demo_fleet() if fleet is None else fleet):
            self._add_server(plan, seed * 1000 + number)
        for _ in range(spare_gpus):
            energy = steady(SPARE_GPU_WATTS, start_seconds=self.start_seconds)
            self._add_gpu(SPARE_GPU_LIMIT_WATTS, SPARE_GPU_WATTS, energy)
        host_model = host or HostModel()
        devices = (*(gpu.joules_at for gpu in self._gpus), *self._cpu_energy)
        self._host_joules_at = host_energy(host_model, devices, start_seconds=self.start_seconds)
        idle_watts = sum(gpu.idle_watts for gpu in self._gpus)
        self._nvml = SimulatedNvml(self._gpus, clock, unix_clock=unix_clock, gain=sensor_gain)
        self._bmc = SimulatedBmc(
            BMC_NAME,
            self._host_joules_at,
            clock,
            unix_clock=unix_clock,
            watts_at_start=host_model.joules(idle_watts, 1.0),
            sleep=sleep,
        )
        self._acts = timeline(faults, Victims(self._servers, self._bmc, self._nvml))
        self._script: asyncio.Task[None] | None = None

    @property
    def servers(self) -> tuple[SimulatedServer, ...]:
        """All servers: `name`, `url`, `engine`, `model`, `gpus`."""
        return tuple(self._servers.values())

    @property
    def gpus(self) -> tuple[SimulatedGpu, ...]:
        """All GPUs in NVML's order; the last ones are nobody's."""
        return tuple(self._gpus)

    def server(self, name: str) -> SimulatedServer:
        """Return a server by name."""
        return self._servers[name]

    async def start(self) -> None:
        """Open the HTTP servers and begin the script of faults."""
        for server in self.servers:
            await server.start()
        if self._acts:
            self._script = asyncio.create_task(self._run_script())

    async def stop(self) -> None:
        """Close everything. Raises what a fault's script failed with, if it did."""
        script, self._script = self._script, None
        if script is not None:
            script.cancel()
            await asyncio.wait([script])
        for server in self.servers:
            await server.stop()
        if script is not None and not script.cancelled():
            script.result()

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

    # Truth, between two instants of the last ten minutes

    def tokens_between(self, server: str, start_seconds: float, end_seconds: float) -> TokenTruth:
        """Return tokens and requests of a server, over its restarts."""
        return self._servers[server].core.tokens_between(start_seconds, end_seconds)

    def energy_between(self, server: str, start_seconds: float, end_seconds: float) -> EnergyTruth:
        """Return joules by phase, and busy and idle seconds, of all GPUs of a server."""
        return self._servers[server].core.energy_between(start_seconds, end_seconds)

    def gpu_joules_between(self, uuid: str, start_seconds: float, end_seconds: float) -> float:
        """Return joules of one GPU."""
        joules_at = next(gpu.joules_at for gpu in self._gpus if gpu.uuid == uuid)
        return joules_at(end_seconds) - joules_at(start_seconds)

    def host_joules_between(self, start_seconds: float, end_seconds: float) -> float:
        """Return input joules of the host."""
        return self._host_joules_at(end_seconds) - self._host_joules_at(start_seconds)

    def _add_server(self, plan: ServerPlan, seed: int) -> None:
        machine = plan.machine
        load = plan.make_load(self.start_seconds, seed)
        engine = Engine(machine, load, start_seconds=self.start_seconds, seed=seed)
        boards = [1.0 + BOARD_SPREAD * Random(f"{seed} {n}").uniform(-1, 1) for n in range(machine.gpu_count)]  # noqa: S311
        shares = [board / sum(boards) for board in boards]
        uuids = [
            self._add_gpu(
                machine.limit_watts / machine.gpu_count, share * machine.idle_watts, share_of_engine(engine, share)
            )
            for share in shares
        ]
        if not machine.gpu_count:
            self._cpu_energy.append(share_of_engine(engine, 1.0))
        self._servers[plan.name] = SimulatedServer(
            plan.name,
            plan.engine,
            plan.model,
            engine,
            clock=self._clock,
            unix_clock=self._unix_clock,
            seed=seed,
            gpus=tuple(uuids),
            sleep=self._sleep,
        )

    def _add_gpu(self, limit_watts: float, idle_watts: float, joules_at: JoulesAt) -> str:
        index = len(self._gpus)
        gpu = SimulatedGpu(index, gpu_uuid(index), GPU_NAME, limit_watts, idle_watts, joules_at)
        self._gpus.append(gpu)
        return gpu.uuid

    async def _run_script(self) -> None:
        began = self._clock()
        for at_seconds, act in self._acts:
            wait_seconds = began + at_seconds - self._clock()
            if wait_seconds > 0.0:
                await self._sleep(wait_seconds)
            await act()
