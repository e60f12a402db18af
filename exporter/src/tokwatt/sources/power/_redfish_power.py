"""The ways in which a Redfish chassis shows its power, best first, and reading one of them.

Owns property names and what is no measurement: null, 0, text that is no number. Asks nothing but `get`.
Source: DMTF DSP2046, schemas EnvironmentMetrics, Sensor, PowerSupplyMetrics, Power.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Protocol

from tokwatt.readings import Malformed, Refused, SourceError
from tokwatt.sources.power._redfish_client import Document, Get, NoReading, link
from tokwatt.units import JOULES_PER_KWH

_MAX_MEMBERS: Final = 256
_DURATION: Final = re.compile(r"PT(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?")
# A counter in coarser steps makes the energy of a minute wrong by more than a power gauge does: 100 J are 0.2 % of a
# minute at 1 kW, one step of 0.001 kWh is 6 %.
FINE_COUNTER_JOULES: Final = 100.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What a chassis shows at one instant."""

    watts: float
    joules: float | None = None  # of an energy counter beside the power, where its numbers are fine enough
    step_watts: float = 1.0  # weight of the last decimal that was written
    step_joules: float = 0.0
    reading_time: str = ""  # when the BMC says that it measured, by its own clock
    accuracy_ratio: float | None = None  # half-width that the sensor states of itself
    sensing_seconds: float | None = None  # how often it measures, as it states


class Way(Protocol):
    """One way to read a chassis."""

    @property
    def title(self) -> str: ...

    async def read(self, get: Get) -> Shown:
        """Read once. Raises NoReading where there is no measurement, and whatever `get` raises."""
        ...


@dataclass(frozen=True, slots=True)
class EnvironmentWay:
    """EnvironmentMetrics: power and, where it is fine enough, energy."""

    path: str

    @property
    def title(self) -> str:
        return "EnvironmentMetrics PowerWatts"

    async def read(self, get: Get) -> Shown:
        metrics = await get(self.path)
        watts = power(metrics.get("PowerWatts"), "PowerWatts.Reading", self.path)
        joules, step_joules = _fine_joules(metrics) or (None, 0.0)
        return Shown(float(watts), joules, step_watts=_step(watts), step_joules=step_joules)


@dataclass(frozen=True, slots=True)
class SensorWay:
    """The sensor behind EnvironmentMetrics, which tells when it measured."""

    path: str

    @property
    def title(self) -> str:
        return "Sensor Reading"

    async def read(self, get: Get) -> Shown:
        sensor = await get(self.path)
        watts = power(sensor, "Reading", self.path)
        percent = number(sensor.get("Accuracy"))
        return Shown(
            float(watts),
            step_watts=_step(watts),
            reading_time=str(sensor.get("ReadingTime") or ""),
            sensing_seconds=_seconds(sensor.get("SensingInterval")),
            accuracy_ratio=float(percent) / 100 if percent is not None and 0 < percent < 100 else None,
        )


@dataclass(frozen=True, slots=True)
class SuppliesWay:
    """The inputs of all power supplies, added. Supplies may come and go."""

    path: str

    @property
    def title(self) -> str:
        return "PowerSupplies InputPowerWatts"

    async def read(self, get: Get) -> Shown:
        inputs = [watts async for watts in self._inputs(get)]
        if not inputs or sum(inputs) <= 0:
            raise NoReading("no power supply shows input power", where=self.path)
        return Shown(float(sum(inputs)), step_watts=sum(_step(watts) for watts in inputs))

    async def _inputs(self, get: Get) -> AsyncIterator[Decimal]:
        for member in await members(get, self.path):
            supply = await get(member)
            status = supply.get("Status")
            if isinstance(status, dict) and status.get("State") == "Absent":
                continue
            metrics = link(supply, "Metrics")
            if metrics is None:
                raise NoReading("this power supply has no metrics", where=member)
            watts = number((await get(metrics)).get("InputPowerWatts"))
            if watts is None or watts < 0:  # 0 is a supply in reserve; a sum with a part missing would be wrong
                raise NoReading("InputPowerWatts.Reading is missing or no number", where=metrics)
            yield watts


@dataclass(frozen=True, slots=True)
class LegacyWay:
    """PowerControl[0] of the Power resource: deprecated, and what most servers have. Averages are not used."""

    path: str

    @property
    def title(self) -> str:
        return "Power PowerConsumedWatts"

    async def read(self, get: Get) -> Shown:
        controls = (await get(self.path)).get("PowerControl")
        first = controls[0] if isinstance(controls, list) and controls else None
        if not isinstance(first, dict):
            raise NoReading("PowerControl is empty", where=self.path)
        watts = power(first.get("PowerConsumedWatts"), "PowerControl[0].PowerConsumedWatts", self.path)
        return Shown(float(watts), step_watts=_step(watts))


async def find_way(get: Get, chassis: Document, name: str) -> Way:
    """Return the best way that answers with a measurement now.

    Raises:
        SourceError: NoReading telling what each resource lacks; Refused where one was refused; what `get` raises else.
    """
    problems: list[SourceError] = []
    async for way in _ways(get, chassis, problems):
        try:
            await way.read(get)
        except (NoReading, Refused, Malformed) as error:
            problems.append(error)
        else:
            return way
    for problem in problems:
        if isinstance(problem, Refused):
            raise problem
    told = "; ".join(str(problem) for problem in problems) or "no link to EnvironmentMetrics, PowerSubsystem or Power"
    raise NoReading(f"chassis {name} shows no power now: {told}", hint="the host may be off")


async def _ways(get: Get, chassis: Document, problems: list[SourceError]) -> AsyncIterator[Way]:
    """List the ways of a chassis, best first. What cannot even be looked at is noted in `problems`."""
    if environment := link(chassis, "EnvironmentMetrics"):
        try:
            metrics = await get(environment)
        except (NoReading, Refused, Malformed) as error:
            problems.append(error)
        else:
            source = metrics.get("PowerWatts")
            sensor = source.get("DataSourceUri") if isinstance(source, dict) else None
            if _fine_joules(metrics) is None and isinstance(sensor, str) and await _tells_time(get, sensor):
                yield SensorWay(sensor)
            yield EnvironmentWay(environment)
    if subsystem := link(chassis, "PowerSubsystem"):
        try:
            supplies = link(await get(subsystem), "PowerSupplies")
        except (NoReading, Refused, Malformed) as error:
            problems.append(error)
        else:
            if supplies:
                yield SuppliesWay(supplies)
    if legacy := link(chassis, "Power"):
        yield LegacyWay(legacy)


async def _tells_time(get: Get, sensor: str) -> bool:
    try:
        return bool((await get(sensor)).get("ReadingTime"))
    except (NoReading, Refused, Malformed):
        return False


async def members(get: Get, collection: str) -> Sequence[str]:
    """Return the links of a collection, over all of its pages."""
    found: list[str] = []
    page: str | None = collection
    pages = 0
    while page is not None:
        document = await get(page)
        listed = document.get("Members")
        entries = listed if isinstance(listed, list) else []
        found += [path for entry in entries if isinstance(entry, dict) and (path := link(entry))]
        following = document.get("Members@odata.nextLink")
        page = following if isinstance(following, str) and following else None
        pages += 1
        if len(found) > _MAX_MEMBERS or pages > _MAX_MEMBERS:
            raise Malformed("the list of its members does not end", where=collection)
    return tuple(dict.fromkeys(found))


def power(value: Any, name: str, path: str) -> Decimal:
    """Return watts above 0. Raises NoReading: a BMC that shows 0 W draws power from the same supply."""
    watts = number(value)
    if watts is None:
        raise NoReading(f"{name} is missing, null or no number", where=path)
    if watts <= 0:
        raise NoReading(f"{name} is {watts}, no measurement", where=path)
    return watts


def number(value: Any) -> Decimal | None:
    """Return a number, also one that a BMC wrote as text or as an object with a Reading; None for anything else."""
    if isinstance(value, dict):
        value = value.get("Reading")
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if math.isfinite(float(found)) else None


def _seconds(duration: Any) -> float | None:
    """Return an ISO 8601 duration of minutes and seconds, as Sensor.SensingInterval is; None for anything else."""
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) else None
    seconds = 60 * float(found["minutes"] or 0) + float(found["seconds"] or 0) if found else 0.0
    return seconds or None


def _fine_joules(metrics: Document) -> tuple[float, float] | None:
    """Return the energy counter and its steps in joules if its numbers are written finely enough."""
    for name, joules_per_unit in (("EnergyJoules", 1.0), ("EnergykWh", JOULES_PER_KWH)):
        energy = number(metrics.get(name))
        if energy is None or energy <= 0:
            continue
        step_joules = _step(energy) * joules_per_unit
        if step_joules <= FINE_COUNTER_JOULES:
            return float(energy) * joules_per_unit, step_joules
    return None


def _step(value: Decimal) -> float:
    """Return the weight of the last digit: 0.1 for 344.5."""
    exponent = value.as_tuple().exponent
    return float(Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0))
