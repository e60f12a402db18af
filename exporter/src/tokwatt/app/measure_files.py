"""Files of `tokwatt measure`: one JSON file for a run, one CSV file for many, read again as a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokwatt.app.measure_report import COLUMNS
from tokwatt.app.numerals import written
from tokwatt.app.tables import table

# What a sweep is looked at by, with the words of its table; the file has more.
COMPARED: Mapping[str, str] = {
    "output_tokens_per_second": "TOK/S",
    "gpu_power_watts": "W GPU",
    "host_power_watts": "W HOST",
    "gpu_output_tokens_per_joule": "TOK/J GPU",
    "host_output_tokens_per_joule": "TOK/J HOST",
    "output_tokens_per_dollar": "TOK/$",
    "response_dollars": "$/RESPONSE",
}
Row = Mapping[str, str]


def check_writable(json_file: Path | None, csv_file: Path | None, page: Path | None) -> None:
    """Find out before a long run whether its report can be saved.

    Raises:
        ValueError: a folder does not exist, a file cannot be written, or a CSV file has other columns.
    """
    for file in (json_file, csv_file, page):
        if file is None:
            continue
        try:
            file.open("a").close()
        except OSError as error:
            raise ValueError(f"{file}: cannot be written: {error.strerror}") from None
        if file is not csv_file and file.stat().st_size == 0:
            file.unlink()
    if csv_file is not None:
        _check_columns(csv_file)


def _check_columns(file: Path) -> None:
    with file.open(newline="", encoding="utf-8") as lines:
        header = next(csv.reader(lines), None)
    if header is not None and tuple(header) != COLUMNS:
        raise ValueError(f"{file}: its first line is not that of this version of tokwatt measure; use another file")


def append_rows(file: Path, rows: Sequence[Row]) -> None:
    """Add rows to a CSV file; a new one gets its line of columns first."""
    with file.open("a", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, COLUMNS)
        if lines.tell() == 0:
            writer.writeheader()
        writer.writerows(rows)


def write_json(file: Path, report: Mapping[str, object]) -> None:
    """Write one run."""
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def read_rows(file: Path) -> list[Row]:
    """Read a CSV file of runs.

    Raises:
        ValueError: it is no such file, or holds no run.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            rows: list[Row] = list(reader)
            columns = tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: cannot be read: {error}") from None
    missing = [name for name in ("server", "part", "labels", "seconds") if name not in columns]
    if missing:
        raise ValueError(f"{file}: no column {missing[0]}: it was not written by tokwatt measure --csv")
    if not rows:
        raise ValueError(f"{file}: holds no run yet")
    return rows


def best_parts(rows: Sequence[Row]) -> list[Row]:
    """One row for each run and server: its steady state where there is one, else the whole run."""
    chosen: dict[tuple[str, str, str, str], Row] = {}
    for row in rows:
        key = (row.get("started_at", ""), row.get("labels", ""), row.get("command", ""), row["server"])
        if key not in chosen or row["part"] == "steady":
            chosen[key] = row
    return list(chosen.values())


def number(row: Row, column: str) -> float | None:
    """Value of a cell; None where it is empty or no number."""
    try:
        return float(row.get(column) or "")
    except ValueError:
        return None


def as_table(rows: Sequence[Row]) -> str:
    """Lay runs out side by side for a terminal: labels, then the figures that a sweep is about."""
    runs = best_parts(rows)
    columns = [column for column in COMPARED if any(number(row, column) is not None for row in runs)]
    header = ["LABELS", "SERVER", "PART", *(COMPARED[column] for column in columns), "NOTE"]
    lines = []
    for row in runs:
        cells = [number(row, column) for column in columns]
        note = "" if row.get("exit_status") == "0" else f"command failed ({row.get('exit_status')})"
        lines.append(
            [row["labels"] or row.get("started_at", ""), row["server"], row["part"]]
            + ["-" if value is None else written(value) for value in cells]
            + [note]
        )
    return table(header, lines)
