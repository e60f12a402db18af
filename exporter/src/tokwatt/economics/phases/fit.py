"""Method `fit`: the split from counters alone, on batches that mix prefill and decode. Pure; how: docs/phases.md."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import hypot
from typing import Final

from tokwatt.economics.phases.model import Engine, Model, Terms, busy_seconds, fit_model, half_width, idle_watts
from tokwatt.economics.phases.split import IDLE, UNSPLIT, Estimate, Shares, Tick
from tokwatt.economics.phases.work import Work, runs, work_of

HISTORY_SECONDS: Final = 600.0  # ten minutes at one second a tick take 0.4 MiB and 40 ms a fit
REFIT_SECONDS: Final = 10.0
REFIT_SHARE: Final = 0.1  # of the history: a fit moves less and costs more as it grows
LEAST_SECONDS: Final = 29.0  # of ticks, before a first split
LEAST_PROMPTS: Final = 10.0
ESTIMATE_SECONDS: Final = 60.0
OUT: Final = 0.14  # half-width at which a split server becomes unsplit
IN: Final = 0.11  # and at which it is split again
MOST_RECOMPUTED: Final = 0.4
EDGE: Final = 0.6  # of the longest prefill


@dataclass(frozen=True, slots=True)
class _Given:
    """Energies of one tick with work, joules."""

    end_seconds: float
    prefill: float  # 0 while unsplit
    busy: float
    split: bool


class FitSplitter:
    """Learns a server's split while it runs, says how well, and says nothing while it does not know."""

    def __init__(self, engine: Engine | None = None, terms: Terms | None = None) -> None:
        self._engine = engine or Engine()
        self._terms = terms or Terms()
        self._settled: list[tuple[Tick, Shares]] = []
        self._prefills: deque[tuple[float, float]] = deque()  # end of a tick, seconds of a prefill that ended in it
        self._ahead = 0.0  # seconds of prefill given before their prompts were counted
        self._history: deque[tuple[Tick, Work | None]] = deque()
        self._given: deque[_Given] = deque()
        self._model: Model | None = None
        self._idle_watts: float | None = None
        self._fitted_at: float | None = None
        self._owed = 0.0
        self._split = False
        self._reason = "starting: too little has been seen"

    @property
    def method(self) -> str:
        """`counters` where the engine counts the seconds of each phase, else `fit`."""
        return "counters" if self._engine.counted else "fit"

    @property
    def needs_joules(self) -> bool:
        """A tick is taken with its energy."""
        return True

    @property
    def estimate(self) -> Estimate | None:
        """Error of the split over the last minute that was published."""
        if not self._split or self._model is None:
            return None
        busy = sum(given.busy for given in self._given if given.split)
        if busy <= 0:
            return None
        share = sum(given.prefill for given in self._given) / busy
        return Estimate(share, self._half_width(self._model, share))

    @property
    def reason(self) -> str:
        """Why energy is unsplit, "" while it is split."""
        return "" if self._split else self._reason

    def finish(self) -> None:
        """Nothing is held."""

    def take(self, tick: Tick) -> None:
        """Take the next tick; refit now and then; settle the tick at once, so that no total stays behind."""
        work = self._work(tick)
        self._history.append((tick, work))
        now = tick.end_seconds
        while now - self._history[0][0].end_seconds > HISTORY_SECONDS:
            self._history.popleft()
        if self._fitted_at is None:
            self._fitted_at = tick.start_seconds
        if now - self._fitted_at >= self._refit_seconds(now):
            self._fitted_at = now
            self._refit()
        self._settled.append((tick, self._shares(tick, work)))
        while self._given and self._given[0].end_seconds < now - ESTIMATE_SECONDS:
            self._given.popleft()

    def settled(self) -> list[tuple[Tick, Shares]]:
        """Ticks that became final since the last call."""
        found, self._settled = self._settled, []
        return found

    def _refit_seconds(self, now: float) -> float:
        least = REFIT_SECONDS if self._split else REFIT_SECONDS / 2
        return max(least, REFIT_SHARE * (now - self._history[0][0].start_seconds))

    def _work(self, tick: Tick) -> Work | None:
        if self._engine.counted and (tick.prefill_seconds is None or tick.decode_seconds is None):
            return None
        return work_of(tick)

    def _refit(self) -> None:
        fresh = [self._work(tick) for tick, _ in self._history]
        self._idle_watts = idle_watts(fresh, self._engine.limit_watts)
        stretches = list(runs(fresh))
        self._model = fit_model(stretches, self._idle_watts, self._engine, self._terms)
        seen = sum(tick.seconds for tick, work in self._history if work is not None)
        self._reason = self._why_not(seen)
        self._split = not self._reason

    def _half_width(self, model: Model, share: float) -> float:
        """The model's, and that of prefill whose prompts end beyond the edges of a minute."""
        busy = sum(given.busy for given in self._given)
        longest = max((each for _, each in self._prefills), default=0.0)
        edge = EDGE * longest * model.watts / busy if busy > 0 else 0.0
        return hypot(half_width(model, share), edge)

    def _why_not(self, seen: float) -> str:
        model = self._model
        if seen < LEAST_SECONDS:
            return f"starting: {seen:.0f} of {LEAST_SECONDS:.0f} seconds have been seen"
        if model is None:
            return "prefill cannot be told from decode: too few busy seconds or prompts, or the load varies too little"
        if model.prompts < LEAST_PROMPTS:
            return f"{model.prompts:.0f} of at least {LEAST_PROMPTS:.0f} prompts have been seen"
        if model.recomputed > MOST_RECOMPUTED:
            return (
                f"{model.recomputed:.0%} of the prompt tokens were computed again after the KV cache was full: "
                "give the server more KV cache or fewer concurrent requests"
            )
        wide = self._half_width(model, model.share)
        if wide > (OUT if self._split else IN):
            return f"prefill's share is known only to ±{100 * wide:.0f} points: the load varies too little"
        return ""

    def _added_seconds(self, work: Work, model: Model) -> float:
        """Seconds that prefill added to a tick.

        A prompt is counted when its prefill ends, but its work lies before: what a busy tick has left beside decoding
        is taken for prefill of prompts still to be counted, as far ahead as the longest recent prefill.
        """
        time = model.time
        counted = time.prefill_seconds(work)
        if time.counted or time.live_prompts:
            return counted
        each = counted / max(1.0, work.first_tokens)
        self._prefills.append((work.tick.end_seconds, each))
        while self._prefills[0][0] < work.tick.end_seconds - ESTIMATE_SECONDS:
            self._prefills.popleft()
        self._ahead -= counted
        undecoded = work.tick.running_after and not work.steps  # requests came, and nothing was decoded yet
        left = max(0.0, work.tick.seconds - time.decode_seconds(work)) if work.surely_busy or undecoded else 0.0
        most = max(each for _, each in self._prefills) if work.tick.running_after else 0.0
        added = min(max(left, -self._ahead), max(0.0, most - self._ahead))
        self._ahead += added
        return added

    def _shares(self, tick: Tick, work: Work | None) -> Shares:
        if tick.idle or (work is not None and work.none):
            return IDLE
        if work is None or tick.joules is None or tick.joules <= 0 or self._idle_watts is None:
            return UNSPLIT
        model = self._model
        added = self._added_seconds(work, model) if model is not None else 0.0
        resting = tick.seconds - max(min(tick.seconds, added), busy_seconds(work, model.time if model else None))
        idle = min(tick.joules, self._idle_watts * resting)
        busy = tick.joules - idle
        if not self._split or model is None:
            self._given.append(_Given(tick.end_seconds, 0.0, busy, split=False))
            return Shares(idle=idle / tick.joules, unsplit=busy / tick.joules)
        wanted = model.watts * added + model.shared_joules * work.first_tokens + self._owed
        prefill = min(busy, max(0.0, wanted))
        self._owed = wanted - prefill
        self._given.append(_Given(tick.end_seconds, prefill, busy, split=True))
        return Shares(prefill / tick.joules, (busy - prefill) / tick.joules, idle / tick.joules)
