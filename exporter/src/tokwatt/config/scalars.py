"""One word of YAML to a bool, a number or text, by what the setting wants and never by what YAML guesses.

YAML reads `yes` as true, `0623` as octal, `12:30` as 750 and `1e3` as text: here each is a mistake or what was meant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from tokwatt.config.mistakes import Rejected, shown
from tokwatt.config.tree import Scalar, Sequence, Table, Value

_NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_OTHER_NUMBER = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|0[xob][0-9A-Fa-f_]+|\.(inf|Inf|INF)|\.(nan|NaN|NAN))")
_YES_NO: Mapping[str, str] = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


def is_null(value: Value) -> bool:
    """Tell whether a key was written without a value."""
    return isinstance(value, Scalar) and value.plain and value.text in _NULLS


def is_number(value: Value) -> bool:
    """Tell whether an unquoted word reads as a number, in any spelling YAML knows."""
    return isinstance(value, Scalar) and value.plain and bool(_matches_number(value.text))


def is_index(value: Value) -> bool:
    """Tell whether an unquoted word is a whole number from 0 up, written as everybody reads it."""
    return isinstance(value, Scalar) and value.plain and value.text.isdecimal() and bool(_INTEGER.fullmatch(value.text))


def is_boolean(value: Value) -> bool:
    """Tell whether an unquoted word is true or false."""
    return isinstance(value, Scalar) and value.plain and value.text.lower() in {"true", "false"}


def describe(value: Value, *, secret: bool = False) -> str:
    """Say what stands there instead of what was wanted. The content of a secret is not repeated."""
    if isinstance(value, Table):
        return "a mapping"
    if isinstance(value, Sequence):
        return "a list"
    if is_null(value):
        return "nothing"
    kind = "the number" if is_number(value) else "text"
    if secret:
        return "a number" if is_number(value) else "text"
    return value.text if is_boolean(value) else f"{kind} {shown(value.text)}"


def to_bool(value: Value) -> bool:
    """Read true or false. Raises Rejected."""
    if isinstance(value, Scalar) and is_boolean(value):
        return value.text.lower() == "true"
    if isinstance(value, Scalar) and value.text.lower() in _YES_NO:
        raise Rejected(
            f"expected true or false, got {shown(value.text)}", f"write {_YES_NO[value.text.lower()]} (without quotes)"
        )
    raise Rejected(f"expected true or false, got {describe(value)}", _unquote(value))


def to_int(value: Value) -> int:
    """Read a whole number in decimal. Raises Rejected."""
    if isinstance(value, Scalar) and value.plain and _INTEGER.fullmatch(value.text):
        return int(value.text)
    raise Rejected(f"expected a whole number, got {describe(value)}", _unquote(value))


def to_float(value: Value) -> float:
    """Read a finite decimal number. Raises Rejected."""
    if isinstance(value, Scalar) and value.plain:
        if _NUMBER.fullmatch(value.text):
            number = float(value.text)
            if math.isfinite(number):
                return number
            raise Rejected(f"expected a finite number, got {shown(value.text)}")
        if _matches_number(value.text):
            raise Rejected(
                f"expected a finite decimal number, got {shown(value.text)}",
                "write digits only, such as 1000 or 0.25 (no _, no leading zeros, no inf, no nan)",
            )
    raise Rejected(f"expected a number, got {describe(value)}", _unquote(value))


def to_text(value: Value, *, secret: bool = False) -> str:
    """Read text. Raises Rejected for what YAML tools read as something else, and for control characters."""
    if not isinstance(value, Scalar) or is_null(value):
        raise Rejected(f"expected text, got {describe(value)}")
    if value.plain and (is_number(value) or is_boolean(value) or value.text.lower() in _YES_NO):
        example = "" if secret else f': "{value.text}"'
        raise Rejected(f"expected text, got {describe(value, secret=secret)}", f"put it in quotes{example}")
    if not value.text.strip():
        raise Rejected("expected text, got an empty text")
    if not value.text.isprintable():
        raise Rejected("contains a line break, a control character or another unprintable character")
    return value.text


def to_raw(value: Value) -> object:
    """Read anything into plain dicts, lists and scalars. Raises Rejected for unprintable text."""
    if isinstance(value, Table):
        return {key: to_raw(entry.value) for key, entry in value.entries.items()}
    if isinstance(value, Sequence):
        return [to_raw(item) for item in value.items]
    if is_null(value):
        return None
    if is_boolean(value):
        return to_bool(value)
    if is_number(value):
        return to_int(value) if _INTEGER.fullmatch(value.text) else to_float(value)
    return to_text(value)


def _matches_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text) or _OTHER_NUMBER.fullmatch(text))


def _unquote(value: Value) -> str:
    if (
        isinstance(value, Scalar)
        and not value.plain
        and (_matches_number(value.text) or value.text.lower() in {"true", "false"})
    ):
        return f"write {value.text} without quotes"
    if isinstance(value, Scalar) and value.plain and re.fullmatch(r"[0-9]+,[0-9]+", value.text):
        return f"write {value.text.replace(',', '.')}"
    return ""
