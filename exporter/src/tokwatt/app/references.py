"""Writes the generated pages of the docs: `python -m tokwatt.app.references DOCS_FOLDER` (see `make docs`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tokwatt.app.build import Workshop
from tokwatt.app.meters_reference import render_meters
from tokwatt.app.servers_reference import render_servers
from tokwatt.config.reference import render_reference
from tokwatt.metrics.reference import render_metrics_reference


def pages() -> Mapping[str, str]:
    """Return every generated page by file name."""
    workshop = Workshop()
    return {
        "configuration.md": render_reference(workshop.power_specs, workshop.engines, workshop.owner_specs),
        "meters.md": render_meters(workshop.power_specs),
        "metrics.md": render_metrics_reference(),
        "sources.md": render_servers(workshop.token_specs),
    }


def main(folder: Path) -> None:
    """Write all pages."""
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
