"""The part of AMD's Python package `amdsmi` that tokwatt uses, as a Protocol, and what its error codes mean.

Owns names, numbers and their meaning for a person. Source: amdsmi 7.0.2 (amdsmi_interface.py, amdsmi_wrapper.py).
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from tokwatt.readings import DeviceLost, Refused, SourceError, TimedOut, Unavailable

NOT_SUPPORTED: Final = 2
NOT_YET_IMPLEMENTED: Final = 3
TIMEOUT: Final = 8
RETRY: Final = 9
NO_PERMISSION: Final = 10
BUSY: Final = 30
NOT_FOUND: Final = 31
NOT_INITIALIZED: Final = 32
DRIVER_NOT_LOADED: Final = 34
RESTART_FAILED: Final = 54
UNKNOWN: Final = 0xFFFFFFFF

_MEANINGS: Final[Mapping[int, tuple[type[SourceError], str]]] = {
    NOT_SUPPORTED: (Unavailable, "this GPU or a virtual machine offers no such reading"),
    TIMEOUT: (TimedOut, "the driver is busy; retried at the next read"),
    RETRY: (TimedOut, "the driver asks for another try; retried at the next read"),
    BUSY: (TimedOut, "the device is busy; retried at the next read"),
    NO_PERMISSION: (Refused, "the process must be in the groups video and render, or be given /dev/kfd and /dev/dri"),
    NOT_FOUND: (DeviceLost, "the GPUs are listed again shortly"),
    NOT_INITIALIZED: (Unavailable, "AMD SMI was shut down by other code in this process; it is started again"),
    DRIVER_NOT_LOADED: (Unavailable, "load the kernel module: modprobe amdgpu"),
    RESTART_FAILED: (DeviceLost, "see the kernel log of amdgpu; the GPU needs a reset or the host a reboot"),
}


class AmdsmiBinding(Protocol):
    """What the meter calls. Functions raise `AmdSmiException`, whose library errors carry a code in `.err_code`.

    Handles are opaque. Numbers that a GPU does not offer are the text "N/A".
    """

    AmdSmiException: type[Exception]

    def amdsmi_init(self) -> None: ...
    def amdsmi_shut_down(self) -> None: ...
    def amdsmi_get_processor_handles(self) -> Sequence[Any]: ...
    def amdsmi_get_gpu_device_uuid(self, handle: Any, /) -> str: ...
    def amdsmi_get_gpu_device_bdf(self, handle: Any, /) -> str: ...
    def amdsmi_get_gpu_asic_info(self, handle: Any, /) -> Mapping[str, Any]: ...  # market_name
    def amdsmi_get_gpu_driver_info(self, handle: Any, /) -> Mapping[str, Any]: ...  # driver_version
    def amdsmi_get_gpu_kfd_info(self, handle: Any, /) -> Mapping[str, Any]: ...  # current_partition_id
    def amdsmi_get_power_info(self, handle: Any, /) -> Mapping[str, Any]: ...  # W
    def amdsmi_get_energy_count(self, handle: Any, /) -> Mapping[str, Any]: ...  # ticks and their size in uJ


def load_binding() -> AmdsmiBinding:
    """Import `amdsmi`.

    Raises:
        Unavailable: it is not installed, or finds no libamd_smi.so.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):  # it prints where it should raise
            binding: AmdsmiBinding = importlib.import_module("amdsmi")
    except ImportError as error:
        hint = "pip install 'tokwatt[amd]', or install the package in /opt/rocm/share/amd_smi, which fits your driver"
        raise Unavailable("AMD's Python package is not installed", where="amdsmi", hint=hint) from error
    except Exception as error:  # the package fails in many ways where its library is missing or of another version
        what = " ".join(said.getvalue().split())[:200] or f"{type(error).__name__}: {error}"
        raise Unavailable(what, where="amdsmi", hint="install ROCm's amd-smi-lib of the driver's version") from error
    return binding


def error_code(error: Exception) -> int:
    """Return the code of a library error, UNKNOWN for any other."""
    code = getattr(error, "err_code", UNKNOWN)
    return code if isinstance(code, int) else UNKNOWN


def explain(error: Exception, where: str) -> SourceError:
    """Return what an `AmdSmiException` means for a person."""
    kind, hint = _MEANINGS.get(error_code(error), (Unavailable, "see `amd-smi static` and the kernel log of amdgpu"))
    return kind(" ".join(str(error).split()), where=where, hint=hint)
