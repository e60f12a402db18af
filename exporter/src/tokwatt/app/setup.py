"""What an exporter is to watch: sources with the entries they are built from, and the configuration around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tokwatt.app.build import Workshop
from tokwatt.app.price_sources import PriceEntry, price_entries
from tokwatt.config import OWNER_PREFIX, Config, CounterConfig, GpuSearch, MeterConfig, ServerConfig
from tokwatt.readings import CountSource, OwnerSource, PowerSource, TokenSource
from tokwatt.sources._http import safe_url


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """An inference server to watch. Equal `key`s need no new source after a reload."""

    key: object
    target: str
    build: Callable[[], TokenSource]


@dataclass(frozen=True, slots=True)
class PowerEntry:
    """A power source to watch. Equal `key`s need no new source after a reload."""

    key: object
    target: str
    build: Callable[[], PowerSource]


@dataclass(frozen=True, slots=True)
class OwnerEntry:
    """What finds out a server's GPUs. Equal `key`s need no new source after a reload."""

    key: object
    target: str
    build: Callable[[], OwnerSource]


@dataclass(frozen=True, slots=True)
class CountEntry:
    """An application's counter to watch. Equal `key`s need no new source after a reload."""

    key: object
    target: str
    build: Callable[[], CountSource]


@dataclass(frozen=True, slots=True)
class Setup:
    """A configuration and its sources by name."""

    config: Config
    tokens: Mapping[str, TokenEntry]
    power: Mapping[str, PowerEntry]
    owners: Mapping[str, OwnerEntry] = field(default_factory=dict)
    counts: Mapping[str, CountEntry] = field(default_factory=dict)
    simulated_servers: frozenset[str] = frozenset()
    simulated: bool = False
    prices: Mapping[str, PriceEntry] = field(default_factory=dict)


def setup_of(config: Config, workshop: Workshop) -> Setup:
    """Describe the sources of a configuration. Raises ValueError for a token spec that cannot be used."""
    for server in config.servers:
        workshop.token_source(server)  # checks the spec now, so that a reload fails before anything is replaced
    return Setup(
        config=config,
        tokens={server.name: _token_entry(server, workshop) for server in config.servers},
        power={meter.name: _power_entry(meter, workshop) for meter in config.meters or ()},
        owners={
            f"{OWNER_PREFIX}{server.name}": _owner_entry(server, server.gpus.search, workshop)
            for server in config.servers
            if server.gpus.search is not None
        },
        prices=price_entries(config, workshop),
        counts={
            response.counter_name: _count_entry(response.counter_name, response.meaningful, workshop)
            for response in config.responses
            if response.meaningful is not None
        },
    )


def _token_entry(server: ServerConfig, workshop: Workshop) -> TokenEntry:
    target = safe_url(server.url) if server.url else "no tokens"
    return TokenEntry(server, target, lambda: workshop.token_source(server))


def _count_entry(name: str, counter: CounterConfig, workshop: Workshop) -> CountEntry:
    return CountEntry(counter, safe_url(counter.url), lambda: workshop.count_source(name, counter))


def _power_entry(meter: MeterConfig, workshop: Workshop) -> PowerEntry:
    url = getattr(meter.options, "url", "")
    where = safe_url(url) if url else getattr(meter.options, "host", "")
    return PowerEntry(meter, f"{meter.source} {where}".strip(), lambda: workshop.power_source(meter))


def _owner_entry(server: ServerConfig, search: GpuSearch, workshop: Workshop) -> OwnerEntry:
    pod = getattr(search.options, "pod", "")
    target = f"{search.source} {pod}".strip()
    return OwnerEntry((server.url, search), target, lambda: workshop.owner_source(server, search))
