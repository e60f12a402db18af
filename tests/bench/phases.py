"""Prefill's share against the truth of simulated engines: tables of docs/phases.md and docs/accuracy.md.

Run by `make phases`. Machines x loads x seeds, over two processes. Results are kept in tests/.work/phases as they come,
by the content of the code they depend on, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.phase_world import naive
from support.phase_world.judge import engine_of, play, quantile
from support.phase_world.loads import LOADS
from support.phase_world.machines import TUNED, UNSEEN
from support.phase_world.world import World

import tokwatt.economics.phases.fit as product
from tokwatt.economics.phases.fit import FitSplitter
from tokwatt.economics.phases.model import Terms

ROOT = Path(__file__).parents[2]
WORK = ROOT / "tests/.work/phases"
PAGE, SHORT_PAGE = ROOT / "docs/phases.md", ROOT / "docs/accuracy.md"
BEGIN, END = "<!-- written by make phases -->", "<!-- end of what make phases writes -->"
MACHINES = (*TUNED, *UNSEEN)
SEEDS = (112, 113)  # never used while the method was tuned
ABLATION_LOADS = ("steady chat", "retrieval", "saturation")
SECONDS = 600.0
PROCESSES = 2

ABLATIONS: dict[str, Terms | float | None] = {  # a number: times the power limit; None: not known
    "as it is": Terms(),
    "prompts left where they are counted": Terms(moved=False),
    "prefill's seconds by prompts alone": Terms(left_over=False),
    "without bounds on the power of prefill": Terms(bounded=False),
    "without a guide for decode's parts": Terms(guided=False),
    "groups of 5 s only": Terms(sizes=(4.5,)),
    "guest instead of Shapley: shared energy all to decode": Terms(shapley=False),
    "power limit not known": None,
    "power limit stated 1.6 times too high": 1.6,
    "power limit stated at 0.6": 0.6,
}
SHORT = (0, 2, 3, 4, 5, 7)  # of the cells of a row
Case = tuple[str, int, int, int]  # what, machine, load, seed
Result = dict[str, Any]


def cases() -> Iterator[Case]:
    for seed in SEEDS:
        for machine in range(len(MACHINES)):
            for load in range(len(LOADS)):
                yield "fit", machine, load, seed
    for what in ABLATIONS:
        for machine in range(len(TUNED)):
            for load, one in enumerate(LOADS):
                if one.name in ABLATION_LOADS:
                    yield what, machine, load, SEEDS[0]


def judge(case: Case) -> tuple[Case, Result]:
    what, machine_at, load_at, seed = case
    machine, load = MACHINES[machine_at], LOADS[load_at]
    observed = World(machine, load, seed, SECONDS).run()
    started = time.process_time()
    change = ABLATIONS.get(what, 1.0)
    splitter = (
        FitSplitter(engine_of(machine), change)
        if isinstance(change, Terms)
        else FitSplitter(engine_of(machine, change))
    )
    verdict = play(observed, splitter)
    result: Result = {
        "cpu": time.process_time() - started,
        "windows": [(w.error, w.truth, w.half_width) for w in verdict.windows],
        "first": verdict.first_split_seconds,
        "unsplit": verdict.unsplit_seconds,
        "unsplit_later": verdict.unsplit_seconds_after_first,
        "busy": verdict.busy_seconds,
    }
    if what == "fit":
        result["naive"] = {
            name: naive.regression_errors(observed, columns, idle_first=first)
            for name, (columns, first) in naive.REGRESSIONS.items()
        } | {naive.REQUEST_SECONDS: naive.request_seconds_errors(observed)}
    return case, result


def store() -> Path:
    """Where results go: a name from all code that they depend on."""
    digest = hashlib.sha256(repr(SECONDS).encode())
    for folder in (Path(product.__file__).parent, ROOT / "tests/support/phase_world"):
        for file in sorted(folder.glob("*.py")):
            digest.update(file.read_bytes())
    return WORK / f"{digest.hexdigest()[:16]}.jsonl"


def run() -> dict[Case, Result]:
    path = store()
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    done: dict[Case, Result] = {}
    for line in lines:
        case, result = json.loads(line)
        done[tuple(case)] = result
    todo = [case for case in cases() if case not in done]
    with multiprocessing.Pool(PROCESSES) as pool, path.open("a") as out:
        for number, (case, result) in enumerate(pool.imap_unordered(judge, todo), 1):
            done[case] = result
            out.write(json.dumps([case, result]) + "\n")
            out.flush()
            print(f"\r{number} of {len(todo)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {case: done[case] for case in cases()}


def cells(name: str, results: Sequence[Result]) -> list[str]:
    """Name, windows, median, 95th percentile, worst, inside, half-width, unsplit."""
    windows = [window for result in results for window in result["windows"]]
    if not windows:
        return [name, "0", *[""] * 6]
    errors = [100 * abs(error) for error, _, _ in windows]
    inside = sum(abs(error) <= half for error, _, half in windows) / len(windows)
    half = statistics.median(100 * half for _, _, half in windows)
    unsplit = sum(r["unsplit"] for r in results) / sum(r["busy"] for r in results)
    later = sum(r["unsplit_later"] for r in results) / sum(r["busy"] for r in results)
    middle, high = statistics.median(errors), quantile(errors, 0.95)
    figures = [f"{len(errors)}", f"{middle:.1f}", f"{high:.1f}", f"{max(errors):.1f}"]
    return [name, *figures, f"{100 * inside:.0f} %", f"±{half:.1f}", f"{100 * unsplit:.0f} % ({100 * later:.0f} %)"]


def row(name: str, results: Sequence[Result]) -> str:
    return f"| {' | '.join(cells(name, results))} |"


def naive_row(name: str, results: Sequence[Result]) -> str:
    errors = [100 * abs(error) for result in results for error in result["naive"][name]]
    return f"| {name} | {statistics.median(errors):.1f} | {quantile(errors, 0.95):.1f} | {max(errors):.1f} |"


HEAD = (
    "| | windows | median | 95th percentile | worst | inside the interval | half-width | unsplit (later) |\n"
    "|---|---|---|---|---|---|---|---|"
)


def by(results: dict[Case, Result], key: Callable[[Case], str]) -> Iterable[tuple[str, list[Result]]]:
    found: dict[str, list[Result]] = {}
    for case, result in results.items():
        found.setdefault(key(case), []).append(result)
    return found.items()


def report(done: dict[Case, Result]) -> str:
    fits = {case: result for case, result in done.items() if case[0] == "fit"}
    every = list(fits.values())
    first = [result["first"] for result in every]
    cpu = sum(r["cpu"] for r in every) / (len(every) * SECONDS)
    part = sum(1 for value in first if value is not None and value <= 60) / len(first)
    seen = [value for value in first if value is not None]
    size = f"{len(MACHINES)} machines x {len(LOADS)} loads x {len(SEEDS)} seeds, {SECONDS:.0f} s each"
    cost = f"CPU: {3600 * cpu:.1f} s per server and hour, {100 * cpu:.2f} % of a core"
    parts = [
        f"{size}; error of prefill's share of busy energy in points, over windows of 60 s as they were published.",
        f"First split within 60 s in {100 * part:.0f} % of the runs, median {statistics.median(seen):.0f} s. {cost}.",
        "\n".join(
            [HEAD, *(row(name, r) for name, r in by(fits, lambda c: MACHINES[c[1]].group)), row("**all**", every)]
        ),
        "By machine:",
        "\n".join([HEAD, *(row(name, r) for name, r in by(fits, lambda c: MACHINES[c[1]].name))]),
        "By load:",
        "\n".join([HEAD, *(row(name, r) for name, r in by(fits, lambda c: LOADS[c[2]].name))]),
        "Simpler methods on the same runs, all of which they may look at before they answer:",
        "\n".join(
            ["| method | median | 95th percentile | worst |", "|---|---|---|---|"]
            + [naive_row(name, every) for name in (*naive.REGRESSIONS, naive.REQUEST_SECONDS)]
        ),
        f"What each part of the fit earns ({len(TUNED)} machines, {len(ABLATION_LOADS)} loads, one seed):",
        "\n".join([HEAD, *(row(name, [r for c, r in done.items() if c[0] == name]) for name in ABLATIONS)]),
    ]
    return "\n\n".join(parts)


def short(done: dict[Case, Result]) -> str:
    """Groups of machines and the simpler methods in one table."""
    fits = {case: result for case, result in done.items() if case[0] == "fit"}
    every = list(fits.values())
    groups = [*by(fits, lambda c: MACHINES[c[1]].group), ("**all**", every)]
    others = [f"{naive_row(name, every)} | | |" for name in (*naive.REGRESSIONS, naive.REQUEST_SECONDS)]
    rows = [f"| {' | '.join(cells(name, r)[i] for i in SHORT)} |" for name, r in groups]
    head = "| | median | 95th percentile | worst | inside the interval | unsplit (later) |\n|---|---|---|---|---|---|"
    return "\n".join([head, *rows, *others])


def write(page: Path, text: str) -> None:
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main() -> None:
    done = run()
    text = report(done)
    print(text)
    write(PAGE, text)
    write(SHORT_PAGE, short(done))


if __name__ == "__main__":
    main()
