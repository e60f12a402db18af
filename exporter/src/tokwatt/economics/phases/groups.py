"""Ticks taken together, with the seconds that prefill added to them: what the energy account is fitted on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tokwatt.economics.phases.energy_account import Group, misfit
from tokwatt.economics.phases.time_account import TimeModel
from tokwatt.economics.phases.work import Work

CLEARLY_BETTER: Final = 0.8  # misfit, of another's


def spread(runs: Sequence[list[Work]], time: TimeModel, idle: float, size: float, *, left_over: bool) -> None:
    """Say of each tick how many seconds prefill added: by its prompts, by what decoding left over, or half of each.

    Prompts of unlike length, or longer than a tick, are badly placed by their tokens; what decoding leaves over is
    badly known where decode's pace is. Energy was measured apart from either, so the one that it follows best is
    taken; prompts, where none is clearly better.

    Args:
        runs: stretches of ticks with a meter; `added_seconds` of each is set.
        time: of decoding and of prompts.
        idle: watts without work.
        size: least seconds of a group.
        left_over: False: by prompts only.
    """
    every = [work for run in runs for work in run]
    by_prompts = [0.0 if work.none else time.prefill_seconds(work) for work in every]
    _set(every, by_prompts)
    if time.counted or time.live_prompts or not time.sure or not left_over:
        return
    over = [_left_over(work, time, prompts) for work, prompts in zip(every, by_prompts, strict=True)]
    half = [(a + b) / 2 for a, b in zip(by_prompts, over, strict=True)]
    chosen, least = by_prompts, misfit(groups(runs, idle, size))
    for seconds in (half, over):
        _set(every, seconds)
        found = misfit(groups(runs, idle, size))
        if found < CLEARLY_BETTER * least:
            chosen, least = seconds, found
    _set(every, chosen)


def _left_over(work: Work, time: TimeModel, by_prompts: float) -> float:
    return max(0.0, work.tick.seconds - time.decode_seconds(work)) if work.surely_busy else by_prompts


def _set(every: Sequence[Work], seconds: Sequence[float]) -> None:
    for work, value in zip(every, seconds, strict=True):
        work.added_seconds = value


def groups(runs: Sequence[list[Work]], idle: float, least_seconds: float) -> list[Group]:
    """Neighbouring ticks of together at least so many seconds."""
    found = []
    for run in runs:
        part: list[Work] = []
        for work in run:
            part.append(work)
            if work.tick.end_seconds - part[0].tick.start_seconds >= least_seconds:
                found.append(_group(part, idle))
                part = []
    return [group for group in found if group.added_seconds or any(group.decode)]


def _group(part: Sequence[Work], idle: float) -> Group:
    decode = [0.0] * 5
    joules = added = 0.0
    for work in part:
        joules += (work.tick.joules or 0.0) - idle * work.tick.seconds
        if not work.none:
            added += work.added_seconds
            for index, value in enumerate(work.decode):
                decode[index] += value
    return Group(added, (decode[0], decode[1], decode[2], decode[3], decode[4]), joules)
