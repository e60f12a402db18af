"""The server page's dollars, carbon, responses, and what is so at the 90th percentile of load."""

from __future__ import annotations

from dashboards.source import load, numbers
from dashboards.source.bases import by_basis
from dashboards.source.notes import ABSENT, CHOSEN, LIVE, POINT, RANGE, UNPRICED, WIDEST, Note
from dashboards.source.panels import HALF, RATIO, THIRD, Lines, Panel, Query, Size, Stat
from dashboards.source.promql import SPAN, Metrics

M = Metrics("=")
NO_PRICE = "no cost data"
NO_CARBON = "no carbon intensity"
EACH_MODEL = "{{model}}"

MONEY: tuple[Panel, ...] = (
    Lines(
        "Cost rate by component",
        Note(
            what="Dollars per hour, stacked: capacity by time, energy by joules, and below zero what negative "
            "electricity prices earned (energy_credit). Their sum is the net.",
            boundary=WIDEST,
            window=POINT,
            wrong=f"No energy part: no electricity price, or the lease includes power. {UNPRICED}",
        ),
        numbers.DOLLARS_PER_HOUR,
        (Query(numbers.dollars_per_hour(M, SPAN, "component"), "{{component}}"),),
        size=THIRD,
        stacked=True,
        soft_zero=True,
        colors=numbers.COMPONENT_COLORS,
        no_value=NO_PRICE,
    ),
    Lines(
        "Cost rate by phase",
        Note(
            what="Dollars per hour by what the server was doing, stacked, net of credits.",
            boundary=WIDEST,
            window=POINT,
            wrong=f"Much idle: few requests for the capacity paid. {UNPRICED}",
        ),
        numbers.DOLLARS_PER_HOUR,
        (Query(numbers.dollars_per_hour(M, SPAN, "phase"), "{{phase}}"),),
        size=THIRD,
        stacked=True,
        soft_zero=True,
        colors=numbers.PHASE_COLORS,
        no_value=NO_PRICE,
    ),
    by_basis(M, THIRD),
    Lines(
        "Carbon rate by phase",
        Note(
            what="Grams of CO2 equivalent per hour, stacked, of the electricity used.",
            boundary="energy at the widest measured boundary, times PUE, whatever boundary is chosen.",
            window=POINT,
            wrong="Empty: no `prices.carbon` is configured. Making the hardware is not in it.",
        ),
        numbers.GRAMS_PER_HOUR,
        (Query(numbers.grams_per_hour(M, SPAN, "phase"), "{{phase}}"),),
        stacked=True,
        colors=numbers.PHASE_COLORS,
        no_value=NO_CARBON,
    ),
    Lines(
        "Carbon per million tokens",
        Note(
            what="Grams of CO2 equivalent for a million generated tokens.",
            per="generated tokens.",
            boundary="energy at the widest measured boundary, times PUE, whatever boundary is chosen.",
            window=POINT,
            wrong="Falls at noon while tokens per joule hold: the grid is cleaner then. Empty: no `prices.carbon`, or "
            "no token came.",
        ),
        "massg",
        (Query(numbers.grams_per_million(M, SPAN), "carbon"),),
        size=HALF,
        calcs=RATIO,
        colors={"carbon": "orange"},
        no_value=NO_CARBON,
    ),
)

TERM = Size(4, 4)
NOT_SET = "not set"
NONE_SET = "Not set: `responses:` has no entry for this server, or no response ended in the window."


def _term(name: str) -> Query:
    return Query(f"avg by (model) ({M.of(name)})", EACH_MODEL)


RESPONSES: tuple[Panel, ...] = (
    Stat(
        "Tokens per response (Et)",
        Note(
            what="Generated tokens of a finished response, reasoning included, prompt excluded.",
            per="finished responses, meaningful or not.",
            window=LIVE,
            wrong="Empty: the engine does not count finished requests (llama.cpp's server), or none ended.",
        ),
        "none",
        _term("tokwatt_output_tokens_per_response"),
        size=TERM,
        no_value=NOT_SET,
        decimals=0,
    ),
    Stat(
        "Attempts (A)",
        Note(
            what="Finished responses that one meaningful response takes.",
            per="meaningful responses: as configured, or as the application counts them.",
            window=LIVE,
            wrong=NONE_SET,
        ),
        "none",
        _term("tokwatt_response_attempts_ratio"),
        size=TERM,
        no_value=NOT_SET,
        decimals=2,
    ),
    Stat(
        "Generation (Et x A x Ct)",
        Note(
            what="Dollars of generating one meaningful response. Ct, dollars per generated token, holds prompts and "
            "idle time too.",
            per="meaningful responses.",
            boundary=WIDEST,
            window=LIVE,
            wrong=f"Look at Per million tokens, and at Et. {NONE_SET}",
        ),
        numbers.DOLLARS,
        Query(
            f"avg by (model) ({M.of('tokwatt_response_cost_dollars')} - {M.of('tokwatt_response_support_dollars')})",
            EACH_MODEL,
        ),
        size=TERM,
        no_value=NOT_SET,
    ),
    Stat(
        "Support tokens (Pt)",
        Note(
            what="Tokens of pre- and post-processing (guardrails, embeddings), configured ones and those that support "
            "servers processed.",
            per="meaningful responses.",
            window=LIVE,
            wrong="Empty: a support server does not answer. " + NONE_SET,
        ),
        "none",
        _term("tokwatt_support_tokens_per_response"),
        size=TERM,
        no_value=NOT_SET,
        decimals=0,
    ),
    Stat(
        "Support (Pt x Cp)",
        Note(
            what="Dollars of pre- and post-processing for one meaningful response.",
            per="meaningful responses.",
            boundary=WIDEST,
            window=LIVE,
            wrong="Near the dollars of generation: an idle guardrail's capacity is in it. " + NONE_SET,
        ),
        numbers.DOLLARS,
        _term("tokwatt_response_support_dollars"),
        size=TERM,
        no_value=NOT_SET,
    ),
    Stat(
        "Joules per response",
        Note(
            what="Energy of one meaningful response: all attempts, prompts and idle time, and the support servers.",
            per="meaningful responses.",
            boundary=CHOSEN,
            window=LIVE,
            wrong=f"Configured support (`support_tokens`) has no known energy and is not in it. {NONE_SET}",
        ),
        "joule",
        _term("tokwatt_response_energy_joules"),
        size=TERM,
        no_value=NOT_SET,
    ),
)

QUARTER = Size(6, 4)
NO_LOAD = "no full slice yet"
NINETIETH = (
    "the load that this server reaches or exceeds in a tenth of the time, idle time included (levels of load are a "
    "factor of 1.5 wide)"
)
WEEK = f"{RANGE} Choose 7 days to see what the recording rules `...:p90_load_7d` hold."
PEAK: tuple[Panel, ...] = (
    Stat(
        "P90 load",
        Note(
            what=f"Output at {NINETIETH}; of one replica where several share a name.",
            per="the time spent at that load.",
            window=WEEK,
            wrong="Near the usual load: steady traffic. Far above it: hardware is bought for peaks. Empty: no time in "
            "which tokens and all energy were measured.",
        ),
        numbers.TOKENS_PER_SECOND,
        Query(load.tokens_per_second(M)),
        size=QUARTER,
        no_value=NO_LOAD,
    ),
    Stat(
        "Power at P90 load",
        Note(
            what=f"Mean power at {NINETIETH}: what feeds and cooling are bought for.",
            per="the time spent at that load.",
            boundary=CHOSEN,
            window=WEEK,
            wrong="Above what the feed holds: lower the power limit, or move load. " + ABSENT,
        ),
        "watt",
        Query(load.watts(M)),
        size=QUARTER,
        no_value=NO_LOAD,
    ),
    Stat(
        "Power, mean",
        Note(
            what="Mean power over the same time, to compare with that at P90 load.",
            per="all time whose load is known.",
            boundary=CHOSEN,
            window=RANGE,
            wrong="Near the power at P90 load at a low load: idle power is most of it. " + ABSENT,
        ),
        "watt",
        Query(load.mean_watts(M)),
        size=QUARTER,
        no_value=NO_LOAD,
    ),
    Stat(
        "Tokens per joule at P90 load",
        Note(
            what=f"Efficiency at {NINETIETH}.",
            per="all energy given at that load.",
            boundary=CHOSEN,
            window=WEEK,
            wrong="Lower than at less load: the server is past its best batch size, or throttled. " + ABSENT,
        ),
        numbers.TOKENS_PER_JOULE,
        Query(load.tokens_per_joule(M)),
        size=QUARTER,
        no_value=NO_LOAD,
    ),
)
