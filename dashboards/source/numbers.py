"""Expressions that both dashboards show, and their units and thresholds. One definition per number."""

from __future__ import annotations

from dashboards.source.panels import Threshold
from dashboards.source.promql import (
    ACCOUNT,
    CARBON,
    ENERGY,
    INPUT,
    OUTPUT,
    SPAN,
    WHOLE,
    Metrics,
    ratio,
    share,
    total,
)

TOKENS_PER_SECOND = "suffix:tok/s"
TOKENS_PER_JOULE = "suffix:tok/J"
TOKENS_PER_KWH = "si:tok/kWh"
TOKENS_PER_DOLLAR = "si:tok/$"
DOLLARS = "currencyUSD"
DOLLARS_PER_HOUR = "suffix:$/h"
GRAMS_PER_HOUR = "si:g/h"

JOULES_PER_KWH = "3.6e6"
MILLION = "1e6"
SECONDS_PER_HOUR = "3600"

IDLE: tuple[Threshold, ...] = ((None, "green"), (0.2, "yellow"), (0.5, "red"))
COVERAGE: tuple[Threshold, ...] = ((None, "red"), (0.9, "yellow"), (0.99, "green"))
BAD_IF_ANY: tuple[Threshold, ...] = ((None, "green"), (1, "red"))

PHASE_COLORS = {"idle": "#8e8e8e", "unsplit": "purple", "prefill": "blue", "decode": "green"}
BOUNDARY_COLORS = {"facility": "red", "host": "orange", "gpu": "green"}
COMPONENT_COLORS = {"capacity": "blue", "energy": "orange", "energy_credit": "green"}
BASIS_COLORS = {"all cost": "blue", "busy only": "green", "electricity only": "orange"}


def tokens_per_joule(metrics: Metrics, span: str, *by: str, times: str = "") -> str:
    """Generated tokens per joule of the chosen boundary."""
    return ratio(metrics.rate(OUTPUT, span), metrics.rate(ENERGY, span), *by, times=times)


def processed_per_joule(metrics: Metrics, span: str) -> str:
    """Computed input and generated tokens per joule of the chosen boundary."""
    account = ", ".join(ACCOUNT)
    tokens = " + ".join(f"sum by ({account}) ({metrics.rate(name, span)})" for name in (INPUT, OUTPUT))
    return ratio(tokens, metrics.rate(ENERGY, span))


def tokens_per_dollar(metrics: Metrics, span: str, *by: str) -> str:
    """Generated tokens per dollar of capacity and energy, net of credits."""
    return ratio(metrics.rate(OUTPUT, span), metrics.dollars("rate", span), *by)


def dollars_per_million(metrics: Metrics, span: str, *by: str, electricity: bool = False, **fixed: str) -> str:
    """Dollars per million generated tokens, net of credits: all, of a `phase`, or of electricity alone."""
    dollars = metrics.dollars("rate", span, electricity=electricity, **fixed)
    return ratio(dollars, metrics.rate(OUTPUT, span), *by, times=MILLION)


def dollars_per_hour(metrics: Metrics, span: str, *by: str) -> str:
    """Cost rate, net of credits."""
    return f"{SECONDS_PER_HOUR} * {total(metrics.dollars('rate', span), *by)}"


def grams_per_hour(metrics: Metrics, span: str, *by: str) -> str:
    """Carbon emitted per hour."""
    return f"{SECONDS_PER_HOUR} * {total(metrics.rate(CARBON, span), *by)}"


def grams_per_million(metrics: Metrics, span: str, *by: str) -> str:
    """Grams of carbon per million generated tokens."""
    return ratio(metrics.rate(CARBON, span), metrics.rate(OUTPUT, span), *by, times=MILLION)


def idle_energy(metrics: Metrics, span: str = WHOLE, *by: str) -> str:
    """Part of energy that went by while no request ran."""
    return share(metrics.increase(ENERGY, span, phase="idle"), metrics.increase(ENERGY, span), *by)


def idle_dollars(metrics: Metrics, span: str = WHOLE, *by: str) -> str:
    """Part of the net dollars that went by while no request ran."""
    return share(metrics.dollars("increase", span, phase="idle"), metrics.dollars("increase", span), *by)


def watts(metrics: Metrics, *by: str, boundary: str = "${boundary}", span: str = SPAN) -> str:
    """Mean power given to servers, from the energy counters."""
    return total(metrics.rate(f"tokwatt_server_{boundary}_energy_joules_total", span), *by)
