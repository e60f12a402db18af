"""Which server owns which GPU, and which servers share which host meter. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tokwatt.economics.plan import Plan, ServerPlan
from tokwatt.readings import Boundary, DeviceInfo


@dataclass(frozen=True, slots=True)
class Ownership:
    """Claims resolved against the devices that really answered."""

    gpus: Mapping[str, tuple[str, ...]]  # server -> GPU devices
    hosts: Mapping[str, tuple[str, ...]]  # server -> host devices whose energy it shares
    unknown: Mapping[str, tuple[str, ...]]  # server -> configured GPUs or hosts that no meter shows
    free_gpus: tuple[str, ...]  # GPUs of no server

    def claimants(self, boundary: Boundary, device: str) -> tuple[str, ...]:
        """Servers that a device's energy is given to."""
        claims = self.gpus if boundary is Boundary.GPU else self.hosts
        return tuple(server for server, devices in claims.items() if device in devices)


def resolve(plan: Plan, devices: Iterable[DeviceInfo], measured: Collection[tuple[Boundary, str]]) -> Ownership:
    """Match the plan's claims with measured devices; a GPU is named by UUID or by the vendor's index."""
    gpu_devices = [device for boundary, device in measured if boundary is Boundary.GPU]
    host_devices = [device for boundary, device in measured if boundary is Boundary.HOST]
    index_of = {info.index: info.meter.device for info in devices if info.index is not None}
    gpus: dict[str, tuple[str, ...]] = {}
    hosts: dict[str, tuple[str, ...]] = {}
    unknown: dict[str, tuple[str, ...]] = {}
    for server in plan.servers:
        wanted = {str(gpu): index_of.get(gpu, "") if isinstance(gpu, int) else gpu for gpu in server.gpus}
        gpus[server.name] = _gpus_of(server, gpu_devices, wanted)
        hosts[server.name] = tuple(host for host in host_devices if server.hosts is None or host in server.hosts)
        absent = (
            () if server.all_gpus else tuple(f"gpu {name}" for name, uuid in wanted.items() if uuid not in gpu_devices)
        )
        absent += tuple(f"host {host}" for host in server.hosts or () if host not in host_devices)
        unknown[server.name] = absent
    owned = {device for claimed in gpus.values() for device in claimed}
    return Ownership(gpus, hosts, unknown, tuple(device for device in gpu_devices if device not in owned))


def _gpus_of(server: ServerPlan, devices: list[str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    if server.all_gpus:
        return tuple(devices)
    return tuple(device for device in devices if device in wanted.values())
