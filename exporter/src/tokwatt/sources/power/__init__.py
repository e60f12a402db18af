"""The room of power sources: every file here that does not start with `_` declares one as `SPEC`."""

from __future__ import annotations

from tokwatt.readings import PowerSourceSpec
from tokwatt.sources._specs import specs_in


def specs() -> dict[str, PowerSourceSpec]:
    """Return the spec of every power source by name, sorted by name. Raises TypeError for a file without one."""
    return specs_in(__name__, __path__, PowerSourceSpec)
