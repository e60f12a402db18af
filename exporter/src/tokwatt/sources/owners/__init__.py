"""The room of owner sources: every file here that does not start with `_` declares one as `SPEC`.

Each finds out, again and again, which GPUs an inference server computes on.
"""

from __future__ import annotations

from tokwatt.readings import OwnerSourceSpec
from tokwatt.sources._specs import specs_in


def specs() -> dict[str, OwnerSourceSpec]:
    """Return the spec of every owner source by name, sorted by name. Raises TypeError for a file without one."""
    return specs_in(__name__, __path__, OwnerSourceSpec)
