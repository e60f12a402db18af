"""Binds a tree of YAML values to frozen dataclasses by their annotations and field metadata; reports every mistake.

Knows nothing of tokwatt's own settings. A value that fails is replaced by its default (or a blank), so that checks
across entries still see the rest; that stand-in never leaves the room, because mistakes end in ConfigError.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from tokwatt.config import scalars
from tokwatt.config.files import check_readable, open_to_everybody
from tokwatt.config.mistakes import Mark, Rejected, Report, nearest
from tokwatt.config.tree import Entry, Scalar, Sequence, Table, Value, join
from tokwatt.config.values import bind_simple, blank, member_for


class _Nothing(Enum):
    FAILED = "failed"


FAILED = _Nothing.FAILED


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of an options class: its name, resolved annotation and metadata."""

    name: str
    hint: Any
    field: Field[Any]

    @property
    def required(self) -> bool:
        """Tell whether the field has no default."""
        return self.field.default is MISSING and self.field.default_factory is MISSING

    @property
    def secret(self) -> bool:
        """Tell whether the field leads to a secret."""
        return bool(self.field.metadata.get("secret"))

    def stand_in(self) -> object:
        """Return the default, or a blank of the type."""
        if self.field.default is not MISSING:
            return self.field.default
        if self.field.default_factory is not MISSING:
            return self.field.default_factory()
        return blank(self.hint)


def settings_of(options: type) -> dict[str, Setting]:
    """List the fields of an options dataclass by name."""
    hints = get_type_hints(options)
    return {f.name: Setting(f.name, hints[f.name], f) for f in fields(options)}


BindOne = Callable[["Binder", Value, str], object]


class Binder:
    """Binds the values of one file. `custom` maps a type to the function that binds it."""

    def __init__(
        self, report: Report, *, directory: Path, environ: Mapping[str, str], custom: Mapping[Any, BindOne]
    ) -> None:
        self.report = report
        self._directory = directory
        self._environ = environ
        self._custom = custom
        self._places: dict[str, Mark] = {}

    def place(self, *paths: str) -> Mark | None:
        """Find where the first of these key paths stands in the file."""
        return next((self._places[path] for path in paths if path in self._places), None)

    def record(self, options: type, value: Value, path: str, *, beside: Collection[str] = ()) -> Any:
        """Bind a mapping to a dataclass. Keys in `beside` belong to somebody else and are left alone."""
        before = len(self.report.mistakes)
        self._places[path] = value.mark
        settings = settings_of(options)
        entries = self._entries(value, path)
        for key, entry in entries.items():
            if key not in settings and key not in beside:
                self._unknown(options, entry, path, key, {*settings, *beside})
        bound = {name: self._setting(setting, value, entries.get(name), path) for name, setting in settings.items()}
        self._one_way_to_a_secret(bound, settings, path)
        return self._build(options, bound, value, path, clean=len(self.report.mistakes) == before)

    def _entries(self, value: Value, path: str) -> Mapping[str, Entry]:
        if isinstance(value, Table):
            return value.entries
        # not repeating the text: a person may have given the path of a secret file, or a password for a mapping of them
        self.report.mistake(
            value.mark, path, f"expected a mapping (key: value), got {scalars.describe(value, secret=True)}"
        )
        return {}

    def _setting(self, setting: Setting, parent: Value, entry: Entry | None, path: str) -> object:
        key_path = join(path, setting.name)
        if entry is None:
            if setting.required and isinstance(parent, Table):
                wanted = setting.field.metadata.get("help", "")
                self.report.mistake(parent.mark, key_path, "required key is missing", wanted)
            return setting.stand_in()
        if scalars.is_null(entry.value):
            self._places[key_path] = entry.key_mark
            self.report.mistake(entry.key_mark, key_path, "has no value", "give one or delete the key")
            return setting.stand_in()
        if isinstance(entry.value, Scalar) and setting.field.default == (entry.value.text,):
            return setting.field.default  # `gpus: all` where the default is the list ("all",)
        bound = self.value(setting.hint, entry.value, key_path, setting.field.metadata)
        if bound is not FAILED:
            bound = self._follow(setting, bound, entry.value.mark, key_path)
        return setting.stand_in() if bound is FAILED else bound

    def _build(self, options: type, bound: dict[str, object], value: Value, path: str, *, clean: bool) -> Any:
        try:
            return options(**bound)
        except (ValueError, TypeError) as error:
            if clean and isinstance(error, TypeError):
                raise
            if clean:
                key = join(path, str(error).partition(" ")[0])  # a message that begins with a field is about that field
                self.report.mistake(self.place(key) or value.mark, key if key in self._places else path, str(error))
            return None  # blanks need not satisfy the class; the mistakes are already known

    def _unknown(self, options: type, entry: Entry, path: str, key: str, valid: set[str]) -> None:
        ways = [way for way in (f"{key}_file", f"{key}_env") if way in valid]
        later: Collection[str] = getattr(options, "LATER", ())
        if ways:
            message, suggestion = "a secret must not stand in the configuration", f"use {' or '.join(ways)}"
        elif key in later:
            message, suggestion = "not in this version", f"valid keys: {', '.join(sorted(valid))}"
        else:
            message, suggestion = "unknown key", nearest(key, valid, "valid keys")
        self.report.mistake(entry.key_mark, join(path, key), message, suggestion)

    def value(self, hint: Any, value: Value, path: str, metadata: Mapping[str, Any]) -> Any:
        """Bind one value to an annotation. FAILED when a mistake was reported."""
        self._places.setdefault(path, value.mark)
        if hint in self._custom:
            return self._custom[hint](self, value, path)
        if get_origin(hint) in {Union, types.UnionType}:
            return self.value(member_for(hint, value), value, path, metadata)
        if is_dataclass(hint) and isinstance(hint, type):
            return self.record(hint, value, path)
        if get_origin(hint) is tuple:
            return self._list(get_args(hint)[0], value, path, metadata)
        if get_origin(hint) is Mapping:
            return self._mapping(hint, value, path, metadata)
        try:
            return bind_simple(hint, value, metadata)
        except Rejected as error:
            self.report.mistake(value.mark, path, error.message, error.suggestion)
            return FAILED

    def _list(self, hint: Any, value: Value, path: str, metadata: Mapping[str, Any]) -> object:
        if not isinstance(value, Sequence):
            self.report.mistake(
                value.mark, path, f"expected a list, got {scalars.describe(value)}", "write [a, b] or one '- ' a line"
            )
            return FAILED
        bound: list[object] = []
        for index, item in enumerate(value.items):
            if hint is str and scalars.is_index(item):
                bound.append(str(scalars.to_int(item)))  # a list of names or indices: [GPU-..., 1]
                continue
            one = self.value(hint, item, f"{path}[{index}]", metadata)
            bound.append(blank(hint) if one is FAILED else one)
        return tuple(bound)

    def _mapping(self, hint: Any, value: Value, path: str, metadata: Mapping[str, Any]) -> object:
        """Bind a mapping with keys of the user's own. `parse_item` gets key and text, and returns the value."""
        secret = bool(metadata.get("secret"))
        parse: Callable[[str, str], object] = metadata.get("parse_item", lambda _, text: text)
        bound: dict[str, object] = {}
        for key, entry in self._entries(value, path).items():
            try:
                if get_args(hint)[1] is object:
                    self._remember(entry.value, join(path, key))
                    bound[key] = scalars.to_raw(entry.value)
                else:
                    bound[key] = parse(key, scalars.to_text(entry.value, secret=secret))
            except Rejected as error:
                self.report.mistake(entry.value.mark, join(path, key), error.message, error.suggestion)
        return bound

    def _remember(self, value: Value, path: str) -> None:
        """Keep the places inside a value that another room will check."""
        self._places[path] = value.mark
        if isinstance(value, Table):
            for key, entry in value.entries.items():
                self._remember(entry.value, join(path, key))
        elif isinstance(value, Sequence):
            for index, item in enumerate(value.items):
                self._remember(item, f"{path}[{index}]")

    def _follow(self, setting: Setting, bound: Any, mark: Mark, path: str) -> Any:
        """Check the file or environment variable that a setting names; return an absolute path for a file."""
        if setting.field.metadata.get("later_file"):
            return self._file_of_another(bound, mark, path)
        names_file = setting.field.metadata.get("file") or (setting.secret and setting.name.endswith("_file"))
        if setting.secret and setting.name.endswith("_env") and not self._environ.get(str(bound)):
            self.report.mistake(mark, path, "the environment variable it names is not set or empty")
            return FAILED
        if not names_file:
            return bound
        file = self._directory / str(bound)
        try:
            check_readable(file)
        except Rejected as error:
            self.report.mistake(mark, path, error.message, error.suggestion)
            return FAILED
        if setting.secret and open_to_everybody(file):
            self.report.warn(mark, path, f"every user of this host can read {file}", "chmod o-r it")
        return type(bound)(file)

    def _file_of_another(self, bound: Any, mark: Mark, path: str) -> str:
        """Resolve a file that somebody else writes while the exporter runs: it may come later."""
        file = self._directory / str(bound)
        try:
            check_readable(file)
        except Rejected as error:
            self.report.warn(mark, path, error.message, "nothing is known before it is there")
        return str(file)

    def _one_way_to_a_secret(self, bound: Mapping[str, object], settings: Mapping[str, Setting], path: str) -> None:
        for name, setting in settings.items():
            twin = f"{name.removesuffix('_file')}_env"
            if setting.secret and name.endswith("_file") and bound[name] and bound.get(twin):
                self.report.mistake(
                    self.place(join(path, twin)), join(path, twin), f"given together with {name}", "keep one of the two"
                )
