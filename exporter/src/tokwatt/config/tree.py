"""YAML text to a tree of values that know their place. The only module that touches the YAML library.

Refuses what makes a configuration ambiguous: duplicate keys, aliases, tags, several documents. Never builds objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tokwatt.config.mistakes import Mark, Report

MAX_DEPTH = 32  # far more than any configuration needs; keeps the recursive composer inside Python's stack

# an unquoted password may begin with * or !, so what follows is not repeated; tokens (<block end>) and characters are
_QUOTE_OR_WRITE_OUT = "write the value out, or in quotes if it is text"
_QUOTED = re.compile(r"'(?!<)[^']{4,}'|\"[^\"]{4,}\"")


@dataclass(frozen=True, slots=True)
class Scalar:
    """A word. `plain` is False when it was quoted or a block, which makes it text whatever it looks like."""

    text: str
    plain: bool
    mark: Mark


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping: where the key stands, and its value."""

    key_mark: Mark
    value: Value


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping with text keys, in file order."""

    entries: Mapping[str, Entry]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Value, ...]
    mark: Mark


Value = Scalar | Table | Sequence


def parse(text: str, report: Report) -> Value | None:
    """Parse one YAML document. None: nothing in it, or a mistake (then it is in the report)."""
    try:
        if not _plain_enough(text, report):
            return None
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        _report_syntax(error, text, report)
        return None
    except (ValueError, OverflowError):
        # PyYAML lets these out for a code point above 10FFFF in an escape and for absurd %YAML version numbers
        report.mistake(None, "", "not valid YAML: an escape or directive holds an impossible number")
        return None
    return None if node is None else _value(node, "", report)


def _plain_enough(text: str, report: Report) -> bool:
    before = len(report.mistakes)
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        mark = _mark(event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                report.mistake(mark, "", f"nested deeper than {MAX_DEPTH} levels")
                return False
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            report.mistake(mark, "", "an alias (*) is not supported", _QUOTE_OR_WRITE_OUT)
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            report.mistake(mark, "", "a tag (!) is not supported", _QUOTE_OR_WRITE_OUT)
    return len(report.mistakes) == before


def _report_syntax(error: yaml.YAMLError, text: str, report: Report) -> None:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        report.mistake(mark, "", f"not valid YAML: character U+{_code(error.character):04X} is not allowed")
        return
    if not isinstance(error, yaml.MarkedYAMLError):
        report.mistake(None, "", "not valid YAML")
        return
    place = error.problem_mark or error.context_mark
    problem = _QUOTED.sub("some text", (error.problem or "syntax error").replace("\n", " "))
    context = f" {error.context}" if error.context else ""
    suggestion = "indent with spaces, not tabs" if "'\\t'" in problem else ""
    report.mistake(_mark(place) if place else None, "", f"not valid YAML:{context} {problem}", suggestion)


def _code(character: object) -> int:
    return character if isinstance(character, int) else ord(str(character)[:1] or "?")


def _value(node: yaml.Node, path: str, report: Report) -> Value:
    mark = _mark(node.start_mark)
    if isinstance(node, yaml.ScalarNode):
        return Scalar(node.value, node.style is None, mark)
    if isinstance(node, yaml.SequenceNode):
        items = tuple(_value(item, f"{path}[{index}]", report) for index, item in enumerate(node.value))
        return Sequence(items, mark)
    entries: dict[str, Entry] = {}
    for key, child in node.value:
        _add(entries, key, child, path, report)
    return Table(entries, mark)


def _add(entries: dict[str, Entry], key: yaml.Node, child: yaml.Node, path: str, report: Report) -> None:
    key_mark = _mark(key.start_mark)
    if not isinstance(key, yaml.ScalarNode):
        report.mistake(key_mark, path, "a key must be a word, not a list or a mapping")
        return
    key_path = join(path, key.value)
    if key.value in entries:
        first = entries[key.value].key_mark.line
        report.mistake(key_mark, key_path, f"key given twice, first on line {first}", "keep one of the two")
        return
    entries[key.value] = Entry(key_mark, _value(child, key_path, report))


def join(path: str, key: str) -> str:
    """Extend a key path by one key."""
    word = key if key.isprintable() and key else repr(key)
    return f"{path}.{word}" if path else word


def _mark(mark: Any) -> Mark:  # yaml.Mark of either implementation, never None on what we pass
    return Mark(mark.line + 1, mark.column + 1)
