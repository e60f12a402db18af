"""Can a server that waits after reading its counters be told from one that waits before? How soon, and how surely?

If the wait comes after, a reading is placed too late by the wait, and the interval before it seems to hold too few
tokens for its length: in step with the change of the wait. The slope of that is 0 for waits before and 1 for waits
after. The product does not use it (ADR 3); this measures what could be had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random
from statistics import median

from support.accuracy_world import Lag, Machinery, Page, scenario
from support.clock import FakeClock
from yarl import URL

from tokwatt.readings import SourceError


@dataclass(frozen=True)
class Answered:
    """One answered request, as a client sees it."""

    sent: float
    answered: float
    tokens: float


def answers(seed: int, seconds: int, *, waits_after: bool) -> list[Answered]:
    """What a client sees of a late server, once a second."""
    drawn = scenario(seed, seconds)
    lag = Lag(after=drawn.lag.before) if waits_after else drawn.lag
    clock = FakeClock()
    machinery = Machinery(replace(drawn, lag=lag, outage=None), clock)
    page, rng = Page(machinery), Random(f"ticks {seed}")
    found = []

    async def ask() -> None:
        for second in range(seconds):
            clock.now = max(clock.now, machinery.start + second + rng.uniform(0.0, drawn.jitter_seconds))
            try:
                answer = await page.get(URL("http://server/metrics"))
            except SourceError:
                continue
            found.append(Answered(answer.sent_seconds, answer.answered_seconds, page.output_tokens))

    asyncio.run(ask())
    return found


def share_after(seen: list[Answered]) -> float:
    """Slope of the seconds of work that an interval seems to lack over the change of the wait: 0 before, 1 after."""
    product = square = 0.0
    for number in range(2, len(seen) - 1):
        before, now = seen[number - 1], seen[number]
        around = seen[number - 2], seen[number + 1]
        rate = (around[1].tokens - around[0].tokens) / (around[1].answered - around[0].answered)
        if rate <= 0:
            continue
        change = (now.answered - now.sent) - (before.answered - before.sent)
        lacking = (now.answered - before.answered) - (now.tokens - before.tokens) / rate
        product += change * lacking
        square += change * change
    return product / square


def table(seeds: Iterable[int]) -> str:
    """How well the two kinds are told apart after two and after ten minutes."""
    late = [seed for seed in seeds if scenario(seed, 1.0).lag.before]
    lines = ["| reads | servers | wait before: median, range | wait after: median, range | on the right side of 1/2 |"]
    lines.append("|---|---|---|---|---|")
    for seconds in (120, 600):
        before, after = ([share_after(answers(seed, seconds, waits_after=w)) for seed in late] for w in (False, True))
        right = sum(one < 0.5 for one in before) + sum(one >= 0.5 for one in after)
        shown = [f"{median(many):.2f}, {min(many):.2f} to {max(many):.2f}" for many in (before, after)]
        lines.append(f"| {seconds} | {len(late)} | {shown[0]} | {shown[1]} | {right / (2 * len(late)):.0%} |")
    return "\n".join(lines)
