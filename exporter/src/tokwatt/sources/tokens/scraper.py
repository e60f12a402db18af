"""Reads one inference server: fetch its metrics page, pick what the spec names, place the reading in time.

Owns detection of the engine and the model name of servers without labels. Counts nothing up: readings are raw.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from yarl import URL

from tokwatt.readings import Clock, CounterSample, Malformed, ServerReading, SourceError, Unavailable
from tokwatt.sources._frame import Frame
from tokwatt.sources._http import Access, Answer, Http, explain_page, parse_url, safe_url
from tokwatt.sources.tokens._counting import Counted, count, detect
from tokwatt.sources.tokens._exposition import Lines, Page
from tokwatt.sources.tokens._instant import ReadingInstant
from tokwatt.sources.tokens._spec import JsonField, TokenSpec

DEFAULT_TIMEOUT_SECONDS = 3.0
_IDENTITY_TIMEOUT_SECONDS = 0.5
_IDENTITY_TRIES = 3  # reads that ask for it, for each life of the server
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Identity:
    """What a server says about itself outside of its metrics. "" where it does not."""

    model: str = ""
    version: str = ""


class TokenScraper(Frame):
    """A TokenSource: one inference server with a Prometheus page.

    Give `spec`, or None and `known` to have it detected from the page. `model_override` replaces every model name.
    `side` ("prefill" or "decode") reads only what that side of a disaggregated deployment counts by itself.
    Raises ValueError for a `url` that is none; does no I/O before `read()`.
    """

    def __init__(
        self,
        name: str,
        url: str,
        http: Http,
        clock: Clock,
        spec: TokenSpec | None = None,
        model_override: str = "",
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        *,
        side: str = "",
        known: Mapping[str, TokenSpec] = MappingProxyType({}),
        access: Access | None = None,
    ) -> None:
        super().__init__(name, timeout_seconds)
        self._url = _with_path(parse_url(url), spec.path if spec else "/metrics")
        self._where = safe_url(self._url)
        self._http = http
        self._clock = clock
        self._given = spec
        self._spec = spec and spec.on_side(side)
        self._known = known
        self._side = side
        self._model_override = model_override
        self._access = access or Access()
        self._lines = Lines(self._where)
        self._instant = ReadingInstant()
        self._last: dict[str, float] = {}
        self._identity = _Identity()
        self._identity_tries = _IDENTITY_TRIES

    @property
    def target(self) -> str:
        """URL that is read, without secrets."""
        return self._where

    @property
    def spec(self) -> TokenSpec | None:
        """The spec in use; None before the engine was detected."""
        return self._spec

    async def read(self) -> ServerReading:
        """Read once. Raises SourceError subclasses only; a reading is whole or an error."""
        if self._spec is not None and self._spec.no_tokens:
            raise nothing_to_read(self._spec, self._where)
        try:
            answer = await self._fetch()
            spec, counted = self._count(answer)
        except SourceError:
            self._identity_tries = _IDENTITY_TRIES  # after an outage another server may answer
            raise
        at_seconds, uncertainty_seconds = self._instant.place(answer.sent_seconds, answer.answered_seconds)
        if self._fell(counted):
            self._identity_tries = _IDENTITY_TRIES
        if await self._identify(spec, self.timeout_seconds - (answer.answered_seconds - answer.sent_seconds)):
            counted = self._count_page(spec, self._lines.page(answer.body))
        return ServerReading(
            server=self.name,
            at_seconds=at_seconds,
            uncertainty_seconds=uncertainty_seconds,
            counters=counted.counters,
            requests_running=counted.requests_running,
            requests_waiting=counted.requests_waiting,
            engine=spec.engine,
            engine_version=self._identity.version,
            missing=counted.missing,
            output_at_finish=counted.output_at_finish,
            series_begin_at_zero=spec.appears_on_first_request,
            input_by_prefill_end=counted.input_by_prefill_end,
            work=counted.work,
            kv_tokens=counted.kv_tokens,
        )

    async def _fetch(self) -> Answer:
        usual = usual_servers(self._known, self._url.port) if self._spec is None else ""
        switch_on = self._spec.switch_on if self._spec else f"check the path; {usual or 'are metrics switched on?'}"
        answer = await self._http.get(
            self._url,
            timeout_seconds=self.timeout_seconds,
            clock=self._clock,
            access=self._access,
            switch_on=switch_on,
        )
        problem = explain_page(answer, self._where, "give the URL of the metrics page, often …/metrics")
        if problem:
            raise problem
        return answer

    def _count(self, answer: Answer) -> tuple[TokenSpec, Counted]:
        page = self._lines.page(answer.body)
        spec = self._spec or self._detect(page)
        counted = self._count_page(spec, page)
        if not counted.has_tokens and self._given is None and spec is self._spec:
            spec = self._detect(page)  # another engine may have taken the port
            counted = self._count_page(spec, page)
        marks = (*spec.detect, *spec.detect_all)
        if not counted.has_tokens and not (spec.appears_on_first_request and any(map(page.shows, marks))):
            seen = ", ".join(page.names(_NAMES_SHOWN)) or "nothing"
            raise Malformed(
                f"metrics answered but no token counter of {spec.title} is there; seen: {seen}",
                where=self._where,
                hint=spec.switch_on or "check the metric names in `spec`",
            )
        self._spec = spec
        return spec, counted

    def _detect(self, page: Page) -> TokenSpec:
        found = detect(self._known.values(), page)
        if len(found) == 1 and found[0].no_tokens:
            raise nothing_to_read(found[0], self._where)
        if len(found) == 1:
            return found[0].on_side(self._side)
        if found:
            engines = " or ".join(spec.engine for spec in found)
            raise Malformed(
                f"the metrics look like {engines}", where=self._where, hint=f"write `engine: {found[0].engine}`"
            )
        seen = ", ".join(page.names(_NAMES_SHOWN)) or "nothing"
        raise Malformed(
            f"no known inference server wrote these metrics; seen: {seen}",
            where=self._where,
            hint=f"write `engine:` (one of {', '.join(self._known)}), or `spec:` with the metric names",
        )

    def _count_page(self, spec: TokenSpec, page: Page) -> Counted:
        model = self._model_override or self._identity.model
        return count(spec, page, self._where, model, model_is_fixed=bool(self._model_override))

    def _fell(self, counted: Counted) -> bool:
        """Tell whether any counter is below its last value, which only a restart explains."""
        last = self._last
        self._last = {sample.series: sample.value for sample in counted.counters}
        return any(_is_below(sample, last) for sample in counted.counters)

    async def _identify(self, spec: TokenSpec, budget_seconds: float) -> bool:
        """Ask for model and version where the page has none; tell whether the model's name changed."""
        if self._identity_tries == 0 or budget_seconds <= 0:
            return False
        model_from = None if self._model_override else spec.model_from
        self._identity_tries -= 1
        timeout_seconds = min(_IDENTITY_TIMEOUT_SECONDS, budget_seconds)
        model, version = await asyncio.gather(
            self._ask(model_from, timeout_seconds), self._ask(spec.version_from, timeout_seconds)
        )
        if (model or not model_from) and (version or not spec.version_from):
            self._identity_tries = 0
        before = self._identity
        # an answer that fails keeps what was known: a changed label would cut the series
        self._identity = _Identity(model or before.model, version or before.version)
        return self._identity.model != before.model

    async def _ask(self, field: JsonField | None, timeout_seconds: float) -> str:
        """Fetch one string of a JSON answer; "" if anything is in the way: it is a name, not a measurement."""
        if field is None:
            return ""
        url = self._url.with_path(field.path).with_query(self._url.query)
        try:
            answer = await self._http.get(url, timeout_seconds=timeout_seconds, access=self._access)
        except SourceError:
            return ""
        return text_at(answer.body, field.keys)


def nothing_to_read(spec: TokenSpec, where: str) -> Unavailable:
    """Say why a known server has no token counters to read, and what to do instead."""
    return Unavailable(f"{spec.title}: {spec.no_tokens}", where=where, hint=spec.instead)


def usual_servers(known: Mapping[str, TokenSpec], port: int | None) -> str:
    """Tell which servers usually use a port and what each needs, "" for an unusual port."""
    usual = [spec for spec in known.values() if port in spec.default_ports]
    return "; ".join(f"{spec.title}: {spec.switch_on or spec.instead}" for spec in usual)


def _with_path(url: URL, path: str) -> URL:
    return url.with_path(path).with_query(url.query) if url.path in ("", "/") else url


def _is_below(sample: CounterSample, last: Mapping[str, float]) -> bool:
    return sample.value < last.get(sample.series, 0.0)


def text_at(body: bytes, keys: tuple[str, ...]) -> str:
    """Return the text that `keys` lead to in a JSON body; "" where there is none."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    for key in keys:
        if isinstance(data, dict):
            data = data.get(key)
        elif isinstance(data, list) and key.isdigit() and int(key) < len(data):
            data = data[int(key)]
        else:
            return ""
    return data if isinstance(data, str) else ""
