"""Recorded bodies of real servers in tests/captures/<engine>/<version>__<state>.prom."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "captures"


def body(name: str) -> bytes:
    return (FOLDER / f"{name}.prom").read_bytes()


def data(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
