"""Config to the plan that economics works by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tokwatt.config import CapacityPrice, Config, ServerConfig
from tokwatt.economics.plan import Capacity, Pace, PhasePlan, Plan, Prices, ResponsePlan, ServerPlan
from tokwatt.readings import PowerSource, TokenSource
from tokwatt.units import dollars_per_joule, dollars_per_second

MOST_SERVERS_WITH_LOAD = 64  # beyond, the distribution of load would be most of what /metrics shows


def plan_of(
    config: Config,
    token_sources: Iterable[TokenSource],
    power_sources: Iterable[PowerSource],
    simulated_servers: frozenset[str] = frozenset(),
) -> Plan:
    """Translate prices to base units and claims to devices, and note how each source is paced."""
    electricity = config.prices.electricity
    return Plan(
        servers=tuple(_server(config, server, simulated_servers) for server in config.servers),
        prices=Prices(
            electricity_dollars_per_joule=dollars_per_joule(electricity.dollars_per_kwh) if electricity else None,
            pue=config.prices.pue,
        ),
        window_seconds=config.window_seconds,
        min_coverage=config.min_coverage,
        tick_seconds=config.tick_seconds,
        load_distribution=_load_distribution(config),
        paces=_paces(config, token_sources, power_sources),
    )


def _load_distribution(config: Config) -> bool:
    if config.load_distribution is not None:
        return config.load_distribution
    return len(config.servers) <= MOST_SERVERS_WITH_LOAD


def _paces(config: Config, tokens: Iterable[TokenSource], power: Iterable[PowerSource]) -> Mapping[str, Pace]:
    paces = {source.name: Pace(config.tick_seconds, source.timeout_seconds) for source in tokens}
    for source in power:
        paces[source.name] = Pace(source.period_seconds or config.tick_seconds, source.timeout_seconds)
    return paces


def _server(config: Config, server: ServerConfig, simulated: frozenset[str]) -> ServerPlan:
    return ServerPlan(
        name=server.name,
        all_gpus=server.gpus.every,
        gpus=server.gpus.devices,
        hosts=server.hosts,
        role=server.role.value,
        phases=PhasePlan(server.phases.method.value, server.phases.decode_to_prefill),
        labels=server.labels,
        capacity=_capacity(server.capacity or config.prices.capacity),
        response=_response(config, server.name),
        simulated=server.name in simulated,
    )


def _capacity(price: CapacityPrice | None) -> Capacity | None:
    if price is None:
        return None
    if price.dollars_per_gpu_hour is not None:
        return Capacity(dollars_per_second(price.dollars_per_gpu_hour), True, price.includes_electricity)
    return Capacity(dollars_per_second(price.dollars_per_hour or 0.0), False, price.includes_electricity)


def _response(config: Config, server: str) -> ResponsePlan | None:
    for response in config.responses:
        if response.server == server:
            return ResponsePlan(response.attempts, response.support_tokens, response.support_dollars_per_token)
    return None
