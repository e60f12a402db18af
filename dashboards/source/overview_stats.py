"""The overview's numbers at the top: now, and over the chosen time range."""

from __future__ import annotations

from dashboards.source import numbers
from dashboards.source.notes import ABSENT, CHOSEN, LIVE, NOW, RANGE, UNPRICED, WIDEST, Note
from dashboards.source.panels import Query, Stat
from dashboards.source.promql import CARBON, ENERGY, OUTPUT, SPAN, WHOLE, Metrics, total

M = Metrics("=~")
NO_PRICE = "no cost data"
NO_METER = "not measured"

NOW_STATS = (
    Stat(
        "Output",
        Note(
            what="Tokens generated per second by all chosen servers, reasoning tokens included.",
            window=LIVE,
            wrong="Lower than the engines say: a token source is down or its coverage is below 0.9 (Health, below).",
        ),
        numbers.TOKENS_PER_SECOND,
        Query(total(M.of("tokwatt_output_tokens_per_second"))),
    ),
    Stat(
        "Input",
        Note(
            what="Prompt tokens computed per second, without those served from a prefix cache where the engine "
            "tells them apart.",
            window=LIVE,
            wrong='Too high: tokwatt_server_info with input="all" marks engines that cannot tell cached prompt tokens.',
        ),
        numbers.TOKENS_PER_SECOND,
        Query(total(M.of("tokwatt_input_tokens_per_second"))),
    ),
    Stat(
        "Power",
        Note(
            what="Measured power given to the chosen servers, idle included. A server's power is not split by model.",
            boundary=CHOSEN,
            window=LIVE,
            wrong=f"{ABSENT} Power of no server is under Unattributed power.",
        ),
        "watt",
        Query(total(M.of("tokwatt_server_power_watts"))),
        no_value=NO_METER,
    ),
    Stat(
        "Tokens per joule",
        Note(
            what="Tokens per watt-second: generated tokens of all servers over all energy given to them.",
            per="all energy given to the same servers, idle included (ratio of sums, not a mean of ratios).",
            boundary=CHOSEN,
            window=NOW,
            wrong="A fall at steady traffic: idle share, batch size, a throttled GPU. " + ABSENT,
        ),
        numbers.TOKENS_PER_JOULE,
        Query(numbers.tokens_per_joule(M, SPAN)),
        no_value=NO_METER,
    ),
    Stat(
        "Tokens per kWh",
        Note(
            what="The same, for a kilowatt-hour: tokens per joule x 3.6 million.",
            per="all energy given to the same servers, idle included.",
            boundary=CHOSEN,
            window=NOW,
            wrong="Judge it by Tokens per joule. " + ABSENT,
        ),
        numbers.TOKENS_PER_KWH,
        Query(numbers.tokens_per_joule(M, SPAN, times=numbers.JOULES_PER_KWH)),
        no_value=NO_METER,
    ),
    Stat(
        "Tokens per dollar",
        Note(
            what="Generated tokens of all servers over what they cost.",
            per="dollars of configured capacity and measured energy, idle included.",
            boundary=WIDEST,
            window=NOW,
            wrong="Check the prices (Cost rate) before the fleet. " + UNPRICED,
        ),
        numbers.TOKENS_PER_DOLLAR,
        Query(numbers.tokens_per_dollar(M, SPAN)),
        no_value=NO_PRICE,
    ),
    Stat(
        "Per million tokens",
        Note(
            what="Dollars for a million generated tokens.",
            per="generated tokens; input tokens are not counted, their work is in the cost.",
            boundary=WIDEST,
            window=NOW,
            wrong="Rises without limit when traffic stops: capacity costs the same. Empty: no token came, or no price.",
        ),
        numbers.DOLLARS,
        Query(numbers.dollars_per_million(M, SPAN)),
        no_value=NO_PRICE,
        decimals=2,
    ),
    Stat(
        "Cost rate",
        Note(
            what="Dollars per hour of the chosen servers: capacity and energy, net of credits.",
            boundary=WIDEST,
            window=NOW,
            wrong=f"Compare with tokwatt_capacity_price_dollars_per_second x 3600. {UNPRICED}",
        ),
        numbers.DOLLARS_PER_HOUR,
        Query(numbers.dollars_per_hour(M, SPAN)),
        no_value=NO_PRICE,
        decimals=2,
    ),
)

RANGE_STATS = (
    Stat(
        "Tokens generated",
        Note(
            what="Tokens that all chosen servers generated.",
            window=RANGE,
            wrong="Prometheus extrapolates to the edges of the range: small differences to the engines are normal.",
        ),
        "si:tok",
        Query(total(M.increase(OUTPUT))),
    ),
    Stat(
        "Energy",
        Note(
            what="Measured energy given to the chosen servers, idle included.",
            boundary=CHOSEN,
            window=RANGE,
            wrong="Compare with the meter's own total. " + ABSENT,
        ),
        "kwatth",
        Query(f"{total(M.increase(ENERGY))} / {numbers.JOULES_PER_KWH}"),
        no_value=NO_METER,
    ),
    Stat(
        "Cost",
        Note(
            what="Dollars of the chosen servers: capacity and energy, net of credits.",
            boundary=WIDEST,
            window=RANGE,
            wrong=f"Split it by component in Cost rate, below. {UNPRICED}",
        ),
        numbers.DOLLARS,
        Query(total(M.dollars("increase", WHOLE))),
        no_value=NO_PRICE,
        decimals=2,
    ),
    Stat(
        "Tokens per joule",
        Note(
            what="Generated tokens over energy, over the whole range: the number to report.",
            per="all energy given to the same servers, idle included.",
            boundary=CHOSEN,
            window=RANGE,
            wrong="Differs from the live number when the load changed. " + ABSENT,
        ),
        numbers.TOKENS_PER_JOULE,
        Query(numbers.tokens_per_joule(M, WHOLE)),
        no_value=NO_METER,
    ),
    Stat(
        "Per million tokens",
        Note(
            what="Dollars for a million generated tokens, over the whole range: the number to report.",
            per="generated tokens.",
            boundary=WIDEST,
            window=RANGE,
            wrong=f"Look at the idle share of dollars first. {UNPRICED}",
        ),
        numbers.DOLLARS,
        Query(numbers.dollars_per_million(M, WHOLE)),
        no_value=NO_PRICE,
        decimals=2,
    ),
    Stat(
        "Idle energy",
        Note(
            what="Energy that went by while no request ran. Green below 20 %, red from 50 %.",
            per="all energy given to the same servers.",
            boundary=CHOSEN,
            window=RANGE,
            wrong="High: fewer replicas, or more traffic per replica. " + ABSENT,
        ),
        "percentunit",
        Query(numbers.idle_energy(M)),
        thresholds=numbers.IDLE,
        no_value=NO_METER,
        decimals=1,
    ),
    Stat(
        "Idle dollars",
        Note(
            what="Dollars that went by while no request ran. Green below 20 %, red from 50 %.",
            per="all dollars of the same servers.",
            boundary=WIDEST,
            window=RANGE,
            wrong=f"Higher than that of energy: idle hardware costs rent, not power. {UNPRICED}",
        ),
        "percentunit",
        Query(numbers.idle_dollars(M)),
        thresholds=numbers.IDLE,
        no_value=NO_PRICE,
        decimals=1,
    ),
    Stat(
        "Carbon",
        Note(
            what="CO2 equivalent of the electricity that the chosen servers used.",
            boundary="energy at the widest measured boundary, times PUE, whatever boundary is chosen.",
            window=RANGE,
            wrong="Empty: no `prices.carbon` is configured. Making the hardware is not in it.",
        ),
        "massg",
        Query(total(M.increase(CARBON))),
        no_value="no intensity",
    ),
)
