"""Requests in steps. Between two moments of rest: what clients were told, what the server and tokwatt counted.

Three observers of the same requests; tests compare them step by step.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

from support.completions import Answered
from support.llama_server import Usage
from support.openmetrics import Samples, classic_samples, present, total
from support.processes import poll
from support.tokwatt_process import TokwattProcess

SERVER = "chat"  # its name in tokwatt's configuration


@dataclass(frozen=True, slots=True)
class Counted:
    """Tokens that were counted."""

    computed: float = 0.0  # of prompts
    cached: float = 0.0
    output: float = 0.0

    def __add__(self, other: Counted) -> Counted:
        return Counted(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Counted)))

    def __sub__(self, other: Counted) -> Counted:
        return Counted(*(getattr(self, one.name) - getattr(other, one.name) for one in fields(Counted)))

    @property
    def prompt(self) -> float:
        return self.computed + self.cached


def _gauge(page: Samples, name: str) -> float:
    return total(page, name) if present(page, name) else 0.0


@dataclass(frozen=True, slots=True)
class Engine:
    """How one engine writes its own counters."""

    counted: Callable[[Samples], Counted]
    at_rest: Callable[[Samples], bool]


VLLM = Engine(
    lambda page: Counted(
        total(page, "vllm:prompt_tokens_total") - total(page, "vllm:prompt_tokens_cached_total"),
        total(page, "vllm:prompt_tokens_cached_total"),
        total(page, "vllm:generation_tokens_total"),
    ),
    # Several API servers of one vLLM show no gauge before the first request.
    lambda page: all(_gauge(page, f"vllm:num_requests_{state}") == 0 for state in ("running", "waiting")),
)
LLAMACPP = Engine(
    lambda page: Counted(
        total(page, "llamacpp:prompt_tokens_total"),
        total(page, "llamacpp:prompt_tokens_cached_total"),
        total(page, "llamacpp:tokens_predicted_total"),
    ),
    lambda page: total(page, "llamacpp:requests_processing") + total(page, "llamacpp:requests_deferred") == 0,
)


@dataclass(slots=True)
class Step:
    """What happened between two moments of rest. The first two are filled by whoever sends the requests."""

    told: Usage = field(default_factory=Usage)  # usage of the requests that were answered
    read_tokens: int = 0  # in streams, by clients that hung up on them
    server: Counted = field(default_factory=Counted)
    tokwatt: Counted = field(default_factory=Counted)
    requests: Mapping[str, float] = field(default_factory=dict)  # by outcome; empty where not counted
    gpu_joules: Mapping[str, float] = field(default_factory=dict)  # by phase

    def answered(self, *answers: Answered) -> None:
        self.told = sum((one.usage for one in answers), self.told)

    @property
    def told_counted(self) -> Counted:
        """Usage in the terms of the counters."""
        told = self.told
        return Counted(told.prompt_tokens - told.cached_tokens, told.cached_tokens, told.completion_tokens)


@dataclass(frozen=True, slots=True)
class _Seen:
    server: Counted
    samples: Samples  # of tokwatt


class Recorder:
    """Records steps by name."""

    def __init__(self, tokwatt: TokwattProcess, server_url: str, engine: Engine, tick_seconds: float) -> None:
        self._tokwatt = tokwatt
        self._url = f"{server_url}/metrics"
        self._engine = engine
        self._tick_seconds = tick_seconds
        self.steps: dict[str, Step] = {}
        self._last: _Seen | None = None  # the end of one step is the beginning of the next

    def page(self) -> Samples:
        """The server's own page."""
        with urllib.request.urlopen(self._url, timeout=10) as answer:
            return classic_samples(answer.read().decode())

    def counted(self) -> Counted:
        """What the server has counted until now."""
        return self._engine.counted(self.page())

    @contextmanager
    def step(self, name: str, *, restarted: bool = False) -> Iterator[Step]:
        """The block sends requests; what they changed is recorded once all is at rest again.

        `restarted`: the block starts the server anew, so that its counters begin at 0.
        """
        before = self._last or self._rest()
        step = self.steps[name] = Step()
        yield step
        after = self._last = self._rest()
        step.server = after.server if restarted else after.server - before.server
        step.tokwatt = tokwatt_counted(after.samples) - tokwatt_counted(before.samples)
        step.requests = _grown(before.samples, after.samples, "tokwatt_requests_total", "outcome")
        step.gpu_joules = _grown(before.samples, after.samples, "tokwatt_server_gpu_energy_joules_total", "phase")

    def wait_for(self, ready: Callable[[Samples], bool], what: str, seconds: float = 30.0) -> None:
        """Wait until the server's own page shows something."""
        poll(lambda: ready(self.page()) or None, f"{what} on {self._url}", seconds, every=0.02)

    def _rest(self) -> _Seen:
        """Both at rest: the server's counters stand still, and tokwatt has booked all energy of the time before."""
        counted = poll(self._still, f"rest on {self._url}", 60.0)
        wait_for_reading(self._tokwatt, time.time() + 3 * self._tick_seconds)
        return _Seen(counted, self._tokwatt.samples())

    def _still(self) -> Counted | None:
        first = self.page()
        time.sleep(0.5)
        second = self.page()
        counted = self._engine.counted(first)
        at_rest = self._engine.at_rest(first) and self._engine.at_rest(second)
        return counted if at_rest and self._engine.counted(second) == counted else None


def wait_for_reading(tokwatt: TokwattProcess, unix_seconds: float) -> None:
    """Wait until tokwatt has read the server later than that."""
    name = "tokwatt_source_last_success_timestamp_seconds"
    poll(lambda: total(tokwatt.samples(), name, source=SERVER) > unix_seconds or None, f"reading of {SERVER}")


def tokwatt_counted(samples: Samples) -> Counted:
    """Totals of tokwatt."""
    return Counted(
        total(samples, "tokwatt_input_tokens_total", server=SERVER),
        total(samples, "tokwatt_cached_input_tokens_total", server=SERVER),
        total(samples, "tokwatt_output_tokens_total", server=SERVER),
    )


def table(steps: Iterable[tuple[str, Step]]) -> str:
    """The steps for people, as Markdown."""
    rows = [
        "| step | usage: computed + cached, output | read before abort | server's counters | tokwatt | requests |",
        "|---|---|---|---|---|---|",
    ]
    for name, step in steps:
        told, server, tokwatt = (
            f"{one.computed:.0f} + {one.cached:.0f}, {one.output:.0f}"
            for one in (step.told_counted, step.server, step.tokwatt)
        )
        requests = ", ".join(f"{count:.0f} {outcome}" for outcome, count in step.requests.items() if count)
        rows.append(f"| {name} | {told} | {step.read_tokens} | {server} | {tokwatt} | {requests} |")
    return "\n".join(rows)


def _grown(before: Samples, after: Samples, name: str, label: str) -> Mapping[str, float]:
    """By the values of one label, how much a counter of the server grew."""
    grown: dict[str, float] = {}
    for key, value in after.items():
        labels = dict(key[1])
        if key[0] == name and labels.get("server") == SERVER:
            grown[labels[label]] = grown.get(labels[label], 0.0) + value - before.get(key, 0.0)
    return grown
