"""AMD's real Python package `amdsmi` over a stand-in for its C library.

The package binds every function of libamd_smi.so when it is imported, so a library with all of their names is built:
each answers "not supported". The few that tokwatt needs are then answered here, through the package's own structures:

    double = AmdsmiDouble(gpus=2, watts=500, clock=clock)
    source = AmdsmiSource(AmdsmiOptions(), context, double.package)
    double.gpus[0].joules = 50_000
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, NOT_INITIALIZED, DRIVER_NOT_LOADED, BUSY = 2, 10, 31, 32, 34, 30
NO_NUMBER = 0xFFFF


def available() -> bool:
    return importlib.util.find_spec("amdsmi") is not None and shutil.which("gcc") is not None


def _library_home(package: Path) -> Path:
    """Build lib/libamd_smi.so with every name that the package binds; return its ROCM_PATH."""
    wrapper = (package / "amdsmi_wrapper.py").read_text()
    names = sorted(set(re.findall(r"_libraries\['libamd_smi\.so'\]\.(\w+)", wrapper)))
    source = "".join(f"int {name}(void) {{ return {NOT_SUPPORTED}; }}\n" for name in names)
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    home = Path(tempfile.gettempdir()) / f"tokwatt-amdsmi-double-{os.getuid()}-{digest}"
    library = home / "lib/libamd_smi.so"
    if not library.exists():
        library.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = library.with_name(f"building-{os.getpid()}.so")
        command = ["gcc", "-shared", "-fPIC", "-x", "c", "-o", str(fresh), "-"]
        subprocess.run(command, input=source.encode(), check=True)
        fresh.replace(library)
    return home


def load_package() -> ModuleType:
    """Import the real package over the stand-in library."""
    if "amdsmi" not in sys.modules:
        spec = importlib.util.find_spec("amdsmi")
        assert spec is not None
        assert spec.origin is not None
        before = {name: os.environ.pop(name, None) for name in ("ROCM_HOME", "ROCM_PATH")}
        os.environ["ROCM_PATH"] = str(_library_home(Path(spec.origin).parent))
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                importlib.import_module("amdsmi")
        finally:
            del os.environ["ROCM_PATH"]
            os.environ |= {name: value for name, value in before.items() if value is not None}
    return sys.modules["amdsmi"]


@dataclass(slots=True)
class Gpu:
    """One processor as the driver shows it. `watts_at` and `joules_at` follow the test's clock."""

    uuid: str
    name: str = "AMD Instinct MI300X"
    watts: float = 500.0
    joules: float | None = None  # None: follows watts
    share: float = 1.0  # of its energy that the accumulator counts
    ticks_before: int = 5_000_000_000
    microjoules_per_tick: float = 15.259
    socket: int = 0
    partition: int = 0
    power_fields: tuple[str, ...] = ("socket_power", "current_socket_power")
    code: int = 0
    codes: dict[str, int] = field(default_factory=dict)  # by function, without amdsmi_
    since: float = 0.0


class AmdsmiDouble:
    """State behind the package. `package` is the real `amdsmi` with its C layer answered from here."""

    def __init__(self, clock: Callable[[], float], *, gpus: int = 2, **settings: Any) -> None:
        self.clock = clock
        self.gpus = [
            Gpu(f"{number:08x}-0000-1000-801c-000000000000", socket=number, since=clock(), **settings)
            for number in range(gpus)
        ]
        self.init_code = 0
        self.inits = self.shutdowns = 0
        self.pause: Callable[[], None] = lambda: None  # runs inside every call on a GPU
        self.package = load_package()
        self._wrapper = self.package.amdsmi_wrapper
        for name in ("init", "shut_down", "get_socket_handles", "get_processor_handles"):
            setattr(self._wrapper, f"amdsmi_{name}", getattr(self, f"_{name}"))
        for name in (
            *("get_gpu_device_uuid", "get_gpu_device_bdf", "get_gpu_asic_info", "get_gpu_driver_info"),
            *("get_gpu_kfd_info", "get_power_info", "get_energy_count"),
        ):
            setattr(self._wrapper, f"amdsmi_{name}", self._on_gpu(name, getattr(self, f"_{name}")))

    def close(self) -> None:
        """Leave behind a driver that is not loaded, as on any machine without such GPUs."""
        self.init_code = DRIVER_NOT_LOADED

    def _on_gpu(self, name: str, answer: Callable[..., None]) -> Callable[..., int]:
        def call(handle: Any, *outputs: Any) -> int:
            self.pause()
            number = (ctypes.cast(handle, ctypes.c_void_p).value or 0) - 1
            if not 0 <= number < len(self.gpus):
                return NOT_FOUND
            gpu = self.gpus[number]
            code = gpu.code or gpu.codes.get(name, 0)
            if not code:
                answer(gpu, *(getattr(output, "_obj", output) for output in outputs))
            return code

        return call

    def _init(self, _flag: int) -> int:
        self.inits += 1
        return self.init_code

    def _shut_down(self) -> int:
        self.shutdowns += 1
        return 0

    def _sockets(self) -> list[list[int]]:
        sockets: dict[int, list[int]] = {}
        for number, gpu in enumerate(self.gpus):
            sockets.setdefault(gpu.socket, []).append(number)
        return list(sockets.values())

    def _get_socket_handles(self, count: Any, handles: Any) -> int:
        sockets = self._sockets()
        count._obj.value = len(sockets)
        if handles:
            for place in range(len(sockets)):
                handles[place] = ctypes.cast(ctypes.c_void_p(place + 1), self._wrapper.amdsmi_socket_handle)
        return 0

    def _get_processor_handles(self, socket: Any, count: Any, handles: Any) -> int:
        members = self._sockets()[(ctypes.cast(socket, ctypes.c_void_p).value or 0) - 1]
        count._obj.value = len(members)
        if handles:
            for place, number in enumerate(members):
                handles[place] = ctypes.cast(ctypes.c_void_p(number + 1), self._wrapper.amdsmi_processor_handle)
        return 0

    def _get_gpu_device_uuid(self, gpu: Gpu, length: Any, text: Any) -> None:
        text.value = gpu.uuid.encode()
        length.value = len(gpu.uuid)

    def _get_gpu_device_bdf(self, gpu: Gpu, bdf: Any) -> None:
        bdf.struct_amdsmi_bdf_t.bus_number = 0x10 + gpu.socket
        bdf.struct_amdsmi_bdf_t.function_number = gpu.partition

    def _get_gpu_asic_info(self, gpu: Gpu, info: Any) -> None:
        info.market_name, info.vendor_id, info.asic_serial = gpu.name.encode(), 0x1002, b"0x1234"

    def _get_gpu_driver_info(self, _gpu: Gpu, info: Any) -> None:
        info.driver_name, info.driver_version, info.driver_date = b"amdgpu", b"6.14.14", b"2026/01/01"

    def _get_gpu_kfd_info(self, gpu: Gpu, info: Any) -> None:
        info.current_partition_id = gpu.partition

    def _get_power_info(self, gpu: Gpu, info: Any) -> None:
        for name in ("socket_power", "current_socket_power", "average_socket_power"):
            setattr(info, name, round(gpu.watts) if name in gpu.power_fields else NO_NUMBER)

    def _get_energy_count(self, gpu: Gpu, ticks: Any, resolution: Any, timestamp: Any) -> None:
        joules = gpu.joules
        if joules is None:
            joules = gpu.share * gpu.watts * (self.clock() - gpu.since)
        ticks.value = gpu.ticks_before + round(joules * 1e6 / gpu.microjoules_per_tick)
        resolution.value, timestamp.value = gpu.microjoules_per_tick, round(self.clock() * 1e9)
