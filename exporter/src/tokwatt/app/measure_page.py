"""Pages of `tokwatt measure --report`: one run over time, or a sweep. Each is one file without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources

from tokwatt import __version__
from tokwatt.app.charts import Chart, Curve, svg
from tokwatt.app.measure import Run, ServerRun
from tokwatt.app.measure_files import Row, as_table, best_parts, number
from tokwatt.app.measure_report import Occasion, as_text, course
from tokwatt.economics.intervals import Interval, pieces
from tokwatt.snapshot import Given, Phase

PLOTTED_SECONDS = 2.0  # of power, for one point: shorter ones show the age of a meter's number more than the power

_STYLE = resources.files("tokwatt.app").joinpath("page/measure.css").read_text(encoding="utf-8")


def run_page(run: Run, occasion: Occasion) -> str:
    """One run: each server's tokens, power and phases over time, its steady state shaded, and all figures."""
    body = []
    for one in run.servers:
        body.append(f"<h2>{escape(one.server.name)}</h2>")
        if one.figures is None:
            body.append('<p class="empty">not measured around the command</p>')
            continue
        body += [svg(chart) for chart in _run_charts(one, run)]
    body.append(f"<h2>Figures</h2><pre>{escape(as_text(run, occasion))}</pre>")
    labels = " ".join(f"{key}={value}" for key, value in occasion.labels.items())
    return _page(" ".join(occasion.command), f"{occasion.started_at} {labels}", body)


def _run_charts(one: ServerRun, run: Run) -> list[Chart]:
    assert one.figures is not None
    columns = course(one, run)
    steady = one.figures.steady
    shaded = None
    if steady is not None:
        shaded = (steady.start_seconds - run.started_seconds, steady.end_seconds - run.started_seconds)
    times = [_known(at) for at in columns["to_second"]]

    def chart(title: str, words: str, curves: Sequence[Curve]) -> Chart:
        axis = "seconds since the command began"
        return Chart(title, axis, words, curves, shaded, "steady state", x_from_zero=False)

    rates = list(zip(times, columns["output_tokens_per_second"], strict=True))
    watts = [(b, columns[f"{b.value}_power_watts"]) for b in Given if f"{b.value}_power_watts" in columns]
    charts = [
        chart("Generated tokens", "tok/s", [Curve("output", rates)]),
        chart("Power", "W", [_power(one.figures.intervals, boundary, run.started_seconds) for boundary, _ in watts]),
    ]
    if one.figures.shares and watts:
        boundary, power = watts[0]
        phases = [
            Curve(phase.value, list(zip(times, _product(power, columns[f"{phase.value}_share"]), strict=True)))
            for phase in Phase
            if any(columns[f"{phase.value}_share"])
        ]
        charts.append(chart(f"Power by phase, {boundary.value}", "W", phases))
    return charts


def _power(intervals: Sequence[Interval], boundary: Given, started_seconds: float) -> Curve:
    smooth = pieces(intervals, PLOTTED_SECONDS)
    points = [
        (part.end_seconds - started_seconds, part.joules[boundary] / part.seconds if boundary in part.joules else None)
        for part in smooth
    ]
    return Curve(boundary.value, points)


def _known(value: float | None) -> float:
    return 0.0 if value is None else value


def _product(values: Sequence[float | None], shares: Sequence[float | None]) -> list[float | None]:
    return [
        None if value is None or share is None else value * share for value, share in zip(values, shares, strict=True)
    ]


def sweep_page(rows: Sequence[Row], name: str) -> str:
    """Many runs: tokens per joule and dollars per token against throughput, a point for each run."""
    by_server: dict[str, list[Row]] = {}
    for row in best_parts(rows):
        by_server.setdefault(row["server"], []).append(row)
    boundary = next((b for b in Given if any(number(row, f"{b.value}_output_tokens_per_joule") for row in rows)), None)
    per_joule = f"{boundary.value}_output_tokens_per_joule" if boundary else "output_tokens_per_joule"
    where = f", {boundary.value}" if boundary else ""
    body = [
        svg(_sweep_chart(f"Tokens per joule against throughput{where}", "tok/J", by_server, per_joule)),
        svg(_sweep_chart("Dollars per million tokens against throughput", "$/Mtok", by_server, _MILLION)),
        f"<h2>Runs</h2><pre>{escape(as_table(rows))}</pre>",
    ]
    return _page(f"Sweep: {name}", f"{sum(map(len, by_server.values()))} runs; steady state where there is one", body)


_MILLION = "dollars_per_million_output_tokens"


def _sweep_chart(title: str, words: str, by_server: Mapping[str, Sequence[Row]], column: str) -> Chart:
    curves = []
    for server, rows in by_server.items():
        known = [(number(row, "output_tokens_per_second"), _cell(row, column), row) for row in rows]
        placed = [(x, y, row["labels"] or row.get("started_at", "")) for x, y, row in known if x is not None]
        curves.append(Curve(server, [(x, y) for x, y, _ in placed], joined=False, names=[name for *_, name in placed]))
    return Chart(title, "tok/s", words, curves)


def _cell(row: Row, column: str) -> float | None:
    if column != _MILLION:
        return number(row, column)
    per_dollar = number(row, "output_tokens_per_dollar")
    return 1e6 / per_dollar if per_dollar else None


def _page(title: str, below: str, body: Sequence[str]) -> str:
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="sub">{escape(below)} · tokwatt {escape(__version__)}</p>',
            *body,
            "</body></html>",
            "",
        ]
    )
