"""Binds `servers[].gpus`: all, none, a list, or an owner source that finds them out at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tokwatt.config import scalars
from tokwatt.config.binder import FAILED, Binder, settings_of
from tokwatt.config.mistakes import Rejected, nearest, shown
from tokwatt.config.schema import Config, GpuSearch, GpuSelection
from tokwatt.config.tree import Scalar, Sequence, Table, Value
from tokwatt.readings import OwnerSourceSpec

OwnerSpecs = Mapping[str, OwnerSourceSpec]
LONE, NAMED = "lone", "named"  # owner sources that are chosen here and never named in a configuration
_MIG = "MIG-"


def bind_gpus(binder: Binder, value: Value, path: str, owner_specs: OwnerSpecs) -> object:
    """Bind one `gpus`. FAILED when a mistake was reported."""
    if isinstance(value, Scalar) and value.text in {"all", "none"}:
        return GpuSelection(every=value.text == "all")
    if isinstance(value, Scalar) and value.text in _configured(owner_specs):
        return _without_options(binder, value, path, owner_specs[value.text])
    if isinstance(value, Table):
        return _search(binder, value, path, owner_specs)
    if not isinstance(value, Sequence):
        binder.report.mistake(value.mark, path, f"cannot be {scalars.describe(value)}", _write(owner_specs))
        return FAILED
    metadata = {"minimum": 0, "parse": lambda text: _parse_gpu(text, owner_specs)}
    devices = binder.value(tuple[int | str, ...], value, path, metadata)
    if devices is not FAILED and NAMED in owner_specs and any(str(one).startswith(_MIG) for one in devices):
        options = owner_specs[NAMED].options(devices=tuple(str(one) for one in devices))
        return GpuSelection(search=GpuSearch(NAMED, options))
    return GpuSelection(devices=devices)


def with_gpu_default(config: Config, binder: Binder, owner_specs: OwnerSpecs) -> Config:
    """Give the only server every GPU on which nobody else computes, unless it says otherwise."""
    if len(config.servers) != 1 or binder.place("servers[0].gpus"):
        return config
    return replace(config, servers=(replace(config.servers[0], gpus=gpus_of_the_only_server(owner_specs)),))


def gpus_of_the_only_server(owner_specs: OwnerSpecs) -> GpuSelection:
    """Return what the only server owns where nothing is said."""
    if LONE not in owner_specs:
        return GpuSelection(every=True)
    return GpuSelection(search=GpuSearch(LONE, owner_specs[LONE].options()))


def _configured(owner_specs: OwnerSpecs) -> list[str]:
    return [name for name, spec in owner_specs.items() if spec.configured]


def _write(owner_specs: OwnerSpecs) -> str:
    ways = "".join(f", {name}" for name in _configured(owner_specs) if not _required(owner_specs[name]))
    return f"write all, none{ways}, or a list of UUIDs and indices such as [GPU-..., 1]"


def _required(spec: OwnerSourceSpec) -> list[str]:
    return [setting.name for setting in settings_of(spec.options).values() if setting.required]


def _without_options(binder: Binder, value: Scalar, path: str, spec: OwnerSourceSpec) -> object:
    required = _required(spec)
    if required:
        keys = ", ".join(f"{name}: ..." for name in required)
        binder.report.mistake(
            value.mark, path, f"{spec.name} needs {' and '.join(required)}", f"write {{source: {spec.name}, {keys}}}"
        )
        return FAILED
    return GpuSelection(search=GpuSearch(spec.name, spec.options()))


def _search(binder: Binder, value: Table, path: str, owner_specs: OwnerSpecs) -> object:
    entry = value.entries.get("source")
    choices = _configured(owner_specs)
    if entry is None or not isinstance(entry.value, Scalar):
        mark = value.mark if entry is None else entry.value.mark
        binder.report.mistake(mark, f"{path}.source", "required key is missing", f"one of {', '.join(choices)}")
        return FAILED
    name = entry.value.text
    if name not in choices:
        binder.report.mistake(
            entry.value.mark, f"{path}.source", f"unknown owner source {shown(name)}", nearest(name, choices, "sources")
        )
        return FAILED
    options = binder.record(owner_specs[name].options, value, path, beside=("source",))
    return FAILED if options is None else GpuSelection(search=GpuSearch(name, options))


def _parse_gpu(text: str, owner_specs: OwnerSpecs) -> str:
    if text.isdigit():
        raise Rejected(f"GPU index {shown(text)} in quotes", f"write {text} without quotes")
    if text in {"all", "none"} or " " in text:
        raise Rejected(f"{shown(text)} is no GPU UUID or index", _write(owner_specs))
    return text
