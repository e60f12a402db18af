"""Which tokens an engine puts into its next step."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass

from support.phase_world.cost import Prompts
from support.phase_world.loads import Request
from support.phase_world.machines import Machine


@dataclass(slots=True)
class Sequence:
    """One request inside the engine."""

    request: Request
    prompt: int  # tokens to have in the KV cache before it decodes
    done: int  # of them
    steps: int  # decode steps that it will still need
    again: bool = False  # prefilled again after it was thrown out
    since: int = 0  # decode step at which it began to decode
    until: int = 0
    evicted: bool = False


@dataclass(slots=True)
class Counters:
    """Totals as the engine's own page would count them."""

    steps: int = 0
    generated: float = 0.0
    first_tokens: int = 0
    prompt_at_end: int = 0  # computed prompt tokens, counted when the prefill ends
    prompt_live: int = 0
    prompt_shown: int = 0  # batch by batch, but shown only with the next token of anybody: llama.cpp
    drafts: float = 0.0
    preempted: int = 0
    busy_slot_steps: int = 0
    decode_sequence_steps: float = 0.0


class Scheduler:
    """Continuous batching: decode first, prompts fill the rest of the chunk; the newest is evicted when KV is full."""

    def __init__(self, machine: Machine, kv_share: float, rng: random.Random) -> None:
        self._machine = machine
        self._capacity = int(machine.kv_tokens * kv_share)
        self._rng = rng
        self.counters = Counters()
        self.waiting: deque[Sequence] = deque()
        self.prefilling: deque[Sequence] = deque()
        self._decoding: list[tuple[int, int, Sequence]] = []
        self._order: list[Sequence] = []
        self.decoding = 0
        self.context = 0.0
        self._decode_step = 0
        self._number = 0
        self.finished = 0

    def submit(self, request: Request) -> None:
        steps = math.ceil((request.output - 1) / self._machine.tokens_per_sequence_step)
        self.waiting.append(Sequence(request, request.prompt, request.cached, steps))

    @property
    def running(self) -> int:
        return self.decoding + len(self.prefilling)

    @property
    def kv_tokens(self) -> float:
        return self.context + sum(sequence.done for sequence in self.prefilling)

    def next_step(self) -> tuple[Prompts | None, int, list[Sequence]]:
        """(prompt tokens, decoding sequences, sequences whose prefill ends) of the next step."""
        while self.decoding > 1 and self.kv_tokens > self._capacity:
            self._evict()
        machine = self._machine
        budget = machine.chunk - (self.decoding * (1 + machine.drafts) if machine.mixes else 0)
        prompts, ended = self._fill(budget)
        if prompts is not None and not machine.mixes:
            return prompts, 0, ended
        return prompts, self.decoding, ended

    def _fill(self, budget: float) -> tuple[Prompts | None, list[Sequence]]:
        tokens = attended = read = 0.0
        ended: list[Sequence] = []
        for sequence in list(self.prefilling):
            take = min(sequence.prompt - sequence.done, budget)
            if take <= 0:
                break
            tokens, attended, read = self._take(sequence, int(take), tokens, attended, read, ended)
            budget -= take
        while budget > 0 and self.waiting and self._admits(self.waiting[0]):
            sequence = self.waiting.popleft()
            self.prefilling.append(sequence)
            take = min(sequence.prompt - sequence.done, budget)
            tokens, attended, read = self._take(sequence, int(take), tokens, attended, read, ended)
            budget -= take
        return (Prompts(tokens, attended, read), ended) if tokens else (None, ended)

    def _admits(self, sequence: Sequence) -> bool:
        fits = self.kv_tokens + sequence.prompt <= self._capacity
        return self.running < self._machine.max_sequences and (fits or self.running == 0)

    def _take(
        self, sequence: Sequence, take: int, tokens: float, attended: float, read: float, ended: list[Sequence]
    ) -> tuple[float, float, float]:
        tokens += take
        attended += take * (sequence.done + take / 2)
        read += sequence.done
        sequence.done += take
        if not sequence.again:
            self.counters.prompt_live += take
        if sequence.done >= sequence.prompt:
            ended.append(sequence)
        return tokens, attended, read

    def end_step(self, sequences: int, ended: list[Sequence]) -> None:
        """Count what the step did."""
        counters, machine = self.counters, self._machine
        counters.steps += 1
        counters.busy_slot_steps += sequences + len(ended) + sum(1 for s in self.prefilling if s not in ended)
        if sequences:
            self._decode_step += 1
            rate = machine.tokens_per_sequence_step
            counters.generated += sequences * rate
            counters.decode_sequence_steps += sequences
            counters.drafts += sequences * machine.drafts
            self.context += sequences * rate
            self._finish()
        for sequence in ended:
            self.prefilling.remove(sequence)
            self._start(sequence)
        if sequences or ended:
            counters.prompt_shown = counters.prompt_live

    def _start(self, sequence: Sequence) -> None:
        if not sequence.again:
            self.counters.prompt_at_end += sequence.request.prompt - sequence.request.cached
            self.counters.first_tokens += 1
            self.counters.generated += 1
        sequence.since, sequence.until = self._decode_step, self._decode_step + max(1, sequence.steps)
        self._number += 1
        heapq.heappush(self._decoding, (sequence.until, self._number, sequence))
        self._order.append(sequence)
        self.decoding += 1
        self.context += sequence.prompt

    def _held(self, sequence: Sequence) -> float:
        return sequence.prompt + (self._decode_step - sequence.since) * self._machine.tokens_per_sequence_step

    def _finish(self) -> None:
        while self._decoding and self._decoding[0][0] <= self._decode_step:
            sequence = heapq.heappop(self._decoding)[2]
            if not sequence.evicted:
                self._drop(sequence)
                self.finished += 1

    def _drop(self, sequence: Sequence) -> None:
        self.context -= self._held(sequence)
        self._order.remove(sequence)
        self.decoding -= 1

    def _evict(self) -> None:
        sequence = self._order[-1]
        held = int(self._held(sequence))
        self._drop(sequence)
        sequence.evicted = True
        left = sequence.until - self._decode_step
        self.counters.preempted += 1
        self.waiting.appendleft(Sequence(sequence.request, held, 0, left, again=True))
