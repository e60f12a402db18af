"""AMD GPUs through a running device-metrics-exporter: its energy accumulator where it can be believed, else its power.

Owns the options and the spec of `source: amd_exporter`. One socket is one device, whatever partitions or pods show it.
Source: ROCm/device-metrics-exporter, docs/configuration/metricslist.md and docs/releasenotes.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from tokwatt.quantities import Joules, Watts
from tokwatt.readings import (
    Boundary,
    DeviceFailure,
    DeviceInfo,
    DeviceLost,
    EnergyCounter,
    EnergyReading,
    Malformed,
    Meter,
    Method,
    PowerReading,
    PowerSample,
    PowerSourceSpec,
    SourceContext,
    SourceError,
    Unavailable,
)
from tokwatt.sources.power._counter_check import CounterCheck
from tokwatt.sources.power._fall_guard import FallGuard
from tokwatt.sources.power._precision import AMD_COUNTER, AMD_POWER, declared
from tokwatt.sources.power._samples import Sample, samples_of, written
from tokwatt.sources.power._sysfs import JOULES_PER_MICROJOULE
from tokwatt.sources.power._web import WebOptions, WebSource

_ENERGY: Final = "gpu_energy_consumed"  # microjoules, typed as a gauge
# MI3xx, MI2xx, and whichever of the two a build has
_POWER: Final = ("gpu_package_power", "gpu_average_package_power", "gpu_power_usage")
_NOT_A_NAME: Final = ("", "N/A", "0", "NA")
_FIRST_PARTITION: Final = ("", "0", "N/A")
_BELIEVED: Final = (0.1, 10.0)  # of the power beside it; as ml-energy/zeus
_MOST_MICROJOULES: Final = 2.0**63  # "no value" is all ones
_MOST_WATTS: Final = 100_000.0
_DETAILS: Final = ("hostname", "gpu_id", "gpu_compute_partition_type", "driver_version", "pcie_bus_id")
_HINT: Final = "the url must be device-metrics-exporter's metrics page, usually http://HOST:5000/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdExporterOptions(WebOptions):
    """Options of `source: amd_exporter`."""

    url: str = field(
        default="http://127.0.0.1:5000/metrics", metadata={"help": "device-metrics-exporter's metrics page"}
    )


@dataclass(slots=True)
class _Board:
    """What is remembered of a device."""

    counts: bool | None = None  # None: its accumulator is not compared yet
    first: tuple[float, float, float] | None = None  # joules, watts, instant
    check: CounterCheck = field(default_factory=CounterCheck)
    guard: FallGuard = field(default_factory=FallGuard)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a page shows of a device."""

    labels: Mapping[str, str]
    joules: float | None
    watts: float | None


class AmdExporterSource(WebSource):
    """All GPUs of one device-metrics-exporter."""

    def __init__(self, options: AmdExporterOptions, context: SourceContext) -> None:
        super().__init__(options, context)
        self._options = options
        self._context = context
        self._boards: dict[str, _Board] = {}

    async def read(self) -> PowerReading:
        """Read the page once. Raises SourceError subclasses only."""
        answer, at_seconds = await self._web.page(self.timeout_seconds, _HINT)
        where = self._web.where
        energy = self._by_device(samples_of(answer.body, _ENERGY, where))
        power = [self._by_device(samples_of(answer.body, name, where)) for name in _POWER]
        devices = sorted({*energy, *(device for shown in power for device in shown)})
        if not devices:
            kind = DeviceLost if self._boards else Unavailable
            raise kind(f"the page shows neither {_ENERGY} nor {' nor '.join(_POWER)}", where=where, hint=_HINT)
        watts = {device: next((shown[device] for shown in power if device in shown), []) for device in devices}
        return self._readings({device: (energy.get(device, []), watts[device]) for device in devices}, at_seconds)

    def _by_device(self, samples: Sequence[Sample]) -> dict[str, list[Sample]]:
        devices: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            if sample.labels.get("gpu_partition_id", "") in _FIRST_PARTITION:
                devices[self._name(sample.labels)].append(sample)
        return devices

    def _name(self, labels: Mapping[str, str]) -> str:
        serial = labels.get("serial_number", "")
        if serial not in _NOT_A_NAME:
            return serial
        if not labels.get("gpu_id"):
            raise Malformed(f"a series names no GPU: {written(labels)}", where=self._web.where)
        return "-".join(filter(None, (labels.get("hostname", ""), "gpu", labels["gpu_id"])))

    def _readings(
        self, devices: Mapping[str, tuple[Sequence[Sample], Sequence[Sample]]], at_seconds: float
    ) -> PowerReading:
        readings: list[EnergyReading] = []
        infos: list[DeviceInfo] = []
        warnings: list[str] = []
        failures = [
            DeviceFailure(device, DeviceLost("its series are gone from the page", where=self._web.where))
            for device in sorted(self._boards.keys() - devices.keys())
        ]
        for device, (energy, power) in devices.items():
            board = self._boards.setdefault(device, _Board())
            try:
                shown = _Shown((energy or power)[0].labels, self._joules(device, energy), self._watts(device, power))
                readings.append(self._reading(device, board, shown, at_seconds))
            except SourceError as error:
                failures.append(DeviceFailure(device, error))
                continue
            infos.append(self._info(device, board, shown))
            if board.check.problem:
                warnings.append(f"{device}: {board.check.problem}")
        if not readings:
            raise failures[-1].error
        return PowerReading(tuple(readings), tuple(infos), tuple(failures), tuple(warnings))

    def _reading(self, device: str, board: _Board, shown: _Shown, at_seconds: float) -> EnergyReading:
        if board.counts is None:
            self._decide(device, board, shown, at_seconds)
        if board.counts:
            if shown.joules is None:
                raise Unavailable(f"{device} shows no energy now", where=self._web.where)
            if shown.watts is None:
                board.check.miss()
            else:
                board.check.add(shown.joules, shown.watts, at_seconds)
            if not board.guard.admits(shown.joules):
                raise Malformed(f"the energy of {device} went back to {shown.joules:.3f} J", where=self._web.where)
            if board.check.is_frozen:
                hint = "known of MI200 until a reboot; meter the host instead"
                raise Unavailable(f"{device}: energy stands still under power", where=self._web.where, hint=hint)
            return EnergyCounter(self._meter(device, board), Joules(shown.joules), at_seconds)
        if shown.watts is None:
            raise Unavailable(f"{device} shows no power above 0 W", where=self._web.where)
        return PowerSample(self._meter(device, board), Watts(shown.watts), at_seconds)

    def _decide(self, device: str, board: _Board, shown: _Shown, at_seconds: float) -> None:
        """Believe an accumulator that moved as the power beside it says; without one of the two take the other."""
        if shown.joules is None or shown.watts is None:
            board.counts = shown.joules is not None
            return
        before, board.first = board.first, (shown.joules, shown.watts, at_seconds)
        if before is None:
            raise Unavailable(
                f"the energy of {device} is compared with its power: counting begins at the next read",
                where=self._web.where,
            )
        joules, watts, since = before
        expected = 0.5 * (watts + shown.watts) * (at_seconds - since)
        low, high = _BELIEVED
        board.counts = low * expected <= shown.joules - joules <= high * expected

    def _joules(self, device: str, samples: Sequence[Sample]) -> float | None:
        values = self._measured(device, samples, _MOST_MICROJOULES, "uJ")
        return max(values) * JOULES_PER_MICROJOULE if values else None

    def _watts(self, device: str, samples: Sequence[Sample]) -> float | None:
        values = self._measured(device, samples, _MOST_WATTS, "W")
        return median(values) if values else None

    def _measured(self, device: str, samples: Sequence[Sample], limit: float, unit: str) -> list[float]:
        """Return what is a measurement: 0 is what a partition or an unfilled field shows. Raises Malformed."""
        for sample in samples:
            if not math.isfinite(sample.value) or sample.value < 0:
                raise Malformed(f"{device} shows {sample.value:g} {unit}", where=self._web.where)
        return [sample.value for sample in samples if 0 < sample.value < limit]

    def _info(self, device: str, board: _Board, shown: _Shown) -> DeviceInfo:
        labels = shown.labels
        index = labels.get("gpu_id", "")
        return DeviceInfo(
            self._meter(device, board),
            labels.get("card_model") or labels.get("card_series") or "AMD GPU",
            int(index) if index.isdecimal() else None,
            (("address", self._web.where), *((name, labels[name]) for name in _DETAILS if labels.get(name))),
            declared(AMD_COUNTER if board.counts else AMD_POWER, self._context, renewed_every_seconds=1.0),
            board.check.ratio,
        )

    def _meter(self, device: str, board: _Board) -> Meter:
        return self._context.meter(Boundary.GPU, device, Method.COUNTER if board.counts else Method.INTEGRATED)


SPEC = PowerSourceSpec(
    name="amd_exporter",
    summary="AMD GPU boards through a running device-metrics-exporter: energy accumulator, else its power gauge",
    needs="AMD's device-metrics-exporter with GPU_ENERGY_CONSUMED or GPU_PACKAGE_POWER among its fields",
    boundaries=(Boundary.GPU,),
    method="counter, if its first two readings keep step with the power; else power integrated",
    resolution="15.3 microjoules; power 1 W",
    precisions=(("energy accumulator", AMD_COUNTER), ("power", AMD_POWER)),
    options=AmdExporterOptions,
    build=AmdExporterSource,
    traps=(
        "Counting begins at the second read, when energy and power have been compared.",
        "gpu_energy_consumed is in microjoules and typed as a gauge: it is a counter.",
        "Partitions above the first show 0 or nothing: one socket is one device, named by its serial number.",
        "In a virtual machine there is no power at all; on a hypervisor some fields are missing.",
        "MI200 accumulators may be frozen until a reboot: they are then not used.",
        "Use this or `amdsmi`, not both: by serial number and by UUID one GPU would be counted twice.",
    ),
)
