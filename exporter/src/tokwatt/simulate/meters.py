"""The true energy under simulated meters: cumulative joules as a function of time, for GPUs and for the host.

Owns how joules of engines add up to devices. Meters (NVML, BMC) read these curves with their own defects.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tokwatt.simulate.engine import KEEP_SECONDS, Engine
from tokwatt.simulate.trace import Trace

JoulesAt = Callable[[float], float]  # cumulative joules at an instant of the recent past, or now


@dataclass(frozen=True, slots=True)
class SimulatedGpu:
    """One GPU: what NVML would say of it, and its true energy."""

    index: int
    uuid: str
    name: str
    limit_watts: float
    idle_watts: float  # what the sensor shows before its first refresh
    joules_at: JoulesAt


def steady(watts: float, *, start_seconds: float) -> JoulesAt:
    """Return the energy of a device that always draws the same power."""
    return lambda at_seconds: watts * (at_seconds - start_seconds)


def share_of_engine(engine: Engine, share: float) -> JoulesAt:
    """Return the energy of one of an engine's GPUs, which draws a fixed share of the whole."""
    return lambda at_seconds: share * engine.energy_at(at_seconds).joules


class LiveEnergy:
    """Energy that follows an outside event, such as the slots a real server has busy: watts hold until set anew."""

    def __init__(self, watts: float, *, start_seconds: float) -> None:
        self._watts = watts
        self._trace = Trace(start_seconds, 1, keep_seconds=KEEP_SECONDS)
        self._lock = threading.Lock()

    @property
    def watts(self) -> float:
        """The power that holds now."""
        return self._watts

    def set_watts(self, at_seconds: float, watts: float) -> None:
        """Change the power from now on."""
        with self._lock:
            joules = self._joules_at(at_seconds)
            self._watts = watts
            self._trace.append(at_seconds, joules)

    def joules_at(self, at_seconds: float) -> float:
        """Return cumulative joules."""
        with self._lock:
            return self._joules_at(at_seconds)

    def _joules_at(self, at_seconds: float) -> float:
        last_seconds = self._trace.last_seconds
        if at_seconds >= last_seconds:
            return self._trace.last()[0] + self._watts * (at_seconds - last_seconds)
        return self._trace.interpolated(at_seconds)[0]


@dataclass(frozen=True, slots=True)
class HostModel:
    """A whole server around its GPUs: input watts = (base + (1 + fan_ratio) x GPUs) / PSU efficiency.

    Linear in GPU power, so that the true energy of any interval is exact. With eight busy H100 it draws about
    1.5 times the boards' sum, as published for such servers.
    """

    base_watts: float = 1250.0  # CPUs, memory, network, switches, idle fans
    fan_ratio: float = 0.12  # watts of fans and voltage conversion for a watt of GPU
    psu_efficiency: float = 0.94

    def joules(self, device_joules: float, seconds: float) -> float:
        """Return input joules for what the devices took in some seconds."""
        return (self.base_watts * seconds + (1.0 + self.fan_ratio) * device_joules) / self.psu_efficiency


def host_energy(model: HostModel, devices: tuple[JoulesAt, ...], *, start_seconds: float) -> JoulesAt:
    """Return the energy of the host that holds these devices."""
    return lambda at_seconds: model.joules(
        sum(joules_at(at_seconds) for joules_at in devices), at_seconds - start_seconds
    )
