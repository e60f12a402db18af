"""Recording rules: rates of tokens, joules and dollars, their ratios at four levels, and the efficiency baseline.

Ratios are sums divided by sums, never means of ratios, and both sums hold the same servers.
"""

from __future__ import annotations

from collections.abc import Iterator

from deploy.prometheus.source.load import load_group
from deploy.prometheus.source.model import Group, Recording, Settings, duration

BOUNDARIES = ("gpu", "host", "facility")
# Labels that the scrape configuration or external labels may add; absent ones aggregate to the empty label.
TARGET = "cluster, namespace, job, instance"
BASE = "cluster, namespace, server, model"
SERVER = "cluster, namespace, server"
LEVELS = {
    "server": SERVER,
    "model": "cluster, namespace, model",
    "namespace": "cluster, namespace",
    "cluster": "cluster",
}
BUDGET = "tokwatt:budget_dollars_per_million_output_tokens"
LIVE = "server:tokwatt_output_tokens_per_joule:ratio_rate5m"
LOAD = "server:tokwatt_output_tokens:rate5m"
MIX = "server:tokwatt_input_tokens_per_output_token:ratio_rate5m"
JUDGED = "server:tokwatt_judged_output_tokens_per_joule:ratio_rate5m"
CELL = "server:tokwatt_load_cell:info_rate5m"
HISTORY = "server:tokwatt_judged_output_tokens_per_joule:by_load"
LEVEL_OF_CELL = "server:tokwatt_judged_output_tokens_per_joule:median7d"
SAMPLES_OF_CELL = "server:tokwatt_judged_output_tokens_per_joule:count7d"
EXPECTED = "server:tokwatt_expected_output_tokens_per_joule:median7d"
EFFICIENCY = "server:tokwatt_efficiency:ratio_rate5m"


def recording_groups(settings: Settings) -> tuple[Group, ...]:
    """Return all recording rules."""
    return (
        Group("tokwatt-budget", (_budget(settings),)),
        Group("tokwatt-rates-5m", tuple(_window("5m", settings.short_seconds, settings))),
        Group("tokwatt-rates-1h", tuple(_window("1h", settings.long_seconds, settings))),
        Group("tokwatt-efficiency", tuple(_efficiency(settings))),
        Group("tokwatt-history", tuple(_history(settings)), settings.short_seconds),
        load_group(settings),
    )


def _budget(settings: Settings) -> Recording:
    return Recording(
        BUDGET,
        f"vector({settings.budget_dollars_per_million:g})",
        "Budget of every server without one of its own. Record the same name with a label `server` to set one.",
        "dollars per million output tokens",
    )


def _window(name: str, seconds: float, settings: Settings) -> Iterator[Recording]:
    window = f"[{duration(seconds)}]"
    yield from _totals(name, window)
    for boundary in BOUNDARIES:
        yield from _energy(name, window, boundary)
        yield from _covered(name, window, boundary, settings)
    for level, labels in LEVELS.items():
        yield from _amounts(level, labels, name)
        yield from _ratios(level, labels, name)
    yield from _server_state(name, window)


def _totals(name: str, window: str) -> Iterator[Recording]:
    for kind in ("output", "input"):
        yield Recording(
            f"server_model:tokwatt_{kind}_tokens:rate{name}",
            f"sum by ({BASE}) (rate(tokwatt_{kind}_tokens_total{window}))",
            f"{kind.capitalize()} tokens.",
            "tokens per second",
        )
    yield Recording(
        f"server_model:tokwatt_cost_dollars:rate{name}",
        _net("", window),
        "All cost by component.",
        "dollars per second",
    )
    yield Recording(
        f"server_model:tokwatt_idle_cost_dollars:rate{name}",
        _net('{phase="idle"}', window),
        "Cost by component while no request was in the server.",
        "dollars per second",
    )
    yield Recording(
        f"server_model:tokwatt_busy_cost_dollars:rate{name}",
        _net('{phase!="idle"}', window),
        "Cost by component of use: idle time left out.",
        "dollars per second",
    )
    yield Recording(
        f"server_model:tokwatt_priced_output_tokens:rate{name}",
        f"""\
sum by ({BASE}) (
  rate(tokwatt_output_tokens_total{window})
  and on ({TARGET}, server) rate(tokwatt_cost_dollars_total{window})
)""",
        "Output tokens of servers that have a price.",
        "tokens per second",
    )


def _net(phases: str, window: str) -> str:
    """Cost by component, and what was earned at negative electricity prices with its sign: a sum is the net."""
    return f"""\
sum by ({BASE}, component) (rate(tokwatt_cost_dollars_total{phases}{window}))
or
label_replace(
  -sum by ({BASE}) (rate(tokwatt_energy_credit_dollars_total{phases}{window})),
  "component", "energy_credit", "", ""
)"""


def _energy(name: str, window: str, boundary: str) -> Iterator[Recording]:
    counter = f"tokwatt_server_{boundary}_energy_joules_total"
    labels = {"boundary": boundary}
    yield Recording(
        f"server_model:tokwatt_server_power_watts:rate{name}",
        f"sum by ({BASE}) (rate({counter}{window}))",
        "Mean measured power given to servers.",
        "watts",
        labels,
    )
    yield Recording(
        f"server_model:tokwatt_idle_power_watts:rate{name}",
        f'sum by ({BASE}) (rate({counter}{{phase="idle"}}{window}))',
        "The part of it that flowed while no request was in the server.",
        "watts",
        labels,
    )


def _covered(name: str, window: str, boundary: str, settings: Settings) -> Iterator[Recording]:
    """Tokens and joules of servers whose tokens and energy were both measured in this window: ratios use these."""
    coverage = (
        f'avg_over_time(tokwatt_window_coverage_ratio{{boundary="{boundary}"}}{window})'
        f" >= {settings.min_coverage_ratio:g}"
    )
    output, prompt = (f"rate(tokwatt_{kind}_tokens_total{window})" for kind in ("output", "input"))
    note = "of servers whose window coverage was sufficient"
    for metric, amount, text, unit in (
        ("output_tokens", output, "Output tokens", "tokens per second"),
        ("processed_tokens", f"({output} + {prompt})", "Input and output tokens", "tokens per second"),
        ("power_watts", f"rate(tokwatt_server_{boundary}_energy_joules_total{window})", "Power", "watts"),
    ):
        yield Recording(
            f"server_model:tokwatt_covered_{metric}:rate{name}",
            f"sum by ({BASE}) (\n  {amount}\n  and on ({TARGET}, server) ({coverage})\n)",
            f"{text} {note}.",
            unit,
            {"boundary": boundary},
        )


def _amounts(level: str, labels: str, name: str) -> Iterator[Recording]:
    for metric, extra, text, unit in (
        ("output_tokens", "", "Output tokens.", "tokens per second"),
        ("input_tokens", "", "Input tokens.", "tokens per second"),
        ("server_power_watts", ", boundary", "Mean measured power given to servers.", "watts"),
        ("cost_dollars", ", component", "All cost by component.", "dollars per second"),
        ("busy_cost_dollars", ", component", "Cost by component of use: idle time left out.", "dollars per second"),
    ):
        yield Recording(
            f"{level}:tokwatt_{metric}:rate{name}",
            f"sum by ({labels}{extra}) (server_model:tokwatt_{metric}:rate{name})",
            text,
            unit,
        )


def _ratios(level: str, labels: str, name: str) -> Iterator[Recording]:
    watts = f"server_model:tokwatt_covered_power_watts:rate{name}"
    # Energy of a server with several models is no single model's, so its tokens must not count for one either.
    matched = f" and ({watts} > 0)" if level == "model" else ""
    for metric, text in (("output_tokens", "output"), ("processed_tokens", "input and output")):
        tokens = f"server_model:tokwatt_covered_{metric}:rate{name}"
        yield Recording(
            f"{level}:tokwatt_{metric}_per_joule:ratio_rate{name}",
            f"""\
sum by ({labels}, boundary) ({tokens}{matched})
/
(sum by ({labels}, boundary) ({watts} and on ({SERVER}, boundary) {tokens}) > 0)""",
            f"Tokens per watt-second: {text} tokens / energy given, idle included.",
            "tokens per joule",
        )
    per_joule = f"{level}:tokwatt_output_tokens_per_joule:ratio_rate{name}"
    yield Recording(
        f"{level}:tokwatt_joules_per_output_token:ratio_rate{name}",
        f"1 / ({per_joule} > 0)",
        "Its inverse; absent without tokens.",
        "joules per token",
    )
    yield Recording(
        f"{level}:tokwatt_output_tokens_per_kilowatt_hour:ratio_rate{name}",
        f"{per_joule} * 3.6e6",
        "The same per kWh.",
        "tokens per kWh",
    )
    yield from _cost_ratios(level, labels, name)
    yield Recording(
        f"{level}:tokwatt_idle_energy:ratio_rate{name}",
        f"""\
sum by ({labels}, boundary) (server_model:tokwatt_idle_power_watts:rate{name})
/
(sum by ({labels}, boundary) (server_model:tokwatt_server_power_watts:rate{name}) > 0)""",
        "Share of the energy that flowed while no request was in the server.",
        "ratio",
    )


def _cost_ratios(level: str, labels: str, name: str) -> Iterator[Recording]:
    cost = f"server_model:tokwatt_cost_dollars:rate{name}"
    tokens = f"server_model:tokwatt_priced_output_tokens:rate{name}"
    if level == "model":
        tokens = f"{tokens} and on ({BASE}) ({cost} > 0)"
    total = f"(sum by ({labels}) ({cost}) > 0)"
    yield Recording(
        f"{level}:tokwatt_output_tokens_per_dollar:ratio_rate{name}",
        f"sum by ({labels}) ({tokens})\n/\n{total}",
        "Output tokens / dollars (capacity + energy).",
        "tokens per dollar",
    )
    yield Recording(
        f"{level}:tokwatt_dollars_per_million_output_tokens:ratio_rate{name}",
        f"1e6 / ({level}:tokwatt_output_tokens_per_dollar:ratio_rate{name} > 0)",
        "Its inverse for a million tokens; absent without tokens.",
        "dollars per million tokens",
    )
    yield Recording(
        f"{level}:tokwatt_idle_cost:ratio_rate{name}",
        f"sum by ({labels}) (server_model:tokwatt_idle_cost_dollars:rate{name})\n/\n{total}",
        "Share of the dollars spent while no request was in the server.",
        "ratio",
    )


def _server_state(name: str, window: str) -> Iterator[Recording]:
    yield Recording(
        f"server:tokwatt_input_tokens_per_output_token:ratio_rate{name}",
        f"""\
(server:tokwatt_input_tokens:rate{name} or 0 * server:tokwatt_output_tokens:rate{name})
/
(server:tokwatt_output_tokens:rate{name} > 0)""",
        "Mix of the load. 0 where the server does not tell its input.",
        "input tokens per output token",
    )
    up = f'min_over_time(tokwatt_source_up{{kind="tokens"}}{window})'
    yield Recording(
        f"server:tokwatt_source_up:min{name}",
        f'min by ({SERVER}) (label_replace({up}, "server", "$1", "source", "(.*)"))',
        "1 if no read of the server failed in the window, as far as scrapes saw.",
        "0 or 1",
    )


def _efficiency(settings: Settings) -> Iterator[Recording]:
    """Compare with the server's own level at the present load and mix."""
    yield Recording(
        JUDGED,
        f'{LIVE}{{boundary="gpu"}} or on ({SERVER}) {LIVE}{{boundary="host"}}',
        "Tokens per joule that a server is judged by: of its GPUs, or of its host where no GPU is metered.",
        "tokens per joule",
    )
    # Four grids, shifted by half a cell: a load on the edge of a cell is in the middle of another one.
    shifts = [(load, mix) for load in (0, 0.5) for mix in (0, 0.5)]
    yield from (_cell(settings, str(grid), *shift) for grid, shift in enumerate(shifts))
    recent = duration(3 * settings.short_seconds)  # the history is sampled seldom; one sample may be late
    level, samples = (f"last_over_time({series}[{recent}])" for series in (LEVEL_OF_CELL, SAMPLES_OF_CELL))
    now = f"and on ({SERVER}, grid, load, mix) {CELL}"
    yield Recording(
        EXPECTED,
        f"""\
sum by ({SERVER}, boundary) ({level} * {samples} {now})
/
sum by ({SERVER}, boundary) ({samples} and {level} {now})""",
        "What this server usually gives at its present load and mix: levels of its cells, weighted by samples.",
        "tokens per joule",
    )
    yield Recording(
        EFFICIENCY,
        f"{JUDGED} / {EXPECTED}",
        "Live / expected tokens per joule; absent at low traffic and with too little history.",
        "ratio",
    )


def _cell(settings: Settings, grid: str, load_shift: float, mix_shift: float) -> Recording:
    load = _edge(f"{LOAD} >= {settings.busy_tokens_per_second:g}", settings.load_cells_per_octave, load_shift)
    mix = _edge(f"clamp_min({MIX}, 0.01)", settings.mix_cells_per_octave, mix_shift)
    return Recording(
        CELL,
        f"""\
count_values by ({SERVER}) ("load", {load})
* on ({SERVER}) group_left (mix)
count_values by ({SERVER}) ("mix", {mix})""",
        "Constant 1: cells of load (`load`, output tokens/s) and mix (`mix`, input per output token) of now, named by "
        "their lower edges, in four grids; absent at low traffic.",
        "",
        {"grid": grid},
    )


def _edge(value: str, cells_per_octave: float, shift: float) -> str:
    """Lower edge of the cell of a value, to two decimals."""
    moved = f" + {shift:g}" if shift else ""
    back = f" - {shift:g}" if shift else ""
    place = f"floor({cells_per_octave:g} * log2({value}){moved})"
    return f"floor(100 * 2 ^ (({place}{back}) / {cells_per_octave:g})) / 100"


def _history(settings: Settings) -> Iterator[Recording]:
    """Sample tokens per joule by cell, seldom: a week of it is read at each evaluation."""
    yield Recording(
        HISTORY,
        f"{CELL} * on ({SERVER}) group_left (boundary) {JUDGED}",
        "Tokens per joule by cell of load and mix: the history that levels are taken from.",
        "tokens per joule",
    )
    past = f"{HISTORY}[{duration(settings.baseline_range_seconds)}] offset {duration(settings.baseline_delay_seconds)}"
    yield Recording(
        SAMPLES_OF_CELL,
        f"count_over_time({past}) >= {settings.history_samples:g}",
        "Samples of that history, for every cell that has enough.",
        "samples",
    )
    yield Recording(
        LEVEL_OF_CELL,
        f"quantile_over_time(0.5, {past}) and {SAMPLES_OF_CELL}",
        "Median of that history, for every cell with enough samples: the server's efficiency curve.",
        "tokens per joule",
    )
