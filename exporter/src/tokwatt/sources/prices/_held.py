"""A price that was read once: how long it holds, and what cannot be one."""

from __future__ import annotations

import math

from tokwatt.readings import Malformed, PriceReading, PriceStep


def held(source: str, at_seconds: float, value: float, hold_seconds: float) -> PriceReading:
    """Let a price hold from when it was read until it should long have been read again."""
    return PriceReading(source, (PriceStep(at_seconds, value), PriceStep(at_seconds + hold_seconds, None)))


def checked(value: float, where: str, *, may_be_negative: bool) -> float:
    """Return what can be a price. Raises Malformed."""
    if not math.isfinite(value):
        raise Malformed(f"{value} is no price", where=where, hint="is the query a ratio of two zeros?")
    if value < 0 and not may_be_negative:
        raise Malformed(f"a negative price, {value:g}", where=where, hint="only electricity can have one")
    return value
