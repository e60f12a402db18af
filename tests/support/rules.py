"""The shipped rules as tests see them: their groups, what PromQL names in them, and compressed copies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser

from deploy.prometheus.generate import rule_files
from deploy.prometheus.source.alerts import alert_groups
from deploy.prometheus.source.model import Alert, Recording, Settings
from deploy.prometheus.source.recording import recording_groups

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"


def recordings() -> list[Recording]:
    """All shipped recording rules."""
    return [rule for group in recording_groups(Settings()) for rule in group.recordings()]


def alerts() -> list[Alert]:
    """All shipped alerts."""
    return [rule for group in alert_groups(Settings()) for rule in group.alerts()]


def write_rules(folder: Path, settings: Settings) -> list[Path]:
    """Write both rule files of these settings."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in rule_files(settings).items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in rule_files(settings)]


def nodes(expr: str) -> Iterator[Any]:
    """Every node of an expression. Raises ValueError where it does not parse."""
    pending = [promql_parser.parse(expr)]
    while pending:
        node = pending.pop()
        yield node
        children = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "param", "vector_selector")]
        pending += [child for child in (*children, *(getattr(node, "args", None) or ())) if child is not None]


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Every selector of an expression."""
    return [node for node in nodes(expr) if isinstance(node, promql_parser.VectorSelector)]


def grouping_labels(expr: str) -> set[str]:
    """Labels that `by`, `on` and `group_left` of an expression name."""
    found: set[str] = set()
    for node in nodes(expr):
        modifier = getattr(node, "modifier", None)
        matching = getattr(modifier, "matching", None)
        for holder, name in ((modifier, "labels"), (modifier, "group_labels"), (matching, "labels")):
            found.update(getattr(holder, name, None) or ())
    return found
