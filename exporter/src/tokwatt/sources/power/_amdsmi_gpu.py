"""One AMD GPU behind AMD SMI: its energy accumulator where it can be believed, else its power.

Owns what is remembered per GPU. Every method blocks and belongs to the worker thread.
Known defects of the accumulator: frozen until reboot or off by large factors on MI100 and MI200 (ROCm/amdsmi issue 38,
ROCm/rocm_smi_lib issue 180), going back between two reads (ROCm/amdsmi issue 115).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tokwatt.quantities import Joules, Watts
from tokwatt.readings import (
    Boundary,
    DeviceInfo,
    EnergyCounter,
    EnergyReading,
    Malformed,
    Meter,
    Method,
    PowerSample,
    SourceContext,
    Unavailable,
)
from tokwatt.sources.power._amdsmi_binding import AmdsmiBinding
from tokwatt.sources.power._counter_check import CounterCheck
from tokwatt.sources.power._fall_guard import FallGuard
from tokwatt.sources.power._precision import AMD_COUNTER, AMD_POWER, declared
from tokwatt.sources.power._sysfs import JOULES_PER_MICROJOULE

# As ml-energy/zeus does before it believes an accumulator (zeus/device/gpu/amd.py).
_BELIEVED: Final = (0.1, 10.0)
_POWER_KEYS: Final = ("socket_power", "current_socket_power", "average_socket_power")
_TICK_KEYS: Final = ("energy_accumulator", "power")  # the second before ROCm 6.2.1
_NO_TICKS: Final = 2.0**63  # "no value" is all ones
_MOST_WATTS: Final = 100_000.0
_MIN_SAMPLE_SECONDS: Final = 0.05
_MAX_SAMPLES: Final = 1200


@dataclass(frozen=True, slots=True)
class AmdIdentity:
    """What identifies a GPU. `details` are (key, value) for humans."""

    uuid: str
    index: int
    name: str
    details: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> str:
        """Name the GPU in an error message."""
        return f"GPU {self.index} ({self.name}, {self.uuid})"


@dataclass(frozen=True, slots=True)
class _Seen:
    joules: float
    watts: float
    at_seconds: float


class AmdGpu:
    """One GPU. Methods raise SourceError, or the binding's AmdSmiException where the caller must decide on it."""

    def __init__(self, binding: AmdsmiBinding, handle: Any, identity: AmdIdentity, context: SourceContext) -> None:
        self.identity = identity
        self._binding = binding
        self._handle = handle
        self._context = context
        self._first: _Seen | None = None
        self._counts: bool | None = None  # None: not decided yet
        self._guard = FallGuard()
        self._tick_joules = 0.0
        self._check = CounterCheck()
        self._samples: deque[PowerSample] = deque(maxlen=_MAX_SAMPLES)

    @property
    def is_sampled(self) -> bool:
        """Whether `sample` must run between reads."""
        return self._counts is False

    @property
    def info(self) -> DeviceInfo | None:
        """What is known of the GPU; None before it is decided how it is read."""
        if self._counts is None:
            return None
        identity = self.identity
        known = {"resolution_joules": self._tick_joules} if self._counts and self._tick_joules else {}
        return DeviceInfo(
            self._meter(),
            identity.name,
            identity.index,
            identity.details,
            declared(AMD_COUNTER if self._counts else AMD_POWER, self._context, **known),
            self._check.ratio,
        )

    @property
    def problem(self) -> str:
        """What a person should know of a GPU that is read; "" for nothing."""
        return f"{self.identity.place}: {self._check.problem}" if self._check.problem else ""

    def begin(self) -> None:
        """Note the accumulator and the power, to compare them at `decide`."""
        try:
            joules, at_seconds = self._joules()
            self._first = _Seen(joules, self._watts(), at_seconds)
        except (self._binding.AmdSmiException, Unavailable, Malformed):
            self._first = None

    def decide(self) -> None:
        """Believe the accumulator if it moved as the power since `begin` says, else read power."""
        first, self._first = self._first, None
        self._counts = False
        if first is None:
            return
        try:
            joules, at_seconds = self._joules()
            expected = 0.5 * (first.watts + self._watts()) * (at_seconds - first.at_seconds)
        except (self._binding.AmdSmiException, Unavailable, Malformed):
            return
        low, high = _BELIEVED
        self._counts = expected > 0 and low * expected <= joules - first.joules <= high * expected

    def read(self) -> tuple[EnergyReading, ...]:
        """Return the counter, or all power samples since the last read."""
        if self._counts:
            return (self._counter(),)
        if not self._samples or self._context.clock() - self._samples[-1].at_seconds >= _MIN_SAMPLE_SECONDS:
            self._samples.append(self._power())
        samples = tuple(self._samples)
        self._samples.clear()
        return samples

    def sample(self) -> None:
        """Add one power sample. A failure adds none: the next `read` meets it and reports it."""
        try:
            self._samples.append(self._power())
        except (Unavailable, Malformed, self._binding.AmdSmiException):
            return

    def _counter(self) -> EnergyCounter:
        joules, at_seconds = self._joules()
        self._compare(joules, at_seconds)
        if not self._guard.admits(joules):
            raise Malformed(f"the accumulator went back to {joules:.3f} J", where=self.identity.place, hint="retried")
        if self._check.is_frozen:
            hint = "known of MI100 and MI200 until a reboot; meter the host instead"
            raise Unavailable("the accumulator stands still under power", where=self.identity.place, hint=hint)
        return EnergyCounter(self._meter(), Joules(joules), at_seconds)

    def _compare(self, joules: float, at_seconds: float) -> None:
        try:
            self._check.add(joules, self._watts(), at_seconds)
        except (self._binding.AmdSmiException, Unavailable, Malformed):
            self._check.miss()

    def _joules(self) -> tuple[float, float]:
        before = self._context.clock()
        answer = self._binding.amdsmi_get_energy_count(self._handle)
        at_seconds = (before + self._context.clock()) / 2
        ticks = next((number for key in _TICK_KEYS if (number := _number(answer, key)) is not None), _NO_TICKS)
        microjoules_per_tick = _number(answer, "counter_resolution")
        if ticks >= _NO_TICKS or not microjoules_per_tick:
            raise Unavailable("shows no energy accumulator", where=self.identity.place)
        self._tick_joules = microjoules_per_tick * JOULES_PER_MICROJOULE
        return ticks * self._tick_joules, at_seconds

    def _power(self) -> PowerSample:
        before = self._context.clock()
        watts = self._watts()
        return PowerSample(self._meter(), Watts(watts), (before + self._context.clock()) / 2)

    def _watts(self) -> float:
        answer = self._binding.amdsmi_get_power_info(self._handle)
        for key in _POWER_KEYS:
            watts = _number(answer, key)
            if watts and watts < _MOST_WATTS:  # 0 and all ones are what a field shows that this board does not fill
                return watts
        raise Unavailable(
            "shows no power above 0 W", where=self.identity.place, hint="virtual machines get none; meter the host"
        )

    def _meter(self) -> Meter:
        method = Method.COUNTER if self._counts else Method.INTEGRATED
        return self._context.meter(Boundary.GPU, self.identity.uuid, method)


def _number(answer: Mapping[str, Any], key: str) -> float | None:
    value = answer.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)
