"""The server page's numbers at the top."""

from __future__ import annotations

from dashboards.source import numbers
from dashboards.source.notes import ABSENT, CHOSEN, LIVE, NOW, RANGE, UNPRICED, WIDEST, Note
from dashboards.source.panels import Query, Stat
from dashboards.source.promql import SPAN, Metrics, total

M = Metrics("=")
NO_PRICE = "no cost data"
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
            what="Dollars per hour: capacity and energy, net of credits.",
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
        Query(numbers.idle_dollars(M)),
        thresholds=numbers.IDLE,
        no_value=NO_PRICE,
        decimals=1,
    ),
    Stat(
        "Per response",
        Note(
            what="Dollars per meaningful response: generated tokens per response x attempts x dollars per generated "
            "token, and dollars of pre- and post-processing. The terms are under Meaningful responses.",
            per="responses that the application can use.",
            boundary=WIDEST,
            window=LIVE,
            wrong="Not set: `responses:` has no entry for this server, or no response ended in the window.",
        ),
        numbers.DOLLARS,
        Query(f"avg by (model) ({M.of('tokwatt_response_cost_dollars')})", EACH_MODEL),
        no_value="not set",
    ),
)
