"""An application's counter of meaningful responses, read from its Prometheus metrics page.

Owns the read and its instant. Counts nothing up: the series are handed over as they stand there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tokwatt.readings import Clock, CountReading, CountSample, KeyedSourceSpec, Malformed, Unavailable
from tokwatt.sources._frame import Frame
from tokwatt.sources._http import Access, Http, explain_page, parse_url, safe_url
from tokwatt.sources.power._samples import Sample, chosen, samples_of, written

_HINT = "the url must be the application's metrics page, usually ending in /metrics"


class ResponseCounter(Frame):
    """A CountSource: one metric of one page. `labels`: only series that have them count.

    Raises ValueError for a `url` that is none; does no I/O before `read()`.
    """

    def __init__(
        self,
        name: str,
        url: str,
        metric: str,
        labels: Mapping[str, str],
        http: Http,
        clock: Clock,
        *,
        timeout_seconds: float,
        access: Access | None = None,
    ) -> None:
        super().__init__(name, timeout_seconds)
        self._url = parse_url(url)
        self._where = safe_url(self._url)
        self._metric = metric
        self._labels = labels
        self._http = http
        self._clock = clock
        self._access = access

    async def read(self) -> CountReading:
        """Read once. Raises SourceError subclasses only."""
        answer = await self._http.get(
            self._url, timeout_seconds=self.timeout_seconds, clock=self._clock, access=self._access, switch_on=_HINT
        )
        problem = explain_page(answer, self._where, _HINT)
        if problem is not None:
            raise problem
        openmetrics = "openmetrics" in answer.content_type
        shown = samples_of(answer.body, self._metric, self._where, openmetrics=openmetrics)
        wanted = chosen(shown, self._labels)
        if not wanted:
            raise self._absent(shown)
        return CountReading(
            at_seconds=(answer.sent_seconds + answer.answered_seconds) / 2,
            samples=tuple(self._sample(sample) for sample in wanted),
        )

    def _sample(self, sample: Sample) -> CountSample:
        series = f"{self._metric}{written(sample.labels)}"
        if not 0.0 <= sample.value < math.inf:
            raise Malformed(f"counter {series} has the impossible value {sample.value}", where=self._where)
        return CountSample(series, sample.value)

    def _absent(self, shown: list[Sample]) -> Unavailable:
        if shown:
            what = f"no series of {self._metric} has the labels {written(self._labels)}"
            return Unavailable(what, where=self._where, hint=f"the first of {len(shown)} is {written(shown[0].labels)}")
        hint = "the name of the sample is wanted, often with _total; some clients show a counter once it counts"
        return Unavailable(f"the page does not show {self._metric}", where=self._where, hint=hint)


SPEC = KeyedSourceSpec(
    name="responses",
    summary="an application's counter of meaningful responses, on its metrics page: attempts are then measured",
    needs="the address of the application's metrics page and the name of the counter as the page writes it",
    keys=("responses[].meaningful",),
    traps=(
        "All series that have the configured labels are added up.",
        "Some clients show a counter only once it has counted.",
    ),
)
