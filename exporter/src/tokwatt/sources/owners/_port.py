"""The processes behind a server's port, and the GPUs that they and others compute on. Pure but for /proc and NVML.

A server's processes are those that listen on its port and their descendants. Where none of them computes on a GPU, what
else their parent started counts too (TGI's shards), if it is a launcher in the same container and no shell or init.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from tokwatt.readings import GpuHold, Unavailable
from tokwatt.sources._frame import above_zero
from tokwatt.sources.owners._nvml import ListedGpu, list_gpus
from tokwatt.sources.owners._proc import Listener, Proc, Process
from tokwatt.sources.power._nvml_binding import load_binding

# Processes that start things that have nothing to do with each other.
_STARTERS = frozenset(
    {"systemd", "init", "tini", "dumb-init", "catatonit", "docker-init", "containerd-shim", "containerd-shim-runc-v2"}
    | {"conmon", "sh", "bash", "dash", "zsh", "fish", "tmux: server", "screen", "sshd", "supervisord", "s6-supervise"}
    | {"runit", "runsv", "slurmstepd", "raylet"}
)
_MPS = "nvidia-cuda-mps"  # MPS runs its clients' work: its server is nobody's
_PROXIES = frozenset({"docker-proxy", "rootlessport", "slirp4netns", "kube-proxy"})


@dataclass(frozen=True, slots=True)
class PortOptions:
    """Options of the owner sources that look at processes."""

    port: int | None = field(
        default=None,
        metadata={"help": "port on which the server listens; omit: that of its url", "minimum": 1, "maximum": 65535},
    )
    proc_root: str = field(
        default="/proc", metadata={"help": "where procfs is mounted; in a container the host's, to see its processes"}
    )
    period_seconds: float = field(default=10.0, metadata={"help": "time between looks", "unit": "s"})
    timeout_seconds: float = field(default=3.0, metadata={"help": "longest wait for one look", "unit": "s"})

    def __post_init__(self) -> None:
        above_zero(period_seconds=self.period_seconds, timeout_seconds=self.timeout_seconds)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the node: its GPUs, and which processes are the server's."""

    gpus: tuple[ListedGpu, ...]
    own: frozenset[int] | None  # PIDs of the server that compute on a GPU; None: not known
    visible: frozenset[int]  # PIDs of NVML that this procfs shows
    neutral: frozenset[int]  # PIDs that are nobody's: MPS servers
    how: str  # which processes are the server's, or why that is not known

    def holds(self) -> tuple[GpuHold, ...]:
        """GPUs on which a process of the server computes."""
        held = (_hold(gpu, self) for gpu in self.gpus)
        return tuple(hold for hold in held if hold is not None)

    def strangers(self) -> tuple[str, ...]:
        """UUIDs of the GPUs on which only processes compute that are not the server's."""
        mine = {hold.device for hold in self.holds()}
        return tuple(
            gpu.uuid
            for gpu in self.gpus
            if gpu.uuid not in mine and {process.pid for process in gpu.processes or ()} - self.neutral
        )

    @property
    def listed(self) -> bool:
        """Whether the driver lists processes at all."""
        return any(gpu.processes is not None for gpu in self.gpus)


def _hold(gpu: ListedGpu, look: Look) -> GpuHold | None:
    own = look.own or frozenset()
    mine = [process for process in gpu.processes or () if process.pid in own]
    if not mine:
        return None
    instances = {process.instance for process in mine}
    slices = [instance.slices for instance in instances if instance is not None and instance.slices is not None]
    others = {process.pid for process in gpu.processes or ()} - own - look.neutral
    return GpuHold(
        gpu.uuid,
        sum(slices) if slices and None not in instances else None,
        frozenset(f"process {process.pid}" for process in mine),
        frozenset(f"process {pid}" for pid in others),
    )


def look(options: PortOptions, url: str, proc: Proc, load: Callable[[], Any] = load_binding) -> Look:
    """Look at GPUs and processes. Raises SourceError where NVML or the processes cannot be seen."""
    gpus = list_gpus(load)
    listed = frozenset(process.pid for gpu in gpus for process in gpu.processes or ())
    shown = {pid: process for pid in listed if (process := proc.process(pid)) is not None}
    visible = frozenset(shown)
    if listed - visible and not proc.in_initial_namespace():
        # PIDs of two namespaces may be equal by chance: believe only what has a GPU open
        visible = frozenset(pid for pid in visible if proc.holds_gpu(pid))
    neutral = frozenset(pid for pid in visible if shown[pid].name.startswith(_MPS))
    if listed and not visible:
        why = "NVML's PIDs are not visible here: set `hostPID: true`, or mount the host's /proc at `proc_root`"
        return Look(gpus, None, visible, neutral, why)
    port, address = _target(options, url)
    own, how = _own(proc.listener(port, address), port, visible - neutral, proc)
    return Look(gpus, own, visible, neutral, how)


def _target(options: PortOptions, url: str) -> tuple[int, str]:
    parsed = URL(url) if url else URL()
    port = options.port or parsed.port
    if port is None:
        raise Unavailable("the server has no url", where="gpus", hint="set `gpus: {source: processes, port: ...}`")
    host = parsed.host or "localhost"
    try:
        return port, str(socket.gethostbyname(host)) if ":" not in host else host
    except OSError as error:
        raise Unavailable(f"the name {host} cannot be resolved: {error}", where="gpus") from error


def _own(listener: Listener, port: int, computing: frozenset[int], proc: Proc) -> tuple[frozenset[int] | None, str]:
    """Return which computing processes are the server's and how they were found, or None and why that is not known."""
    if not listener.inodes:
        return None, f"no process of this machine listens on port {port}"
    if not listener.pids:
        return None, (
            f"the process that listens on port {port} is not visible: run tokwatt as its user or with CAP_SYS_PTRACE; "
            "in a pod set `shareProcessNamespace: true`"
        )
    holders = [process for pid in sorted(listener.pids) if (process := proc.process(pid)) is not None]
    named = ", ".join(f"{process.pid} ({process.name})" for process in holders)
    ancestry = {pid: proc.ancestry(pid) for pid in computing}
    family = frozenset(pid for pid, chain in ancestry.items() if listener.pids & set(chain))
    if family:
        return family, f"port {port}: process {named} and its descendants"
    if any(process.name in _PROXIES for process in holders):
        return None, f"port {port} is forwarded by {named}: give the url of the container itself, or name the GPUs"
    launcher = _launcher(holders, proc)
    started = frozenset(pid for pid, chain in ancestry.items() if launcher is not None and launcher.pid in chain)
    if launcher is not None and started:
        return started, f"port {port}: process {named} and what else {launcher.pid} ({launcher.name}) started"
    return frozenset(), f"port {port}: process {named} and its descendants, none of which computes on a GPU"


def _launcher(holders: Sequence[Process], proc: Proc) -> Process | None:
    """Return what started the process that listens, if it starts nothing but parts of one server (TGI, mpirun)."""
    parent = proc.process(holders[0].parent) if holders else None
    if parent is None or parent.pid <= 1 or parent.name in _STARTERS:
        return None
    return parent if proc.cgroup(parent.pid) == proc.cgroup(holders[0].pid) else None


def by_user(view: Look, options: PortOptions, url: str, proc: Proc) -> frozenset[int]:
    """Return the processes on GPUs that run as the user whose socket listens on the port."""
    port, address = _target(options, url)
    users = proc.listener(port, address).uids
    return frozenset(pid for pid in view.visible - view.neutral if proc.user(pid) in users)
