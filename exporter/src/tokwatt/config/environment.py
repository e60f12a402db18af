"""Environment variables of the command line: TOKWATT_CONFIG and TOKWATT_LISTEN. Flags win over them.

The configuration file itself never expands environment variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokwatt.config.addresses import ListenAddress, parse_listen
from tokwatt.config.mistakes import ConfigError, Mistake, Rejected

CONFIG_VARIABLE = "TOKWATT_CONFIG"
LISTEN_VARIABLE = "TOKWATT_LISTEN"


@dataclass(frozen=True, slots=True)
class EnvironmentDefaults:
    """Defaults of `--config` and `--listen`. None: not set, or set to nothing."""

    config: Path | None
    listen: ListenAddress | None


def environment_defaults(environ: Mapping[str, str]) -> EnvironmentDefaults:
    """Read the variables. Raises ConfigError for a listen address that cannot be one."""
    config, listen = environ.get(CONFIG_VARIABLE), environ.get(LISTEN_VARIABLE)
    try:
        address = parse_listen(listen) if listen else None
    except Rejected as error:
        mistake = Mistake("environment", None, None, LISTEN_VARIABLE, error.message, error.suggestion)
        raise ConfigError([mistake]) from None
    return EnvironmentDefaults(Path(config) if config else None, address)
