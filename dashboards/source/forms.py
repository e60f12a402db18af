"""The two forms of a dashboard file: for provisioning, and for the import page of Grafana. Does not touch disks."""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

INPUT = "DS_PROMETHEUS"
OLDEST_GRAFANA = "10.4.0"  # xychart, table and bar gauge options as written here
PANEL_NAMES = {
    "bargauge": "Bar gauge",
    "stat": "Stat",
    "table": "Table",
    "text": "Text",
    "timeseries": "Time series",
    "xychart": "XY Chart",
}


def provisioned(dashboard: model.Dashboard) -> str:
    """Return the file for a provisioning folder: the data source is a variable."""
    return _text(_plain(dashboard))


def importable(dashboard: model.Dashboard) -> str:
    """Return the file for Grafana's import page: it asks for the data source."""
    plain = _plain(dashboard)
    plain["templating"]["list"] = [one for one in plain["templating"]["list"] if one["name"] != "datasource"]
    kinds = sorted({panel["type"] for panel in plain["panels"]} - {"row"})
    inputs = {
        "name": INPUT,
        "label": "Prometheus",
        "description": "The Prometheus that scrapes tokwatt",
        "type": "datasource",
        "pluginId": "prometheus",
        "pluginName": "Prometheus",
    }
    requires = [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": OLDEST_GRAFANA},
        {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        *({"type": "panel", "id": kind, "name": PANEL_NAMES[kind], "version": ""} for kind in kinds),
    ]
    text = _text({"__inputs": [inputs], "__requires": requires, **plain})
    # Links between dashboards pass the data source along; an imported one has no variable to pass.
    return text.replace("&${datasource:queryparam}", "").replace("${datasource}", f"${{{INPUT}}}")


def _plain(dashboard: model.Dashboard) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    return made


def _text(plain: dict[str, Any]) -> str:
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
