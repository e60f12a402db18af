"""A stand-in GPU driver: builds `nvml_double.c` as libnvidia-ml.so.1 and controls it while a program reads it.

The real nvidia-ml-py loads it, in this process (`load_into_this_process`) or in a child (`env`):

    double = NvmlDouble(tmp_path, gpus=2, watts=300)
    child = subprocess.Popen(..., env=os.environ | double.env())
    double.set_watts(0, 450)                     # takes effect at once
    double.joules(0, start, end)                 # the truth: exact integral between two time.monotonic() instants
    double.set_code(1, 15)                       # GPU is lost; what="energy", "usage", ... for one call
    double.reset_counter(0)                      # as a driver reload
    double.hang(); double.release()              # calls do not return in between
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

LOST, NOT_SUPPORTED, NO_PERMISSION, UNINITIALIZED = 15, 3, 4, 1
FUNCTION_NOT_FOUND, DRIVER_NOT_LOADED, VERSION_MISMATCH, UNKNOWN = 13, 9, 18, 999
AMPERE, TURING = 7, 6
MAX_GPUS, MAX_PROCESSES, MAX_MIG = 16, 8, 7
LATCH_SECONDS = 0.1
_SOURCE = Path(__file__).with_suffix(".c")


class _Process(ctypes.Structure):
    _fields_ = (("pid", ctypes.c_int64), ("mig", ctypes.c_int64))


class _Gpu(ctypes.Structure):
    _fields_ = (
        ("sequence", ctypes.c_uint64),
        ("at_seconds", ctypes.c_double),
        ("energy_mj", ctypes.c_double),
        ("milliwatts", ctypes.c_double),
        ("before_mw", ctypes.c_double),
        ("code", ctypes.c_int64),
        ("open_code", ctypes.c_int64),
        ("energy_code", ctypes.c_int64),
        ("usage_code", ctypes.c_int64),
        ("field_energy_code", ctypes.c_int64),
        ("field_instant_code", ctypes.c_int64),
        ("field_module_code", ctypes.c_int64),
        ("field_average_code", ctypes.c_int64),
        ("architecture", ctypes.c_int64),
        ("uuid_number", ctypes.c_int64),
        ("persistence_off", ctypes.c_int64),
        ("slices", ctypes.c_int64),
        ("energy_calls", ctypes.c_uint64),
        ("power_calls", ctypes.c_uint64),
        ("processes_code", ctypes.c_int64),
        ("process_count", ctypes.c_uint64),
        ("processes", _Process * MAX_PROCESSES),
        ("compute_slices", ctypes.c_int64 * MAX_MIG),
        ("name", ctypes.c_char * 64),
    )


class _State(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint64),
        ("init_code", ctypes.c_int64),
        ("hang", ctypes.c_int64),
        ("delay_seconds", ctypes.c_double),
        ("latch_seconds", ctypes.c_double),
        ("inits", ctypes.c_uint64),
        ("gpus", _Gpu * MAX_GPUS),
    )


def have_compiler() -> bool:
    return shutil.which("gcc") is not None


def library_folder() -> Path:
    """Build libnvidia-ml.so.1 once per version of its source and user; return the folder that holds it."""
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"tokwatt-nvml-double-{os.getuid()}-{digest}"
    library = folder / "libnvidia-ml.so.1"
    if not library.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        fresh = folder / f"building-{os.getpid()}.so"
        flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Wl,-soname,libnvidia-ml.so.1"]
        subprocess.run(["gcc", *flags, "-o", str(fresh), str(_SOURCE), "-lm"], check=True)
        fresh.replace(library)
    return folder


def load_into_this_process() -> None:
    """Make the real binding in this process find the double. The state file is the one in os.environ at nvmlInit."""
    ctypes.CDLL(str(library_folder() / "libnvidia-ml.so.1"), mode=ctypes.RTLD_GLOBAL)


class NvmlDouble:
    """State of the stand-in driver. All GPUs start at `watts` with the counter at `counter_joules`."""

    def __init__(
        self,
        folder: Path,
        *,
        gpus: int = 2,
        watts: float = 300.0,
        counter_joules: float = 1000.0,
        name: str = "NVIDIA H100 80GB HBM3",
        architecture: int = 9,
    ) -> None:
        self.path = folder / "nvml-double.state"
        self.path.write_bytes(bytes(ctypes.sizeof(_State)))
        with self.path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._state = _State.from_buffer(self._map)
        self._state.count = gpus
        self._state.latch_seconds = LATCH_SECONDS
        self._history: list[list[tuple[float, float]]] = []
        now = time.monotonic()
        for index in range(gpus):
            gpu = self._state.gpus[index]
            gpu.at_seconds, gpu.energy_mj = now, counter_joules * 1e3
            gpu.milliwatts = gpu.before_mw = watts * 1e3
            gpu.name, gpu.architecture, gpu.uuid_number = name.encode(), architecture, index
            self._history.append([(now, watts)])

    def env(self) -> dict[str, str]:
        """What a child process needs in its environment."""
        return {"LD_LIBRARY_PATH": str(library_folder()), "NVML_DOUBLE_STATE": str(self.path)}

    @staticmethod
    def uuid(gpu: int) -> str:
        return f"GPU-00000000-0000-0000-0000-{gpu:012d}"

    @staticmethod
    def slice_uuid(gpu: int, number: int) -> str:
        """Name of a MIG slice."""
        return f"MIG-00000000-0000-0000-0000-{gpu:06d}{number:06d}"

    def set_slices(self, gpu: int, count: int) -> None:
        """Enable MIG with so many slices; 0 disables it."""
        self._state.gpus[gpu].slices = count

    def set_persistence(self, gpu: int, *, on: bool) -> None:
        """Set the persistence mode; it is on unless set."""
        self._state.gpus[gpu].persistence_off = not on

    def set_watts(self, gpu: int, watts: float) -> None:
        """Change the power of a GPU now."""
        state, now = self._state.gpus[gpu], time.monotonic()
        self._write(gpu, now, state.energy_mj + state.milliwatts * (now - state.at_seconds), watts * 1e3)
        self._history[gpu].append((now, watts))

    def reset_counter(self, gpu: int, joules: float = 0.0) -> None:
        """Restart the counter, as a driver reload does. The truth of `joules` is not touched."""
        self._write(gpu, time.monotonic(), joules * 1e3, self._state.gpus[gpu].milliwatts)

    def set_code(self, gpu: int, code: int, what: str = "") -> None:
        """Make calls on a GPU return `code`: all of them, or `what` of open, energy, usage, field_energy, ..."""
        setattr(self._state.gpus[gpu], f"{what}_code" if what else "code", code)

    def without_counter(self, gpu: int, code: int = NOT_SUPPORTED) -> None:
        """Make the GPU one without an energy counter."""
        self.set_code(gpu, code, "energy")
        self.set_code(gpu, code, "field_energy")

    def set_processes(self, gpu: int, *pids: int, mig: Mapping[int, int] | None = None) -> None:
        """Let processes compute on a GPU: `pids` on all of it, `mig` by the number of their MIG device."""
        on = [(pid, -1) for pid in pids] + list((mig or {}).items())
        for number, (pid, instance) in enumerate(on):
            self._state.gpus[gpu].processes[number] = _Process(pid, instance)
        self._state.gpus[gpu].process_count = len(on)

    def set_mig(self, gpu: int, *compute_slices: int) -> None:
        """Cut a GPU into MIG slices (`slice_uuid`) of so many compute slices each."""
        self.set_slices(gpu, len(compute_slices))
        for number, count in enumerate(compute_slices):
            self._state.gpus[gpu].compute_slices[number] = count

    def set_init_code(self, code: int) -> None:
        self._state.init_code = code

    def set_count(self, count: int) -> None:
        self._state.count = count

    def set_uuid_number(self, gpu: int, number: int) -> None:
        self._state.gpus[gpu].uuid_number = number

    def set_delay(self, seconds: float) -> None:
        self._state.delay_seconds = seconds

    def hang(self) -> None:
        self._state.hang = 1

    def release(self) -> None:
        self._state.hang = 0

    @property
    def inits(self) -> int:
        """How often NVML was started."""
        return int(self._state.inits)

    def calls(self, gpu: int) -> tuple[int, int]:
        """How often energy and power were read."""
        return int(self._state.gpus[gpu].energy_calls), int(self._state.gpus[gpu].power_calls)

    def joules(self, gpu: int, start: float, end: float) -> float:
        """Return the energy a GPU really used between two instants of time.monotonic()."""
        steps = [*self._history[gpu], (max(end, self._history[gpu][-1][0]), 0.0)]
        return sum(
            watts * max(0.0, min(until, end) - max(since, start)) for (since, watts), (until, _) in pairwise(steps)
        )

    def _write(self, gpu: int, now: float, energy_mj: float, milliwatts: float) -> None:
        state = self._state.gpus[gpu]
        state.sequence += 1
        state.before_mw, state.milliwatts = state.milliwatts, milliwatts
        state.energy_mj, state.at_seconds = energy_mj, now
        state.sequence += 1
