"""Expressions that both dashboards show, and their units and thresholds. One definition per number."""

from __future__ import annotations

from dashboards.source.panels import Threshold
from dashboards.source.promql import ACCOUNT, COST, ENERGY, INPUT, OUTPUT, SPAN, WHOLE, Metrics, ratio, share, total

TOKENS_PER_SECOND = "suffix:tok/s"
TOKENS_PER_JOULE = "suffix:tok/J"
TOKENS_PER_KWH = "si:tok/kWh"
TOKENS_PER_DOLLAR = "si:tok/$"
DOLLARS = "currencyUSD"
DOLLARS_PER_HOUR = "suffix:$/h"

JOULES_PER_KWH = "3.6e6"
MILLION = "1e6"
SECONDS_PER_HOUR = "3600"

IDLE: tuple[Threshold, ...] = ((None, "green"), (0.2, "yellow"), (0.5, "red"))
COVERAGE: tuple[Threshold, ...] = ((None, "red"), (0.9, "yellow"), (0.99, "green"))
BAD_IF_ANY: tuple[Threshold, ...] = ((None, "green"), (1, "red"))

PHASE_COLORS = {"idle": "#8e8e8e", "unsplit": "purple", "prefill": "blue", "decode": "green"}
BOUNDARY_COLORS = {"facility": "red", "host": "orange", "gpu": "green"}
COMPONENT_COLORS = {"capacity": "blue", "energy": "orange"}


def tokens_per_joule(metrics: Metrics, span: str, *by: str, times: str = "") -> str:
    """Generated tokens per joule of the chosen boundary."""
    return ratio(metrics.rate(OUTPUT, span), metrics.rate(ENERGY, span), *by, times=times)


def processed_per_joule(metrics: Metrics, span: str) -> str:
    """Computed input and generated tokens per joule of the chosen boundary."""
    account = ", ".join(ACCOUNT)
    tokens = " + ".join(f"sum by ({account}) ({metrics.rate(name, span)})" for name in (INPUT, OUTPUT))
    return ratio(tokens, metrics.rate(ENERGY, span))


def tokens_per_dollar(metrics: Metrics, span: str, *by: str) -> str:
    """Generated tokens per dollar of capacity and energy."""
    return ratio(metrics.rate(OUTPUT, span), metrics.rate(COST, span), *by)


def dollars_per_million(metrics: Metrics, span: str, *by: str, **fixed: str) -> str:
    """Dollars of capacity and energy, or of one `component`, per million generated tokens."""
    return ratio(metrics.rate(COST, span, **fixed), metrics.rate(OUTPUT, span), *by, times=MILLION)


def dollars_per_hour(metrics: Metrics, span: str, *by: str) -> str:
    """Cost rate."""
    return f"{SECONDS_PER_HOUR} * {total(metrics.rate(COST, span), *by)}"


def idle_share(metrics: Metrics, name: str, span: str = WHOLE, *by: str) -> str:
    """Part of energy or dollars that went by while no request ran."""
    return share(metrics.increase(name, span, phase="idle"), metrics.increase(name, span), *by)


def watts(metrics: Metrics, *by: str, boundary: str = "${boundary}", span: str = SPAN) -> str:
    """Mean power given to servers, from the energy counters."""
    return total(metrics.rate(f"tokwatt_server_{boundary}_energy_joules_total", span), *by)
