"""The room of power sources: every file here that does not start with `_` declares one as `SPEC`.

Owns finding them. There is no list to keep: a new file is a new source.
"""

from __future__ import annotations

import importlib
import pkgutil

from tokwatt.readings import PowerSourceSpec


def specs() -> dict[str, PowerSourceSpec]:
    """Return the spec of every power source by name, sorted by name.

    Raises:
        TypeError: a file in this folder has no `SPEC`, or one whose name is not the file's.
    """
    found: dict[str, PowerSourceSpec] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        if name.startswith("_"):
            continue
        spec = getattr(importlib.import_module(f"{__name__}.{name}"), "SPEC", None)
        if not isinstance(spec, PowerSourceSpec) or spec.name != name:
            raise TypeError(f"sources/power/{name}.py must declare SPEC, a PowerSourceSpec named {name!r}")
        found[name] = spec
    return found
