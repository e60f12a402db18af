"""The panel of the three bases of cost, on both dashboards."""

from __future__ import annotations

from dashboards.source import numbers
from dashboards.source.notes import POINT, UNPRICED, WIDEST, Note
from dashboards.source.panels import RATIO, Lines, Query, Size
from dashboards.source.promql import SPAN, Metrics


def by_basis(metrics: Metrics, size: Size) -> Lines:
    """Return the graph of dollars per million generated tokens by basis."""
    return Lines(
        "Cost per million tokens by basis",
        Note(
            what="Dollars for a million generated tokens, net of credits. All cost: what is paid. Busy only: idle time "
            "left out, for charging by use. Electricity only: what working costs on top of having the hardware.",
            per="generated tokens.",
            boundary=WIDEST,
            window=POINT,
            wrong="All cost far above busy only: idle hardware. Gaps: no token came. " + UNPRICED,
        ),
        numbers.DOLLARS,
        (
            Query(numbers.dollars_per_million(metrics, SPAN), "all cost"),
            Query(numbers.dollars_per_million(metrics, SPAN, phase="!idle"), "busy only"),
            Query(numbers.dollars_per_million(metrics, SPAN, electricity=True), "electricity only"),
        ),
        size=size,
        soft_zero=True,
        colors=numbers.BASIS_COLORS,
        calcs=RATIO,
        no_value="no cost data",
    )
