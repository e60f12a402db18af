"""Plays ticks to a splitter and compares what it publishes with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from support.phase_world.machines import LLAMACPP, Machine
from support.phase_world.world import Observed

from tokwatt.economics.phases.choose import ENGINES
from tokwatt.economics.phases.model import Engine
from tokwatt.economics.phases.split import Shares, Splitter

WINDOW_SECONDS = 60.0
LEAST_BUSY_SECONDS = 3.0  # of a window: a share of hardly anything says nothing


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of published splits. Shares are prefill's of busy energy."""

    published: float
    truth: float
    half_width: float

    @property
    def error(self) -> float:
        return self.published - self.truth

    @property
    def inside(self) -> bool:
        return abs(self.error) <= self.half_width


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one run shows."""

    windows: tuple[Window, ...]
    first_split_seconds: float | None  # from the first tick to the instant at which a split was published
    busy_seconds: float
    unsplit_seconds: float  # of them, without a split
    unsplit_seconds_after_first: float  # of them, from the first split on


def engine_of(machine: Machine, limit: float | None = 1.0) -> Engine:
    """What the exporter knows of the machine: its engine's name, and the power limit of its GPUs times `limit`."""
    unknown = limit is None or machine.engine == LLAMACPP
    limit_watts = None if unknown else limit * machine.limit_watts
    return replace(ENGINES.get(machine.engine, Engine()), limit_watts=limit_watts)


def play(observed: Sequence[Observed], splitter: Splitter) -> Verdict:
    """Feed the ticks, collect the shares as they become final, and compare window by window."""
    judge = _Judge()
    waiting = list(observed)
    taken = 0
    for one in observed:
        splitter.take(one.tick)
        estimate = splitter.estimate
        for tick, shares in splitter.settled():
            truth = waiting[taken]
            taken += 1
            assert tick is truth.tick, "ticks come back in their order, none left out"
            judge.add(truth, shares, one.tick.end_seconds, estimate.half_width if estimate else None)
    return judge.verdict()


class _Judge:
    def __init__(self) -> None:
        self._windows: list[Window] = []
        self._current: list[tuple[Observed, Shares]] = []
        self._first: float | None = None
        self._busy = 0.0
        self._unsplit = [0.0, 0.0]  # all, from the first split on

    def add(self, truth: Observed, shares: Shares, now: float, half_width: float | None) -> None:
        if self._first is None and shares.prefill + shares.decode > 0:
            self._first = now
        if truth.prefill + truth.decode > 0:
            seconds = truth.tick.seconds
            self._busy += seconds
            for at in (0, 1) if self._first is not None else (0,):
                self._unsplit[at] += seconds * (shares.unsplit > 0)
        self._current.append((truth, shares))
        if truth.tick.end_seconds - self._current[0][0].tick.start_seconds > WINDOW_SECONDS - 0.5:
            self._close(half_width)
            self._current = []

    def _close(self, half_width: float | None) -> None:
        if any(shares.unsplit > 0 for _, shares in self._current) or half_width is None:
            return
        prefill = sum(truth.prefill for truth, _ in self._current)
        busy = prefill + sum(truth.decode for truth, _ in self._current)
        given = [(s.prefill * (t.tick.joules or 0), s.decode * (t.tick.joules or 0)) for t, s in self._current]
        published = sum(a + b for a, b in given)
        seconds = sum(truth.tick.seconds for truth, _ in self._current if truth.prefill + truth.decode > 0)
        if seconds >= LEAST_BUSY_SECONDS and published > 0:
            self._windows.append(Window(sum(a for a, _ in given) / published, prefill / busy, half_width))

    def verdict(self) -> Verdict:
        return Verdict(
            tuple(self._windows),
            self._first,
            self._busy,
            self._unsplit[0],
            self._unsplit[1],
        )


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which `part` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
