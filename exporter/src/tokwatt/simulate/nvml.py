"""A simulated NVML with the function names of nvidia-ml-py, reading the true energy through the sensor's defects.

Owns the latch, the averaging windows and the error codes. Names and units as in nvml.h; safe to call from threads.
"""

# ruff: noqa: N802, N815 - the vendor's names
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tokwatt.readings import Clock
from tokwatt.simulate.meters import SimulatedGpu

LATCH_SECONDS = 0.1  # H100: counter and power are refreshed ten times a second
INSTANT_WINDOW_SECONDS = 0.025  # H100: "instantaneous" power is a mean of 25 ms
AVERAGE_WINDOW_SECONDS = 1.0
ARCHITECTURE_HOPPER = 9
FIRST_BUS = 0x18

_MESSAGES: Mapping[int, str] = {
    1: "Uninitialized",
    2: "Invalid Argument",
    3: "Not Supported",
    9: "Driver Not Loaded",
    15: "GPU is lost",
    999: "Unknown Error",
}


class SimulatedNvmlError(Exception):
    """As `pynvml.NVMLError`: the code is in `.value`."""

    def __init__(self, value: int) -> None:
        super().__init__(_MESSAGES.get(value, f"NVML code {value}"))
        self.value = value


@dataclass(slots=True)
class FieldNumber:
    """`nvmlValue_t`: the member that the value type names holds the number."""

    uiVal: int = 0
    ullVal: int = 0


@dataclass(slots=True)
class FieldAnswer:
    """`nvmlFieldValue_t`."""

    fieldId: int
    scopeId: int
    timestamp: int = 0  # microseconds since 1970
    latencyUsec: int = 0
    valueType: int = 1
    nvmlReturn: int = 0
    value: FieldNumber = field(default_factory=FieldNumber)


@dataclass(frozen=True, slots=True)
class PciInfo:
    """`nvmlPciInfo_t`, the parts that identify a board."""

    busId: str
    busIdLegacy: str


class SimulatedNvml:
    """Stands in for the module `pynvml`. `gain` is the sensor's gain error of a GPU, by UUID; 1 if not named.

    `without_counter` names GPUs that offer no energy counter. `stagger_ratio` is the part of a latch by which the
    refreshes of one board follow those of the one before; 0: all at once. `fail` and `heal` make a GPU, or all of
    NVML, answer with an error code.
    """

    NVMLError: type[Exception] = SimulatedNvmlError
    NVML_SUCCESS = 0
    NVML_ERROR_UNINITIALIZED = 1
    NVML_ERROR_INVALID_ARGUMENT = 2
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_DRIVER_NOT_LOADED = 9
    NVML_ERROR_GPU_IS_LOST = 15
    NVML_ERROR_UNKNOWN = 999
    NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION = 83
    NVML_FI_DEV_POWER_AVERAGE = 185
    NVML_FI_DEV_POWER_INSTANT = 186
    NVML_POWER_SCOPE_GPU = 0
    NVML_VALUE_TYPE_UNSIGNED_INT = 1
    NVML_VALUE_TYPE_UNSIGNED_LONG_LONG = 3

    def __init__(
        self,
        gpus: Sequence[SimulatedGpu],
        clock: Clock,
        *,
        unix_clock: Callable[[], float],
        gain: dict[str, float] | None = None,
        without_counter: frozenset[str] = frozenset(),
        joules_before_start: float = 1.0e6,
        latch_seconds: float = LATCH_SECONDS,
        stagger_ratio: float = 0.0,
    ) -> None:
        self._gpus = list(gpus)
        self._clock = clock
        self._unix_clock = unix_clock
        self._gain = dict(gain or {})
        self._without_counter = without_counter
        self._joules_before_start = joules_before_start  # a counter runs since the driver was loaded
        self._latch_seconds = latch_seconds
        self._stagger_ratio = stagger_ratio
        self._start_seconds = clock()
        self._failures: dict[str, int] = {}
        self._users = 0

    # Faults, for tests and demos

    def fail(self, code: int, uuid: str = "") -> None:
        """Answer with this code from now on: for one GPU, or for all calls without `uuid`."""
        self._failures[uuid] = code

    def heal(self, uuid: str = "") -> None:
        """Undo `fail`."""
        self._failures.pop(uuid, None)

    # The binding

    def nvmlInit(self) -> None:
        """Start; counted, as NVML does."""
        self._raise_if_failing("")
        self._users += 1

    def nvmlShutdown(self) -> None:
        """Give one start back."""
        self._check()
        self._users -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        """Return a version that says what it is."""
        self._check()
        return "580.0 (simulated)"

    def nvmlDeviceGetCount(self) -> int:
        """Return the number of GPUs."""
        self._check()
        return len(self._gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> SimulatedGpu:
        """Return the handle of a GPU."""
        self._check()
        if not 0 <= index < len(self._gpus):
            raise SimulatedNvmlError(self.NVML_ERROR_INVALID_ARGUMENT)
        self._raise_if_failing(self._gpus[index].uuid)
        return self._gpus[index]

    def nvmlDeviceGetUUID(self, handle: SimulatedGpu, /) -> str:
        """Return the UUID."""
        return self._checked(handle).uuid

    def nvmlDeviceGetName(self, handle: SimulatedGpu, /) -> str:
        """Return the product name."""
        return self._checked(handle).name

    def nvmlDeviceGetPciInfo(self, handle: SimulatedGpu, /) -> PciInfo:
        """Return the bus ids."""
        slot = f"{FIRST_BUS + self._checked(handle).index * 0x11:02X}:00.0"
        return PciInfo(f"00000000:{slot}", f"0000:{slot}")

    def nvmlDeviceGetHandleByUUID(self, uuid: str, /) -> SimulatedGpu:
        """Return the handle of a GPU. There are no MIG slices."""
        self._check()
        for gpu in self._gpus:
            if gpu.uuid == uuid:
                self._raise_if_failing(uuid)
                return gpu
        raise SimulatedNvmlError(self.NVML_ERROR_INVALID_ARGUMENT)

    def nvmlDeviceGetPersistenceMode(self, handle: SimulatedGpu, /) -> int:
        """Return on."""
        self._checked(handle)
        return 1

    def nvmlDeviceGetMigMode(self, handle: SimulatedGpu, /) -> list[int]:
        """Return off, now and after the next reset."""
        self._checked(handle)
        return [0, 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: SimulatedGpu, /) -> int:
        """Return how many slices there may be while MIG is off."""
        self._checked(handle)
        return 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: SimulatedGpu, index: int, /) -> SimulatedGpu:  # noqa: ARG002
        """There are no slices."""
        self._checked(handle)
        raise SimulatedNvmlError(self.NVML_ERROR_NOT_SUPPORTED)

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: SimulatedGpu, /) -> SimulatedGpu:
        """There are no slices."""
        self._checked(handle)
        raise SimulatedNvmlError(self.NVML_ERROR_INVALID_ARGUMENT)

    def nvmlDeviceGetArchitecture(self, handle: SimulatedGpu, /) -> int:
        """Return Hopper."""
        self._checked(handle)
        return ARCHITECTURE_HOPPER

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: SimulatedGpu, /) -> int:
        """Return the limit, mW."""
        return round(self._checked(handle).limit_watts * 1e3)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: SimulatedGpu, /) -> int:
        """Return the counter as of the last latch, mJ."""
        gpu = self._checked(handle)
        if gpu.uuid in self._without_counter:
            raise SimulatedNvmlError(self.NVML_ERROR_NOT_SUPPORTED)
        joules = self._joules(gpu, self._latched_at(gpu))
        return round((self._joules_before_start + joules) * 1e3)

    def nvmlDeviceGetPowerUsage(self, handle: SimulatedGpu, /) -> int:
        """Return the mean of the last second, mW."""
        return self._milliwatts(self._checked(handle), AVERAGE_WINDOW_SECONDS)

    def nvmlDeviceGetFieldValues(
        self, handle: SimulatedGpu, fields: Sequence[int | tuple[int, int]], /
    ) -> list[FieldAnswer]:
        """Answer fields 83, 185 and 186; every other one with Not Supported in its own entry."""
        gpu = self._checked(handle)
        pairs = [(item, 0) if isinstance(item, int) else item for item in fields]
        return [self._field(gpu, field_id, scope) for field_id, scope in pairs]

    def _field(self, gpu: SimulatedGpu, field_id: int, scope: int) -> FieldAnswer:
        answer = FieldAnswer(field_id, scope, timestamp=round(self._unix_clock() * 1e6))
        windows = {
            self.NVML_FI_DEV_POWER_AVERAGE: AVERAGE_WINDOW_SECONDS,
            self.NVML_FI_DEV_POWER_INSTANT: INSTANT_WINDOW_SECONDS,
        }
        if field_id in windows and scope == self.NVML_POWER_SCOPE_GPU:
            answer.valueType = self.NVML_VALUE_TYPE_UNSIGNED_INT
            answer.value.uiVal = self._milliwatts(gpu, windows[field_id])
        elif field_id == self.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION and gpu.uuid not in self._without_counter:
            answer.valueType = self.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
            answer.value.ullVal = self.nvmlDeviceGetTotalEnergyConsumption(gpu)
        else:
            answer.nvmlReturn = self.NVML_ERROR_NOT_SUPPORTED
        return answer

    # Sensor

    def _latched_at(self, gpu: SimulatedGpu) -> float:
        """Return when a board last refreshed its numbers."""
        first = self._start_seconds + gpu.index * self._stagger_ratio % 1.0 * self._latch_seconds
        # A clock that stands exactly on a latch must not fall below it by a rounding error.
        latches = math.floor((self._clock() - first) / self._latch_seconds + 1e-9)
        return max(self._start_seconds, first + latches * self._latch_seconds)

    def _joules(self, gpu: SimulatedGpu, at_seconds: float) -> float:
        return self._gain.get(gpu.uuid, 1.0) * gpu.joules_at(at_seconds)

    def _milliwatts(self, gpu: SimulatedGpu, window_seconds: float) -> int:
        end = self._latched_at(gpu)
        start = max(self._start_seconds, end - window_seconds)
        if end <= start:
            return round(gpu.idle_watts * 1e3)
        return round((self._joules(gpu, end) - self._joules(gpu, start)) / (end - start) * 1e3)

    def _checked(self, handle: SimulatedGpu) -> SimulatedGpu:
        self._check()
        self._raise_if_failing(handle.uuid)
        return handle

    def _check(self) -> None:
        if self._users <= 0:
            raise SimulatedNvmlError(self.NVML_ERROR_UNINITIALIZED)
        self._raise_if_failing("")

    def _raise_if_failing(self, uuid: str) -> None:
        code = self._failures.get(uuid)
        if code is not None:
            raise SimulatedNvmlError(code)
