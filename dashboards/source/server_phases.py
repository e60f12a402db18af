"""The server page's prefill and decode: what a token of each takes, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable

from dashboards.source import numbers
from dashboards.source.notes import ABSENT, CHOSEN, LIVE, RANGE, WIDEST, Note
from dashboards.source.panels import RATIO, Lines, Panel, Query, Size, Stat, Text
from dashboards.source.promql import ENERGY, WHOLE, Metrics, share, total
from dashboards.source.tables import Column, Table

M = Metrics("=")
UNSPLIT = "unsplit"
ONE_SERVER = "job, instance, server"
PHASE_LIVE = f"{LIVE} It ends a few seconds earlier, when its split is final."
LEAST, MOST = "at least", "at most"


def per_joule(phase: str) -> str:
    """Tokens per joule of a phase, at the chosen boundary."""
    return M.of(f"tokwatt_{phase}_tokens_per_joule")


def per_dollar(phase: str) -> str:
    """Tokens per dollar of a phase."""
    return M.of(f"tokwatt_{phase}_tokens_per_dollar")


def error(phase: str) -> str:
    """Half-width of the 90 % interval of a phase's energy, as a share of it."""
    return M.of("tokwatt_phase_energy_error_ratio", phase=phase)


def of_both(expr: Callable[[str], str]) -> str:
    """Put the two phases into one answer, told apart by the label `phase`."""
    named = (f'label_replace({expr(phase)}, "phase", "{phase}", "", "")' for phase in ("prefill", "decode"))
    return f"avg by (model, phase) ({' or '.join(named)})"


def error_by_model(phase: str) -> str:
    """Give every model of the server the error of its phase."""
    return f"0 * {per_joule(phase)} + on ({ONE_SERVER}, boundary) group_left () {error(phase)}"


def energy_of_both() -> str:
    """Energy of prefill and decode over the chosen range, without idle and unsplit."""
    return f"({M.increase(ENERGY, WHOLE, phase='prefill')} or {M.increase(ENERGY, WHOLE, phase='decode')})"


NOW = Table(
    "What a token takes in each phase",
    Note(
        what="A prompt token is prefill's, a generated token decode's. The +- is half of the 90 % interval of the "
        "phase's energy, as a share of it: the error of its tokens per joule, joules and energy dollars.",
        per="energy and dollars of that phase alone; idle time is in neither.",
        boundary=f"{CHOSEN} Dollars: {WIDEST}",
        window=f"{PHASE_LIVE} Share of energy: the time range chosen in Grafana, of prefill and decode together.",
        wrong="Empty: unsplit, see below. No +-: the split is exact (`role`), or by a ratio that you gave (`weights`).",
    ),
    (
        Query(of_both(per_joule)),
        Query(of_both(error_by_model)),
        Query(f"1 / ({of_both(per_joule)} > 0)"),
        Query(f"1e6 / ({of_both(per_dollar)} > 0)"),
        Query(
            f"{total(energy_of_both(), 'model', 'phase')}\n/ on (model) group_left ()\n"
            f"({total(energy_of_both(), 'model')} > 0)"
        ),
    ),
    (
        Column("phase", "Phase", width=80),
        Column("A", "Tokens per joule", numbers.TOKENS_PER_JOULE, decimals=2),
        Column("B", "±", "percentunit", decimals=1, width=70),
        Column("C", "Joules per token", "joule", decimals=2),
        Column("D", "Per million tokens", numbers.DOLLARS, decimals=3),
        Column("E", "Share of energy", "percentunit", decimals=1),
    ),
    sort="Phase",
    descending=True,
    hidden=("model",),
    size=Size(15, 5),
    no_value=UNSPLIT,
)

SPLIT = (
    Stat(
        "Split by",
        Note(
            what="How this server's energy is split: role, counters, fit, weights, or none. docs/phases.md tells them.",
            window="now.",
            wrong="none: switched off, or the engine counts too little of its steps to tell prefill from decode.",
        ),
        "none",
        Query(f"group by (phases) ({M.of('tokwatt_server_info')})", "{{phases}}"),
        size=Size(3, 5),
        no_value="unknown",
        shows_name=True,
    ),
    Stat(
        "Error of the share",
        Note(
            what="Half of the 90 % interval of prefill's share of busy energy: 0.03 means three points of the share "
            "more or less.",
            boundary=CHOSEN,
            window=PHASE_LIVE,
            wrong="Large: the load varies too little to tell the phases apart. Empty: unsplit, exact, or by `weights`.",
        ),
        "percentunit",
        Query(f"max({M.of('tokwatt_phase_error_ratio')})"),
        size=Size(3, 5),
        no_value="none",
        decimals=1,
    ),
    Stat(
        "Unsplit energy",
        Note(
            what="Energy of requests that no method could tell apart.",
            per="all energy given to this server.",
            boundary=CHOSEN,
            window=RANGE,
            wrong="High after a restart: a fit needs 36 s and 10 prompts. High for long: see the text below. " + ABSENT,
        ),
        "percentunit",
        Query(share(M.increase(ENERGY, phase="unsplit"), M.increase(ENERGY))),
        size=Size(3, 5),
        no_value="not measured",
        decimals=1,
    ),
)


def graph(phase: str, tokens: str, color: str, wrong: str) -> Lines:
    """Tokens per joule of one phase, within its error."""
    edge = f"{per_joule(phase)} / on ({ONE_SERVER}, boundary) group_left ()"
    return Lines(
        f"{phase.capitalize()}: tokens per joule",
        Note(
            what=f"{tokens} over the energy of {phase}; the shaded band is its 90 % interval.",
            per=f"energy of {phase} alone; idle time is not in it.",
            boundary=CHOSEN,
            window=f"{PHASE_LIVE} Each point is one such window.",
            wrong=f"{wrong} Holes: unsplit. No band: the split is exact, or by `weights`.",
        ),
        numbers.TOKENS_PER_JOULE,
        (
            Query(f"avg by (model) ({per_joule(phase)})", "{{model}}"),
            Query(f"min({edge} (1 + {error(phase)}))", LEAST),
            Query(f"max({edge} (1 - {error(phase)} > 0))", MOST),
        ),
        color=color,
        calcs=RATIO,
        band=(LEAST, MOST),
        no_value=UNSPLIT,
    )


WHY = Text(
    "Why it may be empty",
    Note(
        what="When a server's energy is unsplit.",
        wrong="The reason of now stands on the exporter's live page, on the card of the server.",
    ),
    "Energy of requests stays **unsplit** until a method can tell prefill from decode. The panels above are then "
    "empty: no number is invented. A fit needs 36 s and 10 prompts of a load that varies. Identical requests in lock "
    "step, prompts that fill steps of seconds, and engines that count no steps cannot be split. The present reason "
    "stands on the exporter's **live page**, on the server's card. More: `docs/phases.md`.",
    size=Size(24, 3),
)

PHASES: tuple[Panel, ...] = (
    NOW,
    *SPLIT,
    graph("prefill", "Prompt tokens computed", "blue", "Falls: prompts came alone instead of in full steps."),
    graph("decode", "Generated tokens", "green", "Falls: fewer requests share a step, or contexts grew longer."),
    WHY,
)
