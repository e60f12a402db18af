"""NVIDIA GPUs through a running dcgm-exporter: its energy counter, else its power gauge integrated.

Owns the options and the spec of `source: dcgm`. One board is one device, however many MIG instances or pods repeat it.
Source: NVIDIA/dcgm-exporter (etc/default-counters.csv, pkg/cmd/app.go); dcgm_fields.h for the newer name of the gauge.
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
    Method,
    PowerReading,
    PowerSample,
    PowerSourceSpec,
    SourceContext,
    SourceError,
    Unavailable,
)
from tokwatt.sources._frame import above_zero
from tokwatt.sources.power._nvidia_names import MODULE_DETAILS, counts_the_module
from tokwatt.sources.power._precision import NVML_COUNTER, NVML_POWER, declared
from tokwatt.sources.power._readout import check_renewal
from tokwatt.sources.power._renewals import Renewals
from tokwatt.sources.power._samples import Sample, samples_of, written
from tokwatt.sources.power._web import WebOptions, WebSource
from tokwatt.units import JOULES_PER_MILLIJOULE

_ENERGY: Final = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
_POWER: Final = ("DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_BOARD_POWER_WATTS")
_UUID_LABELS: Final = ("UUID", "uuid")
_DETAIL_LABELS: Final = ("pci_bus_id", "device", "Hostname", "hostname", "DCGM_FI_DRIVER_VERSION")
_BLANK_MILLIJOULES = 2.0**62  # DCGM's "no value" of a 64-bit field lies just below 2**63
_MOST_WATTS = 100_000.0
# MIG instances are read one after the other, so their copies of the board's power differ by a few per cent at most
_AGREEMENT = 1.25
_HINT = "the url must be dcgm-exporter's metrics page, usually http://HOST:9400/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class DcgmOptions(WebOptions):
    """Options of `source: dcgm`."""

    url: str = field(default="http://127.0.0.1:9400/metrics", metadata={"help": "dcgm-exporter's metrics page"})
    collect_seconds: float = field(
        default=30.0,
        metadata={"help": "dcgm-exporter's own --collect-interval: how often it renews its values", "unit": "s"},
    )
    period_seconds: float = field(
        default=15.0,
        metadata={"help": "time between reads; a renewal is placed half of it wrong at worst", "unit": "s"},
    )

    def __post_init__(self) -> None:
        WebOptions.__post_init__(self)
        above_zero(collect_seconds=self.collect_seconds)
        check_renewal("collect_seconds", self.collect_seconds, self.period_seconds)


class DcgmSource(WebSource):
    """All GPUs of one dcgm-exporter."""

    def __init__(self, options: DcgmOptions, context: SourceContext) -> None:
        super().__init__(options, context)
        self._options = options
        self._context = context
        self._renewals = Renewals(options.collect_seconds, options.period_seconds, self._web.where)
        self._methods: dict[str, Method] = {}  # by UUID, as first seen

    async def read(self) -> PowerReading:
        """Read the page once. Raises SourceError subclasses only."""
        answer, at_seconds = await self._web.page(self.timeout_seconds, _HINT)
        where = self._web.where
        energy = self._by_board(samples_of(answer.body, _ENERGY, where))
        power = self._by_board([sample for name in _POWER for sample in samples_of(answer.body, name, where)])
        if not energy and not power:
            kind = DeviceLost if self._methods else Unavailable
            hint = f"its counters file must hold {_ENERGY} or {_POWER[0]}; is this its page?"
            raise kind(f"the page shows neither {_ENERGY} nor {_POWER[0]}", where=where, hint=hint)
        return self._readings(energy, power, at_seconds)

    def _by_board(self, samples: Sequence[Sample]) -> Mapping[str, list[Sample]]:
        boards: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            uuid = next((sample.labels[name] for name in _UUID_LABELS if sample.labels.get(name)), "")
            if not uuid:
                raise Malformed(f"a series names no GPU by UUID: {written(sample.labels)}", where=self._web.where)
            boards[uuid].append(sample)
        return boards

    def _readings(
        self, energy: Mapping[str, list[Sample]], power: Mapping[str, list[Sample]], at_seconds: float
    ) -> PowerReading:
        readings: list[EnergyReading] = []
        infos: list[DeviceInfo] = []
        failures: list[DeviceFailure] = []
        for uuid in sorted(self._methods.keys() | energy.keys() | power.keys()):
            # once a counter, always a counter: a change of kind would lose the energy in between
            method = self._methods.setdefault(uuid, Method.COUNTER if uuid in energy else Method.INTEGRATED)
            samples = (energy if method is Method.COUNTER else power).get(uuid)
            if not samples:
                gone = DeviceLost("its series is gone from the page", where=self._web.where)
                failures.append(DeviceFailure(uuid, gone))
                continue
            infos.append(self._info(uuid, method, samples[0].labels))
            try:
                readings.append(self._reading(uuid, method, [sample.value for sample in samples], at_seconds))
            except SourceError as error:
                failures.append(DeviceFailure(uuid, error))
        if not readings:
            raise failures[0].error
        return PowerReading(tuple(readings), tuple(infos), tuple(failures))

    def _reading(self, uuid: str, method: Method, values: list[float], at_seconds: float) -> EnergyReading:
        value = self._of_board(uuid, method, values)
        placed = self._renewals.place(uuid, value, at_seconds)
        meter = self._context.meter(Boundary.GPU, uuid, method)
        if method is Method.COUNTER:
            return EnergyCounter(meter, Joules(value * JOULES_PER_MILLIJOULE), placed)
        return PowerSample(meter, Watts(value), placed)

    def _of_board(self, uuid: str, method: Method, values: list[float]) -> float:
        """Make one value of the copies that MIG instances and pods show. Raises Malformed or Unavailable."""
        limit, unit = (_BLANK_MILLIJOULES, "mJ") if method is Method.COUNTER else (_MOST_WATTS, "W")
        for value in values:
            if not (math.isfinite(value) and 0 <= value < limit):
                raise Malformed(
                    f"{uuid} shows {value:g} {unit}", where=self._web.where, hint="DCGM has no value for it"
                )
        positive = [value for value in values if value > 0]  # some versions show 0 for MIG instances
        if not positive:
            raise Unavailable(f"{uuid} shows 0 {unit}, which is no measurement", where=self._web.where)
        if method is Method.COUNTER:
            return max(positive)
        if max(positive) > _AGREEMENT * min(positive):
            raise Malformed(
                f"the series of {uuid} show from {min(positive):g} to {max(positive):g} W",
                where=self._web.where,
                hint="each should repeat the board's power; shares of it are not this meter's to add up",
            )
        return median(positive)

    def _info(self, uuid: str, method: Method, labels: Mapping[str, str]) -> DeviceInfo:
        index = labels.get("gpu", "")
        details = tuple((name, labels[name]) for name in _DETAIL_LABELS if labels.get(name))
        if method is Method.COUNTER and counts_the_module(labels.get("modelName", "")):
            details += MODULE_DETAILS
        return DeviceInfo(
            self._context.meter(Boundary.GPU, uuid, method),
            labels.get("modelName", "NVIDIA GPU"),
            int(index) if index.isdecimal() else None,
            (("address", self._web.where), *details),
            declared(
                NVML_COUNTER if method is Method.COUNTER else NVML_POWER,
                self._context,
                # a renewal is placed between the two looks that saw it change
                renewed_every_seconds=min(self._options.collect_seconds, self._options.period_seconds),
                renewed_together=True,  # one pass of its loop collects all boards
            ),
        )


SPEC = PowerSourceSpec(
    name="dcgm",
    summary="NVIDIA GPU boards through a running dcgm-exporter: energy counter, else its power gauge",
    needs="dcgm-exporter with DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION or DCGM_FI_DEV_POWER_USAGE among its counters",
    boundaries=(Boundary.GPU,),
    method="counter; the power gauge is integrated for GPUs without one",
    resolution="1 mJ, renewed every 30 s unless dcgm-exporter is told otherwise",
    precisions=(("energy counter", NVML_COUNTER), ("power", NVML_POWER)),
    options=DcgmOptions,
    build=DcgmSource,
    traps=(
        "It renews its values every 30 s by default: use windows of 5 min or more, or lower its --collect-interval.",
        "Counting begins at the first change of the counter, up to 30 s after the start.",
        "The counter restarts when the driver is loaded again, whatever its help text says.",
        "MIG instances and pods that share a GPU repeat the board's value: one UUID is read once.",
        "Where NVML is at hand, use `nvml`: the same counter, without the delay. Not both: the second is refused.",
        "The power gauge alone sees one second in thirty: it is right for a steady load only.",
        "On GH200 the energy counter covers the whole module, Grace CPU included.",
    ),
)
