"""Prices of a configuration to what economics works by: flat ones as numbers, the others as sources by name."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tokwatt.app.build import Workshop
from tokwatt.config import (
    CapacityPrice,
    CapacityUnit,
    Config,
    ElectricityPrice,
    EnergyUnit,
    GridCarbon,
    Holding,
    OwnershipPrice,
    PriceSeries,
    TariffPrice,
    TariffRule,
    Weekday,
)
from tokwatt.economics import annuity
from tokwatt.economics.plan import Capacity, Fed
from tokwatt.quantities import DollarsPerJoule
from tokwatt.readings import PriceSource, SourceContext
from tokwatt.sources._http import safe_url
from tokwatt.sources.power._web import WebOptions
from tokwatt.sources.prices import tariff
from tokwatt.sources.prices._calendar import Rule, Tariff
from tokwatt.sources.prices.file import FileOptions, FilePrice
from tokwatt.sources.prices.promql import PromqlPrice, PromqlPriceOptions
from tokwatt.units import dollars_per_joule, dollars_per_second, grams_per_joule

ELECTRICITY = "prices.electricity"
CARBON = "prices.carbon"
CAPACITY = "prices.capacity"
KWH_PER_MWH = 1000.0


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """A price source to watch. Equal `key`s need no new source after a reload."""

    key: object
    target: str
    build: Callable[[], PriceSource]


def capacity_source(config: Config, server: str) -> str:
    """Name of the source that says what a server's hardware costs: the key path of its price."""
    own = any(one.name == server and one.capacity is not None for one in config.servers)
    return f"servers.{server}.capacity" if own else CAPACITY


def price_entries(config: Config, workshop: Workshop) -> Mapping[str, PriceEntry]:
    """Describe the price sources of a configuration by name."""
    return dict(_entries(config, workshop))


def _entries(config: Config, workshop: Workshop) -> Iterator[tuple[str, PriceEntry]]:
    electricity, carbon = config.prices.electricity, config.prices.carbon
    if electricity and electricity.tariff:
        zone = electricity.tariff.time_zone
        yield ELECTRICITY, PriceEntry(electricity, f"tariff {zone}", lambda: _tariff(electricity.tariff, workshop))
    if electricity and electricity.series:
        unit = dollars_per_joule(1.0 if electricity.series.unit is EnergyUnit.PER_KWH else 1.0 / KWH_PER_MWH)
        yield ELECTRICITY, _series(ELECTRICITY, electricity.series, unit, workshop, may_be_negative=True)
    if carbon and carbon.series:
        yield CARBON, _series(CARBON, carbon.series, grams_per_joule(1.0), workshop)
    capacities = [(CAPACITY, config.prices.capacity)]
    capacities += [(f"servers.{server.name}.capacity", server.capacity) for server in config.servers]
    for name, capacity in capacities:
        if capacity and capacity.spot:
            yield name, _series(name, capacity.spot, dollars_per_second(1.0), workshop)


def _series(
    name: str, series: PriceSeries, unit: float, workshop: Workshop, *, may_be_negative: bool = False
) -> PriceEntry:
    factor = unit * series.scale
    context = SourceContext(name, workshop.clock)
    if series.file is not None:
        file = FileOptions(
            series.file, factor, may_be_negative, series.hold_seconds, series.period_seconds, series.timeout_seconds
        )
        return PriceEntry(series, f"file {series.file}", lambda: FilePrice(file, context))
    web = WebOptions(
        url=series.url or "",
        bearer_token_file=series.bearer_token_file,
        ca_file=series.ca_file,
        verify_tls=series.verify_tls,
        period_seconds=series.period_seconds,
        timeout_seconds=series.timeout_seconds,
    )
    promql = PromqlPriceOptions(web, (series.query or "").strip(), factor, may_be_negative, series.hold_seconds)
    return PriceEntry(series, f"promql {safe_url(web.url)}", lambda: PromqlPrice(promql, context))


def _tariff(settings: TariffPrice | None, workshop: Workshop) -> PriceSource:
    assert settings is not None
    rules = tuple(_rule(rule) for rule in settings.rules)
    made = Tariff(zoneinfo.ZoneInfo(settings.time_zone), dollars_per_joule(settings.dollars_per_kwh), rules)
    return tariff.TariffPrice(ELECTRICITY, made, workshop.clock, workshop.wall_clock)


def _rule(rule: TariffRule) -> Rule:
    order = list(Weekday)
    return Rule(
        dollars_per_joule(rule.dollars_per_kwh),
        frozenset(order.index(day) for day in rule.weekdays),
        tuple((hours.start_minute, hours.end_minute) for hours in rule.hours),
        tuple((season.first, season.last) for season in rule.seasons),
    )


def electricity_of(price: ElectricityPrice | None) -> DollarsPerJoule | Fed | None:
    """Dollars per joule, or who says how many."""
    if price is None:
        return None
    return Fed(ELECTRICITY) if price.dollars_per_kwh is None else dollars_per_joule(price.dollars_per_kwh)


def carbon_of(carbon: GridCarbon | None) -> float | Fed | None:
    """Grams per joule, or who says how many."""
    if carbon is None:
        return None
    return Fed(CARBON) if carbon.grams_per_kwh is None else grams_per_joule(carbon.grams_per_kwh)


def capacity_of(price: CapacityPrice | None, source: str) -> Capacity | None:
    """Dollars per second of a GPU or of a server, or who says how many."""
    if price is None:
        return None
    covers = price.includes_electricity
    if price.dollars_per_gpu_hour is not None:
        return Capacity(dollars_per_second(price.dollars_per_gpu_hour), True, covers)
    if price.dollars_per_hour is not None:
        return Capacity(dollars_per_second(price.dollars_per_hour), False, covers)
    if price.ownership is not None:
        return Capacity(
            annuity.dollars_per_second(_purchase(price.ownership)), price.ownership.per is Holding.GPU, covers
        )
    assert price.spot is not None
    return Capacity(Fed(source), price.spot.unit is CapacityUnit.PER_GPU_HOUR, covers)


def _purchase(owned: OwnershipPrice) -> annuity.Purchase:
    residual = owned.residual_dollars or (owned.residual_ratio or 0.0) * owned.purchase_dollars
    return annuity.Purchase(
        purchase_dollars=owned.purchase_dollars,
        years=owned.years,
        residual_dollars=residual,
        maintenance_ratio_per_year=owned.maintenance_ratio_per_year,
        interest_ratio_per_year=owned.interest_ratio_per_year,
        utilisation_ratio=owned.expected_utilisation_ratio,
    )
