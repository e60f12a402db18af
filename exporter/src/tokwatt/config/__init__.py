"""YAML to frozen dataclasses, strictly, with line numbers and suggestions."""

from tokwatt.config.addresses import DEFAULT_PORT, ListenAddress, parse_listen
from tokwatt.config.environment import EnvironmentDefaults, environment_defaults
from tokwatt.config.load import load_config, read_config
from tokwatt.config.mistakes import ConfigError, ConfigWarning, Mistake, Rejected
from tokwatt.config.schema import (
    RESERVED_LABELS,
    CapacityPrice,
    Config,
    CounterConfig,
    ElectricityPrice,
    GpuSelection,
    MeterConfig,
    Prices,
    ResponseConfig,
    Role,
    ServerConfig,
    TokenOrigin,
)

__all__ = [
    "DEFAULT_PORT",
    "RESERVED_LABELS",
    "CapacityPrice",
    "Config",
    "ConfigError",
    "ConfigWarning",
    "CounterConfig",
    "ElectricityPrice",
    "EnvironmentDefaults",
    "GpuSelection",
    "ListenAddress",
    "MeterConfig",
    "Mistake",
    "Prices",
    "Rejected",
    "ResponseConfig",
    "Role",
    "ServerConfig",
    "TokenOrigin",
    "environment_defaults",
    "load_config",
    "parse_listen",
    "read_config",
]
