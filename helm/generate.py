"""`make chart`: write what the chart derives from other files; with --check, say what is not current and exit 1.

Derived: values.schema.json and README.md from values.yaml and its comments; the version from the package;
files/rules and files/dashboards from deploy/prometheus and dashboards. Owns no content of its own.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm/tokwatt"
VERSION_FILE = ROOT / "exporter/src/tokwatt/__init__.py"
RULES = ROOT / "deploy/prometheus"
DASHBOARDS = ROOT / "dashboards"

SCHEMA_MARK = "@schema "
TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}


@dataclass(frozen=True, slots=True)
class Value:
    """One key of values.yaml. `extra`: what its `@schema` lines say. `children`: empty for a leaf."""

    path: str
    default: object
    description: str
    extra: Mapping[str, Any]
    children: tuple[Value, ...] = field(default=())

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rsplit(".", 1)[-1]


class Undocumented(Exception):
    """A key of values.yaml without a comment, or with one that cannot be read."""


def read_values(text: str) -> tuple[Value, ...]:
    """Read values.yaml with the comments directly above each key. Raises Undocumented."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return _children(root, text.splitlines(), "")


def _children(node: yaml.Node, lines: list[str], prefix: str) -> tuple[Value, ...]:
    if not isinstance(node, yaml.MappingNode):
        return ()
    return tuple(_value(key, child, lines, prefix) for key, child in node.value)


def _value(key: yaml.Node, node: yaml.Node, lines: list[str], prefix: str) -> Value:
    path = f"{prefix}{key.value}"
    description, extra = _comment(lines, key.start_mark.line, path)
    default = yaml.SafeLoader("").construct_object(node, deep=True)
    return Value(path, default, description, extra, _children(node, lines, f"{path}."))


def _comment(lines: list[str], line: int, path: str) -> tuple[str, dict[str, Any]]:
    words: list[str] = []
    extra: dict[str, Any] = {}
    first = line
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    for comment in lines[first:line]:
        text = comment.lstrip().removeprefix("#").strip()
        if text.startswith(SCHEMA_MARK):
            extra |= yaml.safe_load(text.removeprefix(SCHEMA_MARK))
        else:
            words.append(text)
    if not words:
        raise Undocumented(f"values.yaml, line {line + 1}: {path} has no comment above it; say what it is for")
    return " ".join(words), extra


def schema_of(value: Value) -> dict[str, Any]:
    """Schema of one key: a mapping with keys of its own refuses others, an empty one takes any."""
    schema: dict[str, Any] = {"description": value.description}
    if value.children:
        schema |= {"type": "object", "additionalProperties": False}
        schema["properties"] = {child.name: schema_of(child) for child in value.children}
    elif isinstance(value.default, dict):
        schema["type"] = "object"
    else:
        schema["type"] = TYPES[type(value.default)]
    return schema | dict(value.extra)


def schema_text(values: tuple[Value, ...]) -> str:
    """Text of values.schema.json."""
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Written by `make chart` from values.yaml. Change that, not this file.",
        "title": "Values of the tokwatt chart",
        "type": "object",
        "additionalProperties": False,
        "properties": {value.name: schema_of(value) for value in values},
    }
    return json.dumps(schema, indent=2) + "\n"


def leaves(values: tuple[Value, ...]) -> Iterator[Value]:
    """Keys that hold a value, in the order of the file."""
    for value in values:
        if value.children:
            yield from leaves(value.children)
        else:
            yield value


def readme_text(values: tuple[Value, ...], head: str) -> str:
    """Text of README.md: the head, then tables of all values, a table for each mapping."""
    plain = [value for value in values if not value.children]
    head_parts = [
        "<!-- Written by `make chart` from helm/readme-head.md and helm/tokwatt/values.yaml. Change those. -->\n",
        head.rstrip() + "\n",
        "\n## Values\n\nA key that is not in these tables is refused.\n\n",
        _table(plain),
    ]
    sections = [
        f"\n### `{value.name}`\n\n{value.description}\n\n{_table(list(leaves(value.children)))}"
        for value in values
        if value.children
    ]
    return "".join(head_parts + sections)


def _table(values: list[Value]) -> str:
    rows = [f"| `{v.path}` | `{json.dumps(v.default)}` | {_cell(v)} |" for v in values]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _cell(value: Value) -> str:
    return value.description.replace("|", "\\|")


def project_version() -> str:
    """Version of the Python package."""
    match = re.search(r'^__version__ = "([^"]+)"$', VERSION_FILE.read_text(), re.MULTILINE)
    if match is None:
        raise Undocumented(f"{VERSION_FILE.name}: no __version__")
    return match[1]


def chart_text(text: str, version: str) -> str:
    """Chart.yaml with the version of the package."""
    text = re.sub(r"^version: .*$", f"version: {version}", text, count=1, flags=re.MULTILINE)
    return re.sub(r"^appVersion: .*$", f'appVersion: "{version}"', text, count=1, flags=re.MULTILINE)


def rule_files() -> Iterator[Path]:
    """Rule files: those with `groups` at the top, which rule tests and configurations beside them do not have."""
    for path in sorted(RULES.rglob("*.y*ml")):
        content = yaml.safe_load(path.read_text())
        if isinstance(content, dict) and "groups" in content:
            yield path


def derived() -> dict[Path, str]:
    """Every derived file and what it must hold."""
    values = read_values((CHART / "values.yaml").read_text())
    files = {
        CHART / "Chart.yaml": chart_text((CHART / "Chart.yaml").read_text(), project_version()),
        CHART / "values.schema.json": schema_text(values),
        CHART / "README.md": readme_text(values, (ROOT / "helm/readme-head.md").read_text()),
    }
    files |= {CHART / f"files/rules/{path.stem}.yml": path.read_text() for path in rule_files()}
    files |= {CHART / f"files/dashboards/{path.name}": path.read_text() for path in sorted(DASHBOARDS.glob("*.json"))}
    return files


def left_over(files: Mapping[Path, str]) -> list[Path]:
    """Copies whose original is gone."""
    return [path for path in sorted((CHART / "files").rglob("*")) if path.is_file() and path not in files]


def main(arguments: list[str]) -> int:
    """Write, or check with --check. Returns the exit code."""
    try:
        files = derived()
    except Undocumented as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    gone = left_over(files)
    if arguments == ["--check"]:
        for path in stale + gone:
            print(f"{path.relative_to(ROOT)} is not current: run `make chart`", file=sys.stderr)
        return 1 if stale or gone else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path])
    for path in gone:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
