"""One inference server: what it gives, draws and costs, by phase, component and boundary."""

from __future__ import annotations

from dashboards.source import numbers
from dashboards.source.layout import Board, Link, Section
from dashboards.source.notes import ABSENT, CHOSEN, LIVE, NOW, POINT, RANGE, UNPRICED, WIDEST, Note
from dashboards.source.panels import THIRD, Lines, Query, Scatter, Stat
from dashboards.source.promql import CACHED, COST, ENERGY, INPUT, OUTPUT, SPAN, Metrics, total
from dashboards.source.server_health import IDENTITY, QUALITY

M = Metrics("=")
NO_PRICE = "no price"
NO_METER = "not measured"
EACH_MODEL = "{{model}}"

HEADLINES = (
    Stat(
        "Output",
        Note(
            what="Tokens generated per second, reasoning tokens included.",
            window=LIVE,
            wrong="Empty: coverage is below 0.9, see Quality of the measurement.",
        ),
        numbers.TOKENS_PER_SECOND,
        Query(total(M.of("tokwatt_output_tokens_per_second"))),
    ),
    Stat(
        "Power",
        Note(
            what="Measured power given to this server, idle included; of all its models together.",
            boundary=CHOSEN,
            window=LIVE,
            wrong="Higher than its GPUs can draw: it owns too many (`gpus:`), or shares a host alone. " + ABSENT,
        ),
        "watt",
        Query(total(M.of("tokwatt_server_power_watts"))),
        no_value=NO_METER,
    ),
    Stat(
        "Tokens per joule",
        Note(
            what="Tokens per watt-second: generated tokens over all energy given.",
            per="all energy given, idle included.",
            boundary=CHOSEN,
            window=LIVE,
            wrong="Compare at the same load: see Tokens per joule against load. " + ABSENT,
        ),
        numbers.TOKENS_PER_JOULE,
        Query(f"avg by (model) ({M.of('tokwatt_output_tokens_per_joule')})", EACH_MODEL),
        no_value=NO_METER,
    ),
    Stat(
        "Tokens per dollar",
        Note(
            what="Generated tokens over dollars.",
            per="dollars of configured capacity and measured energy, idle included.",
            boundary=WIDEST,
            window=LIVE,
            wrong=f"Check the price of capacity first. {UNPRICED}",
        ),
        numbers.TOKENS_PER_DOLLAR,
        Query(f"avg by (model) ({M.of('tokwatt_output_tokens_per_dollar')})", EACH_MODEL),
        no_value=NO_PRICE,
    ),
    Stat(
        "Per million tokens",
        Note(
            what="Dollars for a million generated tokens: the inverse of Tokens per dollar.",
            per="generated tokens.",
            boundary=WIDEST,
            window=LIVE,
            wrong="Rises without limit when traffic stops. Empty: no token came, or no price.",
        ),
        numbers.DOLLARS,
        Query(f"1e6 / (avg by (model) ({M.of('tokwatt_output_tokens_per_dollar')}) > 0)", EACH_MODEL),
        no_value=NO_PRICE,
        decimals=2,
    ),
    Stat(
        "Cost rate",
        Note(
            what="Dollars per hour: capacity and energy.",
            boundary=WIDEST,
            window=NOW,
            wrong=f"Far from the price of capacity: look at Cost rate by component. {UNPRICED}",
        ),
        numbers.DOLLARS_PER_HOUR,
        Query(numbers.dollars_per_hour(M, SPAN)),
        no_value=NO_PRICE,
        decimals=2,
    ),
    Stat(
        "Idle dollars",
        Note(
            what="Dollars that went by while no request ran. Green below 20 %, red from 50 %.",
            per="all dollars of this server.",
            boundary=WIDEST,
            window=RANGE,
            wrong=f"High: this server needs traffic, or should not run. {UNPRICED}",
        ),
        "percentunit",
        Query(numbers.idle_share(M, COST)),
        thresholds=numbers.IDLE,
        no_value=NO_PRICE,
        decimals=1,
    ),
    Stat(
        "Per response",
        Note(
            what="Dollars per meaningful response: attempts x dollars / responses, and support tokens.",
            per="responses that ended well.",
            boundary=WIDEST,
            window=LIVE,
            wrong="Not set: `responses:` names no attempts for this server, or no response ended in the window.",
        ),
        numbers.DOLLARS,
        Query(f"avg by (model) ({M.of('tokwatt_response_cost_dollars')})", EACH_MODEL),
        no_value="not set",
    ),
)

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
            wrong="Errors or aborts rise: their tokens cost joules and dollars that serve nobody.",
        ),
        "reqps",
        (Query(total(M.rate("tokwatt_requests_total"), "outcome"), "{{outcome}}"),),
        colors={"success": "green", "abort": "orange", "error": "red"},
        no_value="this engine counts no requests",
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
            wrong="All unsplit: no split was identified, none is invented. Much idle: few requests. " + ABSENT,
        ),
        "watt",
        (Query(total(M.rate(ENERGY), "phase"), "{{phase}}"),),
        size=THIRD,
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
        size=THIRD,
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
        size=THIRD,
        no_value="no GPU meter",
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

MONEY = (
    Lines(
        "Cost rate by component",
        Note(
            what="Dollars per hour, stacked: capacity by time, energy by joules.",
            boundary=WIDEST,
            window=POINT,
            wrong=f"No energy part: no electricity price, or the lease includes power. {UNPRICED}",
        ),
        numbers.DOLLARS_PER_HOUR,
        (Query(numbers.dollars_per_hour(M, SPAN, "component"), "{{component}}"),),
        size=THIRD,
        stacked=True,
        colors=numbers.COMPONENT_COLORS,
        no_value=NO_PRICE,
    ),
    Lines(
        "Cost rate by phase",
        Note(
            what="Dollars per hour by what the server was doing, stacked.",
            boundary=WIDEST,
            window=POINT,
            wrong=f"Much idle: few requests for the capacity paid. {UNPRICED}",
        ),
        numbers.DOLLARS_PER_HOUR,
        (Query(numbers.dollars_per_hour(M, SPAN, "phase"), "{{phase}}"),),
        size=THIRD,
        stacked=True,
        colors=numbers.PHASE_COLORS,
        no_value=NO_PRICE,
    ),
    Lines(
        "Cost per million tokens",
        Note(
            what="Dollars for a million generated tokens: in all, and the part that is energy.",
            per="generated tokens.",
            boundary=WIDEST,
            window=POINT,
            wrong="Peaks when traffic is low: fixed capacity over few tokens. Gaps: no token came. " + UNPRICED,
        ),
        numbers.DOLLARS,
        (
            Query(numbers.dollars_per_million(M, SPAN), "all"),
            Query(numbers.dollars_per_million(M, SPAN, component="energy"), "energy"),
        ),
        size=THIRD,
        colors={"all": "blue", "energy": "orange"},
        no_value=NO_PRICE,
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
        Section("Cost", MONEY),
        Section("Quality of the measurement", QUALITY),
        Section("Identity", IDENTITY),
    ),
    links=(Link("All servers", "/d/tokwatt-overview", "The fleet: best and worst servers"),),
    many_servers=False,
)
