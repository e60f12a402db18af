"""The part of the NVML Python binding that tokwatt uses, as a Protocol, with the numbers of its ABI.

Owns names and numbers only. `pynvml` (package nvidia-ml-py) has this shape; so can a simulation.
Numbers are from nvml.h and never change: NVML keeps its ABI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from tokwatt.readings import Unavailable

UNINITIALIZED: Final = 1
INVALID_ARGUMENT: Final = 2
NOT_SUPPORTED: Final = 3
NO_PERMISSION: Final = 4
DRIVER_NOT_LOADED: Final = 9
TIMEOUT: Final = 10
LIBRARY_NOT_FOUND: Final = 12
FUNCTION_NOT_FOUND: Final = 13
GPU_IS_LOST: Final = 15
RESET_REQUIRED: Final = 16
OPERATING_SYSTEM: Final = 17
LIB_RM_VERSION_MISMATCH: Final = 18
GPU_NOT_FOUND: Final = 28
UNKNOWN: Final = 999

FIELD_TOTAL_ENERGY: Final = 83  # NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, mJ
FIELD_POWER_AVERAGE: Final = 185  # NVML_FI_DEV_POWER_AVERAGE, mW, of the last second
FIELD_POWER_INSTANT: Final = 186  # NVML_FI_DEV_POWER_INSTANT, mW
SCOPE_GPU: Final = 0  # NVML_POWER_SCOPE_GPU: the board
SCOPE_MODULE: Final = 1  # NVML_POWER_SCOPE_MODULE: a superchip with its CPU
ARCHITECTURE_AMPERE: Final = 7  # NVML_DEVICE_ARCH_AMPERE

# nvmlValueType_t -> the member of the nvmlValue_t union that holds the number
VALUE_MEMBERS: Final = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}


class FieldValue(Protocol):
    """`nvmlFieldValue_t`: one answer of `nvmlDeviceGetFieldValues`, with a return code of its own."""

    nvmlReturn: int  # noqa: N815 - the vendor's name
    valueType: int  # noqa: N815
    value: Any  # union; read the member that `valueType` names


class NvmlBinding(Protocol):
    """What the NVML meter calls. Every function raises `NVMLError(code)`, which keeps the code in `.value`.

    A stand-in needs these functions and `NVMLError`, nothing else. It may raise code 13 (FUNCTION_NOT_FOUND) for any
    function it does not offer: the meter then does without. Handles are opaque. Text is `str`.
    """

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802
    def nvmlShutdown(self) -> None: ...  # noqa: N802
    def nvmlSystemGetDriverVersion(self) -> str: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> Any: ...  # noqa: N802
    def nvmlDeviceGetUUID(self, handle: Any, /) -> str: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: Any, /) -> str: ...  # noqa: N802
    def nvmlDeviceGetPciInfo(self, handle: Any, /) -> Any: ...  # noqa: N802 - has `.busId`
    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any, /) -> int: ...  # noqa: N802 - mW
    def nvmlDeviceGetArchitecture(self, handle: Any, /) -> int: ...  # noqa: N802
    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, /) -> int: ...  # noqa: N802 - mJ since driver load
    def nvmlDeviceGetPowerUsage(self, handle: Any, /) -> int: ...  # noqa: N802 - mW
    def nvmlDeviceGetPersistenceMode(self, handle: Any, /) -> int: ...  # noqa: N802 - 1: on
    def nvmlDeviceGetMigMode(self, handle: Any, /) -> Sequence[int]: ...  # noqa: N802 - current, pending
    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any, /) -> int: ...  # noqa: N802
    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int, /) -> Any: ...  # noqa: N802
    def nvmlDeviceGetHandleByUUID(self, uuid: str, /) -> Any: ...  # noqa: N802 - of a GPU or a MIG slice
    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: Any, /) -> Any: ...  # noqa: N802 - the parent
    def nvmlDeviceGetFieldValues(  # noqa: N802
        self, handle: Any, fields: Sequence[int | tuple[int, int]], /
    ) -> Sequence[FieldValue]: ...


def load_binding() -> NvmlBinding:
    """Import `pynvml`.

    Raises:
        Unavailable: it is not installed, or an unofficial package of the same name shadows it.
    """
    try:
        import pynvml  # noqa: PLC0415 - vendor libraries are imported late
    except ImportError as error:
        raise Unavailable(
            "the NVML binding is not installed", where="pynvml", hint="pip install nvidia-ml-py"
        ) from error
    if not hasattr(pynvml, "nvmlDeviceGetFieldValues"):
        raise Unavailable(
            "another package shadows the official NVML binding",
            where=str(getattr(pynvml, "__file__", "pynvml")),
            hint="pip uninstall pynvml, then pip install --force-reinstall nvidia-ml-py",
        )
    binding: NvmlBinding = pynvml  # the module itself has the shape
    return binding


def error_code(error: Exception) -> int:
    """Return the NVML code of an `NVMLError`. Its instances are unhashable and unsafe to compare: only `.value` is."""
    code = getattr(error, "value", UNKNOWN)
    return code if isinstance(code, int) else UNKNOWN
