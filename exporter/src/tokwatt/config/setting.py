"""Metadata of one setting: what docs and checks are made from."""

from __future__ import annotations

from typing import Any


def setting(help_text: str, *, unit: str = "", secret: bool = False, **limits: Any) -> dict[str, Any]:
    """Describe a field of a settings class."""
    return {"help": help_text, "unit": unit, "secret": secret, **limits}
