"""The fleet: what all servers give, draw and cost, and which are best and worst."""

from __future__ import annotations

from dashboards.source import load, numbers
from dashboards.source.bases import by_basis
from dashboards.source.layout import Board, Link, Section
from dashboards.source.notes import ABSENT, CHOSEN, POINT, RANGE, UNPRICED, WIDEST, Note
from dashboards.source.overview_health import ABOUT, HEALTH
from dashboards.source.overview_stats import NOW_STATS, RANGE_STATS
from dashboards.source.panels import HALF, RATIO, Lines, Query, Ranking, Size
from dashboards.source.promql import OUTPUT, SPAN, WHOLE, Metrics, total
from dashboards.source.tables import Column, Table

M = Metrics("=~")
ROW = ("cluster", "namespace", "server", "model")
NO_PRICE = "no cost data"
NO_METER = "not measured"
SERVER_PAGE = "&".join(
    (
        "/d/tokwatt-server?var-server=${__value.raw:percentencode}",
        "${datasource:queryparam}",
        "${cluster:queryparam}",
        "${namespace:queryparam}",
        "${boundary:queryparam}",
        "${__url_time_range}",
    )
)

COVERAGE = (
    f"min by ({', '.join(ROW)}) ({M.of('tokwatt_window_coverage_ratio')} * on (job, instance, server) group_right () "
    f"group by (cluster, namespace, job, instance, server, model) ({M.of(OUTPUT)}))"
)
SERVERS = Table(
    "Servers and models",
    Note(
        what="One row per server and model, dearest tokens first. Bars compare the rows: green is best, red is worst. "
        "Click a server for its page; click a heading to sort.",
        boundary=CHOSEN,
        window="output, power and coverage: now. Everything else: the time range chosen in Grafana.",
        wrong="An empty cell was not measured or has no price. A missing row: its token source never answered.",
    ),
    (
        Query(total(M.of("tokwatt_output_tokens_per_second"), *ROW)),
        Query(numbers.watts(M, *ROW)),
        Query(numbers.tokens_per_joule(M, WHOLE, *ROW)),
        Query(numbers.tokens_per_dollar(M, WHOLE, *ROW)),
        Query(numbers.dollars_per_million(M, WHOLE, *ROW)),
        Query(numbers.idle_energy(M, WHOLE, *ROW)),
        Query(numbers.idle_dollars(M, WHOLE, *ROW)),
        Query(COVERAGE),
    ),
    (
        Column("cluster", "Cluster"),
        Column("namespace", "Namespace"),
        Column("server", "Server", link=SERVER_PAGE),
        Column("model", "Model"),
        Column("A", "Output", numbers.TOKENS_PER_SECOND, decimals=0, width=105),
        Column("B", "Power", "watt", decimals=1, width=90),
        Column("C", "Tokens per joule", numbers.TOKENS_PER_JOULE, bar="high", decimals=3),
        Column("D", "Tokens per dollar", numbers.TOKENS_PER_DOLLAR, bar="high", decimals=1),
        Column("E", "Per million tokens", numbers.DOLLARS, bar="low", decimals=2),
        Column("F", "Idle energy", "percentunit", thresholds=numbers.IDLE, decimals=1, width=105),
        Column("G", "Idle dollars", "percentunit", thresholds=numbers.IDLE, decimals=1, width=105),
        Column("H", "Coverage", "percentunit", thresholds=numbers.COVERAGE, decimals=0, width=90),
    ),
    sort="Per million tokens",
    descending=True,
    size=Size(24, 7),
    no_value="no server: is tokwatt scraped?",
)
PEAK = Table(
    "At the load that hardware is bought for",
    Note(
        what="P90 load: what a server reaches or exceeds in a tenth of the time, idle time included, and its power and "
        "efficiency at that load; of one replica where several share a name. Levels of load are a factor of 1.5 wide. "
        "Beside it the mean power over all that time.",
        per="tokens per joule: all energy given at that load.",
        boundary=CHOSEN,
        window=f"{RANGE} Choose 7 days to see what the recording rules `...:p90_load_7d` hold.",
        wrong="An empty cell: no time yet in which tokens and all energy of the server were measured.",
    ),
    (
        Query(load.tokens_per_second(M)),
        Query(load.watts(M)),
        Query(load.tokens_per_joule(M)),
        Query(load.mean_watts(M)),
    ),
    (
        Column("cluster", "Cluster"),
        Column("namespace", "Namespace"),
        Column("server", "Server", link=SERVER_PAGE),
        Column("A", "P90 load", numbers.TOKENS_PER_SECOND, decimals=0),
        Column("B", "Power at P90 load", "watt", decimals=1),
        Column("D", "Power, mean", "watt", decimals=1),
        Column("C", "Tokens per joule at P90 load", numbers.TOKENS_PER_JOULE, bar="high", decimals=3),
    ),
    sort="Power at P90 load",
    descending=True,
    size=Size(24, 7),
    no_value="no full slice of load yet",
)
RANKINGS = (
    Ranking(
        "Best and worst: tokens per joule",
        Note(
            what="Servers by generated tokens per joule, best first.",
            per="all energy given to the server, idle included.",
            boundary=CHOSEN,
            window=RANGE,
            wrong="Compare like with like: a small model always gives more tokens per joule than a large one.",
        ),
        numbers.TOKENS_PER_JOULE,
        Query(f"sort_desc({numbers.tokens_per_joule(M, WHOLE, 'server', 'model')})", "{{server}} · {{model}}"),
        no_value=NO_METER,
    ),
    Ranking(
        "Best and worst: cost per million tokens",
        Note(
            what="Servers by dollars for a million generated tokens, cheapest first.",
            per="generated tokens.",
            boundary=WIDEST,
            window=RANGE,
            wrong=f"A dear server with a high idle share needs traffic, not tuning. {UNPRICED}",
        ),
        numbers.DOLLARS,
        Query(f"sort({numbers.dollars_per_million(M, WHOLE, 'server', 'model')})", "{{server}} · {{model}}"),
        low_is_good=True,
        no_value=NO_PRICE,
    ),
)

GRAPHS = (
    Lines(
        "Output by server",
        Note(
            what="Tokens generated per second.",
            window=POINT,
            wrong="A hole: the exporter was not scraped. Flat zero: no traffic, or the engine stopped counting.",
        ),
        numbers.TOKENS_PER_SECOND,
        (Query(total(M.rate(OUTPUT), "server"), "{{server}}"),),
    ),
    Lines(
        "Power by server",
        Note(
            what="Measured power given to each server, stacked.",
            boundary=CHOSEN,
            window=POINT,
            wrong="Power without tokens is idle: see Idle energy. " + ABSENT,
        ),
        "watt",
        (Query(numbers.watts(M, "server"), "{{server}}"),),
        stacked=True,
        no_value=NO_METER,
    ),
    Lines(
        "Tokens per joule by server",
        Note(
            what="Tokens per watt-second: generated tokens over energy given.",
            per="all energy given to the server, idle included.",
            boundary=CHOSEN,
            window=POINT,
            wrong="Zero while energy flows is true: no token came. Falls with load by nature. " + ABSENT,
        ),
        numbers.TOKENS_PER_JOULE,
        (Query(numbers.tokens_per_joule(M, SPAN, "server"), "{{server}}"),),
        calcs=RATIO,
        no_value=NO_METER,
    ),
    Lines(
        "Power by boundary",
        Note(
            what="The same servers' power at every measured boundary: what PUE and the rest of the hosts add.",
            boundary="all that are measured; each contains the one below, so they are not stacked.",
            window=POINT,
            wrong="Host below GPU: the host meter misses machines, or reads late.",
        ),
        "watt",
        tuple(Query(numbers.watts(M, boundary=name), name) for name in ("facility", "host", "gpu")),
        colors=numbers.BOUNDARY_COLORS,
        no_value=NO_METER,
    ),
    Lines(
        "Tokens per dollar by server",
        Note(
            what="Generated tokens over dollars.",
            per="dollars of configured capacity and measured energy, idle included.",
            boundary=WIDEST,
            window=POINT,
            wrong=f"Steps without a change of load: a price changed. {UNPRICED}",
        ),
        numbers.TOKENS_PER_DOLLAR,
        (Query(numbers.tokens_per_dollar(M, SPAN, "server"), "{{server}}"),),
        calcs=RATIO,
        no_value=NO_PRICE,
    ),
    Lines(
        "Cost rate by component",
        Note(
            what="Dollars per hour, stacked: capacity is what the hardware costs by time, energy what it draws; below "
            "zero what negative electricity prices earned (energy_credit). Their sum is the net.",
            boundary=WIDEST,
            window=POINT,
            wrong=f"No energy part: no electricity price, or the lease includes power. {UNPRICED}",
        ),
        numbers.DOLLARS_PER_HOUR,
        (Query(numbers.dollars_per_hour(M, SPAN, "component"), "{{component}}"),),
        stacked=True,
        soft_zero=True,
        colors=numbers.COMPONENT_COLORS,
        no_value=NO_PRICE,
    ),
    by_basis(M, HALF),
    Lines(
        "Carbon rate by server",
        Note(
            what="Grams of CO2 equivalent per hour, stacked, of the electricity used.",
            boundary="energy at the widest measured boundary, times PUE, whatever boundary is chosen.",
            window=POINT,
            wrong="Changes at steady power: the grid's intensity changed. Empty: no `prices.carbon` is configured.",
        ),
        numbers.GRAMS_PER_HOUR,
        (Query(numbers.grams_per_hour(M, SPAN, "server"), "{{server}}"),),
        stacked=True,
        no_value="no carbon intensity",
    ),
)

BOARD = Board(
    uid="tokwatt-overview",
    title="tokwatt / Overview",
    description="Tokens, joules and dollars of all inference servers. See docs/dashboards.md in tokwatt's repository.",
    sections=(
        Section("Now", NOW_STATS),
        Section("Over the chosen time range", RANGE_STATS),
        Section("Servers: best and worst", (SERVERS, *RANKINGS, PEAK)),
        Section("Over time", GRAPHS),
        Section("Health of the measurement", HEALTH),
        Section("How to read this page", (ABOUT,)),
    ),
    links=(Link("One server", "/d/tokwatt-server", "Phases, cost and sources of one server"),),
    many_servers=True,
)
