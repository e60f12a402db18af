"""The room of owner sources: every file here that does not start with `_` declares one as `SPEC`.

Each finds out, again and again, which GPUs an inference server computes on. There is no list to keep: a new file is a
new way to find out.
"""

from __future__ import annotations

import importlib
import pkgutil

from tokwatt.readings import OwnerSourceSpec


def specs() -> dict[str, OwnerSourceSpec]:
    """Return the spec of every owner source by name, sorted by name.

    Raises:
        TypeError: a file in this folder has no `SPEC`, or one whose name is not the file's.
    """
    found: dict[str, OwnerSourceSpec] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        if name.startswith("_"):
            continue
        spec = getattr(importlib.import_module(f"{__name__}.{name}"), "SPEC", None)
        if not isinstance(spec, OwnerSourceSpec) or spec.name != name:
            raise TypeError(f"sources/owners/{name}.py must declare SPEC, an OwnerSourceSpec named {name!r}")
        found[name] = spec
    return found
