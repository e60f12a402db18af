"""NVML as a whole: start it, list the GPUs, read each, and find out what a failure means for one or for all.

Owns the life of the NVML session in this process. Every method blocks and belongs to the worker thread.
Codes and their treatment: nvml.h (nvmlReturn_t). One lost GPU never hides the others.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import NoReturn

from tokwatt.readings import (
    DeviceFailure,
    DeviceLost,
    EnergyReading,
    PowerReading,
    Refused,
    SourceContext,
    SourceError,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import _nvml_binding as nvml
from tokwatt.sources.power._nvml_binding import NvmlBinding
from tokwatt.sources.power._nvml_gpu import Gpu, GpuIdentity
from tokwatt.sources.power._nvml_mig import describe, is_slice, parent_of
from tokwatt.units import WATTS_PER_MILLIWATT

RETRY_SECONDS = 10.0  # between attempts to start NVML, and between searches for a lost GPU

# Codes that concern NVML in this process, not one GPU.
_OF_ALL = (
    nvml.UNINITIALIZED,
    nvml.DRIVER_NOT_LOADED,
    nvml.LIBRARY_NOT_FOUND,
    nvml.LIB_RM_VERSION_MISMATCH,
)

_ALL_ERRORS: Mapping[int, tuple[type[SourceError], str]] = {
    nvml.UNINITIALIZED: (Unavailable, "NVML was shut down by other code in this process; it is started again"),
    nvml.NO_PERMISSION: (Refused, "the process may not open /dev/nvidiactl: check the container's device access"),
    nvml.DRIVER_NOT_LOADED: (Unavailable, "load the kernel module: modprobe nvidia"),
    nvml.TIMEOUT: (TimedOut, "the driver is busy; retried"),
    nvml.LIBRARY_NOT_FOUND: (
        Unavailable,
        "libnvidia-ml.so.1 comes with the NVIDIA driver; in a container use the NVIDIA runtime",
    ),
    nvml.OPERATING_SYSTEM: (Refused, "a cgroup or the OS blocks the device: check the container's device access"),
    nvml.LIB_RM_VERSION_MISMATCH: (
        Unavailable,
        "the driver was updated: reload its kernel module or reboot, then restart tokwatt",
    ),
    nvml.UNKNOWN: (
        Unavailable,
        "in a container this usually means that it lost its device access (systemctl daemon-reload): restart it",
    ),
}

_GPU_ERRORS: Mapping[int, tuple[type[SourceError], str]] = {
    nvml.INVALID_ARGUMENT: (DeviceLost, "the GPUs are listed again shortly"),
    nvml.NOT_SUPPORTED: (Unavailable, "this GPU offers no such reading now"),
    nvml.NO_PERMISSION: (Refused, "check the container's access to this GPU's device file"),
    nvml.TIMEOUT: (TimedOut, "the driver is busy; retried at the next read"),
    nvml.GPU_IS_LOST: (DeviceLost, "it fell off the bus: see Xid in the kernel log; needs a reset or reboot"),
    nvml.RESET_REQUIRED: (DeviceLost, "reset it: nvidia-smi --gpu-reset, or reboot"),
    nvml.OPERATING_SYSTEM: (Refused, "a cgroup or the OS blocks this GPU"),
    nvml.GPU_NOT_FOUND: (DeviceLost, "the GPUs are listed again shortly"),
    nvml.UNKNOWN: (Unavailable, "see the kernel log for Xid messages"),
}

# After these a handle may be stale, or the GPU may come back under a new one.
_LIST_AGAIN = (
    nvml.INVALID_ARGUMENT,
    nvml.NOT_SUPPORTED,
    nvml.GPU_IS_LOST,
    nvml.RESET_REQUIRED,
    nvml.GPU_NOT_FOUND,
    nvml.UNKNOWN,
)


class NvmlReader:
    """Reads all wanted GPUs. `wanted` holds UUIDs and indices as text, or "all"."""

    def __init__(
        self,
        wanted: tuple[str, ...],
        context: SourceContext,
        load: Callable[[], NvmlBinding],
        *,
        cross_check: bool = True,
    ) -> None:
        self._wanted = wanted
        self._cross_check = cross_check
        self._parents: dict[str, str] = {}  # of wanted MIG slices, by name: the UUID of the GPU they are part of
        self._slices_noted: tuple[str, ...] = ()
        self._context = context
        self._load = load
        self._binding: NvmlBinding | None = None
        self._gpus: list[Gpu] = []
        self._absent: list[DeviceFailure] = []
        self._seen: dict[str, GpuIdentity] = {}  # by UUID, also those lost since
        self._list_at = -math.inf
        self._down: SourceError | None = None
        self._retry_at = -math.inf

    @property
    def is_sampled(self) -> bool:
        """Whether any GPU needs `sample` between reads."""
        return any(gpu.is_sampled for gpu in self._gpus)

    def read(self) -> PowerReading:
        """Read every wanted GPU once.

        Raises:
            SourceError: NVML as a whole does not work; it is started again at a later read.
        """
        binding = self._started()
        readings: list[EnergyReading] = []
        failures = list(self._absent)
        codes: list[int] = []
        for gpu in self._gpus:
            try:
                readings.extend(gpu.read())
            except SourceError as error:
                failures.append(DeviceFailure(gpu.identity.uuid, error))
            except binding.NVMLError as error:
                failures.append(DeviceFailure(gpu.identity.uuid, self._gpu_failed(gpu.identity.place, error)))
                codes.append(nvml.error_code(error))
        if not readings and codes and set(codes) == {nvml.UNKNOWN}:
            raise self._fail(binding.NVMLError(nvml.UNKNOWN))
        if self._cross_check:  # after all counters, so that these are read as nearly together as can be
            for gpu in self._gpus:
                gpu.compare()
        infos = tuple(info for gpu in self._gpus if (info := gpu.info))
        warnings = (*self._slices_noted, *(gpu.problem for gpu in self._gpus if gpu.problem))
        return PowerReading(tuple(readings), infos, tuple(failures), warnings)

    def sample(self) -> None:
        """Take one power sample of every GPU without an energy counter."""
        for gpu in self._gpus:
            if gpu.is_sampled:
                gpu.sample()

    def shut_down(self) -> None:
        """Give back NVML's reference. NVML counts them per process, so other users of it are not disturbed."""
        self._gpus = []
        if self._binding is not None:
            with contextlib.suppress(self._binding.NVMLError):
                self._binding.nvmlShutdown()
            self._binding = None

    def _started(self) -> NvmlBinding:
        now = self._context.clock()
        if self._down is not None and now < self._retry_at:
            raise self._down.with_traceback(None)
        binding = self._binding
        if binding is None:
            binding = self._start()
        if now >= self._list_at:
            try:
                self._list(binding)
            except binding.NVMLError as error:
                raise self._fail(error) from error
        self._down = None
        return binding

    def _start(self) -> NvmlBinding:
        try:
            binding = self._load()
        except Unavailable as error:
            self._stay_down(error)
        try:
            binding.nvmlInit()
        except binding.NVMLError as error:
            raise self._fail(error) from error
        self._binding = binding
        self._list_at = -math.inf
        return binding

    def _fail(self, error: Exception) -> SourceError:
        """Note that NVML as a whole is down and return the error to raise."""
        code = nvml.error_code(error)
        kind, hint = _ALL_ERRORS.get(code, (Unavailable, "see nvidia-smi for the state of the driver"))
        self.shut_down()
        self._down = kind(f"{error} (code {code})", where="NVML", hint=hint)
        # Whoever shut NVML down has no objection to a restart; the other causes take a person.
        self._retry_at = self._context.clock() + (0.0 if code == nvml.UNINITIALIZED else RETRY_SECONDS)
        return self._down

    def _stay_down(self, error: SourceError) -> NoReturn:
        self.shut_down()
        self._down, self._retry_at = error, self._context.clock() + RETRY_SECONDS
        raise error

    def _gpu_failed(self, place: str, error: Exception) -> SourceError:
        """Return what failed for one GPU; raise if the code says that it failed for all."""
        code = nvml.error_code(error)
        if code in _OF_ALL:
            raise self._fail(error) from error
        if code in _LIST_AGAIN:
            self._list_at = min(self._list_at, self._context.clock() + RETRY_SECONDS)
        kind, hint = _GPU_ERRORS.get(code, (Unavailable, "see nvidia-smi for the state of this GPU"))
        return kind(f"{error} (code {code})", where=place, hint=hint)

    def _list(self, binding: NvmlBinding) -> None:
        self._list_at = math.inf
        found: list[tuple[object, GpuIdentity]] = []
        refused: dict[int, SourceError] = {}
        driver = _optional(binding, lambda: (("driver_version", binding.nvmlSystemGetDriverVersion()),))
        for index in range(binding.nvmlDeviceGetCount()):
            try:
                handle = binding.nvmlDeviceGetHandleByIndex(index)
                found.append((handle, _identify(binding, handle, index, driver)))
            except binding.NVMLError as error:
                refused[index] = self._gpu_failed(f"GPU {index}", error)
        if not found and not refused and not self._seen:
            self._stay_down(Unavailable("the driver lists no GPU", where="NVML", hint="see nvidia-smi -L"))
        lost = self._lost([identity.uuid for _, identity in found], refused)
        self._seen |= {identity.uuid: identity for _, identity in found}
        self._find_parents(binding)
        wanted = [(handle, identity) for handle, identity in found if self._wants(identity)]
        self._gpus = [Gpu(binding, handle, identity, self._context) for handle, identity in wanted]
        self._absent = lost + self._unknown_wanted()

    def _lost(self, found: list[str], refused: dict[int, SourceError]) -> list[DeviceFailure]:
        """Name the GPUs that are known or listed, but cannot be opened."""
        failures: dict[str, SourceError] = {}
        for identity in self._seen.values():
            if identity.uuid in found or not self._wants(identity):
                continue
            if identity.index in refused:
                failures[identity.uuid] = refused.pop(identity.index)
            else:
                failures[identity.uuid] = DeviceLost(
                    "the driver no longer lists it", where=identity.place, hint="see Xid in the kernel log"
                )
            self._list_at = self._context.clock() + RETRY_SECONDS
        if "all" in self._wanted:  # a GPU never seen before has no name but its index
            failures |= {f"index {index}": error for index, error in refused.items()}
        return [DeviceFailure(device, error) for device, error in failures.items()]

    def _find_parents(self, binding: NvmlBinding) -> None:
        """Look up the GPUs of wanted MIG slices: those are read in their place, each once."""
        for name in filter(is_slice, self._wanted):
            parent = parent_of(binding, name)
            if parent in self._seen:
                self._parents[name] = parent
        self._slices_noted = tuple(
            f"{name} is a MIG slice, which has no sensor: its whole GPU {parent} is read"
            for name, parent in self._parents.items()
        )

    def _wants(self, identity: GpuIdentity) -> bool:
        wanted = {*self._wanted, *self._parents.values()}
        return not {"all", identity.uuid, str(identity.index)}.isdisjoint(wanted)

    def _unknown_wanted(self) -> list[DeviceFailure]:
        known = {"all", *self._seen, *(str(gpu.index) for gpu in self._seen.values())}
        listed = ", ".join(f"{gpu.index}: {gpu.uuid}" for gpu in self._seen.values()) or "none"
        failures = []
        for wanted in self._wanted:
            if wanted in known or wanted in self._parents:
                continue
            hint = f"the driver lists {listed}"
            if is_slice(wanted):
                hint = f"power exists for whole GPUs only: name the parent; {hint}"
            failures.append(DeviceFailure(wanted, Unavailable("no such GPU", where=f"GPU {wanted}", hint=hint)))
        return failures


def _identify(binding: NvmlBinding, handle: object, index: int, driver: tuple[tuple[str, str], ...]) -> GpuIdentity:
    uuid = binding.nvmlDeviceGetUUID(handle)
    name = binding.nvmlDeviceGetName(handle)
    bus = _optional(binding, lambda: (("pci_bus_id", _text(binding.nvmlDeviceGetPciInfo(handle).busId)),))
    limit = _optional(
        binding, lambda: (("power_limit_watts", _watts(binding.nvmlDeviceGetEnforcedPowerLimit(handle))),)
    )
    persistence = _optional(binding, lambda: (("persistence_mode", _on_off(binding, handle)),))
    return GpuIdentity(uuid, index, name, driver + bus + limit + persistence + describe(binding, handle))


def _on_off(binding: NvmlBinding, handle: object) -> str:
    return "on" if binding.nvmlDeviceGetPersistenceMode(handle) else "off"


def _optional(binding: NvmlBinding, ask: Callable[[], tuple[tuple[str, str], ...]]) -> tuple[tuple[str, str], ...]:
    """Return a detail that people like to see, or nothing where the board or driver does not offer it."""
    try:
        return ask()
    except binding.NVMLError:
        return ()


def _watts(milliwatts: int) -> str:
    return f"{milliwatts * WATTS_PER_MILLIWATT:g}"


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
