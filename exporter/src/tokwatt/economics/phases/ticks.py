"""From two neighbouring cuts of a server's timeline to the tick that a splitter is given. Pure."""

from __future__ import annotations

from tokwatt.economics.phases.split import Tick
from tokwatt.ledger.timeline import Cut
from tokwatt.readings import Work


def tick_of(before: Cut, cut: Cut, joules: float | None) -> Tick:
    """Describe the interval between two neighbouring cuts; `joules` are the server's over it, None where unknown.

    Decode tokens: sequences in steps where the engine counts them (llama.cpp: with those that prefill; SGLang: without
    a request's first token), else live output less first tokens. Steps: the engine's own count, else decode tokens by
    the mean of the requests that ran at the two edges, which is too many where a step decodes several tokens of a
    request by speculation. vLLM counts the steps that gave a token, so not the chunks of a lone long prompt. Context:
    the mean of the two edges times the steps.
    """
    if not (before.read and cut.read):
        return Tick(before.at_seconds, cut.at_seconds, read=False, joules=joules)
    decode_tokens = _decode_tokens(before, cut)
    steps = _moved(before, cut, Work.STEPS)
    if steps is None:
        steps = _steps_by_running(decode_tokens, before.running, cut.running)
    context = _mean(before.kv_tokens, cut.kv_tokens)
    return Tick(
        start_seconds=before.at_seconds,
        end_seconds=cut.at_seconds,
        idle=cut.idle,
        joules=joules,
        steps=steps,
        decode_tokens=decode_tokens,
        prompt_tokens=_moved(before, cut, Work.PREFILLED),
        first_tokens=_moved(before, cut, Work.FIRST_TOKENS),
        kv_token_steps=None if context is None or steps is None else context * steps,
        draft_tokens=_moved(before, cut, Work.DRAFT_TOKENS),
        preempted=_moved(before, cut, Work.PREEMPTIONS),
        kv_tokens=cut.kv_tokens,
        prefill_seconds=_moved(before, cut, Work.PREFILL_SECONDS),
        decode_seconds=_moved(before, cut, Work.DECODE_SECONDS),
        running_before=before.running,
        running_after=cut.running,
        waiting_before=before.waiting,
        waiting_after=cut.waiting,
    )


def _moved(before: Cut, cut: Cut, work: Work) -> float | None:
    if work not in before.work or work not in cut.work:
        return None
    return cut.work[work] - before.work[work]


def _decode_tokens(before: Cut, cut: Cut) -> float | None:
    sequence_steps = _moved(before, cut, Work.SEQUENCE_STEPS)
    if sequence_steps is not None:
        return sequence_steps
    output, first = _moved(before, cut, Work.LIVE_OUTPUT), _moved(before, cut, Work.FIRST_TOKENS)
    return None if output is None or first is None else max(0.0, output - first)


def _steps_by_running(decode_tokens: float | None, before: float | None, after: float | None) -> float | None:
    running = _mean(before, after)
    if decode_tokens is None or running is None:
        return None
    if decode_tokens == 0.0:
        return 0.0
    return decode_tokens / running if running > 0.0 else None


def _mean(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else (before + after) / 2.0
