"""Config entries to sources. The only place that knows both."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from tokwatt.config import OWNER_PREFIX, CounterConfig, GpuSearch, MeterConfig, ServerConfig, TokenOrigin
from tokwatt.readings import (
    Clock,
    CountSource,
    KeyedSourceSpec,
    OwnerContext,
    OwnerSource,
    OwnerSourceSpec,
    PowerSource,
    PowerSourceSpec,
    SourceContext,
    TokenSource,
)
from tokwatt.sources import owners, power, prices, tokens
from tokwatt.sources._http import Access, Http
from tokwatt.sources.responses import ResponseCounter
from tokwatt.sources.tokens._follower import Follower
from tokwatt.sources.tokens.overlap import counted_again
from tokwatt.sources.tokens.scraper import TokenScraper
from tokwatt.sources.tokens.spec import GENERIC, TokenSpec, spec_from_mapping


class Workshop:
    """Builds sources that share one HTTP client and the clocks."""

    def __init__(self, clock: Clock = time.monotonic, wall_clock: Clock = time.time) -> None:
        self.clock = clock
        self.wall_clock = wall_clock
        self.http = Http()
        self.token_specs: Mapping[str, TokenSpec] = tokens.specs()
        self.power_specs: Mapping[str, PowerSourceSpec] = power.specs()
        self.owner_specs: Mapping[str, OwnerSourceSpec] = owners.specs()
        self.price_specs: Mapping[str, KeyedSourceSpec] = prices.specs()

    @property
    def engines(self) -> tuple[str, ...]:
        """Values that `engine:` may have."""
        return (*self.token_specs, GENERIC)

    def token_source(self, server: ServerConfig) -> TokenSource:
        """Build the reader of one inference server. Raises ValueError for a spec that cannot be used."""
        if server.tokens is TokenOrigin.NONE:
            return Follower(server.name, self.clock)
        return TokenScraper(
            server.name,
            server.url,
            self.http,
            self.clock,
            self._token_spec(server),
            server.model or "",
            server.timeout_seconds,
            known=self.token_specs,
            side=server.role.value,
            access=Access(server.bearer_token_file or "", server.ca_file or "", server.verify_tls),
        )

    def _token_spec(self, server: ServerConfig) -> TokenSpec | None:
        if server.spec is None:
            return self.token_specs.get(server.engine) if server.engine else None
        return self.check_spec(server.spec, server.engine, f"servers.{server.name}.spec")

    def check_spec(self, spec: Mapping[str, object], engine: str | None, where: str) -> TokenSpec:
        """Merge a server's own `spec` over that of its engine. Raises ValueError naming the key."""
        base = self.token_specs.get(engine) if engine else None
        return spec_from_mapping(spec, where, base=base)

    def counted_again(self, servers: Collection[ServerConfig]) -> Mapping[str, tuple[str, ...]]:
        """Name the servers that count again what others count, as far as their engines are configured."""
        specs = {server.name: self._token_spec(server) for server in servers}
        known = {name: spec for name, spec in specs.items() if spec is not None}
        return counted_again(known, {server.name for server in servers if server.separate})

    def power_source(self, meter: MeterConfig) -> PowerSource:
        """Build one power source."""
        return self.power_specs[meter.source].open(meter.options, SourceContext(meter.name, self.clock))

    def owner_source(self, server: ServerConfig, search: GpuSearch) -> OwnerSource:
        """Build what finds out a server's GPUs."""
        context = OwnerContext(f"{OWNER_PREFIX}{server.name}", server.name, server.url, self.clock)
        return self.owner_specs[search.source].open(search.options, context)

    def count_source(self, name: str, counter: CounterConfig) -> CountSource:
        """Build the reader of an application's counter."""
        return ResponseCounter(
            name,
            counter.url,
            counter.metric,
            counter.labels,
            self.http,
            self.clock,
            timeout_seconds=counter.timeout_seconds,
            access=Access(counter.bearer_token_file or "", counter.ca_file or "", counter.verify_tls),
        )

    async def aclose(self) -> None:
        """Close what the sources shared."""
        await self.http.aclose()
