"""What is so at the 90th percentile of load, from the exporter's time, energy and tokens by load.

All series are cumulative over `load_le`. The level of load that holds the percentile is found by its share of time;
what it took is the difference between it and the level below. The recording rules do the same over a week.
"""

from __future__ import annotations

from dashboards.source.promql import WHOLE, Metrics

SERVER = "cluster, namespace, server"
SECONDS = "tokwatt_load_seconds_total"
TOKENS = "tokwatt_load_output_tokens_total"
JOULES = "tokwatt_load_${boundary}_energy_joules_total"
PERCENTILE = 0.9


def tokens_per_second(metrics: Metrics) -> str:
    """Mean load in the level that holds the percentile, by server."""
    return _per(_in_level(metrics, TOKENS), _in_level(metrics, SECONDS))


def watts(metrics: Metrics) -> str:
    """Mean power at that load, by server."""
    return _per(_in_level(metrics, JOULES), _in_level(metrics, SECONDS))


def tokens_per_joule(metrics: Metrics) -> str:
    """Generated tokens per joule at that load, by server."""
    return _per(_in_level(metrics, TOKENS), _in_level(metrics, JOULES))


def mean_watts(metrics: Metrics) -> str:
    """Mean power over all the time whose load is known, by server."""

    def whole(name: str) -> str:
        return f"sum by ({SERVER}) ({metrics.increase(name, WHOLE, load_le='+Inf')})"

    return _per(whole(JOULES), whole(SECONDS))


def _per(top: str, bottom: str) -> str:
    return f"{top}\n/\n({bottom} > 0)"


def _in_level(metrics: Metrics, name: str) -> str:
    """Return what a counter gained in the level of load that holds the percentile of time."""
    gained, seconds = _by_level(metrics, name), _by_level(metrics, SECONDS)
    share = f"{seconds} / on ({SERVER}) group_left () ({_by_level(metrics, SECONDS, load_le='+Inf')} > 0)"
    level = f"and on ({SERVER}, load_le) ({share}"
    up_to = f"min by ({SERVER}) ({gained} {level} >= {PERCENTILE:g}))"
    below = f"max by ({SERVER}) ({gained} {level} < {PERCENTILE:g}))"
    return f"({up_to}\n- ({below}\nor 0 * min by ({SERVER}) ({gained})))"


def _by_level(metrics: Metrics, name: str, **fixed: str) -> str:
    return f"sum by ({SERVER}, load_le) ({metrics.increase(name, WHOLE, **fixed)})"
