"""Finds the spec files that ship with tokwatt: every `<engine>.toml` of this folder.

A file may begin from another one's series (`like = "vllm"`), under other names (`rename`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from tokwatt.sources.tokens._spec import SpecError, TokenSpec, check_complete
from tokwatt.sources.tokens._spec_form import spec_from_mapping


def specs() -> dict[str, TokenSpec]:
    """Read every spec file of this folder, sorted by engine. Raises SpecError naming the file."""
    files = dict(sorted(_files().items()))
    plain = {engine: _spec(engine, data, {}) for engine, data in files.items() if "like" not in data}
    return {engine: plain.get(engine) or _spec(engine, data, plain) for engine, data in files.items()}


def _files() -> dict[str, dict[str, Any]]:
    found = {}
    for file in resources.files(__package__ or "").iterdir():
        if file.name.endswith(".toml"):
            try:
                found[file.name.removesuffix(".toml")] = tomllib.loads(file.read_text(encoding="utf-8"))
            except tomllib.TOMLDecodeError as error:
                raise SpecError(f"{file.name}: not valid TOML: {error}") from error
    return found


def _spec(engine: str, data: Mapping[str, Any], plain: Mapping[str, TokenSpec]) -> TokenSpec:
    where = f"{engine}.toml"
    rest = {key: value for key, value in data.items() if key != "like"}
    base = plain.get(data.get("like", ""))
    if "like" in data and base is None:
        raise SpecError(f'{where}.like: no engine "{data["like"]}" with series of its own; {", ".join(plain)}')
    spec = spec_from_mapping(rest, where, base)
    check_complete(spec, where)
    if spec.engine != engine:
        raise SpecError(f'{where}.engine: must be the file\'s name, not "{spec.engine}"')
    return spec
