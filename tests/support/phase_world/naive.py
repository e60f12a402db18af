"""The obvious ways to split, to see what they are worth. Each may look at the whole run, which no exporter can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from support.phase_world.judge import WINDOW_SECONDS
from support.phase_world.world import Observed

from tokwatt.economics.phases.linear import Sums, non_negative

GROUP = 5  # ticks of a regression's row
Columns = Callable[[Observed], tuple[float, ...]]


def _tokens_and_time(one: Observed) -> tuple[float, ...]:
    return one.tick.prompt_tokens or 0.0, one.tick.decode_tokens or 0.0, one.tick.seconds


def _with_steps(one: Observed) -> tuple[float, ...]:
    return (*_tokens_and_time(one), one.tick.steps or 0.0)


def _without_time(one: Observed) -> tuple[float, ...]:
    tick = one.tick
    return tick.prompt_tokens or 0.0, tick.steps or 0.0, tick.decode_tokens or 0.0, tick.kv_token_steps or 0.0


REGRESSIONS: dict[str, tuple[Columns, bool]] = {  # columns, the prompt's first; whether idle power is taken off first
    "joules on prompt tokens, output tokens, time": (_tokens_and_time, False),
    "the same with steps": (_with_steps, False),
    "joules beyond idle on prompt tokens, steps, output tokens, context; no time": (_without_time, True),
}
REQUEST_SECONDS = "summed request seconds as weights"


def idle_watts(observed: Sequence[Observed]) -> float:
    rests = [(o.tick.joules or 0) / o.tick.seconds for o in observed if o.tick.idle]
    busiest = max((o.tick.joules or 0) / o.tick.seconds for o in observed)
    return sum(rests) / len(rests) if rests else 0.12 * busiest


def regression_errors(observed: Sequence[Observed], columns: Columns, *, idle_first: bool) -> list[float]:
    """Error of prefill's share of busy energy in each window of a minute."""
    idle = idle_watts(observed) if idle_first else 0.0
    rows = []
    for at in range(0, len(observed) - GROUP + 1, GROUP):
        part = observed[at : at + GROUP]
        sums = [sum(values) for values in zip(*(columns(one) for one in part), strict=True)]
        rows.append((sums, sum((one.tick.joules or 0.0) - idle * one.tick.seconds for one in part)))
    total = Sums.of(rows, len(rows[0][0]))
    per_prompt_token = non_negative(total.xx, total.xy)[0]
    return [_error(part, sum(per_prompt_token * columns(one)[0] for one in part)) for part in windows(observed)]


def request_seconds_errors(observed: Sequence[Observed]) -> list[float]:
    found = []
    for part in windows(observed):
        prefill = sum(one.request_seconds[0] for one in part)
        both = prefill + sum(one.request_seconds[1] for one in part)
        busy = sum(one.prefill + one.decode for one in part)
        found.append(_error(part, busy * prefill / both if both else 0.0))
    return found


def windows(observed: Sequence[Observed]) -> list[Sequence[Observed]]:
    """Minutes with work in them."""
    size = round(WINDOW_SECONDS / observed[0].tick.seconds)
    parts = [observed[at : at + size] for at in range(0, len(observed) - size + 1, size)]
    return [part for part in parts if sum(one.prefill + one.decode for one in part) > 0]


def _error(part: Sequence[Observed], prefill: float) -> float:
    busy = sum(one.prefill + one.decode for one in part)
    return min(1.0, prefill / busy) - sum(one.prefill for one in part) / busy
