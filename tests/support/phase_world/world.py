"""Runs a load on a machine and gives the ticks that the exporter would see, with the truth beside them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from support.phase_world.cost import step_cost
from support.phase_world.loads import Load, arrivals, draw, typical_batch
from support.phase_world.machines import LLAMACPP, SGLANG, Machine
from support.phase_world.scheduler import Scheduler

from tokwatt.economics.phases.split import Tick

LATCH_SECONDS = 0.1  # the meter refreshes its counter this often
METER_NOISE = 0.005
GOVERNOR_SECONDS = 0.1
STALL_PROBABILITY = 1e-4


@dataclass(frozen=True, slots=True)
class Observed:
    """A tick and the true energies over it, joules."""

    tick: Tick
    prefill: float
    decode: float
    idle: float
    mixed_steps: int = 0
    added_seconds: float = 0.0  # by prefill, beyond what the same steps would have taken without it
    request_seconds: tuple[float, float] = (0.0, 0.0)  # in prefill and in decode, summed over requests


@dataclass(slots=True)
class _Page:
    """What a scrape finds."""

    seconds: float
    steps: float = 0.0
    decode: float = 0.0
    prompt: float = 0.0
    first: float = 0.0
    drafts: float = 0.0
    preempted: float = 0.0
    running: float = 0.0
    waiting: float = 0.0
    kv_tokens: float = 0.0
    meter: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    truth: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mixed: int = 0
    added: float = 0.0
    request_seconds: tuple[float, float] = (0.0, 0.0)


class World:
    """One server under one load."""

    def __init__(
        self,
        machine: Machine,
        load: Load,
        seed: int,
        seconds: float = 600.0,
        scrape: float = 1.0,
        *,
        counts_seconds: bool = False,
    ) -> None:
        self._machine, self._load, self._until, self._scrape = machine, load, seconds, scrape
        self._counts_seconds = counts_seconds
        # a string seeds alike in every process; a tuple's hash would not
        self._rng = random.Random(f"{machine.name}/{load.name}/{seed}")
        self._scheduler = Scheduler(machine, load.kv_share, self._rng)
        self._now = 0.0
        self._truth = [0.0, 0.0, 0.0]  # prefill, decode, idle
        self._phase_seconds = [0.0, 0.0]
        self._mixed = 0
        self._added = 0.0
        self._request_seconds = [0.0, 0.0]
        self._clock = 1.0
        self._window_joules = self._window_start = 0.0
        self._last_work = -1e9
        self._latched = self._latched_at = 0.0
        self._pages: list[_Page] = []
        self._next_scrape = scrape
        self._drift = self._rng.uniform(0, 6.28)

    def run(self) -> list[Observed]:
        """The ticks, oldest first."""
        load, machine, rng = self._load, self._machine, self._rng
        self._pages.append(_Page(0.0))
        if load.users:
            self._closed_loop(max(1, round(load.users * typical_batch(machine))))
        else:
            coming = arrivals(machine, load, rng, self._until)
            self._open_loop(list(coming))
        return [self._observed(a, b) for a, b in zip(self._pages, self._pages[1:], strict=False)]

    def _open_loop(self, coming: list[tuple[float, object]]) -> None:
        at = 0
        while self._now < self._until:
            while at < len(coming) and coming[at][0] <= self._now:
                self._scheduler.submit(coming[at][1])  # type: ignore[arg-type]
                at += 1
            if not self._step():
                self._rest(min(coming[at][0], self._until) if at < len(coming) else self._until)

    def _closed_loop(self, users: int) -> None:
        answered = 0
        for _ in range(users):
            self._scheduler.submit(draw(self._machine, self._load, self._rng, self._now))
        while self._now < self._until:
            self._step()
            if self._load.lock_step:
                if self._scheduler.finished == answered + users:
                    answered += users
                    for _ in range(users):
                        self._scheduler.submit(draw(self._machine, self._load, self._rng, self._now))
                continue
            while answered < self._scheduler.finished:
                answered += 1
                self._scheduler.submit(draw(self._machine, self._load, self._rng, self._now))

    def _static_watts(self) -> float:
        drift = self._machine.leakage_drift * math.sin(self._now / 70 + self._drift)
        return self._machine.static_watts * (1 + drift)

    def _step(self) -> bool:
        scheduler, machine, rng = self._scheduler, self._machine, self._rng
        if not (scheduler.running or scheduler.waiting):
            return False
        prompts, sequences, ended = scheduler.next_step()
        static = self._static_watts()
        context = scheduler.context if sequences else 0.0
        seconds, joules = step_cost(machine, self._clock, static, prompts, sequences, context)
        share = added = 0.0
        if prompts is not None:
            share, added = 1.0, seconds
            if sequences:
                alone = step_cost(machine, self._clock, static, prompts, 0, 0.0)[1]
                shorter, without = step_cost(machine, self._clock, static, None, sequences, context)
                share = (alone + joules - without) / 2 / joules
                added -= shorter
                self._mixed += 1
        real = seconds * max(0.5, 1 + rng.gauss(0, machine.jitter))
        if rng.random() < STALL_PROBABILITY:
            real += 0.2
        joules += static * (real - seconds)
        self._phase_seconds[0 if prompts is not None else 1] += real
        self._pass(real, (joules * share, joules * (1 - share), 0.0))
        self._added += added
        self._request_seconds[0] += real * len(scheduler.prefilling)
        self._request_seconds[1] += real * scheduler.decoding
        scheduler.end_step(sequences, ended)
        self._last_work = self._now
        return True

    def _rest(self, until: float) -> None:
        """No request runs until then."""
        machine = self._machine
        while self._now < until:
            seconds = min(until - self._now, 0.25)
            watts = machine.idle_watts
            if machine.idle_fall_seconds:
                gone = self._now - self._last_work
                watts += (machine.static_watts - watts) * math.exp(-gone / machine.idle_fall_seconds)
            self._pass(seconds, (0.0, 0.0, watts * seconds))

    def _pass(self, seconds: float, joules: tuple[float, float, float]) -> None:
        """Let time pass at constant power, with the meter's refreshes and the scrapes that fall into it."""
        start, end, truth = self._now, self._now + seconds, self._truth
        total = joules[0] + joules[1] + joules[2]
        before = truth[0] + truth[1] + truth[2]
        while self._next_scrape <= end:
            self._latch(self._next_scrape, start, before, total / seconds)
            part = (self._next_scrape - start) / seconds
            exact = (truth[0] + part * joules[0], truth[1] + part * joules[1], truth[2] + part * joules[2])
            self._pages.append(self._page(self._next_scrape, exact))
            number = len(self._pages)
            self._next_scrape = number * self._scrape + self._rng.uniform(-0.02, 0.02)
        self._latch(end, start, before, total / seconds)
        for index in range(3):
            truth[index] += joules[index]
        self._now = end
        self._govern(total)

    def _latch(self, at: float, start: float, before: float, watts: float) -> None:
        refresh = math.floor(at / LATCH_SECONDS) * LATCH_SECONDS
        if refresh > self._latched_at and refresh >= start:
            self._latched, self._latched_at = before + (refresh - start) * watts, refresh

    def _govern(self, joules: float) -> None:
        self._window_joules += joules
        seconds = self._now - self._window_start
        if seconds < GOVERNOR_SECONDS:
            return
        watts = self._window_joules / seconds
        limit = self._machine.limit_watts
        if watts > limit:
            self._clock = max(0.35, self._clock - 0.03 - 0.5 * (watts / limit - 1))
        elif watts < 0.97 * limit:
            self._clock = min(1.0, self._clock + 0.02)
        self._window_joules, self._window_start = 0.0, self._now

    def _page(self, at: float, truth: tuple[float, float, float]) -> _Page:
        counters, scheduler, machine = self._scheduler.counters, self._scheduler, self._machine
        slots = machine.engine == LLAMACPP
        prompts = {SGLANG: counters.prompt_live, LLAMACPP: counters.prompt_shown}
        return _Page(
            at,
            steps=counters.steps,
            decode=counters.busy_slot_steps if slots else counters.generated - counters.first_tokens,
            prompt=prompts.get(machine.engine, counters.prompt_at_end),
            first=counters.first_tokens,
            drafts=counters.drafts,
            preempted=counters.preempted,
            running=scheduler.running,
            waiting=len(scheduler.waiting),
            kv_tokens=scheduler.kv_tokens,
            meter=self._latched,
            prefill_seconds=self._phase_seconds[0],
            decode_seconds=self._phase_seconds[1],
            truth=truth,
            mixed=self._mixed,
            added=self._added,
            request_seconds=(self._request_seconds[0], self._request_seconds[1]),
        )

    def _observed(self, before: _Page, after: _Page) -> Observed:
        engine = self._machine.engine
        decode, prompt = after.decode - before.decode, after.prompt - before.prompt
        steps: float | None = after.steps - before.steps
        mean_kv = (before.kv_tokens + after.kv_tokens) / 2
        if engine == SGLANG:  # it counts no steps
            running = (before.running + after.running) / 2
            steps = decode / max(1.0, running)
        rests = not (before.running or after.running or before.waiting or after.waiting or decode or prompt)
        tick = Tick(
            before.seconds,
            after.seconds,
            idle=rests,
            joules=max(0.0, (after.meter - before.meter) * (1 + self._rng.gauss(0, METER_NOISE))),
            steps=steps,
            decode_tokens=decode,
            prompt_tokens=prompt,
            first_tokens=None if engine == LLAMACPP else after.first - before.first,
            kv_token_steps=None if engine == LLAMACPP else mean_kv * (steps or 0.0),
            draft_tokens=after.drafts - before.drafts if self._machine.drafts else None,
            preempted=None if engine == LLAMACPP else after.preempted - before.preempted,
            kv_tokens=None if engine == LLAMACPP else after.kv_tokens,
            prefill_seconds=after.prefill_seconds - before.prefill_seconds if self._counts_seconds else None,
            decode_seconds=after.decode_seconds - before.decode_seconds if self._counts_seconds else None,
            running_before=before.running,
            running_after=after.running,
            waiting_before=before.waiting,
            waiting_after=after.waiting,
        )
        gone = [late - early for late, early in zip(after.truth, before.truth, strict=True)]
        requests = [b - a for a, b in zip(before.request_seconds, after.request_seconds, strict=True)]
        return Observed(
            tick,
            gone[0],
            gone[1],
            gone[2],
            after.mixed - before.mixed,
            after.added - before.added,
            (requests[0], requests[1]),
        )
