"""Numbers as people read them. Pure."""

from __future__ import annotations


def written(value: float) -> str:
    """Write a number for a person: six significant digits, all of a large whole one."""
    if abs(value) >= 1e5:
        return f"{value:,.0f}"
    return f"{value:,.6g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.4g}"
