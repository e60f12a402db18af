"""Checks across the keys of `prices` and `servers[].capacity`. Reports mistakes; changes nothing."""

from __future__ import annotations

from itertools import chain

from tokwatt.config.binder import Binder
from tokwatt.config.calendar_words import HourRange, Season
from tokwatt.config.mistakes import shown
from tokwatt.config.prices import (
    CapacityPrice,
    CapacityUnit,
    ElectricityPrice,
    GridCarbon,
    Holding,
    PriceSeries,
    TariffRule,
)
from tokwatt.config.schema import Config, GpuSelection

_BASES = ("dollars_per_gpu_hour", "dollars_per_hour", "ownership", "spot")


def check_prices(config: Config, binder: Binder) -> None:
    """Run every check. `config` may hold stand-ins for values whose mistakes are known."""
    of_servers = ((f"servers[{index}].capacity", server.capacity) for index, server in enumerate(config.servers))
    for path, capacity in chain([("prices.capacity", config.prices.capacity)], of_servers):
        if capacity is not None and not binder.report.has_mistake(path):
            _one_of(binder, path, capacity, _BASES, "no price in it")
            _capacity(binder, path, capacity)
    _electricity(binder, config.prices.electricity)
    _carbon(binder, config.prices.carbon)
    _capacity_of_servers(config, binder)
    _names(config, binder)


def _names(config: Config, binder: Binder) -> None:
    """Price sources are named by the keys of their prices, which no server and no meter may be called."""
    named = [(f"servers[{index}].name", server.name) for index, server in enumerate(config.servers)]
    named += [(f"meters[{index}].name", meter.name) for index, meter in enumerate(config.meters or ())]
    for path, name in named:
        if name.startswith("prices.") or (name.startswith("servers.") and name.endswith(".capacity")):
            message = f"name {shown(name)} is that of a price"
            binder.report.mistake(binder.place(path), path, message, "call it something else")


def _one_of(binder: Binder, path: str, settings: object, keys: tuple[str, ...], none_of_them: str) -> None:
    given = [key for key in keys if getattr(settings, key) is not None]
    if len(given) > 1:
        binder.report.mistake(
            binder.place(f"{path}.{given[1]}"),
            path,
            f"two bases at once, {given[0]} and {given[1]}",
            "keep one of the two",
        )
    elif not given:
        listed = f"{', '.join(keys[:-1])} or {keys[-1]}"
        binder.report.mistake(binder.place(path), path, none_of_them, f"give {listed}")


def _capacity(binder: Binder, path: str, price: CapacityPrice) -> None:
    if price.spot is not None:
        _series(binder, f"{path}.spot", price.spot)
    owned = price.ownership
    if owned is None:
        return
    path = f"{path}.ownership"
    if owned.residual_dollars is not None and owned.residual_ratio is not None:
        binder.report.mistake(
            binder.place(f"{path}.residual_ratio"),
            f"{path}.residual_ratio",
            "given together with residual_dollars",
            "keep one of the two",
        )
    elif owned.residual_dollars is not None and owned.residual_dollars > owned.purchase_dollars:
        binder.report.mistake(
            binder.place(f"{path}.residual_dollars"),
            f"{path}.residual_dollars",
            f"{owned.residual_dollars:g} is more than the purchase price, {owned.purchase_dollars:g}",
            "it is what the hardware is sold for in the end",
        )


def _electricity(binder: Binder, price: ElectricityPrice | None) -> None:
    path = "prices.electricity"
    if price is None or binder.report.has_mistake(path):
        return
    _one_of(binder, path, price, ("dollars_per_kwh", "tariff", "series"), "no price in it")
    if price.series is not None:
        _series(binder, f"{path}.series", price.series)
    if price.tariff is not None:
        _hidden_rules(binder, f"{path}.tariff.rules", price.tariff.rules)


def _hidden_rules(binder: Binder, path: str, rules: tuple[TariffRule, ...]) -> None:
    for index, rule in enumerate(rules):
        first = next((number for number in range(index) if _covers(rules[number], rule)), None)
        if first is not None:
            binder.report.mistake(
                binder.place(f"{path}[{index}]"),
                f"{path}[{index}]",
                f"never applies: rules[{first}] applies whenever it would",
                "the first rule that applies sets the price: put the narrower one first",
            )


def _covers(one: TariffRule, other: TariffRule) -> bool:
    """Whether a rule applies at every instant at which another one does."""
    return (
        _within(frozenset(other.weekdays), frozenset(one.weekdays))
        and _within(_minutes(other.hours), _minutes(one.hours))
        and _within(_days(other.seasons), _days(one.seasons))
    )


def _within(inner: frozenset[object], outer: frozenset[object]) -> bool:
    """Whether a condition is met only where another one is; an empty one is always met."""
    return not outer or (bool(inner) and inner <= outer)


def _minutes(hours: tuple[HourRange, ...]) -> frozenset[object]:
    day = range(24 * 60)
    return frozenset(
        minute
        for span in hours
        for minute in day
        if (span.start_minute <= minute < span.end_minute)
        or (span.end_minute <= span.start_minute and not span.end_minute <= minute < span.start_minute)
    )


def _days(seasons: tuple[Season, ...]) -> frozenset[object]:
    year = [(month, day) for month in range(1, 13) for day in range(1, 32)]
    return frozenset(
        day
        for season in seasons
        for day in year
        if (season.first <= day <= season.last) or (season.last < season.first and not season.last < day < season.first)
    )


def _carbon(binder: Binder, carbon: GridCarbon | None) -> None:
    path = "prices.carbon"
    if carbon is None or binder.report.has_mistake(path):
        return
    _one_of(binder, path, carbon, ("grams_per_kwh", "series"), "no carbon intensity in it")
    if carbon.series is not None:
        _series(binder, f"{path}.series", carbon.series)


def _series(binder: Binder, path: str, series: PriceSeries) -> None:
    def mistake(key: str, message: str, suggestion: str) -> None:
        binder.report.mistake(binder.place(f"{path}.{key}", path), f"{path}.{key}", message, suggestion)

    if series.file is not None and series.url is not None:
        mistake("url", "given together with file", "keep one of the two")
    elif series.file is None and series.url is None:
        binder.report.mistake(
            binder.place(path), path, "no place to read the price from", "give file, or url and query"
        )
    elif series.url is not None and not (series.query or "").strip():
        mistake("query", "required key is missing", "it goes with url: PromQL that gives one series")
    elif series.file is not None and series.query is not None:
        mistake("query", "has no effect with file", "give url instead of file, or remove query")
    if series.hold_seconds < series.period_seconds:
        mistake(
            "hold_seconds",
            f"impossible number {series.hold_seconds:g} with period_seconds {series.period_seconds:g}",
            "a price must hold until it is read again",
        )


def _by_gpu(price: CapacityPrice) -> str:
    """Name the key that makes a price one of each GPU; "" where it is of the whole server."""
    if price.dollars_per_gpu_hour is not None:
        return "dollars_per_gpu_hour"
    if price.ownership is not None and price.ownership.per is Holding.GPU:
        return "ownership per GPU"
    return "spot per GPU" if price.spot is not None and price.spot.unit is CapacityUnit.PER_GPU_HOUR else ""


def _capacity_of_servers(config: Config, binder: Binder) -> None:
    shared = config.prices.capacity
    followers = [server.name for server in config.servers if server.capacity is None]
    if shared and not _by_gpu(shared) and len(followers) > 1 and not binder.report.has_mistake("prices.capacity"):
        key = next(key for key in _BASES if getattr(shared, key) is not None)
        binder.report.warn(
            binder.place(f"prices.capacity.{key}"),
            f"prices.capacity.{key}",
            f"each of the servers {', '.join(followers)} is charged this price",
            "if it is the price of all of them together, give each server its part in its own capacity",
        )
    for index, server in enumerate(config.servers):
        price = server.capacity or shared
        if price and _by_gpu(price) and server.gpus == GpuSelection():
            path = f"servers[{index}]"
            message = f"owns no GPU, so {_by_gpu(price)} gives it no capacity price"
            binder.report.warn(binder.place(path), path, message, "set gpus, or capacity: {dollars_per_hour: ...}")
