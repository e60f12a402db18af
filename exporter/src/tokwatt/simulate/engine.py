"""A simulated inference engine: continuous batching in discrete steps, with books that are exact.

Owns requests in flight, the counters an engine would show, and the truth of tokens and joules over time.
Driven by instants handed in; any pattern of `advance_to` calls gives the same history. Safe to ask from threads.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from random import Random

from tokwatt.simulate.counters import EndedRequest, EngineCounters, Finish
from tokwatt.simulate.load import Load, Request
from tokwatt.simulate.machines import Machine, StepWork
from tokwatt.simulate.trace import Trace
from tokwatt.simulate.truth import EnergyTruth, TokenTruth

KEEP_SECONDS = 600.0
STALL_CHANCE = 1e-4  # a step that hangs for a moment: garbage collection, a slow host
STALL_FACTOR = 8.0


@dataclass(slots=True, eq=False)
class _Sequence:
    """A request inside the engine."""

    request: Request
    admitted_at_seconds: float
    prompt_done_tokens: int
    first_token_at_seconds: float = 0.0


@dataclass(slots=True)
class _Step:
    """The step under way: what changes when it ends."""

    seconds: float
    ends_at_seconds: float
    decoding: int
    prefilled: list[_Sequence]  # their prompt ends with this step
    sequences: int  # in the engine during it, decoding or prefilling


class Engine:
    """A simulated engine. `request_lost_count` counts requests that found it stopped or were cut by a stop.

    KV space for a whole request is reserved at admission, so nothing is ever preempted and recomputed.
    """

    def __init__(self, machine: Machine, load: Load, *, start_seconds: float, seed: int) -> None:
        self.machine = machine
        self.counters = EngineCounters()
        self.up = True
        self.starts = 1
        self.request_lost_count = 0
        self._load = load
        self._rng = Random(seed)  # noqa: S311 - a simulation, not a secret
        self._lock = threading.RLock()
        self._now = start_seconds
        self._energy = Trace(start_seconds, len(EnergyTruth._fields), keep_seconds=KEEP_SECONDS)
        self._tokens = Trace(start_seconds, len(TokenTruth._fields), keep_seconds=KEEP_SECONDS)
        self._tokens_before_start = TokenTruth(*[0.0] * len(TokenTruth._fields))
        self._idle_from: tuple[float, EnergyTruth] | None = None  # start and totals of the idle segment under way
        self._waiting: deque[Request] = deque()
        self._forget_work()

    # What an engine shows

    @property
    def running(self) -> int:
        """Requests in the batch, prefilling or decoding."""
        return self._decoding + len(self._prefilling) + (len(self._step.prefilled) if self._step else 0)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def kv_usage_ratio(self) -> float:
        """Part of the KV space that holds something, as engines show it: less than what is reserved."""
        return self.kv_tokens / self.machine.kv_capacity_tokens

    @property
    def kv_tokens(self) -> int:
        """Tokens of context in the KV cache: of the sequences that decode, and what is computed of the prompts."""
        prefilling = (*self._prefilling, *(self._step.prefilled if self._step else ()))
        tokens: int = self._decoding_context_tokens + sum(sequence.prompt_done_tokens for sequence in prefilling)
        return tokens

    @property
    def lock(self) -> threading.RLock:
        """Hold it to read several numbers of one instant."""
        return self._lock

    # Truth

    def energy_at(self, at_seconds: float) -> EnergyTruth:
        """Return totals since the simulation began, at any instant of the last ten minutes up to now."""
        with self._lock:
            self.advance_to(at_seconds)
            return EnergyTruth(*self._energy.interpolated(at_seconds))

    def tokens_at(self, at_seconds: float) -> TokenTruth:
        """Return totals since the simulation began, at any instant of the last ten minutes up to now."""
        with self._lock:
            self.advance_to(at_seconds)
            return TokenTruth(*self._tokens.stepped(at_seconds))

    def energy_between(self, start_seconds: float, end_seconds: float) -> EnergyTruth:
        """Return what an interval took."""
        end = self.energy_at(end_seconds)
        return EnergyTruth(*(b - a for a, b in zip(self.energy_at(start_seconds), end, strict=True)))

    def tokens_between(self, start_seconds: float, end_seconds: float) -> TokenTruth:
        """Return what the counters moved in (start, end]."""
        end = self.tokens_at(end_seconds)
        return TokenTruth(*(b - a for a, b in zip(self.tokens_at(start_seconds), end, strict=True)))

    # Time

    def advance_to(self, at_seconds: float) -> None:
        """Simulate up to an instant. An instant in the past changes nothing."""
        with self._lock:
            while True:
                if self._step is not None:
                    if self._step.ends_at_seconds > at_seconds:
                        break
                    self._end_step(self._step)
                self._take_arrivals(self._now)
                self._admit()
                if self._decoding or self._prefilling:
                    self._begin_step()
                    continue
                next_seconds = self._load.peek() if self.up else at_seconds
                self._idle_until(min(next_seconds, at_seconds))
                if next_seconds >= at_seconds:
                    break
            self._take_arrivals(at_seconds)

    def stop(self, at_seconds: float) -> None:
        """Kill the engine: requests in flight are lost, the GPUs idle."""
        with self._lock:
            self.advance_to(at_seconds)
            at_seconds = max(at_seconds, self._now)  # another thread may have asked for a later instant meanwhile
            lost = self.running + self.waiting
            if self._step is not None:  # cut it short: its joules up to here were spent, its tokens never come
                self._energy.move_last(at_seconds, *self._energy.interpolated(at_seconds))
            self._tokens_before_start = TokenTruth(*self._tokens.last())
            self._now = at_seconds
            self._waiting.clear()
            self._forget_work()
            self.up = False
            self._lose(lost, at_seconds)

    def start(self, at_seconds: float) -> None:
        """Start a stopped engine: counters from 0. Requests that came meanwhile found nobody."""
        with self._lock:
            self.advance_to(at_seconds)
            at_seconds = max(at_seconds, self._now)
            missed = 0
            while self._load.peek() < at_seconds:
                self._load.take()
                missed += 1
            self.counters = EngineCounters()
            self.up = True
            self.starts += 1
            self._lose(missed, at_seconds)

    def restart(self, at_seconds: float) -> None:
        """Stop and start in one instant."""
        with self._lock:
            self.stop(at_seconds)
            self.start(at_seconds)

    def _lose(self, count: int, at_seconds: float) -> None:
        self.request_lost_count += count
        for _ in range(count):
            self._load.ended(at_seconds)

    def _forget_work(self) -> None:
        self._step: _Step | None = None
        self._prefilling: deque[_Sequence] = deque()
        self._decoding = 0
        self._decoding_context_tokens = 0
        self._ending: defaultdict[int, list[_Sequence]] = defaultdict(list)  # by the step that ends them
        self._kv_reserved_tokens = 0

    # Scheduling

    def _take_arrivals(self, at_seconds: float) -> None:
        while self.up and self._load.peek() <= at_seconds:
            self._waiting.append(self._load.take())

    def _admit(self) -> None:
        """Admit waiting requests in order while sequences and KV space allow."""
        machine = self.machine
        while self._waiting and self._decoding + len(self._prefilling) < machine.max_sequences:
            request = self._waiting[0]
            needed = request.prompt_tokens + request.output_tokens
            if self._kv_reserved_tokens and self._kv_reserved_tokens + needed > machine.kv_capacity_tokens:
                return
            self._waiting.popleft()
            self._kv_reserved_tokens += needed
            self._prefilling.append(_Sequence(request, self._now, request.cached_tokens))

    def _begin_step(self) -> None:
        """Plan the next step: every decoding sequence gives one token, prompts fill the rest of the chunk in order."""
        budget = self.machine.chunk_tokens - self._decoding
        prompt_tokens, attended, kv_read = 0, 0.0, 0.0
        prefilled = []
        while self._prefilling and budget > 0:
            sequence = self._prefilling[0]
            chunk = min(budget, sequence.request.prompt_tokens - sequence.prompt_done_tokens)
            attended += chunk * (sequence.prompt_done_tokens + chunk / 2)
            kv_read += sequence.prompt_done_tokens
            sequence.prompt_done_tokens += chunk
            prompt_tokens += chunk
            budget -= chunk
            if sequence.prompt_done_tokens < sequence.request.prompt_tokens:
                break
            prefilled.append(self._prefilling.popleft())
        context = float(self._decoding_context_tokens)
        prefill = StepWork(prompt_tokens, 0, attended, kv_read)
        whole = StepWork(prompt_tokens, self._decoding, attended + context, kv_read + context)
        seconds, dynamic_joules = self.machine.step_cost(whole)
        seconds *= max(0.5, 1.0 + self.machine.jitter_ratio * self._rng.gauss(0.0, 1.0))
        if self._rng.random() < STALL_CHANCE:
            seconds *= STALL_FACTOR
        joules = dynamic_joules + self.machine.static_watts * seconds
        prefill_ratio = self.machine.prefill_ratio(prefill, StepWork(0, self._decoding, context, context), whole)
        sequences = self._decoding + len(self._prefilling) + len(prefilled)
        self._step = _Step(seconds, self._now + seconds, self._decoding, prefilled, sequences)
        total = EnergyTruth(*self._energy.last())
        self._idle_from = None
        self._energy.append(
            self._step.ends_at_seconds,
            total.joules + joules,
            total.prefill_joules + prefill_ratio * joules,
            total.decode_joules + (1.0 - prefill_ratio) * joules,
            total.idle_joules,
            total.busy_seconds + seconds,
            total.idle_seconds,
        )

    def _idle_until(self, at_seconds: float) -> None:
        if at_seconds <= self._now:
            return
        # From the start of the segment, so that the sums do not depend on how often somebody asked.
        append = self._idle_from is None
        if self._idle_from is None:
            self._idle_from = (self._now, EnergyTruth(*self._energy.last()))
        start_seconds, total = self._idle_from
        seconds = at_seconds - start_seconds
        joules = self.machine.idle_watts * seconds
        (self._energy.append if append else self._energy.move_last)(
            at_seconds,
            total.joules + joules,
            total.prefill_joules,
            total.decode_joules,
            total.idle_joules + joules,
            total.busy_seconds,
            total.idle_seconds + seconds,
        )
        self._now = at_seconds

    # Books

    def _end_step(self, step: _Step) -> None:
        counters = self.counters
        self._now = step.ends_at_seconds
        self._step = None
        counters.steps += 1
        counters.sequence_steps += step.sequences
        counters.output_tokens += step.decoding + len(step.prefilled)
        output_tokens = step.decoding + len(step.prefilled)
        if output_tokens:  # vLLM observes steps that gave a token, and a prompt whole in the step that ends it
            prompts = (sequence.request for sequence in step.prefilled)
            computed_tokens = sum(request.prompt_tokens - request.cached_tokens for request in prompts)
            counters.step_tokens.observe(computed_tokens + output_tokens)
        if step.decoding:
            counters.between_tokens_seconds.observe(step.seconds, step.decoding)
        self._decoding_context_tokens += step.decoding
        for sequence in step.prefilled:
            self._end_prefill(sequence)
        for sequence in self._ending.pop(counters.steps, ()):
            self._end_sequence(sequence)
        self._write_tokens()

    def _end_prefill(self, sequence: _Sequence) -> None:
        """Count the prompt; its first output token came with the same step."""
        request = sequence.request
        sequence.first_token_at_seconds = self._now
        self.counters.end_prefill(
            computed_tokens=request.prompt_tokens - request.cached_tokens,
            cached_tokens=request.cached_tokens,
            seconds=self._now - sequence.admitted_at_seconds,
            seconds_to_token=self._now - request.arrives_at_seconds,
        )
        self._decoding += 1
        self._decoding_context_tokens += request.prompt_tokens + 1
        self._ending[self.counters.steps + request.output_tokens - 1].append(sequence)

    def _end_sequence(self, sequence: _Sequence) -> None:
        request = sequence.request
        length = request.prompt_tokens + request.output_tokens
        self._decoding -= 1
        self._decoding_context_tokens -= length
        self._kv_reserved_tokens -= length
        ended = EndedRequest(
            prompt_tokens=request.prompt_tokens,
            cached_tokens=request.cached_tokens,
            output_tokens=request.output_tokens,
            finish=request.finish,
            arrived_at_seconds=request.arrives_at_seconds,
            admitted_at_seconds=sequence.admitted_at_seconds,
            first_token_at_seconds=sequence.first_token_at_seconds,
            ended_at_seconds=self._now,
        )
        self.counters.end_request(ended)
        self._load.ended(self._now)

    def _write_tokens(self) -> None:
        """Note the lifetime totals at this instant."""
        counters, before = self.counters, self._tokens_before_start
        aborted = counters.finished[Finish.ABORT]
        self._tokens.append(
            self._now,
            before.computed_input_tokens + counters.computed_input_tokens,
            before.cached_input_tokens + counters.cached_input_tokens,
            before.output_tokens + counters.output_tokens,
            before.finished_output_tokens + counters.finished_output_tokens,
            before.finished_requests + sum(counters.finished.values()) - aborted,
            before.aborted_requests + aborted,
        )
