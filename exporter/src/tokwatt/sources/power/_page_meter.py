"""Reading one metric of another program's metrics page as a meter, with the age that the page tells of its samples.

Owns the options of `source: prometheus`. Never sums or guesses between series.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tokwatt.readings import (
    Clock,
    DeviceFailure,
    DeviceInfo,
    DeviceLost,
    EnergyReading,
    PowerReading,
    SourceContext,
    SourceError,
    Unavailable,
)
from tokwatt.sources.power._readout import Readout, ReadoutOptions, refuse_known_mistakes, warnings_of
from tokwatt.sources.power._samples import Sample, chosen, energy_names, samples_of, written
from tokwatt.sources.power._web import WebSource

_HINT = "the url must be an exporter's metrics page, usually ending in /metrics"
_MAX_AGE_SECONDS = 300.0  # of a sample with its own timestamp; Prometheus looks back as far


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusOptions(ReadoutOptions):
    """Options of `source: prometheus`."""

    metric: str = field(metadata={"help": "name of the metric as the page writes it"})
    labels: Mapping[str, str] = field(
        default_factory=dict, metadata={"help": "labels that a series must have to be read, with their values"}
    )

    def __post_init__(self) -> None:
        ReadoutOptions.__post_init__(self)
        if not self.metric.isprintable() or not self.metric or set(self.metric) & set(' {}"'):
            raise ValueError("metric must be a bare metric name; labels go into labels")
        refuse_known_mistakes(self, self.metric)


class PrometheusSource(WebSource):
    """One metric of one page. `wall_clock` tells the age of samples that carry a timestamp."""

    def __init__(self, options: PrometheusOptions, context: SourceContext, wall_clock: Clock = time.time) -> None:
        super().__init__(options, context)
        self._options = options
        self._context = context
        self._wall_clock = wall_clock
        self._readout = Readout(options, context, self._web.where)
        self._known: frozenset[str] = frozenset()
        self._warnings = warnings_of(options, options.metric)
        self._stamped: dict[str, tuple[float, EnergyReading]] = {}  # by device: a page's own timestamp and its reading

    async def read(self) -> PowerReading:
        """Read the page once. Raises SourceError subclasses only."""
        answer, at_seconds = await self._web.page(self.timeout_seconds, _HINT)
        openmetrics = "openmetrics" in answer.content_type
        samples = samples_of(answer.body, self._options.metric, self._web.where, openmetrics=openmetrics)
        wanted = chosen(samples, self._options.labels)
        if not wanted:
            raise self._absent(answer.body, samples)
        return self._readings(self._readout.by_device([(sample.labels, sample) for sample in wanted]), at_seconds)

    def _readings(self, devices: Mapping[str, Sample], at_seconds: float) -> PowerReading:
        readings: list[EnergyReading] = []
        infos: list[DeviceInfo] = []
        failures = [
            DeviceFailure(device, DeviceLost("its series is gone from the page", where=self._web.where))
            for device in sorted(self._known - devices.keys())
        ]
        for device, sample in devices.items():
            infos.append(self._readout.info(device, self._options.metric, sample.labels))
            try:
                readings.append(self._reading(device, sample, at_seconds))
            except SourceError as error:
                failures.append(DeviceFailure(device, error))
        self._known |= devices.keys()
        if not readings:
            raise failures[-1].error
        return PowerReading(tuple(readings), tuple(infos), tuple(failures), self._warnings)

    def _reading(self, device: str, sample: Sample, at_seconds: float) -> EnergyReading:
        """Make a reading; a page without timestamps shows values of the moment it is read."""
        stamp = sample.at_unix_seconds
        if stamp is None:
            return self._readout.reading(device, sample.value, at_seconds)
        known = self._stamped.get(device)
        if known is not None and known[0] == stamp:
            return known[1]  # nothing new: the same reading at its old instant
        age = max(0.0, self._wall_clock() - stamp)
        if age > _MAX_AGE_SECONDS:
            raise Unavailable(f"the sample of {device} is {age:.0f} s old", where=self._web.where)
        reading = self._readout.reading(device, sample.value, at_seconds - age)
        self._stamped[device] = (stamp, reading)
        return reading

    def _absent(self, body: bytes, samples: list[Sample]) -> SourceError:
        kind = DeviceLost if self._known else Unavailable
        metric, labels = self._options.metric, self._options.labels
        if samples:
            return kind(
                f"no series of {metric} has the labels {written(labels)}",
                where=self._web.where,
                hint=f"the first of {len(samples)} is {written(samples[0].labels)}",
            )
        names = energy_names(body)
        hint = f"it shows {names}" if names else "nothing on it sounds like power or energy"
        return kind(f"the page does not show {metric}", where=self._web.where, hint=hint)
