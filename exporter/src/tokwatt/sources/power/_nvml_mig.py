"""MIG slices: which GPU a slice belongs to. Power and energy exist for whole GPUs only (nvml.h), so the parent is read.

Every function blocks and belongs to the worker thread.
"""

from __future__ import annotations

import re
from typing import Any, Final

from tokwatt.sources.power._nvml_binding import NvmlBinding

# Drivers before R470 named a slice by its parent and its instances: MIG-GPU-<uuid>/<gi>/<ci>.
_OLD_NAME: Final = re.compile(r"MIG-(GPU-[0-9a-fA-F-]+)/\d+/\d+")
_MOST_SLICES: Final = 16


def is_slice(name: str) -> bool:
    """Whether a name is that of a MIG slice."""
    return name.startswith("MIG-")


def parent_of(binding: NvmlBinding, name: str) -> str | None:
    """Return the UUID of the GPU that a slice belongs to; None where the driver knows no such slice."""
    if old := _OLD_NAME.fullmatch(name):
        return old[1]
    try:
        handle = binding.nvmlDeviceGetHandleByUUID(name)
        return binding.nvmlDeviceGetUUID(binding.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle))
    except binding.NVMLError:
        return None


def describe(binding: NvmlBinding, handle: Any) -> tuple[tuple[str, str], ...]:
    """Return the MIG state of a GPU and the UUIDs of its slices, as details for people; nothing where MIG is off."""
    try:
        current, _pending = binding.nvmlDeviceGetMigMode(handle)
        count = min(binding.nvmlDeviceGetMaxMigDeviceCount(handle), _MOST_SLICES) if current else 0
    except binding.NVMLError:
        return ()
    if not current:
        return ()
    slices = " ".join(name for index in range(count) if (name := _slice(binding, handle, index)))
    return (("mig", "enabled"), *((("mig_devices", slices),) if slices else ()))


def _slice(binding: NvmlBinding, handle: Any, index: int) -> str:
    try:
        return binding.nvmlDeviceGetUUID(binding.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
    except binding.NVMLError:  # indices have holes
        return ""
