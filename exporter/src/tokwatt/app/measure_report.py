"""A measured run as values: rows of a table, JSON, and columns of a CSV file. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tokwatt import __version__
from tokwatt.app.measure import Run, ServerRun
from tokwatt.app.numerals import written
from tokwatt.app.tables import table
from tokwatt.economics.stretch import Energy, Stretch
from tokwatt.snapshot import Given, Phase

Value = float | str | None


@dataclass(frozen=True, slots=True)
class Occasion:
    """What was run, when, and how it ended."""

    command: tuple[str, ...]
    labels: Mapping[str, str]
    started_at: str  # ISO 8601, UTC
    exit_status: int  # negative: the signal that ended it
    interrupted: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a stretch: its column in files, its words and unit in tables."""

    column: str
    words: str
    unit: str
    pick: Callable[[Stretch], float | None]


def _energy(boundary: Given, pick: Callable[[Energy], float | None]) -> Callable[[Stretch], float | None]:
    def value(stretch: Stretch) -> float | None:
        found = stretch.energy.get(boundary)
        return None if found is None else pick(found)

    return value


def _phase(boundary: Given, phase: Phase) -> Callable[[Stretch], float | None]:
    return lambda stretch: stretch.phase_joules.get(boundary, {}).get(phase)


def _busy(boundary: Given, *, watts: bool) -> Callable[[Stretch], float | None]:
    def value(stretch: Stretch) -> float | None:
        load = stretch.p90_load
        return None if load is None else (load.watts if watts else load.output_tokens_per_joule).get(boundary)

    return value


def _by_boundary(
    column: str, words: str, unit: str, make: Callable[[Given], Callable[[Stretch], float | None]]
) -> tuple[Figure, ...]:
    return tuple(
        Figure(f"{boundary.value}_{column}", f"{words}, {boundary.value}", unit, make(boundary)) for boundary in Given
    )


FIGURES: tuple[Figure, ...] = (
    Figure("seconds", "length", "s", lambda s: s.seconds),
    Figure("input_tokens", "input tokens", "tok", lambda s: s.total("input_tokens")),
    Figure("output_tokens", "output tokens", "tok", lambda s: s.total("output_tokens")),
    Figure("responses", "responses", "", lambda s: s.total("responses")),
    Figure("input_tokens_per_second", "input", "tok/s", lambda s: s.input_tokens_per_second),
    Figure("output_tokens_per_second", "output", "tok/s", lambda s: s.output_tokens_per_second),
    *_by_boundary("energy_joules", "energy", "J", lambda b: _energy(b, lambda e: e.joules)),
    *_by_boundary("power_watts", "mean power", "W", lambda b: _energy(b, lambda e: e.mean_watts)),
    *_by_boundary("power_p50_watts", "power P50", "W", lambda b: _energy(b, lambda e: e.p50_watts)),
    *_by_boundary("power_p90_watts", "power P90", "W", lambda b: _energy(b, lambda e: e.p90_watts)),
    *_by_boundary(
        "output_tokens_per_joule", "output / J", "tok/J", lambda b: _energy(b, lambda e: e.output_tokens_per_joule)
    ),
    *_by_boundary(
        "processed_tokens_per_joule",
        "input + output / J",
        "tok/J",
        lambda b: _energy(b, lambda e: e.processed_tokens_per_joule),
    ),
    *(
        figure
        for phase in Phase
        for figure in _by_boundary(
            f"{phase.value}_energy_joules",
            f"energy of {phase.value}",
            "J",
            lambda b, p=phase: _phase(b, p),  # type: ignore[misc]
        )
    ),
    Figure("dollars", "cost", "$", lambda s: s.dollars),
    Figure("output_tokens_per_dollar", "output / $", "tok/$", lambda s: s.output_tokens_per_dollar),
    Figure("processed_tokens_per_dollar", "input + output / $", "tok/$", lambda s: s.processed_tokens_per_dollar),
    Figure("response_dollars", "cost of a meaningful response", "$", lambda s: s.response_dollars),
    *_by_boundary(
        "response_joules", "energy of a meaningful response", "J", lambda b: lambda s: s.response_joules.get(b)
    ),
    Figure(
        "p90_load_output_tokens_per_second",
        "P90 load",
        "tok/s",
        lambda s: s.p90_load.output_tokens_per_second if s.p90_load else None,
    ),
    *_by_boundary("p90_load_power_watts", "power at P90 load", "W", lambda b: _busy(b, watts=True)),
    *_by_boundary(
        "p90_load_output_tokens_per_joule", "output / J at P90 load", "tok/J", lambda b: _busy(b, watts=False)
    ),
    *_by_boundary("coverage_ratio", "coverage", "", lambda b: _energy(b, lambda e: e.coverage_ratio)),
    *_by_boundary("energy_error_ratio", "error of energy, 90 %", "", lambda b: _energy(b, lambda e: e.error_ratio)),
)
HEAD_COLUMNS = (
    "started_at",
    "labels",
    "command",
    "exit_status",
    "server",
    "engine",
    "engine_version",
    "models",
    "part",
)
COLUMNS = (*HEAD_COLUMNS, *(figure.column for figure in FIGURES))


def as_text(run: Run, occasion: Occasion) -> str:
    """Lay a run out for a terminal."""
    lines = [f"{shlex.join(occasion.command)}: {ending(occasion)}, {run.ended_seconds - run.started_seconds:.1f} s"]
    lines += [f"not measured: {health.source} is down: {health.message}" for health in run.down]
    for one in run.servers:
        lines += ["", *_server_text(one, run.started_seconds)]
    return "\n".join(lines)


def ending(occasion: Occasion) -> str:
    """Say how the command ended."""
    if occasion.interrupted:
        return "interrupted"
    if occasion.exit_status < 0:
        return f"ended by signal {-occasion.exit_status}"
    return f"exit status {occasion.exit_status}"


def _server_text(one: ServerRun, started_seconds: float) -> list[str]:
    server, figures = one.server, one.figures
    engine = f"{server.engine} {server.engine_version}".strip()
    lines = [f"server {server.name} ({engine}{', SIMULATED' if server.simulated else ''})"]
    if figures is None:
        return [*lines, "  not measured: it was not read, with its meters, right before and after the command"]
    steady = figures.steady
    where = f"no steady state: {figures.why_not_steady}"
    if steady is not None:
        start, end = (at - started_seconds for at in (steady.start_seconds, steady.end_seconds))
        where = f"steady state from second {start:.0f} to {end:.0f}"
    rows = []
    for figure in FIGURES:
        values = [figure.pick(stretch) if stretch else None for stretch in (figures.whole, steady)]
        if any(value is not None for value in values):
            rows.append([f"  {figure.words}", *(_shown(value) for value in values), figure.unit])
    lines += [f"  {where}", table(("", "WHOLE RUN", "STEADY", "UNIT"), rows)]
    return lines


def _shown(value: float | None) -> str:
    return "-" if value is None else written(value)


def as_rows(run: Run, occasion: Occasion) -> list[dict[str, str]]:
    """One row of the CSV file for each server and part (run, steady). Unknown is an empty cell."""
    rows = []
    for one in run.servers:
        parts = [("run", one.figures.whole if one.figures else None)]
        if one.figures is not None and one.figures.steady is not None:
            parts.append(("steady", one.figures.steady))
        for part, stretch in parts:
            head = {
                "started_at": occasion.started_at,
                "labels": " ".join(f"{key}={value}" for key, value in occasion.labels.items()),
                "command": shlex.join(occasion.command),
                "exit_status": str(occasion.exit_status),
                "server": one.server.name,
                "engine": one.server.engine,
                "engine_version": one.server.engine_version,
                "models": " ".join(sorted(stretch.tokens)) if stretch else "",
                "part": part,
            }
            cells = {figure.column: _cell(figure.pick(stretch) if stretch else None) for figure in FIGURES}
            rows.append(head | cells)
    return rows


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"


def as_json(run: Run, occasion: Occasion) -> Mapping[str, object]:
    """Return a run as JSON values: head, figures of each server, and its course over time. Unknown is null."""
    return {
        "tokwatt_version": __version__,
        "started_at": occasion.started_at,
        "command": list(occasion.command),
        "labels": dict(occasion.labels),
        "exit_status": occasion.exit_status,
        "interrupted": occasion.interrupted,
        "seconds": run.ended_seconds - run.started_seconds,
        "down": [{"source": health.source, "message": health.message} for health in run.down],
        "servers": [_server_json(one, run) for one in run.servers],
    }


def _server_json(one: ServerRun, run: Run) -> Mapping[str, object]:
    server, figures = one.server, one.figures
    return {
        "server": server.name,
        "engine": server.engine,
        "engine_version": server.engine_version,
        "simulated": server.simulated,
        "output": server.output_kind,
        "input": server.input_kind,
        "phases": server.phase_method,
        "run": _stretch_json(figures.whole, run) if figures else None,
        "steady": _stretch_json(figures.steady, run) if figures and figures.steady else None,
        "why_not_steady": figures.why_not_steady if figures else "not measured",
        "course": course(one, run) if figures else None,
    }


def _stretch_json(stretch: Stretch, run: Run) -> Mapping[str, object]:
    models: Mapping[str, Mapping[str, Value]] = {
        model: {"input_tokens": state.input_tokens, "output_tokens": state.output_tokens, "responses": state.responses}
        for model, state in stretch.tokens.items()
    }
    return {
        "from_second": stretch.start_seconds - run.started_seconds,
        "to_second": stretch.end_seconds - run.started_seconds,
        "models": models,
        **{figure.column: figure.pick(stretch) for figure in FIGURES},
    }


def course(one: ServerRun, run: Run) -> Mapping[str, Sequence[float | None]]:
    """Return columns over time, one value for each interval between two token readings; seconds since the start."""
    assert one.figures is not None
    intervals = one.figures.intervals
    boundaries = [boundary for boundary in Given if any(boundary in part.joules for part in intervals)]
    columns: dict[str, Sequence[float | None]] = {
        "from_second": [part.start_seconds - run.started_seconds for part in intervals],
        "to_second": [part.end_seconds - run.started_seconds for part in intervals],
        "output_tokens_per_second": [
            None if (tokens := part.output_tokens) is None else tokens / part.seconds for part in intervals
        ],
    }
    for boundary in boundaries:
        columns[f"{boundary.value}_power_watts"] = [
            part.joules[boundary] / part.seconds if boundary in part.joules else None for part in intervals
        ]
    for phase in Phase if one.figures.shares else ():
        columns[f"{phase.value}_share"] = [float(getattr(shares, phase.value)) for shares in one.figures.shares]
    return columns
