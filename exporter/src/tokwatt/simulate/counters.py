"""What a simulated engine tells about itself since its last start: counters, gauges' inputs and histograms.

Owns the sums. Starts from zero with every (re)start; the truth over restarts is kept elsewhere.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum


class Finish(StrEnum):
    """How a request ends. An aborted one ends when its client leaves, after some tokens."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


class Histogram:
    """A Prometheus histogram: upper bounds are inclusive, +Inf is implied."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.count = 0

    def observe(self, value: float, times: int = 1) -> None:
        """Add one value, or the same value several times."""
        self._counts[bisect_left(self.bounds, value)] += times
        self.total += value * times
        self.count += times

    def cumulative(self, row: int) -> int:
        """Return the count at or below the bound of a row; the row after the last bound is +Inf."""
        return sum(self._counts[: row + 1])


def _bounds(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split())


# Bucket bounds as vLLM 0.32 shows them.
TOKEN_BOUNDS = _bounds("1 2 5 10 20 50 100 200 500 1000 2000 5000 10000")
STEP_TOKEN_BOUNDS = _bounds("1 8 16 32 64 128 256 512 1024 2048 4096 8192 16384")
FIRST_TOKEN_BOUNDS = _bounds(
    "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 20 40 80 160 640 2560"
)
BETWEEN_TOKENS_BOUNDS = _bounds("0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 5 7.5 10 20 40 80")
REQUEST_BOUNDS = _bounds("0.3 0.5 0.8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680")
HTTP_BOUNDS = _bounds("0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 1.5 2 2.5 3 3.5 4 4.5 5 7.5 10 30 60")
HTTP_COARSE_BOUNDS = _bounds("0.1 0.5 1")
PREEMPTION_BOUNDS = _bounds("1 2 3 4 5 10 20")
ANSWER_BOUNDS = _bounds("1 2 5 10 20")


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """The life of a request that has ended. Instants are of one clock, in seconds."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    finish: Finish
    arrived_at_seconds: float
    admitted_at_seconds: float
    first_token_at_seconds: float
    ended_at_seconds: float


class EngineCounters:
    """Cumulative since the engine's start. Prompt and cached tokens move at the end of a prefill."""

    def __init__(self) -> None:
        self.steps = 0
        self.computed_input_tokens = 0
        self.cached_input_tokens = 0
        self.output_tokens = 0  # live, step by step
        self.finished_output_tokens = 0  # added when a request ends
        self.finished: dict[Finish, int] = dict.fromkeys(Finish, 0)
        self.sequence_steps = 0  # sum over steps of the sequences in the engine, those that prefill too
        self.longest_sequence_tokens = 0
        self.prefill_seconds = 0.0  # summed over requests, which overlap
        self.decode_seconds = 0.0  # summed over requests, which overlap; added when a request ends
        self.step_tokens = Histogram(STEP_TOKEN_BOUNDS)
        self.first_token_seconds = Histogram(FIRST_TOKEN_BOUNDS)
        self.between_tokens_seconds = Histogram(BETWEEN_TOKENS_BOUNDS)
        self.http_seconds = Histogram(HTTP_BOUNDS)
        self.http_coarse_seconds = Histogram(HTTP_COARSE_BOUNDS)
        # The rest is observed when a request ends by itself, not when its client leaves.
        self.request_prompt_tokens = Histogram(TOKEN_BOUNDS)
        self.request_computed_tokens = Histogram(TOKEN_BOUNDS)
        self.request_output_tokens = Histogram(TOKEN_BOUNDS)
        self.request_token_seconds = Histogram(BETWEEN_TOKENS_BOUNDS)
        self.request_seconds = Histogram(REQUEST_BOUNDS)
        self.request_queue_seconds = Histogram(REQUEST_BOUNDS)
        self.request_inference_seconds = Histogram(REQUEST_BOUNDS)
        self.request_prefill_seconds = Histogram(REQUEST_BOUNDS)
        self.request_decode_seconds = Histogram(REQUEST_BOUNDS)
        self.request_preemptions = Histogram(PREEMPTION_BOUNDS)
        self.request_answers = Histogram(ANSWER_BOUNDS)

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens, cached ones included."""
        return self.computed_input_tokens + self.cached_input_tokens

    def end_prefill(self, *, computed_tokens: int, cached_tokens: int, seconds: float, seconds_to_token: float) -> None:
        """Count a prompt whose first output token came just now."""
        self.computed_input_tokens += computed_tokens
        self.cached_input_tokens += cached_tokens
        self.prefill_seconds += seconds
        self.first_token_seconds.observe(seconds_to_token)

    def end_request(self, request: EndedRequest) -> None:
        """Count a request that ended, however it did."""
        decode_seconds = request.ended_at_seconds - request.first_token_at_seconds
        whole_seconds = request.ended_at_seconds - request.arrived_at_seconds
        self.finished[request.finish] += 1
        self.finished_output_tokens += request.output_tokens
        self.decode_seconds += decode_seconds
        length = request.prompt_tokens + request.output_tokens
        self.longest_sequence_tokens = max(self.longest_sequence_tokens, length)
        self.http_seconds.observe(whole_seconds)
        self.http_coarse_seconds.observe(whole_seconds)
        if request.finish is Finish.ABORT:
            return
        self.request_prompt_tokens.observe(request.prompt_tokens)
        self.request_computed_tokens.observe(request.prompt_tokens - request.cached_tokens)
        self.request_output_tokens.observe(request.output_tokens)
        if request.output_tokens > 1:
            self.request_token_seconds.observe(decode_seconds / (request.output_tokens - 1))
        self.request_seconds.observe(whole_seconds)
        self.request_queue_seconds.observe(request.admitted_at_seconds - request.arrived_at_seconds)
        self.request_inference_seconds.observe(request.ended_at_seconds - request.admitted_at_seconds)
        self.request_prefill_seconds.observe(request.first_token_at_seconds - request.admitted_at_seconds)
        self.request_decode_seconds.observe(decode_seconds)
        self.request_preemptions.observe(0.0)
        self.request_answers.observe(1.0)
