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
from tokwatt.sources.tokens._exposition import Lines
from tokwatt.sources.tokens._files import specs
from tokwatt.sources.tokens._spec import TokenSpec

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
    """Default ports of all engines with the paths their metrics are at, the commonest path first."""
    paths: dict[int, dict[str, None]] = {}
    for spec in known.values():
        for port in spec.default_ports:
            paths.setdefault(port, {})[spec.path] = None
    return {port: tuple(sorted(found, key=lambda path: (path != "/metrics", path))) for port, found in paths.items()}


async def _try_port(http: Http, known: Mapping[str, TokenSpec], host: str, port: int, paths: Sequence[str]) -> Found:
    results = [await _try_url(http, known, URL.build(scheme="http", host=host, port=port, path=path)) for path in paths]
    found = [result for result in results if result.engine]
    return (found or results)[0]


async def _try_url(http: Http, known: Mapping[str, TokenSpec], url: URL) -> Found:
    where = safe_url(url)
    usual = [spec for spec in known.values() if url.port in spec.default_ports]
    switch_on = "; ".join(f"{spec.title}: {spec.switch_on}" for spec in usual)
    problem: SourceError | None
    try:
        answer = await http.get(url, timeout_seconds=_TIMEOUT_SECONDS, switch_on=switch_on)
        problem = explain_page(answer, where, switch_on)
    except SourceError as error:
        problem = error
    if problem is not None:
        return Found(where, None, f"{problem.what} ({problem.hint})" if problem.hint else problem.what)
    page = Lines(where).page(answer.body)
    engines = detect(known.values(), page)
    if len(engines) == 1:
        return Found(where, engines[0].engine, f"{engines[0].title} metrics")
    if engines:
        return Found(where, None, f"looks like {' or '.join(spec.engine for spec in engines)}: name it in the config")
    seen = ", ".join(page.names(3)) or "nothing"
    return Found(where, None, f"metrics of something else, seen: {seen}")
