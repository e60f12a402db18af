"""Recording rules of power and efficiency at P90 load, from the exporter's time, energy and tokens by load.

The level of load that holds the 90th percentile of time is found by its share of time; what it took is the difference
between it and the level below, since all series are cumulative over `load_le`.
"""

from __future__ import annotations

from collections.abc import Iterator

from deploy.prometheus.source.model import Group, Recording, Settings, duration

BOUNDARIES = ("gpu", "host", "facility")
SERVER = "cluster, namespace, server"
SHARE = "server:tokwatt_load_seconds:share7d"
PERCENTILE = 0.9


def load_group(settings: Settings) -> Group:
    """Return the rules; evaluated once every short window, so that the windows of their rates do not overlap."""
    return Group("tokwatt-load", (*_rates(settings), *_sums(settings), *_at_p90()), settings.short_seconds)


def _rates(settings: Settings) -> Iterator[Recording]:
    window = f"[{duration(settings.short_seconds)}]"
    yield Recording(
        "server:tokwatt_load_seconds:rate5m",
        f"sum by ({SERVER}, load_le) (rate(tokwatt_load_seconds_total{window}))",
        "Time at each load or less, per second and replica.",
        "ratio",
    )
    yield Recording(
        "server:tokwatt_load_output_tokens:rate5m",
        f"sum by ({SERVER}, load_le) (rate(tokwatt_load_output_tokens_total{window}))",
        "Output tokens made at each load or less.",
        "tokens per second",
    )
    for boundary in BOUNDARIES:
        yield Recording(
            "server:tokwatt_load_energy_joules:rate5m",
            f"sum by ({SERVER}, load_le) (rate(tokwatt_load_{boundary}_energy_joules_total{window}))",
            "Energy given at each load or less.",
            "watts",
            {"boundary": boundary},
        )


def _sums(settings: Settings) -> Iterator[Recording]:
    past = f"[{duration(settings.load_range_seconds)}]"
    for what, text, unit in (
        ("seconds", "Seconds", "seconds"),
        ("output_tokens", "Output tokens", "tokens"),
        ("energy_joules", "Joules", "joules"),
    ):
        yield Recording(
            f"server:tokwatt_load_{what}:sum7d",
            f"{settings.short_seconds:g} * sum_over_time(server:tokwatt_load_{what}:rate5m{past})",
            f"{text} at each load or less in a week.",
            unit,
        )
    yield Recording(
        SHARE,
        f"""\
server:tokwatt_load_seconds:sum7d
/ on ({SERVER}) group_left ()
(server:tokwatt_load_seconds:sum7d{{load_le="+Inf"}} > 0)""",
        "Share of the time of a week at each load or less, idle time included: the distribution of load.",
        "ratio",
    )


def _at_p90() -> Iterator[Recording]:
    for what, labels, text, unit in (
        ("seconds", SERVER, "Seconds", "seconds"),
        ("output_tokens", SERVER, "Output tokens", "tokens"),
        ("energy_joules", f"{SERVER}, boundary", "Joules", "joules"),
    ):
        series = f"server:tokwatt_load_{what}:sum7d"
        yield Recording(
            f"server:tokwatt_load_{what}:p90_7d",
            f"""\
min by ({labels}) ({series} and on ({SERVER}, load_le) ({SHARE} >= {PERCENTILE:g}))
-
(
  max by ({labels}) ({series} and on ({SERVER}, load_le) ({SHARE} < {PERCENTILE:g}))
  or 0 * min by ({labels}) ({series})
)""",
            f"{text} of that week in the level of load that holds the 90th percentile of time.",
            unit,
        )
    seconds = "(server:tokwatt_load_seconds:p90_7d > 0)"
    yield Recording(
        "server:tokwatt_output_tokens_per_second:p90_load_7d",
        f"server:tokwatt_load_output_tokens:p90_7d / {seconds}",
        "Mean load in that level: the load that hardware is bought for. Of one replica where several share a name.",
        "tokens per second",
    )
    yield Recording(
        "server:tokwatt_server_power_watts:p90_load_7d",
        f"server:tokwatt_load_energy_joules:p90_7d / on ({SERVER}) group_left () {seconds}",
        "Mean power at that load, of one replica.",
        "watts",
    )
    yield Recording(
        "server:tokwatt_output_tokens_per_joule:p90_load_7d",
        f"""\
server:tokwatt_load_output_tokens:p90_7d
/ on ({SERVER}) group_right ()
(server:tokwatt_load_energy_joules:p90_7d > 0)""",
        "Tokens per watt-second at that load.",
        "tokens per joule",
    )
