"""Any meter whose series a Prometheus server holds, by a query. Each reading is stamped with its sample's own age.

Owns the options and the spec of `source: promql`. A plain selector is read with its raw samples; of any other
expression Prometheus does not tell the age.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from tokwatt.readings import (
    Boundary,
    DeviceFailure,
    DeviceInfo,
    DeviceLost,
    EnergyReading,
    PowerReading,
    PowerSourceSpec,
    SourceContext,
    SourceError,
    Unavailable,
)
from tokwatt.sources._frame import TimedFrame, above_zero
from tokwatt.sources.power._precision import UNSTATED
from tokwatt.sources.power._promql_api import Point, PromqlApi, Series
from tokwatt.sources.power._readout import Readout, ReadoutOptions, refuse_known_mistakes, warnings_of

_RANGE_SECONDS = 300.0  # of samples fetched, as far as Prometheus itself looks back
_SPARSE_PERIODS = 3.0
_LIVE_PAUSES = 2.5
# metric{label="value"}, metric, or {label="value"}: all that may be followed by a range
_SELECTOR: Final = re.compile(
    r"""(?s)^\s*(?:[a-zA-Z_:][\w:]*\s*)?(?:\{(?:[^"'`{}#]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)*\})?\s*$"""
)

_NAME: Final = re.compile(r"\s*([a-zA-Z_:][\w:]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromqlOptions(ReadoutOptions):
    """Options of `source: promql`."""

    url: str = field(
        metadata={"help": "address of the Prometheus server without /api/v1, for example http://127.0.0.1:9090"}
    )
    query: str = field(metadata={"help": "PromQL; best a plain selector, whose samples carry their own time"})
    max_age_seconds: float = field(
        default=120.0, metadata={"help": "older samples are not read: the meter counts as down", "unit": "s"}
    )
    period_seconds: float = field(
        default=15.0,
        metadata={
            "help": "time between queries; not below the interval at which the server scrapes the meter",
            "unit": "s",
        },
    )

    def __post_init__(self) -> None:
        ReadoutOptions.__post_init__(self)
        if not self.query.strip():
            raise ValueError("query must not be empty")
        above_zero(max_age_seconds=self.max_age_seconds)
        refuse_known_mistakes(self, self.metric)

    @property
    def metric(self) -> str:
        """Name of the metric of a plain selector; "" for any other expression, whose meaning is its writer's."""
        named = _NAME.match(self.query) if _SELECTOR.match(self.query) else None
        return named[1] if named else ""


class PromqlSource(TimedFrame):
    """One query of one server."""

    def __init__(self, options: PromqlOptions, context: SourceContext) -> None:
        super().__init__(context.name, options)
        self._options = options
        self._api = PromqlApi(options, context.clock)
        self._readout = Readout(options, context, self._api.where)
        self._range = (
            f"[{math.ceil(max(_RANGE_SECONDS, options.max_age_seconds))}s]" if _SELECTOR.match(options.query) else ""
        )
        self._warnings = warnings_of(options, options.metric)
        self._newest: dict[str, float] = {}  # server time of the newest sample read, by device
        self._last: dict[str, EnergyReading] = {}

    async def read(self) -> PowerReading:
        """Query once. Raises SourceError subclasses only."""
        answer = await self._api.query(self._options.query.strip() + self._range)
        series = [one for one in answer.series if self._is_live(one, answer.now_unix_seconds)] or answer.series
        devices = self._readout.by_device([(one.labels, one) for one in series])
        if not devices:
            kind = DeviceLost if self._newest else Unavailable
            raise kind(
                f"the query {self._options.query!r} gives nothing",
                where=self._api.where,
                hint="its meter is not scraped any more, or the query has a typo: try it on the server's graph page",
            )
        return self._readings(devices, answer.now_unix_seconds, answer.offset_seconds)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    def _readings(self, devices: Mapping[str, Series], now: float, offset: float) -> PowerReading:
        readings: list[EnergyReading] = []
        infos: list[DeviceInfo] = []
        failures = [
            DeviceFailure(device, DeviceLost("the query gives it no more", where=self._api.where))
            for device in sorted(self._newest.keys() - devices.keys())
        ]
        for device, series in devices.items():
            infos.append(self._readout.info(device, series.labels.get("__name__", "query"), series.labels))
            try:
                readings += self._of_device(device, series.points, now, offset)
                self._check_density(device, series.points)
            except SourceError as error:
                failures.append(DeviceFailure(device, error))
        if not readings:
            raise failures[-1].error
        return PowerReading(tuple(readings), tuple(infos), tuple(failures), self._warnings)

    def _of_device(self, device: str, points: Sequence[Point], now: float, offset: float) -> list[EnergyReading]:
        """Read what is newer than the last read. Nothing new is the last reading again, at its old instant."""
        newest = points[-1].at_unix_seconds
        if now - newest > self._options.max_age_seconds:
            raise Unavailable(
                f"the newest sample of {device} is {now - newest:.0f} s old",
                where=self._api.where,
                hint=f"max_age_seconds is {self._options.max_age_seconds:g}; is its target still scraped?",
            )
        before = self._newest.get(device)
        fresh = [point for point in points if before is None or point.at_unix_seconds > before]
        made: list[EnergyReading] = []
        problem: SourceError | None = None
        for point in fresh:
            try:
                made.append(self._readout.reading(device, point.value, point.at_unix_seconds - offset))
            except SourceError as error:
                problem = error
        if fresh and not made and problem is not None:
            raise problem
        self._newest[device] = newest
        if made:
            self._last[device] = made[-1]
        if before is None:
            made = made[-1:]  # what lies before the first read is not this exporter's to count
        return made or [self._last[device]]

    def _is_live(self, series: Series, now: float) -> bool:
        """Tell whether a series goes on: the range also gives one that ended when its target got new labels."""
        pause = _pause(series.points) or self._options.period_seconds
        return now - series.points[-1].at_unix_seconds <= _LIVE_PAUSES * pause

    def _check_density(self, device: str, points: Sequence[Point]) -> None:
        pause = _pause(points)
        if pause > _SPARSE_PERIODS * self._options.period_seconds:
            raise Unavailable(
                f"the samples of {device} are {pause:.0f} s apart: each pause is a gap",
                where=self._api.where,
                hint=f"set period_seconds: {math.ceil(pause)}",
            )


def _pause(points: Sequence[Point]) -> float:
    """Return the usual time between samples, 0 for a single one."""
    times = [point.at_unix_seconds for point in points]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    return median(pauses) if pauses else 0.0


SPEC = PowerSourceSpec(
    name="promql",
    summary="any series that a Prometheus server holds, by a query",
    needs="a Prometheus server, or one with its query API, and a query that gives watts or energy of a scraped meter",
    boundaries=tuple(Boundary),
    method="joules and kwh: counter; watts: integrated",
    resolution="that of the meter, at the interval at which the server scrapes it",
    precisions=(("any series", UNSTATED),),
    options=PromqlOptions,
    build=PromqlSource,
    traps=(
        'Of a plain selector, metric{label="value"}, every sample is read, at its own time.',
        "Any other expression counts as of now, although what goes into it may be minutes old.",
        "The server's clock only ever meets itself: ages are taken from its own time().",
        "rate() or increase() give watts that are averages over their range; read the counter itself instead.",
        "Readings come at the server's scrape interval: set period_seconds to it or above.",
    ),
)
