"""`python dashboards/generate.py`: write the dashboards' JSON files; with `--check`, say whether they are current."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # run as a file, not as a module

from dashboards.source import overview, server  # noqa: E402  after the path above
from dashboards.source.forms import importable, provisioned  # noqa: E402
from dashboards.source.layout import dashboard  # noqa: E402


def files() -> dict[Path, str]:
    """Return every file and its text."""
    made = {}
    for board in (overview.BOARD, server.BOARD):
        built = dashboard(board)
        made[HERE / f"{board.uid}.json"] = provisioned(built)
        made[HERE / "import" / f"{board.uid}.json"] = importable(built)
    return made


def differences(made: dict[Path, str]) -> str:
    """Return the unified diff from the files on disk to what they should be, "" when they are current."""
    found: list[str] = []
    for path, text in made.items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        name = str(path.relative_to(HERE.parent))
        found += difflib.unified_diff(
            old.splitlines(keepends=True), text.splitlines(keepends=True), name, f"{name} (generated)"
        )
    known = {path for path in made if path.parent == HERE / "import"} | {path for path in made if path.parent == HERE}
    strays = {*HERE.glob("*.json"), *HERE.glob("import/*.json")} - known
    found += [f"{path.relative_to(HERE.parent)}: no dashboard makes this file\n" for path in sorted(strays)]
    return "".join(found)


def main() -> int:
    """Write, or check. Exit 1 when `--check` finds a file that is not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and a diff when not current")
    made = files()
    if not parser.parse_args().check:
        for path, text in made.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    found = differences(made)
    if found:
        sys.stdout.write(found)
        print("dashboards are not current: run make dashboards", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
