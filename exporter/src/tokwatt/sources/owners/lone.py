"""GPUs of the only server here: all of them, as long as nobody else computes on one; else those it computes on.

Chosen where one server leaves `gpus` out. A container or an account may see a whole node: neighbours' GPUs must not be
counted, so where processes compute that cannot be placed it owns none, and a person is told how to name them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tokwatt.readings import OwnerContext, OwnerSourceSpec, ServerGpus
from tokwatt.sources.owners._blocking import BlockingOwner
from tokwatt.sources.owners._nvml import NoNvml
from tokwatt.sources.owners._port import PortOptions, by_user, look
from tokwatt.sources.owners._proc import Proc
from tokwatt.sources.power._nvml_binding import load_binding


def find(options: PortOptions, url: str, proc: Proc, load: Callable[[], Any] = load_binding) -> ServerGpus:
    """Look once. Without NVML there is no process to tell apart. Raises SourceError where NVML fails."""
    try:
        view = look(options, url, proc, load)
    except NoNvml as error:
        return ServerGpus(
            (), f"the only server owns every GPU that is measured; processes were not looked at: {error}", ()
        )
    if not view.listed:
        return ServerGpus((), "the only server owns every GPU; the driver does not list who computes on them", ())
    if not any(gpu.processes for gpu in view.gpus):
        return ServerGpus((), "the only server owns every GPU; no process computes on one now", ())
    how = view.how
    if view.own is None:
        same_user = by_user(view, options, url, proc)
        view = replace(view, own=same_user or None)
        how = f"{how}; told by the user of the port and of the processes on GPUs"
    if view.own is None:
        return ServerGpus(None, f"other processes may compute on GPUs here ({view.how}): name its GPUs in `gpus`")
    strangers = view.strangers()
    if not strangers:
        return ServerGpus(view.holds(), f"every GPU of the only server: nobody else computes on one; {how}", ())
    left_out = ", ".join(strangers)
    return ServerGpus(view.holds(), f"{how}; left out, because other processes compute there: {left_out}")


def build(options: PortOptions, context: OwnerContext, load: Callable[[], Any] = load_binding) -> BlockingOwner:
    """Build the source. `load` replaces the NVML binding."""
    proc = Proc(options.proc_root)
    return BlockingOwner(context, options, lambda: find(options, context.url, proc, load))


SPEC = OwnerSourceSpec(
    name="lone",
    summary="every GPU, or where others compute too those it computes on; for the only server that leaves `gpus` out",
    needs="nothing; without NVML and /proc every measured GPU is the server's",
    options=PortOptions,
    build=build,
    configured=False,
)
