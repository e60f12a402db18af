"""Looks for inference servers on the usual ports of a host, and says for each port what was found or why nothing.

Loopback by default: it never tries other machines unasked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yarl import URL

from tokwatt.readings import SourceError
from tokwatt.sources._http import Http, explain_page, safe_url
from tokwatt.sources.tokens._counting import detect
from tokwatt.sources.tokens._exposition import Lines, Page
from tokwatt.sources.tokens._files import specs
from tokwatt.sources.tokens._spec import TokenSpec
from tokwatt.sources.tokens.scraper import text_at, usual_servers

_TIMEOUT_SECONDS = 0.7


@dataclass(frozen=True, slots=True)
class Found:
    """One tried address. `engine` is None where no known inference server answers; `reason` says what was seen."""

    url: str
    engine: str | None
    reason: str


async def find_servers(
    http: Http, hosts: Sequence[str] = ("127.0.0.1",), ports: Mapping[int, Sequence[str]] | None = None
) -> tuple[Found, ...]:
    """Try `ports` (port -> metric paths; None: every spec's) of each host at once; one result for each port."""
    known = specs()
    wanted = usual_ports(known) if ports is None else ports
    tried = [_try_port(http, known, host, port, paths) for host in hosts for port, paths in sorted(wanted.items())]
    return tuple(await asyncio.gather(*tried))


def usual_ports(known: Mapping[str, TokenSpec]) -> dict[int, tuple[str, ...]]:
    """Default ports of all engines with the paths their metrics are at; `/metrics` last.

    The order spares trtllm-serve, whose `/metrics` is no metrics page but a queue of statistics that a read empties.
    """
    paths: dict[int, dict[str, None]] = {}
    for spec in known.values():
        for port in spec.default_ports:
            paths.setdefault(port, {})[spec.path] = None
    return {port: tuple(sorted(found, key=lambda path: (path == "/metrics", path))) for port, found in paths.items()}


async def _try_port(http: Http, known: Mapping[str, TokenSpec], host: str, port: int, paths: Sequence[str]) -> Found:
    """Try one path after the other until a page is there; without one, ask for what else a known server answers."""
    server = URL.build(scheme="http", host=host, port=port)
    tried: dict[str, Found] = {}
    for path in paths:
        tried[path], is_page = await _try_url(http, known, server.with_path(path))
        if is_page:
            return tried[path]
    spec = await _recognise(http, known, server)
    failed = tried.get("/metrics") or tried[paths[-1]]
    return failed if spec is None else Found(failed.url, None, _no_tokens(spec))


async def _try_url(http: Http, known: Mapping[str, TokenSpec], url: URL) -> tuple[Found, bool]:
    """Return what is at a URL, and whether it is a metrics page."""
    where = safe_url(url)
    switch_on = usual_servers(known, url.port)
    problem: SourceError | None
    try:
        answer = await http.get(url, timeout_seconds=_TIMEOUT_SECONDS, switch_on=switch_on)
        problem = explain_page(answer, where, switch_on)
    except SourceError as error:
        problem = error
    if problem is not None and problem.what.startswith("cannot connect"):
        titles = ", ".join(spec.title for spec in known.values() if url.port in spec.default_ports)
        return Found(where, None, f"cannot connect, nothing listens here ({titles or 'no usual port'})"), False
    if problem is not None:
        reason = f"{problem.what} ({problem.hint})" if problem.hint else problem.what
        return Found(where, None, reason), False
    return _name(where, known, Lines(where).page(answer.body)), True


def _name(where: str, known: Mapping[str, TokenSpec], page: Page) -> Found:
    engines = detect(known.values(), page)
    if len(engines) == 1 and engines[0].no_tokens:
        return Found(where, None, _no_tokens(engines[0]))
    if len(engines) == 1:
        return Found(where, engines[0].engine, f"{engines[0].title} metrics")
    if engines:
        return Found(where, None, f"looks like {' or '.join(spec.engine for spec in engines)}: name it in the config")
    seen = ", ".join(page.names(3)) or "nothing"
    return Found(where, None, f"metrics of something else, seen: {seen}")


def _no_tokens(spec: TokenSpec) -> str:
    return f"{spec.title}: {spec.no_tokens} ({spec.instead})"


async def _recognise(http: Http, known: Mapping[str, TokenSpec], server: URL) -> TokenSpec | None:
    for spec in known.values():
        if spec.recognise is None or server.port not in spec.default_ports:
            continue
        try:
            answer = await http.get(server.with_path(spec.recognise.path), timeout_seconds=_TIMEOUT_SECONDS)
        except SourceError:
            continue
        if text_at(answer.body, spec.recognise.keys):
            return spec
    return None
