"""Grafana dashboards as code: `source` describes them, `generate.py` writes the JSON files beside it."""
