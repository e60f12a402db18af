"""The power source specs of this checkout, found as files of `tokwatt.sources.power`."""

from __future__ import annotations

import importlib
import importlib.resources
import pkgutil

import tokwatt.sources.power
from tokwatt.readings import PowerSourceSpec


def real_power_specs() -> dict[str, PowerSourceSpec]:
    """Import every public module of the folder and collect its SPEC."""
    names = sorted(m.name for m in pkgutil.iter_modules(tokwatt.sources.power.__path__) if not m.name.startswith("_"))
    modules = [importlib.import_module(f"tokwatt.sources.power.{name}") for name in names]
    return {module.SPEC.name: module.SPEC for module in modules if hasattr(module, "SPEC")}


def real_engines() -> tuple[str, ...]:
    """Name the engines that have a spec file."""
    folder = importlib.resources.files("tokwatt.sources.tokens")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))
