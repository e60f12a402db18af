"""Finds the spec files that ship with tokwatt: every `<engine>.toml` of this folder."""

from __future__ import annotations

import tomllib
from importlib import resources

from tokwatt.sources.tokens._spec import SpecError, TokenSpec, check_complete, spec_from_mapping


def specs() -> dict[str, TokenSpec]:
    """Read every spec file of this folder, sorted by engine. Raises SpecError naming the file."""
    found: dict[str, TokenSpec] = {}
    folder = resources.files(__package__ or "")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".toml"):
            continue
        try:
            spec = spec_from_mapping(tomllib.loads(file.read_text(encoding="utf-8")), file.name)
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"{file.name}: not valid TOML: {error}") from error
        check_complete(spec, file.name)
        if spec.engine != file.name.removesuffix(".toml"):
            raise SpecError(f'{file.name}.engine: must be the file\'s name, not "{spec.engine}"')
        found[spec.engine] = spec
    return found
