"""Readings of inference servers: token counters, and counters of the work behind them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Quantity(StrEnum):
    """What a raw counter of an inference server counts.

    PROMPT includes cached tokens; COMPUTED_INPUT excludes them. A reading carries one of the two, or both.
    """

    COMPUTED_INPUT = "computed_input"
    PROMPT = "prompt"
    CACHED_INPUT = "cached_input"
    OUTPUT = "output"
    REQUESTS_SUCCESS = "requests_success"
    REQUESTS_ERROR = "requests_error"
    REQUESTS_ABORT = "requests_abort"


class Work(StrEnum):
    """What an engine says of its work: what the split of prefill and decode is made from.

    LIVE_OUTPUT and PREFILLED are the token counters themselves, of engines that move them in time; the rest are series
    of their own.
    """

    STEPS = "steps"  # engine steps: forward passes of a batch
    SEQUENCE_STEPS = "sequence_steps"  # sequences in a step, added up over steps
    LIVE_OUTPUT = "live_output"  # tokens sampled so far, where they are counted as they are made
    FIRST_TOKENS = "first_tokens"  # requests whose prefill ended
    PREFILLED = "prefilled"  # computed prompt tokens, counted no later than when their prefill ends
    DRAFT_TOKENS = "draft_tokens"  # speculative tokens proposed
    PREEMPTIONS = "preemptions"  # requests thrown out of a full KV cache, to be prefilled again
    PREFILL_SECONDS = "prefill_seconds"  # busy time of the phase by the engine's own clock, overlaps counted once
    DECODE_SECONDS = "decode_seconds"
    PREFILL_REQUEST_SECONDS = "prefill_request_seconds"  # prefill time added up over requests: overlaps count again


@dataclass(frozen=True, slots=True)
class WorkSample:
    """One raw series of a cumulative work counter; `series` as in CounterSample."""

    work: Work
    series: str
    value: float  # finite, >= 0
    rounding: float = 0.0  # a fall up to this much is the server's way of printing numbers, not a restart


@dataclass(frozen=True, slots=True)
class CounterSample:
    """One raw series of a cumulative counter. Resets are found per series, so `series` must identify one uniquely."""

    quantity: Quantity
    model: str  # "" where the server does not say
    series: str  # raw name and labels as the server wrote them
    value: float  # finite, >= 0


@dataclass(frozen=True, slots=True)
class ServerReading:
    """All wanted numbers of one inference server at one instant."""

    server: str
    at_seconds: float  # monotonic: best estimate of when the server read its counters
    uncertainty_seconds: float  # half-width of the interval that holds that instant
    counters: tuple[CounterSample, ...]
    requests_running: float | None = None
    requests_waiting: float | None = None
    engine: str = ""
    engine_version: str = ""
    missing: tuple[str, ...] = ()  # series that the spec names and a healthy server did not show
    output_at_finish: bool = False  # output tokens are counted when a request ends, not while they are made
    series_begin_at_zero: bool = False  # the engine shows a series only once it counted: before, it was 0
    input_by_prefill_end: bool = False  # input tokens are counted while they are computed or when their prefill ends
    work: tuple[WorkSample, ...] = ()
    kv_tokens: float | None = None  # tokens of context in the KV cache now; any unit that is proportional to them
