"""Config to the plan that economics works by. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tokwatt.config import CapacityPrice, Config, ServerConfig, SharingConfig
from tokwatt.economics.plan import (
    Capacity,
    GpuRule,
    Pace,
    Plan,
    Prices,
    ResponsePlan,
    RestRule,
    ServerPlan,
    Sharing,
)
from tokwatt.readings import OwnerSource, PowerSource, TokenSource
from tokwatt.units import dollars_per_joule, dollars_per_second, mig_slices_of


def plan_of(
    config: Config,
    token_sources: Iterable[TokenSource],
    power_sources: Iterable[PowerSource],
    simulated_servers: frozenset[str] = frozenset(),
    owner_sources: Iterable[OwnerSource] = (),
) -> Plan:
    """Translate prices to base units and claims to devices, and note how each source is paced."""
    electricity = config.prices.electricity
    return Plan(
        servers=tuple(_server(config, server, simulated_servers) for server in config.servers),
        prices=Prices(
            electricity_dollars_per_joule=dollars_per_joule(electricity.dollars_per_kwh) if electricity else None,
            pue=config.prices.pue,
            outlet_pue=config.prices.outlet_pue,
        ),
        sharing=_sharing(config.sharing),
        window_seconds=config.window_seconds,
        min_coverage=config.min_coverage,
        tick_seconds=config.tick_seconds,
        paces=_paces(config, token_sources, power_sources)
        | {source.name: Pace(source.period_seconds, source.timeout_seconds) for source in owner_sources},
    )


def _paces(config: Config, tokens: Iterable[TokenSource], power: Iterable[PowerSource]) -> dict[str, Pace]:
    paces = {source.name: Pace(config.tick_seconds, source.timeout_seconds) for source in tokens}
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
        labels=server.labels,
        capacity=_capacity(server.capacity or config.prices.capacity),
        response=_response(config, server.name),
        simulated=server.name in simulated,
    )


def _sharing(sharing: SharingConfig) -> Sharing:
    gpu = GpuRule(sharing.gpu.value) if sharing.gpu else None
    return Sharing(gpu, RestRule(sharing.host_rest.value), sharing.slices_per_gpu)


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
