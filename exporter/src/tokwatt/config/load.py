"""Load the exporter's configuration: text or file to Config and warnings, or ConfigError with every mistake.

What sources offer is handed in; nothing of tokwatt.sources is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from tokwatt.config import scalars
from tokwatt.config.addresses import ListenAddress, parse_listen
from tokwatt.config.binder import FAILED, Binder
from tokwatt.config.calendar_words import HourRange, Season, parse_hours, parse_season
from tokwatt.config.checks import check
from tokwatt.config.gpus import bind_gpus, with_gpu_default
from tokwatt.config.mistakes import ConfigError, ConfigWarning, Mistake, Rejected, Report, nearest, shown
from tokwatt.config.schema import Config, GpuSelection, MeterConfig, MeterHeader, ServerConfig
from tokwatt.config.tree import Scalar, Table, Value, parse
from tokwatt.readings import OwnerSourceSpec, PowerSourceSpec

CheckSpec = Callable[[Mapping[str, object], str | None, str], object]
CountedAgain = Callable[[Collection[ServerConfig]], Mapping[str, Collection[str]]]
_METER_KEYS = ("source", "name", "machine")
_NO_OWNERS: Mapping[str, OwnerSourceSpec] = {}


def read_config(
    path: Path,
    *,
    power_specs: Mapping[str, PowerSourceSpec],
    engines: Collection[str],
    check_spec: CheckSpec | None = None,
    counted_again: CountedAgain | None = None,
    owner_specs: Mapping[str, OwnerSourceSpec] = _NO_OWNERS,
    environ: Mapping[str, str] | None = None,
) -> tuple[Config, tuple[ConfigWarning, ...]]:
    """Read a configuration file; see `load_config`."""
    return load_config(
        read_text(path),
        str(path),
        power_specs=power_specs,
        engines=engines,
        check_spec=check_spec,
        counted_again=counted_again,
        owner_specs=owner_specs,
        environ=environ,
    )


def read_text(path: Path) -> str:
    """Read a file as UTF-8. Raises ConfigError with the reason."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([Mistake(str(path), line, None, "", "not UTF-8 text", "save the file as UTF-8")]) from None
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError([Mistake(str(path), None, None, "", message, "check the path and its permissions")]) from None


def load_config(
    text: str,
    filename: str,
    *,
    power_specs: Mapping[str, PowerSourceSpec],
    engines: Collection[str],
    check_spec: CheckSpec | None = None,
    counted_again: CountedAgain | None = None,
    owner_specs: Mapping[str, OwnerSourceSpec] = _NO_OWNERS,
    environ: Mapping[str, str] | None = None,
) -> tuple[Config, tuple[ConfigWarning, ...]]:
    """Load a configuration from text.

    Args:
        text: YAML.
        filename: named in messages; relative paths in the text are relative to its directory.
        power_specs: the known power sources by name.
        engines: names that `engine` may have.
        check_spec: given a server's `spec`, its `engine` and the key path of the spec; raises ValueError if the spec
            cannot be used, with a message that may begin with a key path and a colon.
        counted_again: given the servers, those that count again what others count, with the names of these others.
        owner_specs: the known owner sources by name, for `gpus`; without them GPUs can only be listed.
        environ: where `*_env` settings are looked up; None: the process environment.

    Raises:
        ConfigError: with every mistake found.
    """
    report = Report(filename)
    binder = Binder(
        report,
        directory=Path(filename).parent.absolute(),
        environ=os.environ if environ is None else environ,
        custom={
            ListenAddress: _bind_listen,
            GpuSelection: lambda b, value, path: bind_gpus(b, value, path, owner_specs),
            HourRange: lambda b, value, path: _bind_word(b, value, path, parse_hours),
            Season: lambda b, value, path: _bind_word(b, value, path, parse_season),
            MeterConfig: lambda b, value, path: _bind_meter(b, value, path, power_specs),
        },
    )
    config = Config()
    root = parse(text, report)
    if root is not None and not scalars.is_null(root):
        config = with_gpu_default(binder.record(Config, root, ""), binder, owner_specs)
        check(config, binder, power_specs, engines)
        _check_specs(config, binder, check_spec)
        if counted_again is not None and not report.has_mistake("servers"):
            _check_double_counting(config, binder, counted_again)
    report.raise_mistakes()
    return config, tuple(report.warnings)


def _check_specs(config: Config, binder: Binder, check_spec: CheckSpec | None) -> None:
    for index, server in enumerate(config.servers):
        path = f"servers[{index}].spec"
        if server.spec is None or check_spec is None or binder.report.has_mistake(path):
            continue
        try:
            check_spec(server.spec, server.engine, path)
        except ValueError as error:
            key, colon, message = str(error).partition(": ")
            if not (colon and key.startswith(path)):
                key, message = path, str(error)
            binder.report.mistake(binder.place(key, path), key, message)


def _check_double_counting(config: Config, binder: Binder, counted_again: CountedAgain) -> None:
    twice = counted_again(config.servers)
    for index, server in enumerate(config.servers):
        if server.name in twice:
            path = f"servers[{index}].engine"
            others = " and ".join(twice[server.name])
            binder.report.mistake(
                binder.place(path, f"servers[{index}]"),
                path,
                f"stands in front of {others} and counts the same tokens again",
                "keep what is beside the GPUs, or write `separate: true` if its requests reach no other server here",
            )


def _bind_listen(binder: Binder, value: Value, path: str) -> object:
    try:
        # an address with nothing but digits and colons looks like a number to YAML 1.1, so plainness does not matter
        return parse_listen(value.text if isinstance(value, Scalar) else scalars.to_text(value))
    except Rejected as error:
        binder.report.mistake(value.mark, path, error.message, error.suggestion)
        return FAILED


def _bind_word(binder: Binder, value: Value, path: str, parse_word: Callable[[str], object]) -> object:
    try:
        return parse_word(scalars.to_text(value))
    except Rejected as error:
        binder.report.mistake(value.mark, path, error.message, error.suggestion)
        return FAILED


def _bind_meter(binder: Binder, value: Value, path: str, power_specs: Mapping[str, PowerSourceSpec]) -> object:
    entries = value.entries if isinstance(value, Table) else {}
    own = Table({k: e for k, e in entries.items() if k in _METER_KEYS}, value.mark)
    header: MeterHeader = binder.record(MeterHeader, own if isinstance(value, Table) else value, path)
    spec = power_specs.get(header.source)
    if spec is None:
        if header.source:
            source_path = f"{path}.source"
            message = f"unknown power source {shown(header.source)}"
            binder.report.mistake(
                binder.place(source_path), source_path, message, nearest(header.source, power_specs, "sources")
            )
        return MeterConfig(header.source, header.name or header.source, None)
    options = binder.record(spec.options, value, path, beside=_METER_KEYS)
    return MeterConfig(header.source, header.name or header.source, options, header.machine)
