"""Snapshot to plain JSON values for `/api/v1/snapshot` and the live page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from tokwatt.snapshot import Snapshot


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the Snapshot as JSON values, field names unchanged. Unknown is null."""
    plain: dict[str, Any] = _plain(snapshot)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
