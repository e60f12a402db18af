"""The server page's lower part: how well it is measured, and what is measured."""

from __future__ import annotations

from dashboards.source import numbers
from dashboards.source.notes import LIVE, POINT, Note
from dashboards.source.panels import THIRD, Lines, Panel, Query, Size
from dashboards.source.promql import Metrics, total
from dashboards.source.tables import Column, Table

M = Metrics("=")
STATES = {"0": ("DOWN", "red"), "1": ("UP", "green")}
TARGET = ("job", "instance", "__name__")


def sources(name: str, *, reading: str = "{}") -> str:
    """Select a metric of the sources this server depends on: its own tokens, and its exporters' meters.

    `reading`: what to do with the selector, as "rate({}[1m])".
    """
    own = reading.format(M.of(name, source="$server"))
    if "kind" not in M.labels(name):
        return f"({own} or {M.here(reading.format(M.of(name)))} unless on (job, instance, source) {_other_servers()})"
    own = reading.format(M.of(name, kind="tokens", source="$server"))
    return f"({own} or {M.here(reading.format(M.of(name, kind='power')))})"


def _other_servers() -> str:
    return M.of("tokwatt_source_up", kind="tokens")


IN_RANGE = "increase({}[$__range])"
COUNTER_TO_POWER = (
    f"max by (index, device) ({M.here(M.of('tokwatt_meter_energy_to_power_ratio'))}"
    f" * on (job, instance, device) group_left (index) {M.of('tokwatt_gpu_info')})"
)
QUALITY: tuple[Panel, ...] = (
    Table(
        "Sources of this server",
        Note(
            what="This server's token source and the meters of its exporters, those that are down first.",
            window="now, seen up to a scrape interval late; gaps: the time range chosen in Grafana; resets: since the "
            "exporter's start.",
            wrong="DOWN: the reason is in Failed reads, the cure in `tokwatt probe` on that machine.",
        ),
        (
            Query(f"min by (source, kind) {sources('tokwatt_source_up')}"),
            Query(f"max by (source, kind) (time() - {sources('tokwatt_source_last_success_timestamp_seconds')})"),
            Query(f"max by (source, kind) {sources('tokwatt_source_read_seconds')}"),
            Query(f"sum by (source, kind) {sources('tokwatt_gap_seconds_total', reading=IN_RANGE)}"),
            Query(f"sum by (source, kind) {sources('tokwatt_counter_resets_total')}"),
        ),
        (
            Column("source", "Source"),
            Column("kind", "Kind", width=75),
            Column("A", "State", states=STATES, width=75),
            Column("B", "Last good read", "s", decimals=0, width=125, no_value="never"),
            Column("C", "Read takes", "s", decimals=1, width=100),
            Column("D", "Gaps", "s", decimals=0, width=70),
            Column("E", "Resets", "short", decimals=0, width=75),
        ),
        sort="State",
        size=Size(12, 8),
        no_value="no source: is tokwatt scraped?",
    ),
    Table(
        "Failed reads by source and reason",
        Note(
            what="Reads that failed since the exporter started, worst first, and how many of them in the chosen range.",
            window="since the exporter's start, and the time range chosen in Grafana.",
            wrong="Reasons are explained in docs/sources.md. A reason seen once counts only in the first column.",
        ),
        (
            Query(f"sum by (source, reason) ({sources('tokwatt_source_errors_total')} > 0)"),
            Query(f"sum by (source, reason) {sources('tokwatt_source_errors_total', reading=IN_RANGE)}"),
        ),
        (
            Column("source", "Source"),
            Column("reason", "Reason"),
            Column("A", "Since start", "short", decimals=0, width=105),
            Column("B", "In the range", "short", decimals=0, width=110),
        ),
        sort="Since start",
        descending=True,
        size=Size(12, 8),
        no_value="No read has failed.",
    ),
    Lines(
        "Coverage by boundary",
        Note(
            what="Part of the live window in which tokens and energy were both measured.",
            per="the live window (`window_seconds`).",
            boundary="each that this server has.",
            window=LIVE,
            wrong="Below the line at 0.9 (`min_coverage`) the live gauges are absent: find the source that fails.",
        ),
        "percentunit",
        (Query(f"min by (boundary) ({M.of('tokwatt_window_coverage_ratio', every='boundary')})", "{{boundary}}"),),
        size=THIRD,
        calcs=("min", "lastNotNull"),
        colors=numbers.BOUNDARY_COLORS,
        thresholds=((None, "red"), (0.9, "green")),
        maximum=1,
        no_value="not measured",
    ),
    Lines(
        "Error of the energy by boundary",
        Note(
            what="Half of the 90 % interval of the live window's energy, as a share of it: what meters declare of "
            "themselves, and when they were read.",
            per="energy of the live window.",
            boundary="each that this server has.",
            window=LIVE,
            wrong="Large: a slow or coarse meter, widen `window_seconds`. Empty: coverage below 0.9, or a rule divides "
            "a GPU between servers, and nobody knows the error of a rule.",
        ),
        "percentunit",
        (Query(f"max by (boundary) ({M.of('tokwatt_energy_error_ratio', every='boundary')})", "{{boundary}}"),),
        size=THIRD,
        calcs=("max", "lastNotNull"),
        colors=numbers.BOUNDARY_COLORS,
        no_value="not known",
    ),
    Lines(
        "Energy counter over power by GPU",
        Note(
            what="What a GPU's energy counter gives, over what its power readings add up to: about 1 if both are "
            "right.",
            per="integrated power of the same GPU over the last minutes.",
            boundary="GPU boards, of the exporters that measure this server.",
            window="the last minutes before each point (docs/meters.md).",
            wrong="Below 0.8 or above 1.25: one of the two lies (runbook TokwattMeterContradictsItself). Empty: the "
            "meter has no counter beside its power.",
        ),
        "none",
        (Query(COUNTER_TO_POWER, "GPU {{index}}"),),
        size=THIRD,
        calcs=("min", "max"),
        zero_based=False,
        no_value="not compared",
    ),
    Lines(
        "Seconds a read takes",
        Note(
            what="Duration of the newest read of each source.",
            window="the newest read before each point.",
            wrong="Near `tick_seconds`: reads come late and coverage falls. A BMC takes tens to hundreds of ms.",
        ),
        "s",
        (Query(f"max by (source) {sources('tokwatt_source_read_seconds')}", "{{source}}"),),
        size=Size(12, 8),
        calcs=("max", "lastNotNull"),
    ),
    Lines(
        "Gaps and counter resets",
        Note(
            what="Seconds per minute that lay between two reads too far apart, and counter resets per minute.",
            window=POINT,
            wrong="Gaps: the source or the exporter is overloaded. Resets: the engine or the driver restarted; nothing "
            "already counted is lost.",
        ),
        "none",
        (
            Query(
                "60 * sum by (source) " + sources("tokwatt_gap_seconds_total", reading="rate({}[$__rate_interval])"),
                "{{source}}: gap seconds",
            ),
            Query(
                "60 * sum by (source) " + sources("tokwatt_counter_resets_total", reading="rate({}[$__rate_interval])"),
                "{{source}}: resets",
            ),
        ),
        size=Size(12, 8),
        calcs=("max", "lastNotNull"),
    ),
)

METERS = M.of("tokwatt_meter_info", every="boundary")
IDENTITY: tuple[Panel, ...] = (
    Table(
        "Server",
        Note(
            what="What the exporter knows of this server, with the labels of your configuration.",
            window="now.",
            wrong='input "all": the engine cannot tell cached from computed prompt tokens. output "at_finish": it '
            "counts output only when a request ends. simulated: a demo.",
        ),
        (Query(M.of("tokwatt_server_info")),),
        (
            Column("server", "Server"),
            Column("engine", "Engine", width=90),
            Column("engine_version", "Version"),
            Column("role", "Role", width=75),
            Column("input", "Input", width=95),
            Column("output", "Output", width=90),
            Column("simulated", "Simulated", width=90),
        ),
        sort="Server",
        hidden=(*TARGET, "cluster", "namespace", "phases", "Value"),
        size=Size(12, 4),
    ),
    Table(
        "Series that the engine does not show",
        Note(
            what="Series that this engine normally has and this server does not show.",
            window="now.",
            wrong="What depends on them is absent: check the engine's version and its flags for metrics.",
        ),
        (Query(total(M.of("tokwatt_source_missing_series", source="$server"), "source", "series")),),
        (Column("source", "Server"), Column("series", "Series")),
        sort="Series",
        hidden=("Value",),
        size=Size(12, 4),
        no_value="None is missing.",
    ),
    Table(
        "Meters",
        Note(
            what="How each device near this server is measured. Fidelity: highest (GPU), high (machine), low "
            "(outlet and above). Method: counter, integrated from power, attributed, simulated.",
            boundary="each meter's own.",
            window="now.",
            wrong="A meter is missing: `tokwatt probe` says why.",
        ),
        (Query(f"group by (source, boundary, device, fidelity, method) {M.here(METERS)}"),),
        (
            Column("source", "Source", width=105),
            Column("boundary", "Boundary", width=95),
            Column("device", "Device"),
            Column("fidelity", "Fidelity", width=85),
            Column("method", "Method", width=95),
        ),
        sort="Boundary",
        hidden=("Value",),
        size=Size(12, 11),
        no_value="no meter answers",
    ),
    Table(
        "GPUs",
        Note(
            what="GPUs of the exporters that measure this server, its own or not.",
            window="now.",
            wrong="A GPU is missing: the driver does not show it to the exporter (`tokwatt probe`).",
        ),
        (Query(f"group by (index, name, device, source) {M.here(M.of('tokwatt_gpu_info'))}"),),
        (
            Column("index", "Index", width=60),
            Column("name", "Name", width=250),
            Column("device", "Device"),
            Column("source", "Source", width=95),
        ),
        sort="Index",
        hidden=("Value",),
        size=Size(12, 11),
        no_value="no GPU meter",
    ),
)
