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
from tokwatt.config.responses import CounterConfig, ResponseConfig
from tokwatt.config.schema import (
    OWNER_PREFIX,
    RESERVED_LABELS,
    Config,
    GpuSearch,
    GpuSelection,
    MeterConfig,
    Role,
    ServerConfig,
    TokenOrigin,
)
from tokwatt.config.sharing import GpuRule, RestRule, SharingConfig

__all__ = [
    "DEFAULT_PORT",
    "OWNER_PREFIX",
    "RESERVED_LABELS",
    "CapacityPrice",
    "CapacityUnit",
    "CarbonSeries",
    "Config",
    "ConfigError",
    "ConfigWarning",
    "CounterConfig",
    "ElectricityPrice",
    "ElectricitySeries",
    "EnergyUnit",
    "EnvironmentDefaults",
    "GpuRule",
    "GpuSearch",
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
    "RestRule",
    "Role",
    "Season",
    "ServerConfig",
    "SharingConfig",
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
