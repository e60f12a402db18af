"""Settings of what capacity and energy cost: flat, by the hour of the day, from a file or from a series."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from tokwatt.config.addresses import parse_url
from tokwatt.config.calendar_words import HourRange, Season, Weekday, parse_time_zone
from tokwatt.config.setting import setting


class CapacityUnit(StrEnum):
    """What the number of a capacity price means."""

    PER_GPU_HOUR = "dollars_per_gpu_hour"
    PER_HOUR = "dollars_per_hour"


class EnergyUnit(StrEnum):
    """What the number of an electricity price means."""

    PER_KWH = "dollars_per_kwh"
    PER_MWH = "dollars_per_mwh"


class Holding(StrEnum):
    """What a purchase price is of."""

    SERVER = "server"
    GPU = "gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSeries:
    """A price that changes while the exporter runs. Exactly one of `file` and `url` is set."""

    file: str | None = field(
        default=None,
        metadata=setting(
            "file that holds one number and is replaced when the price changes; lines that begin with # are left out",
            later_file=True,
        ),
    )
    url: str | None = field(
        default=None,
        metadata=setting("address of a Prometheus server without /api/v1; goes with `query`", parse=parse_url),
    )
    query: str | None = field(default=None, metadata=setting("PromQL that gives exactly one series"))
    scale: float = field(
        default=1.0, metadata=setting("the number is multiplied by this, for example 0.01 for cents", above=0)
    )
    period_seconds: float = field(default=60.0, metadata=setting("time between reads", unit="seconds"))
    timeout_seconds: float = field(default=3.0, metadata=setting("give up one read after this", unit="seconds"))
    hold_seconds: float = field(
        default=3600.0,
        metadata=setting(
            "while reads fail, the last price holds for so long; then none is known and its dollars are not counted",
            unit="seconds",
        ),
    )
    bearer_token_file: str | None = field(
        default=None, metadata=setting("file that holds the token for the Prometheus server", secret=True)
    )
    ca_file: str | None = field(
        default=None, metadata=setting("CA certificates (PEM) that an https server is checked against", file=True)
    )
    verify_tls: bool = field(
        default=True, metadata=setting("false: accept any certificate of an https server; anybody may then answer")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotPrice(PriceSeries):
    """A capacity price that is bid, negotiated or looked up elsewhere."""

    unit: CapacityUnit = field(default=CapacityUnit.PER_GPU_HOUR, metadata=setting("what the number means"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectricitySeries(PriceSeries):
    """An electricity price of a market. It may be negative."""

    unit: EnergyUnit = field(default=EnergyUnit.PER_KWH, metadata=setting("what the number means"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonSeries(PriceSeries):
    """Carbon intensity of the grid, in grams per kWh."""


@dataclass(frozen=True, slots=True)
class OwnershipPrice:
    """Hardware that was bought. docs/economics.md has the formula."""

    purchase_dollars: float = field(metadata=setting("what it cost", unit="dollars", above=0))
    years: float = field(metadata=setting("how long it is used", unit="years", above=0, maximum=50))
    per: Holding = field(
        default=Holding.SERVER,
        metadata=setting("`server`: all the hardware of one server; `gpu`: one GPU with its part of the rest"),
    )
    residual_dollars: float | None = field(
        default=None, metadata=setting("what it is sold for in the end; omit: nothing", unit="dollars", minimum=0)
    )
    residual_ratio: float | None = field(
        default=None, metadata=setting("the same as a part of the purchase price", unit="ratio", minimum=0, maximum=1)
    )
    maintenance_ratio_per_year: float = field(
        default=0.0,
        metadata=setting("support and repair of a year, as a part of the purchase price", unit="ratio", minimum=0),
    )
    interest_ratio_per_year: float = field(
        default=0.0, metadata=setting("cost of capital, 0.06 for 6 % a year", unit="ratio", minimum=0, maximum=1)
    )
    expected_utilisation_ratio: float = field(
        default=1.0,
        metadata=setting(
            "part of all hours in which it is in service and charged; these hours carry the whole year",
            unit="ratio",
            above=0,
            maximum=1,
        ),
    )


@dataclass(frozen=True, slots=True)
class CapacityPrice:
    """What the compute costs while it is held, busy or not. Exactly one of the bases is set."""

    dollars_per_gpu_hour: float | None = field(
        default=None,
        metadata=setting("price of one GPU; a server pays for the GPUs it owns", unit="dollars per hour", minimum=0),
    )
    dollars_per_hour: float | None = field(
        default=None,
        metadata=setting("price of all the compute of one server", unit="dollars per hour", minimum=0),
    )
    ownership: OwnershipPrice | None = field(default=None, metadata=setting("price of hardware that was bought"))
    spot: SpotPrice | None = field(
        default=None, metadata=setting("price that changes while running, from a file or a Prometheus series")
    )
    includes_electricity: bool = field(
        default=False,
        metadata=setting(
            "true for a lease that covers power: what the energy is worth is published as "
            "`tokwatt_included_energy_dollars_total`, and not added to cost and ratios"
        ),
    )


@dataclass(frozen=True, slots=True)
class TariffRule:
    """One price of a tariff. It applies where all of its conditions hold; without any, always."""

    dollars_per_kwh: float = field(metadata=setting("price while the rule applies", unit="dollars per kWh", minimum=0))
    hours: tuple[HourRange, ...] = field(
        default=(), metadata=setting("local time of the day, as in [07:00-11:00, 17:00-21:00]; omit: all day")
    )
    weekdays: tuple[Weekday, ...] = field(default=(), metadata=setting("days of the week; omit: every day"))
    seasons: tuple[Season, ...] = field(
        default=(),
        metadata=setting("first and last day as MONTH-DAY, both included, as in [11-01..03-31]; omit: all year"),
    )


@dataclass(frozen=True, slots=True)
class TariffPrice:
    """Electricity by time of use. The first rule that applies sets the price."""

    time_zone: str = field(
        metadata=setting("IANA name, for example Europe/Berlin; rules are about its local time", parse=parse_time_zone)
    )
    dollars_per_kwh: float = field(metadata=setting("price while no rule applies", unit="dollars per kWh", minimum=0))
    rules: tuple[TariffRule, ...] = field(
        default=(), metadata=setting("in order: the first one that applies sets the price")
    )


@dataclass(frozen=True, slots=True)
class ElectricityPrice:
    """What a kilowatt-hour costs. Exactly one of the three is set."""

    dollars_per_kwh: float | None = field(
        default=None, metadata=setting("one price at all times", unit="dollars per kWh", minimum=0)
    )
    tariff: TariffPrice | None = field(default=None, metadata=setting("price by time of use"))
    series: ElectricitySeries | None = field(
        default=None, metadata=setting("price that changes while running, from a file or a Prometheus series")
    )


@dataclass(frozen=True, slots=True)
class GridCarbon:
    """What a kilowatt-hour emits where it is made. Exactly one of the two is set."""

    grams_per_kwh: float | None = field(
        default=None, metadata=setting("one intensity at all times, CO2 equivalent", unit="grams per kWh", minimum=0)
    )
    series: CarbonSeries | None = field(
        default=None, metadata=setting("intensity that changes while running, in grams per kWh")
    )


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of capacity and energy. None: not configured, the dollars of that component are absent."""

    capacity: CapacityPrice | None = field(
        default=None, metadata=setting("price of compute for every server that has no `capacity` of its own")
    )
    electricity: ElectricityPrice | None = field(default=None, metadata=setting("price of energy"))
    pue: float = field(
        default=1.0,
        metadata=setting(
            "power usage effectiveness: facility energy / host energy; not applied to servers with outlet meters",
            unit="ratio",
            minimum=1,
        ),
    )
    outlet_pue: float = field(
        default=1.0,
        metadata=setting(
            "facility energy / outlet energy, for servers with outlet meters: what lies beyond the outlet",
            unit="ratio",
            minimum=1,
        ),
    )
    carbon: GridCarbon | None = field(
        default=None, metadata=setting("carbon intensity of the grid, for `tokwatt_carbon_grams_total`")
    )
