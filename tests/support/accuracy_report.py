"""The table of docs/accuracy.md: errors of every method over random scenarios, beside a naive loop on the same ones.

Run it: `make accuracy`, or `python -m support.accuracy_report --scenarios 20 --jobs 2` in tests/.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from support import accuracy_waits
from support.accuracy_meters import COUNTER, DCGM, DCMI, OUTLET, PROMQL, WATTS, Method
from support.accuracy_run import Seen, run
from support.accuracy_world import Lag, Scenario, scenario

GAIN = 0.05  # 90 % half-width that every meter here declares, and that its true gain is drawn from
TITLES = {
    COUNTER.name: "NVML counter, 1 s ticks",
    WATTS.name: "1 s mean of power, read every 1 s",
    DCMI.name: "DCMI watts, every 15 s",
    PROMQL.name: "PromQL, counter scraped every 15 s",
    DCGM.name: "dcgm-exporter, 30 s behind 15 s",
    OUTLET.name: "outlet, steps of 0.01 kWh",
    "naive": "naive loop on the NVML counter",
    "naive, late": "the same, servers 50 to 300 ms late",
}


@dataclass(frozen=True)
class Part:
    """A window length with the methods that are good for it."""

    window_seconds: float
    seconds: int
    methods: tuple[Method, ...]


PARTS = (
    Part(10.0, 60, (COUNTER, WATTS)),
    Part(60.0, 150, (COUNTER,)),
    Part(60.0, 150, (WATTS, DCMI, PROMQL)),
    Part(300.0, 640, (DCMI, PROMQL, DCGM, OUTLET)),
)


@dataclass
class Outcome:
    """What a scenario gave: published windows, and errors of the naive loop by (name, window)."""

    seen: list[Seen] = field(default_factory=list)
    naive: list[tuple[str, float, float]] = field(default_factory=list)
    not_compared: int = 0

    def add(self, other: Outcome) -> None:
        self.seen += other.seen
        self.naive += other.naive
        self.not_compared += other.not_compared


def after(drawn: Scenario) -> Scenario:
    """The same scenario with servers that wait after they read their counters, where no software can see it."""
    return replace(drawn, lag=Lag(after=drawn.lag.before))


def play(seed: int, parts: Sequence[Part] = PARTS, *, waits_after: bool = False) -> Outcome:
    """Run the parts of one scenario."""
    logging.disable(logging.WARNING)  # sources go down by design
    outcome = Outcome()
    for part in parts:
        drawn = scenario(seed, part.seconds)
        drawn = after(drawn) if waits_after else drawn
        if waits_after and not drawn.lag.after:
            continue
        one = run(drawn, part.methods, part.window_seconds, part.seconds)
        outcome.seen += one.seen
        outcome.not_compared += one.not_compared
        if COUNTER in part.methods:
            name = "naive" if drawn.lag == Lag() else "naive, late"
            outcome.naive += [(name, part.window_seconds, error) for error in one.naive_errors]
    return outcome


def timing_half_width(one: Seen) -> float:
    """The published interval without the declared gain, which was added in quadrature."""
    return max(0.0, one.half_width**2 - GAIN**2) ** 0.5


@dataclass(frozen=True)
class Row:
    """Errors of one method at one window length; coverage is the share of windows inside the stated interval."""

    title: str
    window_seconds: float
    windows: int
    median: float
    p95: float
    p99: float
    worst: float
    coverage: float | None = None
    timing_coverage: float | None = None
    half_width: float | None = None
    timing_half_width: float | None = None


def _quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def _row(title: str, window: float, errors: Iterable[float], seen: Sequence[Seen] = ()) -> Row:
    values = sorted(abs(error) for error in errors)
    plain = Row(
        title, window, len(values), _quantile(values, 0.5), _quantile(values, 0.95), _quantile(values, 0.99), values[-1]
    )
    if not seen:
        return plain
    return replace(
        plain,
        coverage=sum(abs(one.energy_error) <= one.half_width for one in seen) / len(seen),
        timing_coverage=sum(abs(one.timing_error) <= timing_half_width(one) for one in seen) / len(seen),
        half_width=sum(one.half_width for one in seen) / len(seen),
        timing_half_width=sum(timing_half_width(one) for one in seen) / len(seen),
    )


def rows(outcome: Outcome) -> Iterator[Row]:
    """One row for each method and window; a method's servers that answer at once and late are together."""
    for window in sorted({one.window_seconds for one in outcome.seen}):
        for method in (COUNTER, WATTS, DCMI, PROMQL, DCGM, OUTLET):
            seen = [one for one in outcome.seen if (one.method, one.window_seconds) == (method.name, window)]
            if seen:
                yield _row(TITLES[method.name], window, [one.timing_error for one in seen], seen)
            late = [one.timing_error for one in seen if one.late]
            if late and method is COUNTER:
                yield _row("of these: servers 50 to 300 ms late", window, late)
        for name in ("naive", "naive, late"):
            errors = [error for which, length, error in outcome.naive if (which, length) == (name, window)]
            if errors:
                yield _row(TITLES[name], window, errors)


def table(outcome: Outcome) -> str:
    """The table as markdown."""
    lines = [
        "| method | window | windows | median | p95 | p99 | worst | inside | timing alone inside | interval, timing |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows(outcome):
        cells = [row.title, f"{row.window_seconds:g} s", f"{row.windows}"]
        cells += [f"{value:.2%}" for value in (row.median, row.p95, row.p99, row.worst)]
        if row.coverage is None or row.timing_coverage is None:
            cells += ["", "", ""]
        else:
            cells += [f"{row.coverage:.1%}", f"{row.timing_coverage:.1%}"]
            cells.append(f"±{row.half_width:.2%}, ±{row.timing_half_width:.2%}")
        lines.append("| " + " | ".join(cells) + " |")
    share = outcome.not_compared / max(1, outcome.not_compared + len(outcome.seen))
    lines.append(f"\nLeft out: {share:.1%} of windows, whose coverage says that an outage of a meter is left out.")
    return "\n".join(lines)


def play_all(seeds: Iterable[int], jobs: int, parts: Sequence[Part] = PARTS, *, waits_after: bool = False) -> Outcome:
    """Run many scenarios on `jobs` processes."""
    total = Outcome()
    if jobs == 1:
        for seed in seeds:
            total.add(play(seed, parts, waits_after=waits_after))
        return total
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        work = [pool.apply_async(play, (seed, parts), {"waits_after": waits_after}) for seed in seeds]
        for one in work:
            total.add(one.get())
    return total


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--scenarios", type=int, default=200)
    options.add_argument("--first-seed", type=int, default=0, help="0 to 999 are for reporting; tune on 1000 and above")
    options.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    given = options.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.scenarios)
    print(
        f"{given.scenarios} scenarios, seeds {seeds[0]} to {seeds[-1]}; errors without the sensors' gain\n", flush=True
    )
    print(table(play_all(seeds, given.jobs)), flush=True)
    print("\nServers that wait after they read their counters\n", flush=True)
    counters = tuple(replace(part, methods=(COUNTER,)) for part in PARTS[:2])
    print(table(play_all(seeds, given.jobs, counters, waits_after=True)))
    print("\nCould the two kinds be told apart? 0: the wait comes before the counters are read, 1: after\n", flush=True)
    print(accuracy_waits.table(seeds[:50]))


if __name__ == "__main__":
    main()
