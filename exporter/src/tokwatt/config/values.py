"""One YAML value to one annotation: unions, choices, numbers within limits, text. Raises Rejected, reports nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from tokwatt.config import scalars
from tokwatt.config.mistakes import Rejected, nearest, shown
from tokwatt.config.tree import Sequence, Table, Value


def blank(hint: Any) -> object:
    """Return an empty value of a scalar type, None for any other."""
    return hint() if hint in {str, int, float, bool} else None


def member_for(hint: Any, value: Value) -> Any:
    """Choose the member of a union that a value of this shape is meant for."""
    members = [member for member in get_args(hint) if member is not type(None)]

    def first(accept: Callable[[Any], bool]) -> Any:
        return next((member for member in members if accept(member)), None)

    chosen = None
    if isinstance(value, Sequence):
        chosen = first(lambda m: get_origin(m) is tuple)
    elif isinstance(value, Table):
        chosen = first(lambda m: is_dataclass(m) or get_origin(m) is Mapping)
    elif scalars.is_number(value):
        chosen = first(lambda m: m in {int, float})
    elif scalars.is_boolean(value):
        chosen = first(lambda m: m is bool)
    return chosen or first(lambda m: m is str or get_origin(m) is Literal) or members[0]


def bind_simple(hint: Any, value: Value, metadata: Mapping[str, Any]) -> object:
    """Bind a scalar. `metadata`: secret, minimum, above, maximum, unit, parse. Raises Rejected."""
    secret = bool(metadata.get("secret"))
    if hint is bool:
        return scalars.to_bool(value)
    if hint in {int, float}:
        return _within(scalars.to_int(value) if hint is int else scalars.to_float(value), metadata)
    if get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, StrEnum)):
        return _choice(hint, scalars.to_text(value))
    if hint not in {str, Path}:
        raise TypeError(f"the configuration cannot bind {hint!r}")
    text = scalars.to_text(value, secret=secret)
    parse = metadata.get("parse")
    return hint(parse(text) if parse else text)


def _within(number: float, metadata: Mapping[str, Any]) -> float:
    # a duration of nothing makes no timer, so `_seconds` fields need not say it one by one
    above = metadata.get("above", 0 if metadata.get("unit") in {"s", "seconds"} and "minimum" not in metadata else None)
    low, high = metadata.get("minimum"), metadata.get("maximum")
    if above is not None and not number > above:
        raise Rejected(f"impossible number {number:g}", f"must be above {above:g}")
    if low is not None and number < low:
        raise Rejected(f"impossible number {number:g}", f"must be at least {low:g}")
    if high is not None and number > high:
        raise Rejected(f"impossible number {number:g}", f"must be at most {high:g}")
    return number


def _choice(hint: Any, text: str) -> object:
    choices = {str(c): c for c in (get_args(hint) or tuple(hint))}
    if text not in choices:
        raise Rejected(f"unknown value {shown(text)}", nearest(text, choices))
    return choices[text]
