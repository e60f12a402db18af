"""Config to the plan that economics works by. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tokwatt.app.price_sources import capacity_of, capacity_source, carbon_of, electricity_of
from tokwatt.config import Config, ServerConfig, SharingConfig
from tokwatt.economics.plan import (
    GpuRule,
    Pace,
    PhasePlan,
    Plan,
    Prices,
    ResponsePlan,
    RestRule,
    ServerPlan,
    Sharing,
)
from tokwatt.quantities import DollarsPerToken, Tokens
from tokwatt.readings import CountSource, OwnerSource, PowerSource, TokenSource
from tokwatt.units import mig_slices_of

MOST_SERVERS_WITH_LOAD = 64  # beyond, the distribution of load would be most of what /metrics shows


def plan_of(
    config: Config,
    token_sources: Iterable[TokenSource],
    power_sources: Iterable[PowerSource],
    count_sources: Iterable[CountSource] = (),
    simulated_servers: frozenset[str] = frozenset(),
    owner_sources: Iterable[OwnerSource] = (),
) -> Plan:
    """Translate prices to base units and claims to devices, and note how each source is paced."""
    return Plan(
        servers=tuple(_server(config, server, simulated_servers) for server in config.servers),
        prices=Prices(
            electricity_dollars_per_joule=electricity_of(config.prices.electricity),
            pue=config.prices.pue,
            carbon_grams_per_joule=carbon_of(config.prices.carbon),
            outlet_pue=config.prices.outlet_pue,
        ),
        sharing=_sharing(config.sharing),
        window_seconds=config.window_seconds,
        min_coverage=config.min_coverage,
        tick_seconds=config.tick_seconds,
        load_distribution=_load_distribution(config),
        paces=_paces(config, [*token_sources, *count_sources], power_sources)
        | {source.name: Pace(source.period_seconds, source.timeout_seconds) for source in owner_sources},
    )


def _load_distribution(config: Config) -> bool:
    if config.load_distribution is not None:
        return config.load_distribution
    return len(config.servers) <= MOST_SERVERS_WITH_LOAD


def _paces(
    config: Config, ticking: Iterable[TokenSource | CountSource], power: Iterable[PowerSource]
) -> dict[str, Pace]:
    paces = {source.name: Pace(config.tick_seconds, source.timeout_seconds) for source in ticking}
    for source in power:
        paces[source.name] = Pace(source.period_seconds or config.tick_seconds, source.timeout_seconds)
    return paces


def _server(config: Config, server: ServerConfig, simulated: frozenset[str]) -> ServerPlan:
    return ServerPlan(
        name=server.name,
        all_gpus=server.gpus.every,
        gpus=server.gpus.devices,
        found_gpus=server.gpus.search is not None,
        mig_slices=mig_slices_of(server.mig_profile) if server.mig_profile else None,
        hosts=server.hosts,
        outlets=server.outlets,
        role=server.role.value,
        phases=PhasePlan(server.phases.method.value, server.phases.decode_to_prefill, server.phases.chunk_tokens),
        labels=server.labels,
        capacity=capacity_of(server.capacity or config.prices.capacity, capacity_source(config, server.name)),
        response=_response(config, server.name),
        simulated=server.name in simulated,
    )


def _sharing(sharing: SharingConfig) -> Sharing:
    gpu = GpuRule(sharing.gpu.value) if sharing.gpu else None
    return Sharing(gpu, RestRule(sharing.host_rest.value), sharing.slices_per_gpu)


def _response(config: Config, server: str) -> ResponsePlan | None:
    for response in config.responses:
        if response.server == server:
            return ResponsePlan(
                attempts=response.attempts,
                support_tokens=Tokens(response.support_tokens),
                support_dollars_per_token=DollarsPerToken(response.support_dollars_per_token),
                meaningful=response.counter_name,
                support=response.support,
            )
    return None
