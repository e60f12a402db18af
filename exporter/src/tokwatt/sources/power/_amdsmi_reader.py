"""AMD SMI as a whole: start it, list the GPUs, read each, and find out what a failure means for one or for all.

Owns the life of the AMD SMI session in this process. Every method blocks and belongs to the worker thread.
"""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from tokwatt.readings import DeviceFailure, EnergyReading, PowerReading, SourceContext, SourceError, Unavailable
from tokwatt.sources.power import _amdsmi_binding as amd
from tokwatt.sources.power._amdsmi_binding import AmdsmiBinding
from tokwatt.sources.power._amdsmi_gpu import AmdGpu, AmdIdentity

T = TypeVar("T")
RETRY_SECONDS: Final = 10.0
COMPARE_SECONDS: Final = 0.5  # an accumulator moves every millisecond, power about every 0.1 s
_OF_ALL: Final = (amd.NOT_INITIALIZED, amd.DRIVER_NOT_LOADED)
# Two dies on one board; power and energy of both are shown by the first (ml-energy/zeus: zeus/device/gpu/amd.py).
_TWO_DIES: Final = re.compile(r"\bMI250X?\b")


class AmdsmiReader:
    """Reads all wanted GPUs. `wanted` holds UUIDs and indices as text, or "all"."""

    def __init__(
        self,
        wanted: tuple[str, ...],
        context: SourceContext,
        load: Callable[[], AmdsmiBinding],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wanted = wanted
        self._context = context
        self._load = load
        self._pause = pause
        self._binding: AmdsmiBinding | None = None
        self._gpus: list[AmdGpu] = []
        self._absent: list[DeviceFailure] = []
        self._down: SourceError | None = None
        self._retry_at = self._list_at = -math.inf

    @property
    def is_sampled(self) -> bool:
        """Whether any GPU needs `sample` between reads."""
        return any(gpu.is_sampled for gpu in self._gpus)

    def read(self) -> PowerReading:
        """Read every wanted GPU once. Raises SourceError where AMD SMI as a whole does not work."""
        binding = self._started()
        readings: list[EnergyReading] = []
        failures = list(self._absent)
        for gpu in self._gpus:
            try:
                readings.extend(gpu.read())
            except SourceError as error:
                failures.append(DeviceFailure(gpu.identity.uuid, error))
            except binding.AmdSmiException as error:
                failures.append(DeviceFailure(gpu.identity.uuid, self._failed(gpu.identity.place, error)))
        infos = tuple(info for gpu in self._gpus if (info := gpu.info))
        return PowerReading(
            tuple(readings), infos, tuple(failures), tuple(gpu.problem for gpu in self._gpus if gpu.problem)
        )

    def sample(self) -> None:
        """Take one power sample of every GPU whose accumulator is not believed."""
        for gpu in self._gpus:
            if gpu.is_sampled:
                gpu.sample()

    def shut_down(self) -> None:
        """Give back the session."""
        self._gpus = []
        if self._binding is not None:
            with contextlib.suppress(self._binding.AmdSmiException):
                self._binding.amdsmi_shut_down()
            self._binding = None

    def _started(self) -> AmdsmiBinding:
        now = self._context.clock()
        if self._down is not None and now < self._retry_at:
            raise self._down.with_traceback(None)
        try:
            binding = self._binding or self._start()
            if now >= self._list_at:
                self._list(binding)
        except SourceError as error:
            raise self._stay_down(error) from None
        self._down = None
        return binding

    def _start(self) -> AmdsmiBinding:
        binding = self._load()
        try:
            binding.amdsmi_init()
        except binding.AmdSmiException as error:
            raise amd.explain(error, "AMD SMI") from error
        self._binding, self._list_at = binding, -math.inf
        return binding

    def _stay_down(self, error: SourceError) -> SourceError:
        self.shut_down()
        self._down, self._retry_at = error, self._context.clock() + RETRY_SECONDS
        return error

    def _failed(self, place: str, error: Exception) -> SourceError:
        """Return what failed for one GPU; raise if the code says that it failed for all."""
        if amd.error_code(error) in _OF_ALL:
            raise self._stay_down(amd.explain(error, "AMD SMI")) from error
        if amd.error_code(error) in (amd.NOT_FOUND, amd.RESTART_FAILED, amd.UNKNOWN):
            self._list_at = min(self._list_at, self._context.clock() + RETRY_SECONDS)
        return amd.explain(error, place)

    def _list(self, binding: AmdsmiBinding) -> None:
        try:
            handles = binding.amdsmi_get_processor_handles()
            boards, others = _boards(binding, handles)
        except binding.AmdSmiException as error:
            raise amd.explain(error, "AMD SMI") from error
        if not boards:
            raise Unavailable("the driver lists no GPU", where="AMD SMI", hint="see `amd-smi list`")
        self._list_at = math.inf
        known = {gpu.identity.uuid: gpu for gpu in self._gpus}
        self._gpus = [
            known.get(identity.uuid) or AmdGpu(binding, handle, identity, self._context)
            for handle, identity in boards
            if not {"all", identity.uuid, str(identity.index)}.isdisjoint(self._wanted)
        ]
        self._absent = self._missing([identity for _, identity in boards], others)
        fresh = [gpu for gpu in self._gpus if gpu.info is None]
        for gpu in fresh:
            gpu.begin()
        if fresh:
            self._pause(COMPARE_SECONDS)
        for gpu in fresh:
            gpu.decide()

    def _missing(self, boards: Sequence[AmdIdentity], others: Mapping[str, str]) -> list[DeviceFailure]:
        known = {"all", *(gpu.uuid for gpu in boards), *(str(gpu.index) for gpu in boards)}
        listed = ", ".join(f"{gpu.index}: {gpu.uuid}" for gpu in boards)
        failures = []
        for wanted in self._wanted:
            if wanted in others:
                what = f"is a part of {others[wanted]}, whose reading covers it"
                failures.append(DeviceFailure(wanted, Unavailable(what, where=f"GPU {wanted}", hint="name that one")))
            elif wanted not in known:
                hint = f"the driver lists {listed}"
                failures.append(DeviceFailure(wanted, Unavailable("no such GPU", where=f"GPU {wanted}", hint=hint)))
        return failures


def _boards(binding: AmdsmiBinding, handles: Sequence[Any]) -> tuple[list[tuple[Any, AmdIdentity]], dict[str, str]]:
    """Return the GPUs that show energy of their own, and the others (by UUID and index) with the GPU they are part of.

    Compute partitions repeat their GPU's numbers or show none; the second die of an MI250 shows none.
    """
    boards: list[tuple[Any, AmdIdentity]] = []
    parts: dict[str, str] = {}
    dies = 0
    for index, handle in enumerate(handles):
        identity = _identify(binding, handle, index)
        has_two_dies = _TWO_DIES.search(identity.name) is not None
        is_part = _partition(binding, handle) > 0 or (has_two_dies and dies % 2 == 1)
        dies += has_two_dies
        if is_part and boards:
            parts |= dict.fromkeys((identity.uuid, str(index)), boards[-1][1].uuid)
        else:
            boards.append((handle, identity))
    return boards, parts


def _identify(binding: AmdsmiBinding, handle: Any, index: int) -> AmdIdentity:
    name = _optional(lambda: str(binding.amdsmi_get_gpu_asic_info(handle)["market_name"]), "AMD GPU")
    details = (
        ("driver_version", _optional(lambda: str(binding.amdsmi_get_gpu_driver_info(handle)["driver_version"]), "")),
        ("pci_bus_id", _optional(lambda: binding.amdsmi_get_gpu_device_bdf(handle), "")),
        ("dies", "2" if _TWO_DIES.search(name) else ""),
    )
    uuid = binding.amdsmi_get_gpu_device_uuid(handle)
    return AmdIdentity(uuid, index, name, tuple((key, value) for key, value in details if value))


def _partition(binding: AmdsmiBinding, handle: Any) -> int:
    number = _optional(lambda: binding.amdsmi_get_gpu_kfd_info(handle)["current_partition_id"], 0)
    return number if isinstance(number, int) else 0


def _optional(ask: Callable[[], T], default: T) -> T:
    """Return an answer that people or old builds can do without."""
    try:
        return ask()
    except Exception:  # noqa: BLE001 - a build without this function, a board without this fact
        return default
