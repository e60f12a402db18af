"""The overview's lower part: what is measured for nobody, what is not measured, and how to read the page."""

from __future__ import annotations

from dashboards.source import numbers
from dashboards.source.notes import CHOSEN, LIVE, NOW, POINT, Note
from dashboards.source.panels import Lines, Panel, Query, Size, Stat, Text
from dashboards.source.promql import Metrics, total
from dashboards.source.tables import Column, Table
from dashboards.source.variables import SCOPE

M = Metrics("=~")
SOURCE_ROW = ("cluster", "namespace", "source", "kind")
SMALL_LOW = Size(3, 3)
# Below coverage the gauges are absent too: such a server is not counted here.
UNSPLIT = (
    f"count({M.of('tokwatt_server_info')} unless {M.of('tokwatt_server_info', phases='none')} "
    f"and on (job, instance, server) ({M.of('tokwatt_server_power_watts')} > 0) "
    "unless on (job, instance, server) "
    f"({M.of('tokwatt_prefill_tokens_per_joule')} or {M.of('tokwatt_decode_tokens_per_joule')})) or vector(0)"
)
STATES = {"0": ("DOWN", "red"), "1": ("UP", "green")}
SEVERITIES = {"critical": ("critical", "red"), "warning": ("warning", "orange"), "info": ("info", "blue")}

SOURCES = Table(
    "Sources",
    Note(
        what="Every token source and meter, those that are down first.",
        window="now, seen up to a scrape interval late; gaps: the time range chosen in Grafana.",
        wrong="DOWN: the reason is in Failed reads, the cure in `tokwatt probe` on that machine.",
    ),
    (
        Query(f"min by ({', '.join(SOURCE_ROW)}) ({M.of('tokwatt_source_up')})"),
        Query(f"max by ({', '.join(SOURCE_ROW)}) (time() - {M.of('tokwatt_source_last_success_timestamp_seconds')})"),
        Query(f"max by ({', '.join(SOURCE_ROW)}) ({M.of('tokwatt_source_read_seconds')})"),
        Query(total(M.increase("tokwatt_gap_seconds_total"), *SOURCE_ROW)),
    ),
    (
        Column("cluster", "Cluster", width=90),
        Column("namespace", "Namespace", width=110),
        Column("source", "Source"),
        Column("kind", "Kind", width=75),
        Column("A", "State", states=STATES, width=75),
        Column("B", "Last good read", "s", decimals=0, width=125, no_value="never"),
        Column("C", "Read takes", "s", decimals=1, width=100),
        Column("D", "Gaps", "s", decimals=0, width=70),
    ),
    sort="State",
    size=Size(14, 8),
    no_value="No source: is tokwatt scraped?",
)
FAILED_READS = Table(
    "Failed reads by source and reason",
    Note(
        what="Reads that failed since the exporter started, worst first, and how many of them in the chosen range.",
        window="since the exporter's start, and the time range chosen in Grafana.",
        wrong="Reasons are explained in docs/sources.md. A reason seen once counts only in the first column.",
    ),
    (
        Query(total(f"{M.of('tokwatt_source_errors_total')} > 0", "cluster", "namespace", "source", "reason")),
        Query(total(M.increase("tokwatt_source_errors_total"), "cluster", "namespace", "source", "reason")),
    ),
    (
        Column("cluster", "Cluster", width=90),
        Column("namespace", "Namespace", width=100),
        Column("source", "Source", width=115),
        Column("reason", "Reason", width=115),
        Column("A", "Since start", "short", decimals=0, width=95),
        Column("B", "In the range", "short", decimals=0, width=100),
    ),
    sort="Since start",
    descending=True,
    size=Size(10, 8),
    no_value="No read has failed.",
)
ALERTS = Table(
    "Alerts",
    Note(
        what="tokwatt's alerts that Prometheus holds pending or firing.",
        window="now.",
        wrong="Always empty: the alert rules (deploy/prometheus) are not loaded in this Prometheus.",
    ),
    (Query(f'max by (alertstate, alertname, severity, server, source) (ALERTS{{alertname=~"Tokwatt.*", {SCOPE}}})'),),
    (
        Column("alertstate", "State", states={"firing": ("firing", "red"), "pending": ("pending", "orange")}, width=90),
        Column("alertname", "Alert"),
        Column("severity", "Severity", states=SEVERITIES, width=100),
        Column("server", "Server", width=110),
        Column("source", "Source", width=110),
    ),
    sort="State",
    size=Size(10, 8),
    no_value="No alert is pending or firing.",
)
UNATTRIBUTED = Lines(
    "Unattributed power",
    Note(
        what="Measured power that no server was given: unused GPUs, and the part of hosts that is nobody's.",
        boundary="GPU boards and whole hosts; hosts contain GPUs, so the lines are not stacked.",
        window=POINT,
        wrong="Far above zero: a server misses in the configuration, or its `gpus:` or `hosts:` are too few.",
    ),
    "watt",
    (
        Query(total(M.rate("tokwatt_unattributed_host_energy_joules_total")), "host"),
        Query(total(M.rate("tokwatt_unattributed_gpu_energy_joules_total")), "gpu"),
    ),
    size=Size(7, 8),
    colors=numbers.BOUNDARY_COLORS,
    no_value="not measured",
)
COVERAGE = Lines(
    "Coverage by server",
    Note(
        what="Part of the live window in which tokens and energy were both measured.",
        per="the live window (`window_seconds`).",
        boundary="the one chosen at the top.",
        window=LIVE,
        wrong="Below the line at 0.9 (`min_coverage`) the server's live gauges are absent: find the source that fails.",
    ),
    "percentunit",
    (Query(f"min by (server) ({M.of('tokwatt_window_coverage_ratio')})", "{{server}}"),),
    size=Size(7, 8),
    calcs=("min", "lastNotNull"),
    thresholds=((None, "red"), (0.9, "green")),
    maximum=1,
    no_value="not measured",
)
COUNTS = (
    Stat(
        "Alerts firing",
        Note(
            what="tokwatt's alerts that fire.",
            window="now.",
            wrong="Always 0: the alert rules (deploy/prometheus) are not loaded in this Prometheus.",
        ),
        "none",
        Query(f'count(ALERTS{{alertname=~"Tokwatt.*", alertstate="firing", {SCOPE}}}) or vector(0)'),
        thresholds=numbers.BAD_IF_ANY,
        size=SMALL_LOW,
    ),
    Stat(
        "Sources down",
        Note(
            what="Token sources and meters whose last read failed.",
            window="now.",
            wrong="Sources, below, names them.",
        ),
        "none",
        Query(f"count({M.of('tokwatt_source_up')} == 0) or vector(0)"),
        thresholds=numbers.BAD_IF_ANY,
        size=SMALL_LOW,
    ),
    Stat(
        "Exporters",
        Note(
            what="tokwatt exporters that Prometheus scrapes.",
            window="now.",
            wrong="Fewer than deployed: see Prometheus' own page of targets.",
        ),
        "none",
        Query(f"count({M.of('tokwatt_build_info')})"),
        size=SMALL_LOW,
        no_value="none",
    ),
    Stat(
        "Failed reads",
        Note(
            what="Failed reads per minute, of all sources.",
            window=NOW,
            wrong="Failed reads, below, tells sources and reasons.",
        ),
        "suffix:/min",
        Query(f"60 * {total(M.rate('tokwatt_source_errors_total'))} or vector(0)"),
        thresholds=((None, "green"), (1, "yellow"), (10, "red")),
        size=SMALL_LOW,
        decimals=1,
    ),
    Stat(
        "Lowest coverage",
        Note(
            what="Coverage of the worst server. Below 0.9 (`min_coverage`) its live gauges are absent.",
            per="the live window: the part in which tokens and this boundary's energy were both measured.",
            boundary=CHOSEN,
            window=LIVE,
            wrong="Find the server in the table, and its source under Health.",
        ),
        "percentunit",
        Query(f"min({M.of('tokwatt_window_coverage_ratio')})"),
        thresholds=numbers.COVERAGE,
        no_value="not measured",
        decimals=0,
        size=SMALL_LOW,
    ),
    Stat(
        "Energy error",
        Note(
            what="Half of the 90 % interval of a server's energy, as a share of it: the worst of the chosen servers.",
            per="energy of the live window.",
            boundary=CHOSEN,
            window=LIVE,
            wrong="Its server's page tells it by boundary. Empty: coverage below 0.9, or a rule divides GPUs.",
        ),
        "percentunit",
        Query(f"max({M.of('tokwatt_energy_error_ratio')})"),
        size=SMALL_LOW,
        no_value="not known",
        decimals=1,
    ),
    Stat(
        "Servers unsplit",
        Note(
            what="Servers whose method should tell prefill from decode and does not at the moment; not those where "
            "it is switched off or cannot be.",
            per="nothing: a number of servers.",
            boundary=CHOSEN,
            window=LIVE,
            wrong="Normal in the first minute and at loads that never vary. The live page tells why (docs/phases.md).",
        ),
        "none",
        Query(UNSPLIT),
        size=SMALL_LOW,
    ),
    Stat(
        "Simulated servers",
        Note(
            what="Servers whose numbers are simulated (`tokwatt demo`), not measured.",
            window="now.",
            wrong="More than 0 on a real fleet: someone scrapes a demo.",
        ),
        "none",
        Query(f"count({M.of('tokwatt_server_info', simulated='true')}) or vector(0)"),
        thresholds=((None, "green"), (1, "orange")),
        size=SMALL_LOW,
    ),
)
HEALTH: tuple[Panel, ...] = (*COUNTS, SOURCES, FAILED_READS, ALERTS, UNATTRIBUTED, COVERAGE)

ABOUT = Text(
    "Reading the numbers",
    Note(
        what="What the ratios mean.",
        wrong="docs/dashboards.md in tokwatt's repository says more.",
    ),
    "**Tokens per joule** = generated tokens / energy given to the server (1 tok/J = 3.6 Mtok/kWh). "
    "**Tokens per dollar** = generated tokens / (capacity + energy). Idle time counts in both.\n\n"
    "Boundaries contain each other, **facility ⊃ host ⊃ GPU**: compare servers at one boundary, never add two. "
    "An empty panel was *not measured*; **0** was measured as zero.\n\n"
    "Every panel's (i) says its denominator, boundary and window, and what to do when it looks wrong. "
    "More: `docs/dashboards.md` and `docs/metrics.md` in tokwatt's repository.",
    size=Size(24, 5),
)
