"""The instant query of the Prometheus HTTP API, and where the server's clock stands against ours.

Source: Prometheus documentation, HTTP API (`/api/v1/query`), result formats vector, matrix and scalar.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yarl import URL

from tokwatt.readings import Clock, Malformed
from tokwatt.sources.power._web import WebAddress, WebOptions

_SWITCH_ON = "url must be the address of a Prometheus server, without a path of its API"
_QUOTED_CHARS = 200
_FORMAT_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True)
class Point:
    """One value and its instant by the server's clock."""

    at_unix_seconds: float
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer, oldest point first; at least one."""

    labels: Mapping[str, str]
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """Series, the server's time now, and what to take off its times to get monotonic seconds of ours."""

    series: tuple[Series, ...]
    now_unix_seconds: float
    offset_seconds: float


class PromqlApi:
    """One server."""

    def __init__(self, options: WebOptions, clock: Clock) -> None:
        self._web = WebAddress(options, clock)
        self._clock = clock
        self._timeout_seconds = options.timeout_seconds
        self._url = self._web.url.with_path(self._web.url.path.rstrip("/") + "/api/v1/query")
        self.where = self._web.where

    async def query(self, query: str) -> QueryAnswer:
        """Evaluate `query` at the server's now.

        Two requests: raw samples do not tell what time the server has, so it is asked for that first.

        Raises:
            SourceError: no answer, a mistake in the query (in the server's words), or not this API.
        """
        started = self._clock()
        clock, middle = await self._ask("time()", self._timeout_seconds)
        left = max(self._timeout_seconds - (self._clock() - started), 0.1 * self._timeout_seconds)
        data, _ = await self._ask(query, left)
        try:
            now = float(clock["result"][0])
            series = _series(data)
        except _FORMAT_ERRORS as error:
            raise Malformed(f"an answer of another form: {str(data)[:_QUOTED_CHARS]}", where=self.where) from error
        return QueryAnswer(series, now, now - middle)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._web.aclose()

    async def _ask(self, query: str, timeout_seconds: float) -> tuple[Any, float]:
        url: URL = self._url.update_query(query=query)
        answer, middle = await self._web.get(url, timeout_seconds, switch_on=_SWITCH_ON)
        try:
            body = json.loads(answer.body)
            data = body["data"]
        except (*_FORMAT_ERRORS, RecursionError) as error:
            what = "a web page (HTML)" if answer.body.lstrip()[:1] == b"<" else "something"
            raise Malformed(
                f"answered {what} that is no answer of the Prometheus query API", where=self.where, hint=_SWITCH_ON
            ) from error
        return data, middle


def _series(data: Any) -> tuple[Series, ...]:
    if data["resultType"] not in ("vector", "matrix"):
        raise ValueError(f"the query gives a {data['resultType']}, not series")
    many = [one.get("values") or [one["value"]] for one in data["result"]]
    return tuple(
        Series(dict(one["metric"]), tuple(Point(float(at), float(value)) for at, value in points))
        for one, points in zip(data["result"], many, strict=True)
    )
