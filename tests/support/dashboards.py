"""The dashboards' JSON as Grafana reads it: panels, queries, and expressions with the variables filled in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "dashboards"
NAMES = ("tokwatt-overview", "tokwatt-server")
BOUNDARIES = ("gpu", "host", "facility")


@dataclass(frozen=True, slots=True)
class Target:
    """One query of one panel."""

    panel: str
    ref_id: str
    expr: str


def load(name: str, form: str = "") -> dict[str, Any]:
    """A dashboard file; `form`: "" for provisioning, "import" for the import page."""
    return dict(json.loads((FOLDER / form / f"{name}.json").read_text(encoding="utf-8")))


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All panels except the headings of rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def targets(dashboard: Mapping[str, Any]) -> Iterator[Target]:
    for panel in panels(dashboard):
        for target in panel.get("targets") or []:
            yield Target(panel["title"], target["refId"], target["expr"])


def filled(expr: str, *, server: str = ".*", boundary: str = "host", rate: str = "20s", whole: str = "1h") -> str:
    """An expression as Grafana sends it, with All for what is not named."""
    values = {
        "${boundary}": boundary,
        "$boundary": boundary,
        "$__rate_interval": rate,
        "$__range": whole,
        "$cluster": ".*",
        "$namespace": ".*",
        "$server": server,
        "$model": ".*",
    }
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    return expr
