"""What goes wrong in a simulated world, and when: for demos and tests, off by default.

Owns the script of faults and how each is done and undone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from tokwatt.simulate.bmc import SimulatedBmc
from tokwatt.simulate.nvml import SimulatedNvml
from tokwatt.simulate.servers import SimulatedServer

GPU_IS_LOST = 15  # NVML_ERROR_GPU_IS_LOST


class FaultKind(StrEnum):
    """What can go wrong. `target` is a server's name, except for the last two."""

    RESTART = "restart"  # in one instant; has no duration
    CRASH = "crash"  # connections refused, then counters from 0
    HANG = "hang"  # accepts and never answers
    ERRORS = "errors"  # HTTP 500
    SLOW = "slow"  # answers 0.3 to 1.2 s late
    BMC_SILENT = "bmc-silent"  # no answer to commands
    GPU_LOST = "gpu-lost"  # target: UUID


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, from the start of the world on."""

    at_seconds: float
    kind: FaultKind
    target: str = ""
    lasts_seconds: float = 10.0


DEMO_FAULTS = (
    Fault(90.0, FaultKind.RESTART, "sim-edge"),
    Fault(180.0, FaultKind.BMC_SILENT, lasts_seconds=20.0),
    Fault(270.0, FaultKind.CRASH, "sim-chat", lasts_seconds=15.0),
)

Act = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Victims:
    """What faults can be done to."""

    servers: dict[str, SimulatedServer]
    bmc: SimulatedBmc
    nvml: SimulatedNvml


def timeline(faults: tuple[Fault, ...], victims: Victims) -> list[tuple[float, Act]]:
    """Return (seconds after start, act) in time order.

    Raises:
        ValueError: a fault names a server that is not there.
    """
    acts: list[tuple[float, Act]] = []
    for fault in faults:
        begin, end = _acts(fault, victims)
        acts.append((fault.at_seconds, begin))
        if fault.kind is not FaultKind.RESTART:
            acts.append((fault.at_seconds + fault.lasts_seconds, end))
    return sorted(acts, key=lambda act: act[0])


def _acts(fault: Fault, victims: Victims) -> tuple[Act, Act]:
    if fault.kind is FaultKind.BMC_SILENT:
        return _later(setattr, victims.bmc, "silent", True), _later(setattr, victims.bmc, "silent", False)
    if fault.kind is FaultKind.GPU_LOST:
        return _later(victims.nvml.fail, GPU_IS_LOST, fault.target), _later(victims.nvml.heal, fault.target)
    server = victims.servers.get(fault.target)
    if server is None:
        raise ValueError(f"fault {fault.kind}: no server {fault.target!r}, there are {', '.join(victims.servers)}")
    if fault.kind is FaultKind.CRASH:
        return server.crash, server.come_back
    if fault.kind is FaultKind.RESTART:
        return _later(server.restart), _later(server.restart)
    healthy = server.behaviour
    ill = {
        FaultKind.HANG: replace(healthy, hangs=True),
        FaultKind.ERRORS: replace(healthy, status=500),
        FaultKind.SLOW: replace(healthy, delay_before_seconds=(0.3, 1.2)),
    }[fault.kind]
    return _later(setattr, server, "behaviour", ill), _later(setattr, server, "behaviour", healthy)


def _later(act: Callable[..., None], *values: object) -> Act:
    async def run() -> None:
        act(*values)

    return run
