"""Bodies of servers in tests/captures/<engine>/<version>__<state>.prom.

Recorded ones are as the server sent them; `<version>__written-<state>.prom` is written from a server's source.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "captures"
# page -> engine
PAGES = {f"{file.parent.name}/{file.stem}": file.parent.name for file in sorted(FOLDER.glob("*/*.prom"))}
# of one server's life, in this order
STATES = ("idle", "starting", "loaded", "finish-only", "settled", "after", "later", "large-counter")


def state(page: str) -> str:
    return page.split("__")[1].removeprefix("written-")


def version(page: str) -> str:
    return page.split("/")[1].split("__", maxsplit=1)[0]


def is_written(page: str) -> bool:
    return "__written-" in page


def lives() -> list[tuple[str, ...]]:
    """The pages of each engine and version, in the order in which one server shows them."""
    found: dict[tuple[str, str], list[str]] = {}
    for page, engine in PAGES.items():
        found.setdefault((engine, version(page)), []).append(page)
    return [tuple(sorted(pages, key=lambda page: STATES.index(state(page)))) for pages in found.values()]


def body(name: str) -> bytes:
    return (FOLDER / f"{name}.prom").read_bytes()


def data(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
