"""Finds what the files of a room declare. There is no list to keep: a new file is a new source."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import TypeVar

from tokwatt.readings import SourceSpec

Spec = TypeVar("Spec", bound=SourceSpec)


def specs_in(room: str, path: Iterable[str], kind: type[Spec]) -> dict[str, Spec]:
    """Return the `SPEC` of every file of a package that does not start with `_`, by name, sorted by name.

    Raises:
        TypeError: a file has no `SPEC` of this kind, or one whose name is not the file's.
    """
    found: dict[str, Spec] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(path)):
        if name.startswith("_"):
            continue
        spec = getattr(importlib.import_module(f"{room}.{name}"), "SPEC", None)
        if not isinstance(spec, kind) or spec.name != name:
            raise TypeError(f"{room}.{name} must declare SPEC: {kind.__name__} with the name {name!r}")
        found[name] = spec
    return found
