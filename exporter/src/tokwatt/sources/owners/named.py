"""GPUs that the configuration names by MIG instance: NVML says which GPU each is on, and how large it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokwatt.readings import GpuHold, OwnerContext, OwnerSourceSpec, ServerGpus
from tokwatt.sources.owners._blocking import BlockingOwner
from tokwatt.sources.owners._nvml import ListedGpu, PartOfGpu, list_gpus, part_of
from tokwatt.sources.power._nvml_binding import load_binding


@dataclass(frozen=True, slots=True)
class NamedOptions:
    """Options of the owner source `named`."""

    devices: tuple[str, ...] = field(metadata={"help": "UUIDs of GPUs and MIG instances, and indices of GPUs"})
    period_seconds: float = field(default=60.0, metadata={"help": "time between looks", "unit": "s"})
    timeout_seconds: float = field(default=3.0, metadata={"help": "longest wait for one look", "unit": "s"})


def find(options: NamedOptions, server: str, load: Callable[[], Any] = load_binding) -> ServerGpus:
    """Look once. Raises SourceError where NVML cannot be asked."""
    gpus = list_gpus(load)
    parts: dict[str, float | None] = {}
    for name in options.devices:
        part = _part(name, gpus)
        if part is None:
            return ServerGpus(None, f"NVML lists no {name}: see nvidia-smi -L")
        if part.slices is None:
            parts[part.uuid] = None
        elif parts.get(part.uuid, 0.0) is not None:
            parts[part.uuid] = (parts.get(part.uuid) or 0.0) + part.slices
    holds = tuple(GpuHold(uuid, slices, frozenset({server})) for uuid, slices in parts.items())
    return ServerGpus(holds, ", ".join(options.devices))


def _part(name: str, gpus: Sequence[ListedGpu]) -> PartOfGpu | None:
    if name.isdecimal():
        return next((PartOfGpu(gpu.uuid) for gpu in gpus if gpu.index == int(name)), None)
    return part_of(name, gpus)


def build(options: NamedOptions, context: OwnerContext, load: Callable[[], Any] = load_binding) -> BlockingOwner:
    """Build the source. `load` replaces the NVML binding."""
    return BlockingOwner(context, options, lambda: find(options, context.server, load))


SPEC = OwnerSourceSpec(
    name="named",
    summary="GPUs behind configured MIG UUIDs; chosen where `gpus` lists one",
    needs="NVML, and access to the MIG instances' parents",
    options=NamedOptions,
    build=build,
    traps=("Power exists for the whole GPU: without `sharing.gpu` the energy of a MIG instance's GPU is nobody's.",),
    configured=False,
)
