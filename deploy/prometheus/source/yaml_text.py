"""Rule groups as YAML text, laid out for people: block expressions, everything else on one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from deploy.prometheus.source.model import Alert, Group, Recording, Settings, duration


def rule_file(groups: Iterable[Group], settings: Settings, command: str) -> str:
    """Write one rule file. `command`: what wrote it, for the first line."""
    lines = [f"# Written by `{command}` from deploy/prometheus/source. Change those tables, not this file.", "groups:"]
    for group in groups:
        lines.append(f"  - name: {group.name}")
        if group.interval_seconds is not None:
            lines.append(f"    interval: {duration(group.interval_seconds)}")
        lines.append("    rules:")
        for rule in group.rules:
            lines += _recording(rule) if isinstance(rule, Recording) else _alert(rule, settings)
    return "\n".join(lines) + "\n"


def _recording(rule: Recording) -> Iterator[str]:
    yield f"      - record: {rule.record}"
    yield from _expr(rule.expr)
    yield from _mapping("labels", rule.labels)


def _alert(rule: Alert, settings: Settings) -> Iterator[str]:
    yield f"      - alert: {rule.name}"
    yield from _expr(rule.expr)
    yield f"        for: {duration(rule.for_seconds)}"
    yield from _mapping("labels", rule.labels())
    yield from _mapping("annotations", rule.annotations(settings.runbook_base))


def _expr(text: str) -> Iterator[str]:
    yield "        expr: |-"
    yield from (f"          {line}" for line in text.splitlines())


def _mapping(key: str, values: Mapping[str, str]) -> Iterator[str]:
    if values:
        yield f"        {key}:"
        # a JSON string is a YAML string, whatever stands in it
        yield from (f"          {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
