"""The room of price sources: every file here that does not start with `_` declares one as `SPEC`.

They say what a price is from now on, in base units.
"""

from __future__ import annotations

from tokwatt.readings import KeyedSourceSpec
from tokwatt.sources._specs import specs_in


def specs() -> dict[str, KeyedSourceSpec]:
    """Return the spec of every price source by name, sorted by name. Raises TypeError for a file without one."""
    return specs_in(__name__, __path__, KeyedSourceSpec)
