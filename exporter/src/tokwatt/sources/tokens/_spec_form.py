"""From the data of a spec file, or of `spec:` in the config, to a TokenSpec. Owns the form and its validation."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tokwatt.readings import Quantity
from tokwatt.sources.tokens._spec import (
    GENERIC,
    QUANTITIES,
    WORK,
    Candidate,
    JsonField,
    Moves,
    Role,
    Side,
    SpecError,
    TokenSpec,
    renamed,
)

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_CANDIDATE_KEYS = (
    *("metric", "also", "where", "sum_over", "max_over", "moves", "help_contains", "versions", "optional"),
    *("times", "times_labels"),
)
_TOKENS = (Quantity.OUTPUT, Quantity.PROMPT, Quantity.COMPUTED_INPUT)


def spec_from_mapping(mapping: object, where: str, base: TokenSpec | None = None) -> TokenSpec:
    """Build a spec from TOML or YAML data; `where` (file or config path) starts every error message.

    With `base`, keys that are given replace the base's and, inside `quantities` and `work`, one at a time; `rename`
    gives the base's metrics other beginnings. Raises SpecError.
    """
    table = _Table(mapping, where, (*_FIELDS, "quantities", "work", "rename"))
    if "rename" in table:
        base = _renamed(base, table["rename"], f"{where}.rename")
    given = {name: read(table[key], f"{where}.{key}") for key, (name, read) in _FIELDS.items() if key in table}
    quantities = _candidates_by(QUANTITIES, table.get("quantities", {}), f"{where}.quantities")
    work = _candidates_by(WORK, table.get("work", {}), f"{where}.work")
    given["work"] = MappingProxyType({**(base.work if base else {}), **work})
    given.setdefault("engine", base.engine if base else GENERIC)
    return _assemble(given, quantities, base, where)


def _renamed(base: TokenSpec | None, value: object, where: str) -> TokenSpec:
    if base is None:
        raise SpecError(f"{where}: needs the names of an engine; give `engine` too")
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise SpecError(f"{where}: must map beginnings of names to others, not {value!r}")
    return renamed(base, value)


def _assemble(
    given: dict[str, Any],
    quantities: dict[str, tuple[Candidate, ...]],
    base: TokenSpec | None,
    where: str,
) -> TokenSpec:
    merged = {**(base.quantities if base else {}), **quantities}
    if not given.get("no_tokens") and not any(quantity in merged for quantity in _TOKENS):
        raise SpecError(f"{where}.quantities: names no token counter; give at least output, prompt or computed_input")
    given["quantities"] = MappingProxyType(merged)
    if base is not None:
        if quantities:  # an engine without token counters that is given some has them
            base = replace(base, no_tokens="", instead="")
        return replace(base, **given)
    given.setdefault("title", given["engine"])
    return TokenSpec(**given)


class _Table:
    """A mapping with known keys; unknown ones are refused when it is opened."""

    def __init__(self, data: object, where: str, keys: tuple[str, ...]) -> None:
        if not isinstance(data, Mapping):
            raise SpecError(f"{where}: must be a table of {', '.join(keys)}, not {data!r}")
        for key in data:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, n=1)
                hint = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(keys)}"
                raise SpecError(f'{where}: unknown key "{key}" ({hint})')
        self._data = data
        self._where = where

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def __getitem__(self, key: str) -> object:
        return self._data[key]

    def get(self, key: str, otherwise: object) -> object:
        return self._data.get(key, otherwise)

    def text(self, key: str, otherwise: str | None = None) -> str:
        if key not in self._data:
            if otherwise is None:
                raise SpecError(f"{self._where}.{key}: missing")
            return otherwise
        return _text(self._data[key], f"{self._where}.{key}")

    def texts(self, key: str) -> tuple[str, ...]:
        return _texts(self._data.get(key, ()), f"{self._where}.{key}")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SpecError(f"{where}: must be a text, not {value!r}")
    return value


def _choice(value: object, where: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise SpecError(f"{where}: must be one of {', '.join(choices)}, not {value!r}")
    return str(value)


def _path(value: object, where: str) -> str:
    path = _text(value, where)
    if not path.startswith("/"):
        raise SpecError(f'{where}: must start with "/", not {path!r}')
    return path


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"{where}: must be true or false, not {value!r}")
    return value


def _role(value: object, where: str) -> Role:
    return Role(_choice(value, where, tuple(Role)))


def _sides(value: object, where: str) -> Mapping[str, Side]:
    table = _Table(value, where, ("prefill", "decode"))
    return MappingProxyType(
        {name: _side(table[name], f"{where}.{name}") for name in ("prefill", "decode") if name in table}
    )


def _side(value: object, where: str) -> Side:
    table = _Table(value, where, ("leave_out", "quantities"))
    leave_out = table.texts("leave_out")
    for name in leave_out:
        _choice(name, f"{where}.leave_out", QUANTITIES)
    return Side(leave_out, _candidates_by(QUANTITIES, table.get("quantities", {}), f"{where}.quantities"))


def _appears(value: object, where: str) -> bool:
    return _choice(value, where, ("at_start", "on_first_request")) == "on_first_request"


def _texts(value: object, where: str) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and item for item in items):
        raise SpecError(f"{where}: must be a text or a list of texts, not {value!r}")
    return tuple(items)


def _ports(value: object, where: str) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(type(port) is int and 0 < port < 65536 for port in value):
        raise SpecError(f"{where}: must be a list of port numbers from 1 to 65535, not {value!r}")
    return tuple(value)


def _json_field(value: object, where: str) -> JsonField:
    table = _Table(value, where, ("path", "key"))
    return JsonField(_path(table.text("path"), f"{where}.path"), tuple(table.text("key").split(".")))


def _provenance(value: object, where: str) -> Mapping[str, str]:
    table = _Table(value, where, ("files", "version", "captures"))
    found = {"files": ", ".join(table.texts("files")), "version": table.text("version")}
    if "captures" in table:
        found["captures"] = table.text("captures")
    return MappingProxyType(found)


def _candidates_by(names: tuple[str, ...], value: object, where: str) -> dict[str, tuple[Candidate, ...]]:
    """Read a table of some of `names`, each with the series sets that may carry it."""
    table = _Table(value, where, names)
    found: dict[str, tuple[Candidate, ...]] = {}
    for name in names:
        if name not in table:
            continue
        raw = table[name]
        items = list(raw) if isinstance(raw, list | tuple) else [raw]
        if not items:
            raise SpecError(f"{where}.{name}: names no metric; leave the key out instead")
        found[name] = tuple(
            candidate for index, item in enumerate(items) for candidate in _candidates(item, f"{where}.{name}[{index}]")
        )
        if names is QUANTITIES and any(candidate.times for candidate in found[name]):
            raise SpecError(
                f"{where}.{name}: `times` is for `work` only; tokens and requests are counted, not computed"
            )
    return found


def _candidates(item: object, where: str) -> tuple[Candidate, ...]:
    """One entry of a quantity: a metric name, or a table; `also` gives further spellings of the same thing."""
    table = _Table({"metric": item} if isinstance(item, str) else item, where, _CANDIDATE_KEYS)
    names = (table.text("metric"), *table.texts("also"))
    times = table.text("times", "")
    for name in (*names, times or names[0]):
        if not _METRIC_NAME.fullmatch(name):
            raise SpecError(
                f"{where}.metric: {name!r} is not a metric name; labels belong into `where`, without braces"
            )
    first = Candidate(
        metric=names[0],
        where=_where(table.get("where", {}), f"{where}.where"),
        sum_over=table.texts("sum_over"),
        max_over=table.texts("max_over"),
        moves=Moves(_choice(table.get("moves", Moves.LIVE), f"{where}.moves", tuple(Moves))),
        help_contains=table.text("help_contains", ""),
        versions=table.text("versions", ""),
        optional=_flag(table.get("optional", False), f"{where}.optional"),
        times=times,
        times_labels=table.texts("times_labels"),
    )
    if first.times_labels and not times:
        raise SpecError(f"{where}.times_labels: says which labels of `times` hold the numbers; give `times` too")
    for label in first.sum_over:
        if label in first.max_over:
            raise SpecError(f'{where}: label "{label}" is in both sum_over and max_over; ranks either add up or repeat')
    return tuple(replace(first, metric=name) for name in names)


def _where(value: object, where: str) -> tuple[tuple[str, frozenset[str]], ...]:
    if not isinstance(value, Mapping):
        raise SpecError(f"{where}: must map label names to a value or a list of values, not {value!r}")
    return tuple((str(label), frozenset(_texts(values, f"{where}.{label}"))) for label, values in value.items())


# key in the file -> field of TokenSpec and how its value is read
_FIELDS: Mapping[str, tuple[str, Callable[[object, str], Any]]] = MappingProxyType(
    {
        "engine": ("engine", _text),
        "title": ("title", _text),
        "summary": ("summary", _text),
        "versions": ("versions", _text),
        "role": ("role", _role),
        "path": ("path", _path),
        "default_ports": ("default_ports", _ports),
        "switch_on": ("switch_on", _text),
        "no_tokens": ("no_tokens", _text),
        "instead": ("instead", _text),
        "recognise": ("recognise", _json_field),
        "detect": ("detect", _texts),
        "detect_all": ("detect_all", _texts),
        "detect_not": ("detect_not", _texts),
        "series_appear": ("appears_on_first_request", _appears),
        "model_label": ("model_labels", _texts),
        "model_from": ("model_from", _json_field),
        "version_from": ("version_from", _json_field),
        "sides": ("sides", _sides),
        "disaggregated": ("disaggregated", _text),
        "provenance": ("provenance", _provenance),
        "traps": ("traps", _texts),
    }
)
