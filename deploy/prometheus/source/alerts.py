"""Alerting rules. Every one says in numbers what is wrong and has a page in docs/runbooks of its own name."""

from __future__ import annotations

from deploy.prometheus.source.model import Alert, Group, Settings, duration
from deploy.prometheus.source.recording import BUDGET, EFFICIENCY, EXPECTED, LIVE, SERVER, TARGET

CRITICAL, WARNING = "critical", "warning"
MEASUREMENT, EFFICIENCY_AREA, COST = "measurement", "efficiency", "cost"
NO_TRAFFIC = f"""\
and on ({SERVER}) (server:tokwatt_output_tokens:rate5m == 0)
unless on ({SERVER}) (server:tokwatt_input_tokens:rate5m > 0)
and on ({SERVER}) (server:tokwatt_source_up:min5m == 1)"""


def alert_groups(settings: Settings) -> tuple[Group, ...]:
    """Return all alerting rules."""
    return (
        Group("tokwatt-exporter", (_absent(settings), _down(settings), _reload_failed(settings))),
        Group(
            "tokwatt-sources",
            (
                _token_source_down(settings),
                _meter_down(settings),
                _price_source_down(settings),
                _response_counter_down(settings),
                _meter_contradicts(settings),
                _never_ready(settings),
                _missing_series(settings),
                _coverage_low(settings),
                _reset_storm(settings),
            ),
        ),
        Group(
            "tokwatt-economics",
            (_efficiency(settings), _idle_burn(settings), _idle_power(settings), _over_budget(settings)),
        ),
    )


# Labels that may be absent are shown only where they are there.
IN = "{{ with $labels.namespace }} in namespace {{ . }}{{ end }}{{ with $labels.cluster }} in cluster {{ . }}{{ end }}"


def _number(series: str, extra: str, shown: str) -> str:
    """Show the value of another series of the same server; nothing where it is absent."""
    matchers = f"cluster=%q,namespace=%q,server=%q{extra}"
    query = f"{series}{{{matchers}}}"
    arguments = "$labels.cluster $labels.namespace $labels.server" + (
        " $labels.boundary" if "boundary=%q" in extra else ""
    )
    return f"{{{{ with printf `{query}` {arguments} | query }}}}{shown}{{{{ end }}}}"


def _absent(settings: Settings) -> Alert:
    return Alert(
        "TokwattAbsent",
        f'absent(up{{job="{settings.job}"}}) and on () absent(tokwatt_build_info)',
        settings.absent_for_seconds,
        CRITICAL,
        MEASUREMENT,
        "No tokwatt exporter is scraped",
        f"Prometheus has had no target of job {settings.job} and no tokwatt metric for "
        f"{duration(settings.absent_for_seconds)}: tokens, energy and cost of inference are not measured anywhere.",
        "No target and no metric of any tokwatt exporter.",
    )


def _down(settings: Settings) -> Alert:
    return Alert(
        "TokwattDown",
        f"""\
up{{job="{settings.job}"}} == 0
or
(up == 0 and on ({TARGET}) count_over_time(tokwatt_build_info[1d]))""",
        settings.down_for_seconds,
        CRITICAL,
        MEASUREMENT,
        "tokwatt on {{ $labels.instance }} cannot be scraped",
        "The exporter {{ $labels.instance }} (job {{ $labels.job }})" + IN + " has not answered for "
        f"{duration(settings.down_for_seconds)}. What its servers use and cost is not recorded meanwhile; if "
        "only the scrape fails, the counters hold it and show it afterwards.",
        "A target of the job, or one of any job that showed tokwatt metrics within a day, does not answer.",
    )


def _reload_failed(settings: Settings) -> Alert:
    return Alert(
        "TokwattConfigReloadFailed",
        "tokwatt_config_last_reload_successful == 0",
        settings.reload_for_seconds,
        WARNING,
        MEASUREMENT,
        "tokwatt on {{ $labels.instance }} runs an old configuration",
        "For " + duration(settings.reload_for_seconds) + " or more, {{ $labels.instance }}" + IN + " has not been able "
        "to load its configuration file. It runs on with the one before; after a restart it would not start. Prices "
        "and ownership may be out of date.",
        "The exporter could not load the present configuration file and kept the last good one.",
    )


def _source_silent(kind: str) -> str:
    """Seconds since the last success of sources that answered before and do not now."""
    return (
        f'time() - tokwatt_source_last_success_timestamp_seconds{{kind="{kind}"}}\n'
        f'and tokwatt_source_up{{kind="{kind}"}} == 0'
    )


def _token_source_down(settings: Settings) -> Alert:
    return Alert(
        "TokwattTokenSourceDown",
        _source_silent("tokens"),
        settings.down_for_seconds,
        WARNING,
        MEASUREMENT,
        "Inference server {{ $labels.source }} does not answer tokwatt",
        "The metrics page of inference server {{ $labels.source }}, read by {{ $labels.instance }}" + IN + ", last "
        "answered {{ $value | humanizeDuration }} ago. Its tokens are unknown and its live ratios are absent; its "
        "GPUs' energy and its capacity still cost money.",
        "An inference server that answered before does not.",
    )


def _meter_down(settings: Settings) -> Alert:
    return Alert(
        "TokwattMeterDown",
        _source_silent("power"),
        settings.down_for_seconds,
        WARNING,
        MEASUREMENT,
        "Power meter {{ $labels.source }} does not answer tokwatt",
        "Meter {{ $labels.source }}, read by {{ $labels.instance }}" + IN + ", last answered "
        "{{ $value | humanizeDuration }} ago. Tokens per joule at its boundary are absent. Energy of a meter with a "
        "counter is found again afterwards, energy of a power gauge is lost.",
        "A meter that answered before does not.",
    )


def _price_source_down(settings: Settings) -> Alert:
    return Alert(
        "TokwattPriceSourceDown",
        _source_silent("price"),
        settings.down_for_seconds,
        WARNING,
        COST,
        "Price {{ $labels.source }} cannot be read",
        "The price of {{ $labels.source }}, read by {{ $labels.instance }}" + IN + ", was last read "
        "{{ $value | humanizeDuration }} ago. The last price holds for hold_seconds (an hour where nothing is set); "
        "after that its dollars are not counted and tokens per dollar are absent.",
        "A file or a series that a price is read from gave one before and does not.",
    )


def _response_counter_down(settings: Settings) -> Alert:
    return Alert(
        "TokwattResponseCounterDown",
        _source_silent("responses"),
        settings.down_for_seconds,
        WARNING,
        COST,
        "The application's counter {{ $labels.source }} does not answer tokwatt",
        "The counter of meaningful responses {{ $labels.source }}, read by {{ $labels.instance }}" + IN + ", last "
        "answered {{ $value | humanizeDuration }} ago. Attempts and cost per meaningful response that need it are "
        "absent; tokens, joules and dollars of the server are not touched.",
        "An application's counter of meaningful responses answered before and does not.",
    )


def _meter_contradicts(settings: Settings) -> Alert:
    series = "tokwatt_meter_energy_to_power_ratio"
    return Alert(
        "TokwattMeterContradictsItself",
        f"{series} < 0.8 or {series} > 1.25",
        settings.contradiction_for_seconds,
        WARNING,
        MEASUREMENT,
        "The energy counter and the power of {{ $labels.device }} disagree",
        "Of device {{ $labels.device }} of {{ $labels.source }}, read by {{ $labels.instance }}" + IN + ", the energy "
        'counter gives {{ $value | printf "%.2f" }} times what its own power readings add up to. One of the two is '
        "wrong, and tokens per joule with it.",
        "A hardware energy counter and the power read beside it are more than a fifth apart.",
    )


def _never_ready(settings: Settings) -> Alert:
    return Alert(
        "TokwattSourceNeverReady",
        "tokwatt_source_up == 0 unless tokwatt_source_last_success_timestamp_seconds",
        settings.never_ready_for_seconds,
        WARNING,
        MEASUREMENT,
        "{{ $labels.source }} has not answered once since tokwatt started",
        "The {{ $labels.kind }} source {{ $labels.source }} of {{ $labels.instance }}" + IN + " failed every read "
        f"since the exporter started, {duration(settings.never_ready_for_seconds)} ago or more. Most often a wrong "
        "address, a missing permission or an absent driver.",
        "A configured source never answered since the exporter started.",
    )


def _missing_series(settings: Settings) -> Alert:
    return Alert(
        "TokwattMissingSeries",
        "tokwatt_source_missing_series == 1",
        settings.missing_series_for_seconds,
        WARNING,
        MEASUREMENT,
        "{{ $labels.source }} does not show {{ $labels.series }}",
        "Inference server {{ $labels.source }}, read by {{ $labels.instance }}" + IN + ", answers but has "
        f"lacked the series {{{{ $labels.series }}}} for {duration(settings.missing_series_for_seconds)}. What tokwatt "
        "counts from it is absent.",
        "A healthy server lacks a series that tokwatt reads, as after a renaming upgrade.",
    )


def _coverage_low(settings: Settings) -> Alert:
    return Alert(
        "TokwattCoverageLow",
        f"""\
tokwatt_window_coverage_ratio < {settings.min_coverage_ratio:g}
unless on ({TARGET}) (tokwatt_source_up == 0)""",
        settings.coverage_for_seconds,
        WARNING,
        MEASUREMENT,
        "Only {{ $value | humanizePercentage }} of {{ $labels.server }} is measured at boundary {{ $labels.boundary }}",
        "Every source of {{ $labels.instance }}" + IN + " answers, yet tokens and {{ $labels.boundary }} energy of "
        "server {{ $labels.server }} were both measured in only {{ $value | humanizePercentage }} of the live window, "
        f"below {settings.min_coverage_ratio:.0%}. Its ratios at that boundary are absent.",
        "Sources answer, but too rarely or too late for the live window.",
    )


def _reset_storm(settings: Settings) -> Alert:
    resets, window = "tokwatt_counter_resets_total", duration(settings.reset_window_seconds)
    return Alert(
        "TokwattCounterResetStorm",
        # The series appears with the first reset, which increase() would not see.
        f"{resets} - ({resets} offset {window} or 0 * {resets}) >= {settings.resets_count:g}",
        settings.short_seconds,
        WARNING,
        MEASUREMENT,
        "Counters of {{ $labels.source }} keep starting anew",
        "tokwatt on {{ $labels.instance }}" + IN + " saw the counters of {{ $labels.kind }} source "
        '{{ $labels.source }} fall {{ printf "%.0f" $value }} times within ' + f"{window}. A server that restarts in a "
        "loop loses the tokens between its last reading and each restart.",
        "A source's counters fell several times: restarts in a loop, or two servers behind one address.",
    )


def _efficiency(settings: Settings) -> Alert:
    fmt = '{{ . | first | value | printf "%.3g" }}'
    return Alert(
        "TokwattEfficiencyRegression",
        f"{EFFICIENCY} < {settings.efficiency_ratio:g}",
        settings.efficiency_for_seconds,
        WARNING,
        EFFICIENCY_AREA,
        "{{ $labels.server }} gives {{ $value | humanizePercentage }} of its usual tokens per joule",
        "Server {{ $labels.server }}"
        + IN
        + " gives "
        + _number(LIVE, ",boundary=%q", fmt + " tokens per joule ")
        + "at boundary {{ $labels.boundary }}"
        + _number(EXPECTED, ",boundary=%q", ", where " + fmt + " is its median at comparable load")
        + f" over {duration(settings.baseline_range_seconds)} until {duration(settings.baseline_delay_seconds)} ago: "
        f"{{{{ $value | humanizePercentage }}}}, below "
        f"{settings.efficiency_ratio:.0%}.",
        "Tokens per joule fell below the server's own level at comparable load and mix. Silent at low traffic and "
        "with too little history.",
    )


def _idle_burn(settings: Settings) -> Alert:
    watts = '{{ range . }}, {{ .Value | printf "%.0f" }} W at boundary {{ .Labels.boundary }}{{ end }}'
    return Alert(
        "TokwattIdleBurn",
        f"""\
sum by ({SERVER}) (server:tokwatt_cost_dollars:rate5m) * 3600 > {settings.idle_dollars_per_hour:g}
{NO_TRAFFIC}""",
        settings.idle_for_seconds,
        WARNING,
        COST,
        '{{ $labels.server }} costs {{ printf "%.2f" $value }} $/h without traffic',
        "Server {{ $labels.server }}"
        + IN
        + ' costs {{ printf "%.2f" $value }} $/h'
        + _number("server:tokwatt_server_power_watts:rate5m", "", watts)
        + f" and has not processed one token for {duration(settings.idle_for_seconds)}.",
        "A server with a price has no traffic.",
    )


def _idle_power(settings: Settings) -> Alert:
    power = "server:tokwatt_server_power_watts:rate5m"
    return Alert(
        "TokwattIdlePower",
        f"""\
(
  {power}{{boundary="host"}}
  or on ({SERVER}) {power}{{boundary="gpu"}}
) > {settings.idle_watts:g}
unless on ({SERVER}) server:tokwatt_cost_dollars:rate5m
{NO_TRAFFIC}""",
        settings.idle_for_seconds,
        WARNING,
        COST,
        '{{ $labels.server }} draws {{ printf "%.0f" $value }} W without traffic',
        "Server {{ $labels.server }}" + IN + ' draws {{ printf "%.0f" $value }} W at boundary {{ $labels.boundary }} '
        f"and has not processed one token for {duration(settings.idle_for_seconds)}. No price is configured for it, "
        "so its dollars are unknown.",
        "A server without a price has no traffic. With a price, TokwattIdleBurn tells.",
    )


def _over_budget(settings: Settings) -> Alert:
    cost = "server:tokwatt_dollars_per_million_output_tokens:ratio_rate1h"
    own = f'max by (server) ({BUDGET}{{server!=""}})'
    common = f'max({BUDGET}{{server=""}})'
    budget = f"{{{{ with printf `{BUDGET}{{server=%q}}` $labels.server | query }}}}{{{{ . | first | value }}}} $"
    return Alert(
        "TokwattCostOverBudget",
        f"""\
(
  {cost} > on (server) group_left () {own}
  or
  (({cost} unless on (server) {own}) > on () group_left () {common})
)
and on ({SERVER}) (server:tokwatt_output_tokens:rate1h >= {settings.budget_tokens_per_second:g})""",
        settings.budget_for_seconds,
        WARNING,
        COST,
        '{{ $labels.server }} costs {{ printf "%.2f" $value }} $ per million output tokens',
        "Server {{ $labels.server }}" + IN + ' cost {{ printf "%.2f" $value }} $ per million output tokens over the '
        "last hour, over its budget of "
        + budget
        + "{{ else }}"
        + f'{{{{ with query `{BUDGET}{{server=""}}` }}}}{{{{ . | first | value }}}} ${{{{ end }}}}{{{{ end }}}}.',
        "Capacity and energy per million output tokens exceed the budget. Silent at low traffic, where idle alerts "
        "tell.",
    )
