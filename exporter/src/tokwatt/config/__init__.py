"""YAML to frozen dataclasses, strictly, with line numbers and suggestions."""

from tokwatt.config.addresses import DEFAULT_PORT, ListenAddress, parse_listen
from tokwatt.config.calendar_words import HourRange, Season, Weekday
from tokwatt.config.environment import EnvironmentDefaults, environment_defaults
from tokwatt.config.load import load_config, read_config
from tokwatt.config.mistakes import ConfigError, ConfigWarning, Mistake, Rejected
from tokwatt.config.prices import (
    CapacityPrice,
    CapacityUnit,
    CarbonSeries,
    ElectricityPrice,
    ElectricitySeries,
    EnergyUnit,
    GridCarbon,
    Holding,
    OwnershipPrice,
    Prices,
    PriceSeries,
    SpotPrice,
    TariffPrice,
    TariffRule,
)
from tokwatt.config.schema import (
    RESERVED_LABELS,
    Config,
    GpuSelection,
    MeterConfig,
    ResponseConfig,
    Role,
    ServerConfig,
    TokenOrigin,
)

__all__ = [
    "DEFAULT_PORT",
    "RESERVED_LABELS",
    "CapacityPrice",
    "CapacityUnit",
    "CarbonSeries",
    "Config",
    "ConfigError",
    "ConfigWarning",
    "ElectricityPrice",
    "ElectricitySeries",
    "EnergyUnit",
    "EnvironmentDefaults",
    "GpuSelection",
    "GridCarbon",
    "Holding",
    "HourRange",
    "ListenAddress",
    "MeterConfig",
    "Mistake",
    "OwnershipPrice",
    "PriceSeries",
    "Prices",
    "Rejected",
    "ResponseConfig",
    "Role",
    "Season",
    "ServerConfig",
    "SpotPrice",
    "TariffPrice",
    "TariffRule",
    "TokenOrigin",
    "Weekday",
    "environment_defaults",
    "load_config",
    "parse_listen",
    "read_config",
]
