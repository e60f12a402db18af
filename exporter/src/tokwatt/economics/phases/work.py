"""What one tick's counters say about the work in it, with the gaps between engines filled. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp
from typing import Final

from tokwatt.economics.phases.split import Tick

Decode = tuple[float, float, float, float, float]  # steps, tokens, context x steps, drafts, steps x experts touched
EXPERTS: Final = 16.0  # sequences that touch 63 % of them: experts by those of one token, 4 (Mixtral) to 32 (gpt-oss)


@dataclass(slots=True)
class Work:
    """The work of one tick. `prompt_tokens` and `first_tokens` may be moved to earlier ticks."""

    tick: Tick
    steps: float
    decode_tokens: float
    decode: Decode  # what decoding's time and energy are proportional to
    prompt_tokens: float
    first_tokens: float
    recomputed_tokens: float
    edge_variance: float = 0.0  # of prefill seconds at its front edge, s^2
    added_seconds: float = 0.0  # by prefill, as far as is known by now

    def restore(self, counted: tuple[float, float]) -> None:
        """Put the prompts back to where they were counted."""
        self.prompt_tokens, self.first_tokens = counted

    @property
    def surely_busy(self) -> bool:
        """Requests ran at both edges."""
        return bool(self.tick.running_before) and bool(self.tick.running_after)

    @property
    def deep(self) -> bool:
        """At least three requests, or a queue, at both edges: hardly any time without work is hidden in between."""
        tick = self.tick
        before = (tick.running_before or 0) >= 3 or (tick.waiting_before or 0) > 0
        return self.surely_busy and before and ((tick.running_after or 0) >= 3 or (tick.waiting_after or 0) > 0)

    @property
    def none(self) -> bool:
        """No step, no token, no request."""
        tick = self.tick
        moved = self.steps or self.decode_tokens or self.prompt_tokens
        return tick.idle or not (moved or tick.running_before or tick.running_after)


def work_of(tick: Tick) -> Work | None:
    """The work of a tick; None where its counters don't say enough."""
    if not tick.read or tick.seconds <= 0 or tick.prompt_tokens is None or tick.decode_tokens is None:
        return None
    running = ((tick.running_before or 0.0) + (tick.running_after or 0.0)) / 2
    steps = tick.steps if tick.steps is not None else tick.decode_tokens / max(1.0, running)
    firsts = tick.first_tokens if tick.first_tokens is not None else float(tick.prompt_tokens > 0)
    again = 0.0
    if tick.preempted and tick.kv_tokens:  # thrown out and computed again, which no prompt counter shows
        again = tick.preempted * tick.kv_tokens / max(1.0, tick.running_after or 0.0)
    return Work(
        tick,
        steps,
        tick.decode_tokens,
        _decode(tick, steps, tick.decode_tokens),
        tick.prompt_tokens + again,
        firsts + (tick.preempted or 0.0),
        again,
    )


def _decode(tick: Tick, steps: float, tokens: float) -> Decode:
    batch = tokens / steps if steps else 0.0
    touched = steps * (1 - exp(-batch / EXPERTS))  # a bigger batch touches more of them, but ever fewer more
    return steps, tokens, tick.kv_token_steps or 0.0, tick.draft_tokens or 0.0, touched


def runs(history: Sequence[Work | None]) -> Iterator[list[Work]]:
    """Stretches without a tick whose work is unknown."""
    run: list[Work] = []
    for work in history:
        if work is not None:
            run.append(work)
        elif run:
            yield run
            run = []
    if run:
        yield run
