"""Records what the phase split is given on a real llama.cpp server, with the truth of its slots beside it.

Run it as `python tests/support/record_slots.py NAME...`; it writes tests/captures/llamacpp-slots/NAME.csv.
"""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.slot_bench import Load, bench

from tokwatt.economics.phases.fit import FitSplitter
from tokwatt.economics.phases.split import Tick

FOLDER = Path(__file__).parents[1] / "captures/llamacpp-slots"
COUNTED = (
    "joules", "steps", "decode_tokens", "prompt_tokens",
    "running_before", "running_after", "waiting_before", "waiting_after",
)  # fmt: skip
TRUTH = ("true_prefill_joules", "true_decode_joules", "true_idle_joules")
ANSWERS, PROMPTS = ((6, 30), (30, 160)), ((30, 240), (4, 24))  # words of a prompt, tokens of an answer
LOADS = {
    "four-users-answers-prompts": (Load("answers", 80, 4, *ANSWERS, 0.5), Load("prompts", 80, 4, *PROMPTS, 0.5)),
    "four-users-prompts-answers": (Load("prompts", 80, 4, *PROMPTS, 0.5), Load("answers", 80, 4, *ANSWERS, 0.5)),
    "three-users-answers-prompts": (Load("answers", 90, 3, *ANSWERS, 0.5), Load("prompts", 90, 3, *PROMPTS, 0.5)),
    "three-users-mixed": (Load("mixed", 160, 3, (6, 240), (4, 120), 0.8),),
    "two-users-prompts": (Load("prompts", 160, 2, (30, 240), (4, 60), 0.5),),
    "one-user-mixed": (Load("mixed", 160, 1, (6, 240), (4, 120), 0.8),),
}


def write(path: Path, rows: Sequence[tuple[Tick, tuple[float, float, float]]]) -> None:
    """One tick a line; instants from the first."""
    start = rows[0][0].start_seconds
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["start_seconds", "end_seconds", "idle", *COUNTED, *TRUTH])
        for tick, truth in rows:
            counted = [getattr(tick, name) for name in COUNTED]
            numbers = [tick.start_seconds - start, tick.end_seconds - start, int(tick.idle), *counted, *truth]
            out.writerow(["" if value is None else f"{value:.4f}".rstrip("0").rstrip(".") for value in numbers])


def read(path: Path) -> Iterator[tuple[Tick, tuple[float, float, float]]]:
    """The ticks of a recording, each with its true joules of prefill, decode and idle."""
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            counted = {name: float(row[name]) if row[name] else None for name in COUNTED}
            tick = Tick(float(row["start_seconds"]), float(row["end_seconds"]), idle=row["idle"] == "1", **counted)
            yield tick, (float(row[TRUTH[0]]), float(row[TRUTH[1]]), float(row[TRUTH[2]]))


async def record(name: str) -> None:
    """Run the loads of a recording against a fresh server."""
    ticks: list[Tick] = []
    take = FitSplitter.take

    def tapped(splitter: FitSplitter, tick: Tick) -> None:
        ticks.append(tick)
        take(splitter, tick)

    FitSplitter.take = tapped  # type: ignore[method-assign]
    async with bench() as running:
        for _ in range(4):
            await running.tick([])
        for load in LOADS[name]:
            await running.under(load)
        truth = [running.slots.truth([(tick.start_seconds, tick.end_seconds)]) for tick in ticks]
    write(
        FOLDER / f"{name}.csv",
        [(t, (true.prefill, true.decode, true.idle)) for t, true in zip(ticks, truth, strict=True)],
    )


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        asyncio.run(record(wanted))
