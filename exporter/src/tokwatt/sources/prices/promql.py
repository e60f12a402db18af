"""A price that a Prometheus server holds, by a query that gives one series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tokwatt.readings import KeyedSourceSpec, Malformed, PriceReading, SourceContext, Unavailable
from tokwatt.sources._frame import TimedFrame
from tokwatt.sources.power._promql_api import PromqlApi
from tokwatt.sources.power._samples import listed
from tokwatt.sources.power._web import WebOptions
from tokwatt.sources.prices._held import checked, held

_HINT: Final = "try it on the server's graph page; Prometheus gives nothing for a series not scraped for 5 minutes"


@dataclass(frozen=True, slots=True)
class PromqlPriceOptions:
    """Which server and query, and what the number means."""

    web: WebOptions
    query: str
    factor: float  # of the number, to base units
    may_be_negative: bool
    hold_seconds: float


class PromqlPrice(TimedFrame):
    """One query of one server."""

    def __init__(self, options: PromqlPriceOptions, context: SourceContext) -> None:
        super().__init__(context.name, options.web)
        self._options = options
        self._clock = context.clock
        self._api = PromqlApi(options.web, context.clock)

    def known(self) -> None:
        """Nothing is known before a read."""

    async def read(self) -> PriceReading:
        """Query once. Raises SourceError subclasses only."""
        query, where = self._options.query, self._api.where
        series = (await self._api.query(query)).series
        if not series:
            raise Unavailable(f"the query {query!r} gives nothing", where=where, hint=_HINT)
        if len(series) > 1:
            found = listed([one.labels for one in series])
            hint = "name one by its labels, or aggregate with max() or avg()"
            raise Malformed(f"the query {query!r} gives {len(series)} series: {found}", where=where, hint=hint)
        value = self._options.factor * series[0].points[-1].value
        checked(value, where, may_be_negative=self._options.may_be_negative)
        return held(self.name, self._clock(), value, self._options.hold_seconds)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()


SPEC = KeyedSourceSpec(
    name="promql",
    summary="a price or an intensity that a Prometheus server holds, by a query that gives one series",
    needs="a Prometheus server, or one with its query API, and `query` beside its url",
    keys=(
        "prices.electricity.series.url",
        "prices.carbon.series.url",
        "prices.capacity.spot.url",
        "servers[].capacity.spot.url",
    ),
    traps=(
        "While reads fail the last price holds for hold_seconds; then none is known and its dollars are not counted.",
        "Several series are refused: name one by its labels, or aggregate with max() or avg().",
        "Only electricity can have a negative price.",
    ),
)
