"""A price that a Prometheus server holds, by a query that gives one series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tokwatt.readings import Malformed, PriceReading, SourceContext, Unavailable
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


class PromqlPrice:
    """One query of one server."""

    def __init__(self, options: PromqlPriceOptions, context: SourceContext) -> None:
        self._options = options
        self._context = context
        self._api = PromqlApi(options.web, context)

    @property
    def name(self) -> str:
        """Key path of its configuration."""
        return self._context.name

    @property
    def period_seconds(self) -> float | None:
        """Time between queries."""
        return self._options.web.period_seconds

    @property
    def timeout_seconds(self) -> float:
        """Longest time a read may take."""
        return self._options.web.timeout_seconds

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
        return held(self.name, self._context.clock(), value, self._options.hold_seconds)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()
