"""YAML to frozen dataclasses, strictly, with line numbers and suggestions."""

from tokwatt.config.addresses import DEFAULT_PORT, ListenAddress, parse_listen
from tokwatt.config.environment import EnvironmentDefaults, environment_defaults
from tokwatt.config.load import load_config, read_config
from tokwatt.config.mistakes import ConfigError, ConfigWarning, Mistake, Rejected
from tokwatt.config.schema import (
    OWNER_PREFIX,
    RESERVED_LABELS,
    CapacityPrice,
    Config,
    ElectricityPrice,
    GpuRule,
    GpuSearch,
    GpuSelection,
    MeterConfig,
    Prices,
    ResponseConfig,
    RestRule,
    Role,
    ServerConfig,
    SharingConfig,
    TokenOrigin,
)

__all__ = [
    "DEFAULT_PORT",
    "OWNER_PREFIX",
    "RESERVED_LABELS",
    "CapacityPrice",
    "Config",
    "ConfigError",
    "ConfigWarning",
    "ElectricityPrice",
    "EnvironmentDefaults",
    "GpuRule",
    "GpuSearch",
    "GpuSelection",
    "ListenAddress",
    "MeterConfig",
    "Mistake",
    "Prices",
    "Rejected",
    "ResponseConfig",
    "RestRule",
    "Role",
    "ServerConfig",
    "SharingConfig",
    "TokenOrigin",
    "environment_defaults",
    "load_config",
    "parse_listen",
    "read_config",
]
