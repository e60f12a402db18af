"""What `tokwatt measure` does around a measurement: options, signals, the progress line, and saving."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from tokwatt.app import measure_files
from tokwatt.app.build import Workshop
from tokwatt.app.detect import detect
from tokwatt.app.exporter import Exporter
from tokwatt.app.measure import Load, Measurement, NothingToMeasureError, Run
from tokwatt.app.measure_child import Command
from tokwatt.app.measure_page import run_page, sweep_page
from tokwatt.app.measure_report import Occasion, as_json, as_rows, as_text
from tokwatt.app.numerals import written
from tokwatt.app.setup import setup_of
from tokwatt.config import Config
from tokwatt.economics.intervals import Interval, joined
from tokwatt.snapshot import SourceHealth

PROGRESS_INTERVALS = 5  # newest ones that the progress line is about


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command line of `tokwatt measure`."""

    command: tuple[str, ...]
    labels: Mapping[str, str]
    json_file: Path | None = None
    csv_file: Path | None = None
    page: Path | None = None

    def check(self) -> None:
        """Refuse what would only be found after a long run. Raises ValueError."""
        if not self.command:
            raise ValueError("no command: write tokwatt measure [options] -- COMMAND ...")
        if shutil.which(self.command[0]) is None:
            raise ValueError(f"{self.command[0]}: no such command")
        measure_files.check_writable(self.json_file, self.csv_file, self.page)


def labels_of(texts: Sequence[str]) -> Mapping[str, str]:
    """Read `key=value` labels. Raises ValueError."""
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals or any(character.isspace() for character in text):
            raise ValueError(f"--label {text!r}: write key=value without spaces")
        if key in labels:
            raise ValueError(f"--label {text!r}: {key} is given twice")
        labels[key] = value
    return labels


def compare(file: Path, wanted: Wanted) -> None:
    """Print the runs of a CSV file side by side, and write their page. Raises ValueError."""
    if wanted.command or wanted.json_file or wanted.csv_file or wanted.labels:
        raise ValueError("--compare reads a file: it goes with --report alone")
    rows = measure_files.read_rows(file)
    if wanted.page is not None:
        measure_files.check_writable(None, None, wanted.page)
        wanted.page.write_text(sweep_page(rows, file.name), encoding="utf-8")
    print(measure_files.as_table(rows))


async def measure(config: Config, workshop: Workshop, wanted: Wanted) -> bool:
    """Run and measure the command, print and save its report; returns whether the command succeeded.

    Raises:
        NothingToMeasureError: no inference server answers; the command was not started.
        OSError: the command cannot be started, or a report cannot be written.
    """
    config, tried = await detect(config, workshop)
    for item in tried:
        if item.found:
            _say(f"found {item.where}: {item.reason}")
    exporter = Exporter(setup_of(config, workshop), workshop.clock)
    exporter.open()
    command = Command(wanted.command, workshop.clock)
    try:
        measurement = Measurement(exporter, workshop.clock)
        _say_down(await _Interruption(command, asyncio.create_task(measurement.get_ready())).ready())
        started_at = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")
        line = ProgressLine(measurement, command, sys.stderr)
        run = await measurement.run(command, line.show)
        line.clear()
    finally:
        await exporter.stop()
    status = 1 if command.status is None else command.status
    occasion = Occasion(wanted.command, wanted.labels, started_at, status, command.interrupted)
    _save(run, occasion, wanted)
    return status == 0 and not command.interrupted


def _save(run: Run, occasion: Occasion, wanted: Wanted) -> None:
    print(as_text(run, occasion), flush=True)
    if wanted.json_file is not None:
        measure_files.write_json(wanted.json_file, as_json(run, occasion))
    if wanted.csv_file is not None:
        measure_files.append_rows(wanted.csv_file, as_rows(run, occasion))
    if wanted.page is not None:
        wanted.page.write_text(run_page(run, occasion), encoding="utf-8")


class ProgressLine:
    """One line on a terminal that is written over again; nothing where the output is no terminal."""

    def __init__(self, measurement: Measurement, command: Load, stream: TextIO) -> None:
        self._measurement = measurement
        self._command = command
        self._stream = stream
        self._shown = stream.isatty()

    def show(self) -> None:
        """Write the present state."""
        if not self._shown:
            return
        seconds = self._measurement.now_seconds - self._command.started_seconds
        parts = [f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"]
        for name, recorder in self._measurement.recorders.items():
            recent = recorder.intervals[-PROGRESS_INTERVALS:]
            parts.append(f"{name} {_now(joined(recent))}" if recent else f"{name}: not read yet")
        text = "  ".join(parts)[: shutil.get_terminal_size().columns - 1]
        self._stream.write(f"\r\x1b[K{text}")
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def _now(interval: Interval) -> str:
    tokens = interval.output_tokens
    rate = "- tok/s" if tokens is None else f"{written(round(tokens / interval.seconds))} tok/s"
    powers = [f"{written(round(joules / interval.seconds))} W {b.value}" for b, joules in interval.joules.items()]
    return ", ".join([rate, *powers])


class _Interruption:
    """Ctrl-C, SIGTERM and SIGHUP: end the getting ready, or the command; never the report."""

    def __init__(self, command: Command, getting_ready: asyncio.Task[tuple[SourceHealth, ...]]) -> None:
        self._command = command
        self._getting_ready = getting_ready
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt)

    def _interrupt(self) -> None:
        if not self._getting_ready.cancel():
            self._command.interrupt()

    async def ready(self) -> tuple[SourceHealth, ...]:
        """Sources that do not answer. Raises NothingToMeasureError where the getting ready was interrupted."""
        try:
            return await self._getting_ready
        except asyncio.CancelledError:
            raise NothingToMeasureError("interrupted before the command was started") from None


def _say_down(down: Sequence[SourceHealth]) -> None:
    for health in down:
        _say(f"{health.source} ({health.target or health.kind}) is down: {health.message or 'no answer yet'}")


def _say(text: str) -> None:
    print(f"tokwatt: {text}", file=sys.stderr, flush=True)
