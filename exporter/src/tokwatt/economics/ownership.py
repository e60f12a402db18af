"""Which server owns which GPU, and which servers share which host meter and outlet. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tokwatt.economics.plan import GpuRule, Plan, ServerPlan, Sharing
from tokwatt.readings import Boundary, DeviceInfo, GpuHold, ServerGpus

Holders = Mapping[str, GpuHold]  # server -> its hold on one GPU


@dataclass(frozen=True, slots=True)
class SharedGpu:
    """A GPU whose energy is divided by a rule, or cannot be divided."""

    rule: GpuRule | None  # None: it stays unattributed
    holders: tuple[str, ...]  # servers that compute on it
    parts: Mapping[str, float] = field(default_factory=dict)  # server -> part it counts as; sums to 1 at most
    reason: str = ""  # why it stays unattributed


@dataclass(frozen=True, slots=True)
class Ownership:
    """Claims resolved against the devices that really answered."""

    gpus: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # server -> GPUs whose energy it is given
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # server -> host devices it shares
    outlets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # server -> outlets that feed it
    unknown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # server -> configured, but no meter shows it
    shared: Mapping[str, SharedGpu] = field(default_factory=dict)  # GPU -> how it is divided
    incomplete: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # server -> why its energy is not all known

    def claimants(self, boundary: Boundary, device: str) -> tuple[str, ...]:
        """Servers that a device's energy is given to."""
        claims = {Boundary.GPU: self.gpus, Boundary.HOST: self.hosts, Boundary.OUTLET: self.outlets}.get(boundary, {})
        return tuple(server for server, devices in claims.items() if device in devices)

    def gives_like(self, other: Ownership) -> bool:
        """Whether energy is given alike; reasons, which are for people, may differ."""
        mine, its = (
            (one.gpus, one.hosts, one.outlets, {gpu: (how.rule, how.parts) for gpu, how in one.shared.items()})
            for one in (self, other)
        )
        known, also = ({name for name, why in one.incomplete.items() if why} for one in (self, other))
        return mine == its and known == also

    def part(self, server: str, gpu: str) -> float:
        """Part of a GPU that counts as a server's: 1 where it is the server's alone, 0 where it is not its own."""
        if gpu not in self.gpus.get(server, ()):
            return 0.0
        return self.shared[gpu].parts[server] if gpu in self.shared else 1.0

    def gpu_count(self, server: str) -> float:
        """GPUs of a server, a shared one by its part."""
        return sum(self.part(server, gpu) for gpu in self.gpus.get(server, ()))


def resolve(
    plan: Plan,
    devices: Iterable[DeviceInfo],
    measured: Collection[tuple[Boundary, str]],
    found: Mapping[str, ServerGpus] | None = None,
) -> Ownership:
    """Match the plan's claims with measured devices; a GPU is named by UUID or by the vendor's index.

    `found` is what owner sources say, by server.
    """
    infos = tuple(devices)
    gpu_devices = [device for boundary, device in measured if boundary is Boundary.GPU]
    index_of = {info.index: info.meter.device for info in infos if info.index is not None}
    source_of = {(info.meter.boundary, info.meter.device): info.meter.source for info in infos}
    holders: dict[str, dict[str, GpuHold]] = {}
    unknown: dict[str, tuple[str, ...]] = {}
    incomplete: dict[str, tuple[str, ...]] = {}
    for server in plan.servers:
        holds, absent, reasons = _holds(server, gpu_devices, index_of, (found or {}).get(server.name))
        for hold in holds:
            holders.setdefault(hold.device, {})[server.name] = hold
        unknown[server.name] = absent
        incomplete[server.name] = reasons
    held_by = _without_servers_here(holders)
    shared = {gpu: _shared(gpu, held, plan.sharing) for gpu, held in held_by.items() if len(held) > 1 or _is_part(held)}
    for gpu, how in shared.items():
        for name in holders[gpu] if how.rule is None else ():
            incomplete[name] = (*incomplete[name], how.reason)
    gpus = {
        server.name: tuple(
            gpu
            for gpu in gpu_devices
            if server.name in holders.get(gpu, {}) and (gpu not in shared or shared[gpu].rule)
        )
        for server in plan.servers
    }
    hosts: dict[str, tuple[str, ...]] = {}
    outlets: dict[str, tuple[str, ...]] = {}
    for server in plan.servers:
        for boundary, names, claims in (
            (Boundary.HOST, server.hosts, hosts),
            (Boundary.OUTLET, server.outlets, outlets),
        ):
            claims[server.name], absent = _named(boundary, names, measured, source_of)
            unknown[server.name] += absent
    return Ownership(gpus, hosts, outlets, unknown, shared, incomplete)


def _holds(
    server: ServerPlan, devices: Sequence[str], index_of: Mapping[int, str], found: ServerGpus | None
) -> tuple[tuple[GpuHold, ...], tuple[str, ...], tuple[str, ...]]:
    """Return what a server holds, what of it no meter shows, and why its holds are not all known."""
    if server.found_gpus:
        if found is None or found.holds is None:
            return (), (), (f"its GPUs are not known: {found.how if found else 'nobody has looked yet'}",)
        absent = tuple(f"gpu {hold.device}" for hold in found.holds if hold.device not in devices)
        reasons = tuple(f"no meter shows its {name}" for name in absent) if devices else ()
        return _measured_holds(found, devices), absent, reasons
    if server.all_gpus:
        return tuple(GpuHold(device) for device in devices), (), ()
    wanted = {str(gpu): index_of.get(gpu, "") if isinstance(gpu, int) else gpu for gpu in server.gpus}
    holds = tuple(GpuHold(device, server.mig_slices) for device in devices if device in wanted.values())
    absent = tuple(f"gpu {name}" for name, uuid in wanted.items() if uuid not in devices)
    return holds, absent, tuple(f"no meter shows its {name}" for name in absent) if devices else ()


def _measured_holds(found: ServerGpus, devices: Sequence[str]) -> tuple[GpuHold, ...]:
    named = {hold.device: hold for hold in found.holds or ()}
    if found.but is None:
        return tuple(named[device] for device in devices if device in named)
    return tuple(named.get(device) or GpuHold(device) for device in devices if device not in found.but)


def _without_servers_here(holders: Mapping[str, Holders]) -> dict[str, dict[str, GpuHold]]:
    """Take the servers here out of each other's `others`: those known by name, and one for each that is configured."""
    known: dict[str, dict[str, GpuHold]] = {}
    for gpu, held in holders.items():
        own = frozenset(name for hold in held.values() for name in hold.own)
        unnamed = sum(not hold.own for hold in held.values())
        known[gpu] = {
            server: replace(hold, others=frozenset(sorted(hold.others - own)[unnamed:]))
            for server, hold in held.items()
        }
    return known


def _is_part(held: Holders) -> bool:
    return any(hold.others or hold.mig_slices is not None for hold in held.values())


def _shared(gpu: str, held: Holders, sharing: Sharing) -> SharedGpu:
    others = max(len(hold.others) for hold in held.values())
    names = ", ".join(sorted(held))
    who = f"{names} and {others} more" if others else names
    if len(held) == 1 and not others:
        who = f"{names}, on a MIG instance of it"
    if sharing.gpu is None:
        reason = f"GPU {gpu} is shared ({who}) and no rule divides it: set `sharing: {{gpu: ...}}`"
        return SharedGpu(None, tuple(held), reason=reason)
    if sharing.gpu is GpuRule.MIG_SLICES:
        return _by_slices(gpu, held, sharing)
    if sharing.gpu is GpuRule.TOKENS and (others or len(held) == 1):
        reason = f"GPU {gpu} is shared ({who}): the rule `tokens` cannot divide it, not all tokens on it are known"
        return SharedGpu(None, tuple(held), reason=reason)
    return SharedGpu(sharing.gpu, tuple(held), dict.fromkeys(held, 1 / (len(held) + others)))


def _by_slices(gpu: str, held: Holders, sharing: Sharing) -> SharedGpu:
    slices = {name: hold.mig_slices for name, hold in held.items() if hold.mig_slices is not None}
    unsaid = sorted(held.keys() - slices.keys())
    if unsaid:
        reason = f"GPU {gpu}: the MIG compute slices of {', '.join(unsaid)} are not known: set `servers[].mig_profile`"
        return SharedGpu(None, tuple(held), reason=reason)
    whole = max(float(sharing.slices_per_gpu), sum(slices.values()))  # slices of nobody here keep their part
    return SharedGpu(GpuRule.MIG_SLICES, tuple(held), {name: count / whole for name, count in slices.items()})


def _named(
    boundary: Boundary,
    names: tuple[str, ...] | None,
    measured: Collection[tuple[Boundary, str]],
    source_of: Mapping[tuple[Boundary, str], str],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the devices that a server names by device or by meter, and the names that no meter shows."""
    devices = [device for kind, device in measured if kind is boundary]
    if names is None:
        return tuple(devices), ()
    called = {device: {device, source_of.get((boundary, device), "")} for device in devices}
    claimed = tuple(device for device in devices if called[device] & set(names))
    known = {name for device in claimed for name in called[device]}
    return claimed, tuple(f"{boundary.value} {name}" for name in names if name not in known)
