"""The node's GPUs as NVML lists them: UUIDs, MIG instances, and the processes that compute on each.

Blocks: belongs to a worker thread. Opens and closes its own reference to NVML at each look, which NVML counts per
process, so the meter's is not disturbed. Numbers are from nvml.h.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tokwatt.readings import Unavailable
from tokwatt.sources.power import _nvml_binding as nvml
from tokwatt.sources.power._nvml_binding import error_code, load_binding

_NO_INSTANCE = 0xFFFFFFFF  # of a process that runs on a whole GPU
_PARENT_IN_NAME = re.compile(r"MIG-(GPU-[0-9a-f-]+)/(\d+)/(\d+)", re.IGNORECASE)  # before driver 470
_DEVICE_FILE = re.compile(r"nvidia(\d+)(?:/gi(\d+))?(?:/vgpu\d+)?")  # how GKE's device plugin names GPUs


class NoNvml(Unavailable):
    """NVML is not on this host: no library, no driver or no binding."""


class OwnersBinding(Protocol):
    """What is called of `pynvml`. Every function raises `NVMLError(code)`."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802
    def nvmlShutdown(self) -> None: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> Any: ...  # noqa: N802
    def nvmlDeviceGetUUID(self, handle: Any, /) -> str: ...  # noqa: N802
    def nvmlDeviceGetMinorNumber(self, handle: Any, /) -> int: ...  # noqa: N802
    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any, /) -> int: ...  # noqa: N802
    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int, /) -> Any: ...  # noqa: N802
    def nvmlDeviceGetGpuInstanceId(self, handle: Any, /) -> int: ...  # noqa: N802
    def nvmlDeviceGetComputeInstanceId(self, handle: Any, /) -> int: ...  # noqa: N802
    def nvmlDeviceGetAttributes(self, handle: Any, /) -> Any: ...  # noqa: N802 - has `.computeInstanceSliceCount`
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any, /) -> Sequence[Any]: ...  # noqa: N802 - `.pid`, ...


@dataclass(frozen=True, slots=True)
class MigInstance:
    """One MIG device of a GPU."""

    uuid: str
    gpu_instance: int
    compute_instance: int
    slices: float | None  # compute slices; None: the driver does not say


@dataclass(frozen=True, slots=True)
class ListedProcess:
    """A process that computes on a GPU, by the PID that NVML gives; on which MIG instance, if on one."""

    pid: int
    instance: MigInstance | None = None


@dataclass(frozen=True, slots=True)
class ListedGpu:
    """One GPU of the node. `processes` None: the driver does not list them."""

    uuid: str
    index: int
    minor: int | None
    instances: tuple[MigInstance, ...]
    processes: tuple[ListedProcess, ...] | None


@dataclass(frozen=True, slots=True)
class PartOfGpu:
    """A whole GPU or a MIG instance of it, from any of the ways to name one."""

    uuid: str  # of the whole GPU
    slices: float | None = None  # None: the whole GPU


def list_gpus(load: Callable[[], Any] = load_binding) -> tuple[ListedGpu, ...]:
    """List the GPUs of this node; a lost one is left out. Raises NoNvml, or Unavailable where NVML does not work."""
    try:
        binding: OwnersBinding = load()
    except Unavailable as error:
        raise NoNvml(error.what, where=error.where, hint=error.hint) from error
    try:
        binding.nvmlInit()
    except binding.NVMLError as error:
        raise _explain(error) from error
    try:
        count = binding.nvmlDeviceGetCount()
        listed = (_optional(binding, lambda: _gpu(binding, index)) for index in range(count))  # noqa: B023
        return tuple(gpu for gpu in listed if gpu is not None)
    except binding.NVMLError as error:
        raise _explain(error) from error
    finally:
        with contextlib.suppress(binding.NVMLError):
            binding.nvmlShutdown()


def part_of(device_id: str, gpus: Sequence[ListedGpu]) -> PartOfGpu | None:
    """Find the GPU behind a UUID, a MIG UUID, a replica (`...::2`) or GKE's device file; None where none is listed.

    A whole GPU's UUID needs no list.
    """
    name = device_id.split("::", 1)[0]
    if name.startswith("GPU-"):
        return PartOfGpu(name)
    for gpu in gpus:
        for instance in gpu.instances:
            if instance.uuid == name:
                return PartOfGpu(gpu.uuid, instance.slices)
    old = _PARENT_IN_NAME.fullmatch(name)
    if old:
        return _instance(old[1], int(old[2]), gpus)
    file = _DEVICE_FILE.fullmatch(name)
    owner = next((gpu for gpu in gpus if file and gpu.minor == int(file[1])), None)
    if file is None or owner is None:
        return None
    return PartOfGpu(owner.uuid) if file[2] is None else _instance(owner.uuid, int(file[2]), gpus)


def _instance(uuid: str, gpu_instance: int, gpus: Sequence[ListedGpu]) -> PartOfGpu | None:
    for gpu in gpus:
        for instance in gpu.instances:
            if gpu.uuid == uuid and instance.gpu_instance == gpu_instance:
                return PartOfGpu(uuid, instance.slices)
    return None


def _gpu(binding: OwnersBinding, index: int) -> ListedGpu:
    handle = binding.nvmlDeviceGetHandleByIndex(index)
    instances = tuple(_instances(binding, handle))
    found = _processes(binding, handle, [instance for _, instance in instances])
    for mig_handle, instance in instances:  # the parent lists them all only to those with the privilege
        more = _processes(binding, mig_handle, [instance]) or ()
        found = (*(found or ()), *(ListedProcess(process.pid, instance) for process in more))
    processes = None if found is None else tuple(dict.fromkeys(found))
    minor = _optional(binding, lambda: binding.nvmlDeviceGetMinorNumber(handle))
    return ListedGpu(binding.nvmlDeviceGetUUID(handle), index, minor, tuple(i for _, i in instances), processes)


def _instances(binding: OwnersBinding, handle: object) -> Iterator[tuple[object, MigInstance]]:
    for number in range(_optional(binding, lambda: binding.nvmlDeviceGetMaxMigDeviceCount(handle)) or 0):
        mig = _optional(binding, lambda: binding.nvmlDeviceGetMigDeviceHandleByIndex(handle, number))  # noqa: B023
        if mig is None:
            continue  # numbers have holes
        attributes = _optional(binding, lambda: binding.nvmlDeviceGetAttributes(mig))  # noqa: B023
        yield (
            mig,
            MigInstance(
                binding.nvmlDeviceGetUUID(mig),
                binding.nvmlDeviceGetGpuInstanceId(mig),
                binding.nvmlDeviceGetComputeInstanceId(mig),
                None if attributes is None else float(attributes.computeInstanceSliceCount),
            ),
        )


def _processes(
    binding: OwnersBinding, handle: object, instances: Sequence[MigInstance]
) -> tuple[ListedProcess, ...] | None:
    listed = _optional(binding, lambda: binding.nvmlDeviceGetComputeRunningProcesses(handle))
    if listed is None:
        return None
    by_id = {(one.gpu_instance, one.compute_instance): one for one in instances}
    return tuple(
        ListedProcess(
            int(process.pid),
            by_id.get(
                (
                    getattr(process, "gpuInstanceId", _NO_INSTANCE),
                    getattr(process, "computeInstanceId", _NO_INSTANCE),
                )
            ),
        )
        for process in listed
    )


def _optional(binding: OwnersBinding, ask: Callable[[], Any]) -> Any:
    """Return an answer, or None where this board, driver or account does not get one."""
    try:
        return ask()
    except binding.NVMLError:
        return None


def _explain(error: Exception) -> Unavailable:
    code = error_code(error)
    kind = NoNvml if code in (nvml.LIBRARY_NOT_FOUND, nvml.DRIVER_NOT_LOADED) else Unavailable
    return kind(f"{error} (code {code})", where="NVML", hint="see the meter `nvml` in `tokwatt probe`")
