"""GPUs of a server by its processes: who listens on its port, and on which GPUs NVML sees them compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokwatt.readings import OwnerContext, OwnerSourceSpec, ServerGpus
from tokwatt.sources.owners._blocking import BlockingOwner
from tokwatt.sources.owners._port import PortOptions, look
from tokwatt.sources.owners._proc import Proc
from tokwatt.sources.power._nvml_binding import load_binding


def find(options: PortOptions, url: str, proc: Proc, load: Callable[[], Any] = load_binding) -> ServerGpus:
    """Look once. Raises SourceError where NVML cannot be asked."""
    view = look(options, url, proc, load)
    if not view.listed:
        return ServerGpus(None, "the driver does not list the processes that compute on its GPUs")
    return ServerGpus(None if view.own is None else view.holds(), view.how)


def build(options: PortOptions, context: OwnerContext, load: Callable[[], Any] = load_binding) -> BlockingOwner:
    """Build the source. `load` replaces the NVML binding."""
    proc = Proc(options.proc_root)
    return BlockingOwner(context, options, lambda: find(options, context.url, proc, load))


SPEC = OwnerSourceSpec(
    name="processes",
    summary="GPUs on which the processes behind the server's port compute",
    needs="NVML and /proc of the server's processes: their user or CAP_SYS_PTRACE, in Kubernetes `hostPID: true`",
    options=PortOptions,
    build=build,
    traps=(
        "NVML names processes by the host's PIDs: in a container without the host's PID namespace they mean nothing.",
        "Workers that another program starts (Ray, Slurm) are no relatives of the process that listens.",
        "A port that a proxy forwards (docker-proxy) leads to the proxy: give the url of the container itself.",
        "While a server restarts nobody listens on its port, so the energy of that time is nobody's.",
    ),
)
