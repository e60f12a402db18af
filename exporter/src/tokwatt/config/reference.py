"""Writes the configuration reference, docs/configuration.md, from the dataclasses that load the configuration.

Owns layout only: every name, default, unit and help text comes from the classes.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from tokwatt.config.addresses import ListenAddress
from tokwatt.config.binder import Setting, settings_of
from tokwatt.config.calendar_words import HourRange, Season
from tokwatt.config.prices import (
    CapacityPrice,
    CarbonSeries,
    ElectricityPrice,
    ElectricitySeries,
    GridCarbon,
    OwnershipPrice,
    Prices,
    SpotPrice,
    TariffPrice,
    TariffRule,
)
from tokwatt.config.responses import CounterConfig, ResponseConfig
from tokwatt.config.schema import (
    RESERVED_LABELS,
    Config,
    GpuSelection,
    MeterHeader,
    PhaseConfig,
    ServerConfig,
)
from tokwatt.config.sharing import SharingConfig
from tokwatt.config.web import TlsConfig, WebConfig
from tokwatt.readings import OwnerSourceSpec, PowerSourceSpec

_INTRO = """\
<!-- Written by `make docs` from the classes in tokwatt.config. Change those, not this page. -->
# Configuration

One YAML file, given with `--config` or `TOKWATT_CONFIG`. `TOKWATT_LISTEN` is the default of `--listen`. The file itself
never expands environment variables. `tokwatt check FILE` reports every mistake at once, with line, key and what to
write instead; so does starting with such a file (exit code 2).

Numbers are written plainly (`0.17`), text that looks like a number or a truth value in quotes (`"8000"`, `"yes"`),
truth values as `true` or `false`. Aliases (`*name`) and tags (`!name`) are refused.

A secret never stands in the file: its key names a file (`…_file`) or an environment variable (`…_env`). Paths are
relative to the directory of the configuration file.
"""
EXAMPLE = """\
servers:
  - name: chat
    url: http://127.0.0.1:8000/metrics
    gpus: [0, 1]
    labels: {config: fp8-tp2}
  - name: guardrail
    url: http://127.0.0.1:8001/metrics
    gpus: [2]
    role: support
prices:
  capacity: {dollars_per_gpu_hour: 2.50}
  electricity: {dollars_per_kwh: 0.17}
  pue: 1.2
responses:
  - {server: chat, attempts: 1.2, support_tokens: 150, support_dollars_per_token: 0.000002}
"""
_OWNERSHIP = "Dollars per hour by the annuity formula of [economics.md](economics.md#hardware-that-was-bought)."
_SERIES = (
    "Give `file`, or `url` and `query`. What happens while reads fail: [economics.md](economics.md#price-sources)."
)
_TARIFF = """\
```yaml
electricity:
  tariff:
    time_zone: Europe/Berlin
    dollars_per_kwh: 0.21                # while no rule applies
    rules:                               # the first one that applies sets the price
      - {seasons: [11-01..03-31], weekdays: [mon, tue, wed, thu, fri], hours: [17:00-20:00], dollars_per_kwh: 0.38}
      - {hours: [22:00-06:00], dollars_per_kwh: 0.14}
```

A rule looks at the local date, weekday and time of each instant: `22:00-06:00` on `mon` is early and late on Monday.
When clocks are set back, an hour that is shown twice is priced twice by its name; when they are set forward, the hour
that does not exist is not priced."""
_LABELS = "Names in `labels` are legal Prometheus label names and not one of: {}.\n"
_WEB_INTRO = """\
The file of `--web.config.file`, in the format of the Prometheus exporter toolkit. Paths are relative to its directory.
Keys of that format that are not listed here are refused, not ignored.
"""


_GPUS_INTRO = """\
`servers[].gpus` may say how a server's GPUs are found out, again and again, while the exporter runs:
`gpus: processes`, or a mapping with `source` and the options below.
What was found holds from the moment it was found on; a failed look keeps the last result for 3.5 periods.
"""


def render_reference(
    power_specs: Mapping[str, PowerSourceSpec],
    engines: Collection[str],
    owner_specs: Mapping[str, OwnerSourceSpec] | None = None,
) -> str:
    """Write the whole page as Markdown."""
    known = ", ".join(f"`{engine}`" for engine in sorted(engines))
    parts = [
        _INTRO,
        f"```yaml\n{EXAMPLE}```\n",
        _section("Top level", Config, ""),
        _section("Servers", ServerConfig, "servers[]."),
        f"Engines: {known}.\n" if known else "",
        _section("Phases", PhaseConfig, "servers[].phases."),
        _LABELS.format(", ".join(f"`{name}`" for name in sorted(RESERVED_LABELS))),
        *_owners(owner_specs or {}),
        _section("Meters", MeterHeader, "meters[]."),
        *(_meter(power_specs[name]) for name in sorted(power_specs)),
        _section("Sharing", SharingConfig, "sharing."),
        _section("Prices", Prices, "prices."),
        _section(
            "Capacity",
            CapacityPrice,
            "prices.capacity.",
            "Also as `servers[].capacity`. Give exactly one price.",
        ),
        _section("Ownership", OwnershipPrice, "prices.capacity.ownership.", _OWNERSHIP, level=3),
        _section("Spot or negotiated price", SpotPrice, "prices.capacity.spot.", _SERIES, level=3),
        _section("Electricity", ElectricityPrice, "prices.electricity.", "Give exactly one price."),
        _section("Tariff", TariffPrice, "prices.electricity.tariff.", _TARIFF, level=3),
        _section("Rules of a tariff", TariffRule, "prices.electricity.tariff.rules[].", level=3),
        _section("Electricity series", ElectricitySeries, "prices.electricity.series.", _SERIES, level=3),
        _section("Carbon", GridCarbon, "prices.carbon.", "Give exactly one intensity."),
        _section("Carbon series", CarbonSeries, "prices.carbon.series.", _SERIES, level=3),
        _section("Responses", ResponseConfig, "responses[]."),
        _section("Counter of meaningful responses", CounterConfig, "responses[].meaningful."),
        "## Web configuration\n",
        _WEB_INTRO,
        _section("Sections", WebConfig, "", level=3),
        _section("TLS", TlsConfig, "tls_server_config.", level=3),
    ]
    return "\n".join(part for part in parts if part)


def _section(title: str, options: type, prefix: str, note: str = "", *, level: int = 2) -> str:
    lines = [f"{'#' * level} {title}", ""]
    if note:
        lines += [note, ""]
    return "\n".join([*lines, *_table(options, prefix), ""])


def _owners(specs: Mapping[str, OwnerSourceSpec]) -> Iterator[str]:
    if specs:
        yield "## GPUs found at run time\n"
        yield _GPUS_INTRO
    for name in sorted(specs):
        spec = specs[name]
        if not spec.configured:
            continue
        traps = [*(f"- {trap}" for trap in spec.traps), ""] if spec.traps else []
        lines = [f"### `gpus: {{source: {name}}}`", "", f"{spec.summary}. Needs: {spec.needs}.", ""]
        rows = [*_table(spec.options, "servers[].gpus.")]
        for setting in settings_of(spec.options).values():
            if is_dataclass(setting.hint) and isinstance(setting.hint, type):
                rows += [*_table(setting.hint, f"servers[].gpus.{setting.name}.")][2:]
        yield "\n".join([*lines, *rows, "", *traps])


def _meter(spec: PowerSourceSpec) -> str:
    lines = [f"### `source: {spec.name}`", "", f"{spec.summary.rstrip('.')}. Needs: {spec.needs.rstrip('.')}.", ""]
    return "\n".join([*lines, *_table(spec.options, "meters[]."), ""])


def _table(options: type, prefix: str) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for setting in settings_of(options).values():
        cells = (f"`{prefix}{setting.name}`", _value(setting), _default(setting), _meaning(setting))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(setting: Setting) -> str:
    metadata = setting.field.metadata
    unit = metadata.get("unit", "")
    limits = [
        f"{word} {metadata[key]:g}"
        for key, word in (("above", "above"), ("minimum", "at least"), ("maximum", "at most"))
        if key in metadata
    ]
    kind = _type_text(setting.hint)
    return ", ".join([f"{kind} ({unit})" if unit else kind, *limits])


def _type_text(hint: Any) -> str:
    if get_origin(hint) in {Union, types.UnionType}:
        return " or ".join(_type_text(member) for member in get_args(hint) if member is not type(None))
    if get_origin(hint) is tuple:
        return f"list of {_type_text(get_args(hint)[0])}".replace("mapping", "mappings")
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return ", ".join(f"`{choice}`" for choice in hint)
    names: dict[Any, str] = {
        bool: "`true`, `false`", int: "whole number", float: "number", str: "text", Path: "path",
        ListenAddress: "address", GpuSelection: "`all`, `none`, list, text or mapping",
        HourRange: "ranges of hours", Season: "seasons",
    }  # fmt: skip
    return names.get(hint, "mapping")


def _default(setting: Setting) -> str:
    if setting.required:
        return "required"
    default = setting.field.default
    if default is MISSING or default is None or default in ((), GpuSelection()):
        return ""
    if is_dataclass(default) and not isinstance(default, ListenAddress):
        return ""  # its own table shows them
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`{', '.join(str(item) for item in default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _meaning(setting: Setting) -> str:
    return str(setting.field.metadata.get("help", ""))
