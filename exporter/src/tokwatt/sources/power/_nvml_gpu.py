"""One GPU behind NVML: finds the best way the board offers to learn its energy, and reads it.

Owns what is remembered per GPU. Every method blocks and belongs to the worker thread; none is for the event loop.
Ways and their meaning: nvml.h (nvmlDeviceGetTotalEnergyConsumption, NVML_FI_DEV_POWER_*, nvmlDeviceGetPowerUsage).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tokwatt.quantities import Joules, Watts
from tokwatt.readings import (
    Boundary,
    Clock,
    DeviceInfo,
    EnergyCounter,
    EnergyReading,
    Malformed,
    Method,
    PowerSample,
    SourceContext,
    Unavailable,
)
from tokwatt.sources.power import _nvml_binding as nvml
from tokwatt.sources.power._counter_check import CounterCheck
from tokwatt.sources.power._nvidia_names import MODULE_DETAILS, counts_the_module, is_ga100
from tokwatt.sources.power._nvml_binding import NvmlBinding
from tokwatt.sources.power._precision import NVML_COUNTER, NVML_POWER, declared
from tokwatt.units import JOULES_PER_MILLIJOULE, WATTS_PER_MILLIWATT

# Sensors polled faster than this answer NOT_SUPPORTED or zeros (ml-energy/zeus: zeus/monitor/power.py).
_MIN_SAMPLE_SECONDS = 0.05
# Two minutes of samples at 0.1 s: enough for any read period, bounded if nobody reads.
_MAX_SAMPLES = 1200
_NOT_OFFERED = (nvml.NOT_SUPPORTED, nvml.FUNCTION_NOT_FOUND)
# Answers of one field that mean "this driver does not know it", while the call itself succeeded.
_FIELD_NOT_OFFERED = (*_NOT_OFFERED, nvml.INVALID_ARGUMENT)


class _NotOfferedError(Exception):
    """This board or driver does not offer this way."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to learn a GPU's energy. `ask` returns millijoules of a counter, or milliwatts."""

    ask: Callable[[], float]
    is_power: bool
    covers_module: bool = False
    averaged_over_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class GpuIdentity:
    """What identifies a GPU. `details` are (key, value) for humans."""

    uuid: str
    index: int
    name: str
    details: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> str:
        """Name the GPU in an error message."""
        return f"GPU {self.index} ({self.name}, {self.uuid})"


class Gpu:
    """One GPU. `read` raises SourceError, or the binding's NVMLError where the caller must decide what it means."""

    def __init__(self, binding: NvmlBinding, handle: object, identity: GpuIdentity, context: SourceContext) -> None:
        self.identity = identity
        self._binding = binding
        self._handle = handle
        self._clock: Clock = context.clock
        self._context = context
        self._ways: deque[_Way] = deque(self._candidates())
        self._settled = False
        self._info = self._describe()
        self._samples: deque[PowerSample] = deque(maxlen=_MAX_SAMPLES)
        self._beside: _Way | None = self._way_beside()
        self._check = CounterCheck(self._beside.averaged_over_seconds)
        self._counter: EnergyCounter | None = None  # as last read, not yet compared

    @property
    def info(self) -> DeviceInfo | None:
        """Identity for people, once a way to measure is known; None before."""
        if not self._settled:
            return None
        return replace(self._info, energy_to_power_ratio=self._check.ratio)

    @property
    def problem(self) -> str:
        """What a person should know of a GPU that is read; "" for nothing."""
        return f"{self.identity.place}: {self._check.problem}" if self._check.problem else ""

    @property
    def is_sampled(self) -> bool:
        """Whether `sample` must run between reads."""
        return self._settled and self._ways[0].is_power

    def read(self) -> tuple[EnergyReading, ...]:
        """Return the counter, or all power samples since the last read."""
        while self._ways:
            try:
                readings = self._take(self._ways[0])
            except _NotOfferedError:
                if self._settled:  # it worked before: a failure, not a property of the board
                    raise self._binding.NVMLError(nvml.NOT_SUPPORTED) from None
                self._drop_way()
            except self._binding.NVMLError as error:
                if self._settled or nvml.error_code(error) not in _NOT_OFFERED:
                    raise
                self._drop_way()
            else:
                self._settled = True
                return readings
        raise Unavailable(
            "offers neither an energy counter nor a power reading",
            where=self.identity.place,
            hint="virtual GPUs and some boards have no sensor; meter the host or outlet instead",
        )

    def compare(self) -> None:
        """Read the power beside the counter that was just read. A failure is no failure of the meter."""
        counter, self._counter = self._counter, None
        if counter is None or self._beside is None:
            return
        try:
            milliwatts = self._beside.ask()
        except _NotOfferedError:
            self._beside = None
        except self._binding.NVMLError as error:
            self._check.miss()
            if nvml.error_code(error) in _NOT_OFFERED:
                self._beside = None
        except Malformed:
            self._check.miss()
        else:
            self._check.add(counter.joules, milliwatts * WATTS_PER_MILLIWATT, counter.at_seconds)

    def sample(self) -> None:
        """Add one power sample. A failure adds none: the next `read` meets it and reports it."""
        try:
            self._samples.append(self._power(self._ways[0]))
        except (_NotOfferedError, Malformed, self._binding.NVMLError):
            return

    def _take(self, way: _Way) -> tuple[EnergyReading, ...]:
        if not way.is_power:
            millijoules, asked_at_seconds = self._timed(way)
            # the counter shows what it was at its last refresh, which is half of a period ago on average
            at_seconds = asked_at_seconds - NVML_COUNTER.renewed_every_seconds / 2
            self._counter = EnergyCounter(self._info.meter, Joules(millijoules * JOULES_PER_MILLIJOULE), at_seconds)
            if self._check.is_frozen:
                hint = "meter the host instead, and update the driver"
                what = "the energy counter stands still while the board draws power"
                raise Unavailable(what, where=self.identity.place, hint=hint)
            return (self._counter,)
        if not self._samples or self._clock() - self._samples[-1].at_seconds >= _MIN_SAMPLE_SECONDS:
            self._samples.append(self._power(way))
        samples = tuple(self._samples)
        self._samples.clear()
        return samples

    def _power(self, way: _Way) -> PowerSample:
        milliwatts, at_seconds = self._timed(way)
        if milliwatts <= 0:  # a board that answers draws power: 0 is a sensor that did not measure
            raise Malformed(f"power reading of {milliwatts:g} mW", where=self.identity.place)
        return PowerSample(
            self._info.meter,
            Watts(milliwatts * WATTS_PER_MILLIWATT),
            at_seconds,
            averaged_over_seconds=way.averaged_over_seconds,
        )

    def _timed(self, way: _Way) -> tuple[float, float]:
        before = self._clock()
        value = way.ask()
        return value, (before + self._clock()) / 2

    def _drop_way(self) -> None:
        self._ways.popleft()
        if self._ways:
            self._info = self._describe()

    def _candidates(self) -> list[_Way]:
        binding, handle, name = self._binding, self._handle, self.identity.name
        module_energy = counts_the_module(name)
        ways = [
            _Way(lambda: binding.nvmlDeviceGetTotalEnergyConsumption(handle), False, module_energy),
            _Way(lambda: self._field(nvml.FIELD_TOTAL_ENERGY), False, module_energy),
            _Way(lambda: self._field((nvml.FIELD_POWER_INSTANT, nvml.SCOPE_GPU)), True),
        ]
        if module_energy:
            ways.append(_Way(lambda: self._field((nvml.FIELD_POWER_INSTANT, nvml.SCOPE_MODULE)), True, True))
        return [*ways, self._power_usage()]

    def _way_beside(self) -> _Way:
        """Return the power that covers what the energy counter covers."""
        if counts_the_module(self.identity.name):
            return _Way(lambda: self._field((nvml.FIELD_POWER_AVERAGE, nvml.SCOPE_MODULE)), True, True, 1.0)
        return self._power_usage()

    def _power_usage(self) -> _Way:
        binding, handle = self._binding, self._handle
        window_seconds = self._usage_window()
        return _Way(lambda: binding.nvmlDeviceGetPowerUsage(handle), True, averaged_over_seconds=window_seconds)

    def _usage_window(self) -> float:
        # nvml.h: nvmlDeviceGetPowerUsage is a 1 s average from Ampere on, except GA100; instantaneous before.
        if is_ga100(self.identity.name):
            return 0.0
        try:
            architecture = self._binding.nvmlDeviceGetArchitecture(self._handle)
        except self._binding.NVMLError:
            return 1.0
        return 1.0 if architecture >= nvml.ARCHITECTURE_AMPERE else 0.0

    def _field(self, field: int | tuple[int, int]) -> float:
        answer = self._binding.nvmlDeviceGetFieldValues(self._handle, [field])[0]
        # The call succeeds even if the field does not: each entry carries its own code and type.
        if answer.nvmlReturn in _FIELD_NOT_OFFERED:
            raise _NotOfferedError
        if answer.nvmlReturn != 0:
            raise self._binding.NVMLError(answer.nvmlReturn)
        member = nvml.VALUE_MEMBERS.get(answer.valueType)
        if member is None:
            raise Malformed(f"field {field} has the unknown value type {answer.valueType}", where=self.identity.place)
        value: Any = getattr(answer.value, member)
        return float(value)

    def _describe(self) -> DeviceInfo:
        way, identity = self._ways[0], self.identity
        method = Method.INTEGRATED if way.is_power else Method.COUNTER
        meter = self._context.meter(Boundary.GPU, identity.uuid, method)
        scope = MODULE_DETAILS if way.covers_module else ()
        precision = declared(NVML_POWER if way.is_power else NVML_COUNTER, self._context)
        return DeviceInfo(meter, identity.name, identity.index, identity.details + scope, precision)
