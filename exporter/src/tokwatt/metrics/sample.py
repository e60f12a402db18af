"""One sample of a family: its labels and value."""

from __future__ import annotations

from collections.abc import Mapping

Sample = tuple[Mapping[str, str], float]
