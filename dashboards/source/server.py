"""One inference server: what it gives, draws and costs, by phase, component and boundary."""

from __future__ import annotations

from dashboards.source import numbers
from dashboards.source.layout import Board, Link, Section
from dashboards.source.notes import ABSENT, CHOSEN, LIVE, POINT, Note
from dashboards.source.panels import RATIO, Lines, Query, Scatter
from dashboards.source.promql import CACHED, ENERGY, INPUT, OUTPUT, SPAN, Metrics, total
from dashboards.source.server_health import IDENTITY, QUALITY
from dashboards.source.server_money import MONEY, PEAK, RESPONSES
from dashboards.source.server_phases import PHASES
from dashboards.source.server_stats import HEADLINES

M = Metrics("=")
NO_METER = "not measured"

TOKENS = (
    Lines(
        "Tokens per second",
        Note(
            what="Prompt tokens computed, prompt tokens served from a prefix cache, and tokens generated.",
            window=POINT,
            wrong="No cached line: the engine does not tell cached from computed; then computed means all.",
        ),
        numbers.TOKENS_PER_SECOND,
        (
            Query(total(M.rate(INPUT)), "input, computed"),
            Query(total(M.rate(CACHED)), "input, cached"),
            Query(total(M.rate(OUTPUT)), "output"),
        ),
        colors={"input, computed": "blue", "input, cached": "#8ab8ff", "output": "green"},
    ),
    Lines(
        "Requests per second by outcome",
        Note(
            what="Requests that the engine counted as ended.",
            window=POINT,
            wrong="Errors or aborts rise: their tokens cost joules and dollars that serve nobody. Empty: not every "
            "engine counts requests (llama.cpp's server does not).",
        ),
        "reqps",
        (Query(total(M.rate("tokwatt_requests_total"), "outcome"), "{{outcome}}"),),
        colors={"success": "green", "abort": "orange", "error": "red"},
        no_value="no requests counted",
    ),
)

ENERGY_PANELS = (
    Lines(
        "Power by phase",
        Note(
            what="Power given to this server by what it was for, stacked: idle, prefill, decode, and unsplit where no "
            "method can tell prefill from decode.",
            boundary=CHOSEN,
            window=POINT,
            wrong="All unsplit: see Prefill and decode. Much idle: few requests. " + ABSENT,
        ),
        "watt",
        (Query(total(M.rate(ENERGY), "phase"), "{{phase}}"),),
        stacked=True,
        colors=numbers.PHASE_COLORS,
        no_value=NO_METER,
    ),
    Lines(
        "Power by boundary",
        Note(
            what="The same server at every measured boundary.",
            boundary="all that are measured; each contains the one below, so they are not stacked.",
            window=POINT,
            wrong="Host below GPU: the host meter reads late or misses machines (`hosts:`).",
        ),
        "watt",
        tuple(Query(numbers.watts(M, boundary=name), name) for name in ("facility", "host", "gpu")),
        colors=numbers.BOUNDARY_COLORS,
        no_value=NO_METER,
    ),
    Lines(
        "GPU power by device",
        Note(
            what="Measured power of every GPU of the exporters that measure this server, its own or not.",
            boundary="GPU boards.",
            window=POINT,
            wrong="One GPU far from its peers: throttled, or not used by this server. " + ABSENT,
        ),
        "watt",
        (
            Query(
                "sum by (index, device) ("
                + M.here(M.rate("tokwatt_gpu_energy_joules_total"))
                + f" * on (job, instance, device) group_left (index) {M.of('tokwatt_gpu_info')})",
                "GPU {{index}}",
            ),
        ),
        no_value="no GPU meter",
    ),
    Lines(
        "Power of the host beside its GPUs",
        Note(
            what="What whole machines draw less what the GPUs in them draw: CPUs, memory, fans, network, losses.",
            boundary="host less GPU, of the hosts that measure this server, shared by all servers on them.",
            window=f"{LIVE} Each point is one such window.",
            wrong="High while nothing runs: fans, or another workload. Empty: no host meter, or the GPUs seem to draw "
            "more than the host (a wrong `hosts:`).",
        ),
        "watt",
        (Query(f"sum by (device) ({M.here(M.of('tokwatt_host_non_gpu_power_watts'))})", "{{device}}"),),
        no_value="no host meter",
    ),
)

EFFICIENCY = (
    Lines(
        "Tokens per joule",
        Note(
            what="Generated tokens, and computed prompt plus generated tokens, over all energy given.",
            per="all energy given, idle included.",
            boundary=CHOSEN,
            window=POINT,
            wrong="Generated falls while processed holds: prompts grew longer. Both fall: load fell, or a GPU slows.",
        ),
        numbers.TOKENS_PER_JOULE,
        (
            Query(numbers.tokens_per_joule(M, SPAN), "generated"),
            Query(numbers.processed_per_joule(M, SPAN), "processed"),
        ),
        colors={"generated": "green", "processed": "blue"},
        calcs=RATIO,
        no_value=NO_METER,
    ),
    Scatter(
        "Tokens per joule against load",
        Note(
            what="Each point is one moment of the chosen range: how much was generated, and how efficiently.",
            per="tokens per joule: all energy given, idle included.",
            boundary=CHOSEN,
            window=POINT,
            wrong="Points below the usual curve at the same load: a real loss of efficiency, not a lack of traffic.",
        ),
        x=Query(total(M.rate(OUTPUT)), "Output"),
        y=Query(numbers.tokens_per_joule(M, SPAN), "Tokens per joule"),
        x_unit=numbers.TOKENS_PER_SECOND,
        unit=numbers.TOKENS_PER_JOULE,
        no_value=NO_METER,
    ),
)

BOARD = Board(
    uid="tokwatt-server",
    title="tokwatt / Server",
    description="One inference server in tokens, joules and dollars. See docs/dashboards.md in tokwatt's repository.",
    sections=(
        Section("$server now", HEADLINES),
        Section("Tokens", TOKENS),
        Section("Energy", ENERGY_PANELS),
        Section("Efficiency", EFFICIENCY),
        Section("Prefill and decode", PHASES),
        Section("Cost and carbon", MONEY),
        Section("Meaningful responses: $ = Et x A x Ct + Pt x Cp", RESPONSES),
        Section("At the load that hardware is bought for", PEAK),
        Section("Quality of the measurement", QUALITY),
        Section("Identity", IDENTITY),
    ),
    links=(Link("All servers", "/d/tokwatt-overview", "The fleet: best and worst servers"),),
    many_servers=False,
)
