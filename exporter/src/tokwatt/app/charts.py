"""Line and point charts as inline SVG, for a page that needs no network. Pure; colours come from the page's CSS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tokwatt.app.numerals import written

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 76, 34, 14, 42
TICKS = 5


@dataclass(frozen=True, slots=True)
class Curve:
    """One named series of points. None breaks a line. `names`: what a reader sees when pointing at each point."""

    name: str
    points: Sequence[tuple[float, float | None]]
    joined: bool = True  # False: points alone
    names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart; both axes begin at 0 where `from_zero`, as ratios and powers should."""

    title: str
    x_words: str
    y_words: str
    curves: Sequence[Curve]
    shaded: tuple[float, float] | None = None  # a part of x, and
    shaded_words: str = ""  # what it is
    x_from_zero: bool = True


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def svg(chart: Chart) -> str:
    """Draw a chart. A chart without any point says so."""
    known = [(x, y) for curve in chart.curves for x, y in curve.points if y is not None]
    if not known:
        return f'<p class="empty">{escape(chart.title)}: not measured</p>'
    ys = _ticks(0.0, max(y for _, y in known))
    xs = _ticks(0.0 if chart.x_from_zero else min(x for x, _ in known), max(x for x, _ in known))
    across = _Scale(xs[0], xs[-1], LEFT, WIDTH - RIGHT)
    up = _Scale(ys[0], ys[-1], HEIGHT - BOTTOM, TOP)
    parts = [
        f"<figure><figcaption>{escape(chart.title)}</figcaption>{_legend(chart)}",
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">',
    ]
    if chart.shaded is not None:
        start, end = (across.at(min(max(x, xs[0]), xs[-1])) for x in chart.shaded)
        parts.append(
            f'<rect class="shade" x="{start:.1f}" y="{TOP}" width="{end - start:.1f}" height="{HEIGHT - TOP - BOTTOM}">'
            f"<title>{escape(chart.shaded_words)}</title></rect>"
        )
    parts += [_axes(chart, across, up, xs, ys)]
    parts += [_curve(curve, number, across, up, chart) for number, curve in enumerate(chart.curves)]
    return "\n".join([*parts, "</svg></figure>"])


def _axes(chart: Chart, across: _Scale, up: _Scale, xs: Sequence[float], ys: Sequence[float]) -> str:
    lines = []
    for y in ys:
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up.at(y):.1f}" y2="{up.at(y):.1f}"/>')
        lines.append(f'<text class="y" x="{LEFT - 8}" y="{up.at(y) + 4:.1f}">{written(y)}</text>')
    lines += [f'<text class="x" x="{across.at(x):.1f}" y="{HEIGHT - BOTTOM + 18}">{written(x)}</text>' for x in xs]
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(f'<text class="x words" x="{middle:.0f}" y="{HEIGHT - 6}">{escape(chart.x_words)}</text>')
    turned = (TOP + HEIGHT - BOTTOM) / 2
    lines.append(
        f'<text class="x words" transform="translate(14 {turned:.0f}) rotate(-90)">{escape(chart.y_words)}</text>'
    )
    return "\n".join(lines)


def _legend(chart: Chart) -> str:
    items = [f'<span class="key c{number}">{escape(curve.name)}</span>' for number, curve in enumerate(chart.curves)]
    if chart.shaded is not None:
        items.append(f'<span class="key shaded">{escape(chart.shaded_words)}</span>')
    return f'<div class="legend">{"".join(items)}</div>' if len(items) > 1 else ""


def _curve(curve: Curve, number: int, across: _Scale, up: _Scale, chart: Chart) -> str:
    drawn: list[str] = []
    if curve.joined:
        drawn += [
            f'<polyline class="line c{number}" points="{" ".join(piece)}"/>'
            for piece in _pieces([(x, y, f"{across.at(x):.1f},{up.at(y or 0.0):.1f}") for x, y in curve.points])
        ]
        return "\n".join(drawn)
    for place, (x, y) in enumerate(curve.points):
        if y is None:
            continue
        name = curve.names[place] if place < len(curve.names) else curve.name
        says = f"{name}: {written(x)} {chart.x_words}, {written(y)} {chart.y_words}"
        drawn.append(
            f'<circle class="point c{number}" cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="5">'
            f"<title>{escape(says)}</title></circle>"
        )
        drawn.append(f'<text class="name" x="{across.at(x) + 8:.1f}" y="{up.at(y) - 7:.1f}">{escape(name)}</text>')
    return "\n".join(drawn)


def _pieces(points: Sequence[tuple[float, float | None, str]]) -> list[list[str]]:
    """Split a line where a value is not known."""
    pieces: list[list[str]] = [[]]
    for _, y, place in points:
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append(place)
    return [piece for piece in pieces if piece]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12 - math.floor(math.log10(step))) for number in range(first, last + 1)]
