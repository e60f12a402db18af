"""Writes the rule files and their pages from the tables: `python -m deploy.prometheus.generate`, at the root.

`make rules` calls it. `--check` writes nothing and exits with 1 and a diff where a file is not current.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deploy.prometheus.source.alerts import alert_groups
from deploy.prometheus.source.model import Settings
from deploy.prometheus.source.pages import alerts_page, recording_page
from deploy.prometheus.source.recording import recording_groups
from deploy.prometheus.source.yaml_text import rule_file

COMMAND = "python -m deploy.prometheus.generate"
ROOT = Path(__file__).parents[2]
RULES = Path("deploy/prometheus")
RECORDING_FILE, ALERTS_FILE = "tokwatt-recording.yml", "tokwatt-alerts.yml"


def rule_files(settings: Settings) -> Mapping[str, str]:
    """Return the text of both rule files by name."""
    return {
        RECORDING_FILE: rule_file(recording_groups(settings), settings, COMMAND),
        ALERTS_FILE: rule_file(alert_groups(settings), settings, COMMAND),
    }


def shipped() -> Mapping[Path, str]:
    """Return the text of every generated file by its path from the root."""
    settings = Settings()
    files = {RULES / name: text for name, text in rule_files(settings).items()}
    files[Path("docs/alerts.md")] = alerts_page(alert_groups(settings), settings, COMMAND)
    files[Path("docs/recording-rules.md")] = recording_page(recording_groups(settings), settings, COMMAND)
    return files


def stale(files: Mapping[Path, str]) -> str:
    """Return a diff of what is on disk against what should be; "" where all is current."""
    parts: list[str] = []
    for path, text in files.items():
        on_disk = path.read_text(encoding="utf-8") if path.exists() else ""
        parts += difflib.unified_diff(
            on_disk.splitlines(keepends=True), text.splitlines(keepends=True), str(path), f"{path} (generated)"
        )
    return "".join(parts)


def main(arguments: Sequence[str]) -> int:
    """Write or check. Without --output it is about the files of this repository."""
    options = _parser().parse_args(arguments)
    chosen = {name: value for name in ("job", "runbook_base") if (value := getattr(options, name)) is not None}
    if options.output is None and (chosen or options.scale != 1):
        print("--job, --runbook-base and --scale need --output: the shipped files are without them", file=sys.stderr)
        return 2
    if options.output is None:
        files = {ROOT / path: text for path, text in shipped().items()}
    else:
        settings = replace(Settings(), **chosen).scaled(options.scale)
        files = {options.output / name: text for name, text in rule_files(settings).items()}
    if options.check:
        difference = stale(files)
        if difference:
            print(f"{difference}\nnot current: run `{COMMAND}` and read the diff", file=sys.stderr)
        return 1 if difference else 0
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write Prometheus rules, alerts and their pages.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 with a diff if not current")
    parser.add_argument("--output", type=Path, metavar="DIRECTORY", help="write the two rule files there instead")
    parser.add_argument("--job", metavar="NAME", help="scrape job that TokwattAbsent watches (default: tokwatt)")
    parser.add_argument("--runbook-base", metavar="URL", help="where runbook_url points")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="make every duration this many times shorter, for tests; names keep their 5m, 1h and 7d",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
