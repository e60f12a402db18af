"""Runs scenarios through the product (scraper, meters, sampler, ledger, economics) and compares windows with the truth.

Owns the tick, the truth of a window and the naive loop beside it. Truth: the energy that the simulated engine took, and
the tokens that it made, between the instants at which the server really read its counters.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random

from support.accuracy_meters import Method, Timed, nvml_of
from support.accuracy_world import Lag, Machinery, Page, Scenario
from support.clock import FakeClock

from tokwatt.economics.books import Books
from tokwatt.economics.plan import Pace, Plan, ServerPlan
from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import Boundary, ServerReading
from tokwatt.sampler import Sampler
from tokwatt.snapshot import Given, LiveWindow, Snapshot
from tokwatt.sources import tokens
from tokwatt.sources.tokens.scraper import TokenScraper

GIVEN = {Boundary.GPU: Given.GPU, Boundary.HOST: Given.HOST}
MAX_GAP_PERIODS = 3.5  # as the contract bridges
COVERAGE_SECONDS = 0.5  # by which covered time and the truth's may differ
WARM_UP_WINDOWS = 1.3


@dataclass(frozen=True)
class Seen:
    """One published window of one method. Errors are shares of the truth, signed."""

    method: str
    seed: int
    window_seconds: float
    energy_error: float  # of the energy behind tokens per joule, as published: the sensor's gain included
    timing_error: float  # with the sensor's true gain divided out: what the joining of sources adds
    shown_error: float  # as timing_error, against tokens and energy between the window's published instants
    half_width: float  # as published
    late: bool


@dataclass
class Naive:
    """The loop that everybody writes: read the counter, then the server; divide the differences over the window."""

    window_seconds: float
    rows: list[tuple[float, float, float, float]] = field(default_factory=list)  # loop instant, joules, tokens, read at

    def error(self, machinery: Machinery, gain: float) -> float | None:
        """Error of its ratio, gain divided out, against the truth between the instants its tokens are from."""
        now = self.rows[-1]
        first = bisect_left(self.rows, now[0] - self.window_seconds - 0.5, key=lambda row: row[0])
        before = self.rows[first]
        if abs(now[0] - before[0] - self.window_seconds) > 1.5 or now[2] == before[2]:
            return None
        energy = machinery.gpu_joules_at(now[3]) - machinery.gpu_joules_at(before[3])
        return energy / ((now[1] - before[1]) / gain) - 1


@dataclass(frozen=True)
class Cut:
    """One token reading: the instant that the product took, and the truth when the counters were really read and then.

    Each pair: at the true instant, at the instant taken.
    """

    at: float
    gpu_joules: tuple[float, float]
    host_joules: tuple[float, float]
    tokens: tuple[float, float]


def _between(start: Cut, end: Cut, host: bool) -> tuple[float, ...]:
    """Seconds, true joules and tokens between true instants, then both between the instants taken."""
    before, after = (start.host_joules, end.host_joules) if host else (start.gpu_joules, end.gpu_joules)
    tokens = (end.tokens[0] - start.tokens[0], end.tokens[1] - start.tokens[1])
    return end.at - start.at, after[0] - before[0], tokens[0], after[1] - before[1], tokens[1]


class Shared:
    """The page is read once a tick by the product's scraper; each method's server is given that reading."""

    def __init__(self, machinery: Machinery, page: Page) -> None:
        spec = tokens.specs()["vllm"]
        self._scraper = TokenScraper("server", "http://server/metrics", page, machinery.clock, spec)  # type: ignore[arg-type]
        self._page = page
        self._machinery = machinery
        self._answer: asyncio.Task[ServerReading] | None = None
        self.cuts: list[Cut] = []

    def new_tick(self) -> None:
        self._answer = None

    async def read(self) -> ServerReading:
        if self._answer is None:
            self._answer = asyncio.create_task(self._read())
        return await self._answer

    async def _read(self) -> ServerReading:
        reading = await self._scraper.read()
        if not self.cuts or reading.at_seconds > self.cuts[-1].at:
            machinery = self._machinery
            true, shown = self._page.read_at, reading.at_seconds
            self.cuts.append(
                Cut(
                    shown,
                    (machinery.gpu_joules_at(true), machinery.gpu_joules_at(shown)),
                    (machinery.host_joules_at(true), machinery.host_joules_at(shown)),
                    (machinery.output_tokens_at(true), machinery.output_tokens_at(shown)),
                )
            )
        return reading


def server_of(method: str) -> str:
    return f"server of {method}"


class Server:
    """A TokenSource under the name of a method."""

    timeout_seconds = 1.0

    def __init__(self, method: str, shared: Shared) -> None:
        self.name = server_of(method)
        self._shared = shared

    async def read(self) -> ServerReading:
        return replace(await self._shared.read(), server=self.name)

    async def aclose(self) -> None:
        """Nothing is open."""


class Run:
    """One scenario, several methods, one window length."""

    def __init__(self, drawn: Scenario, methods: Sequence[Method], window_seconds: float) -> None:
        self.clock = FakeClock()
        self.machinery = Machinery(drawn, self.clock)
        self.page = Page(self.machinery)
        self.shared = Shared(self.machinery, self.page)
        self.methods = methods
        self.window_seconds = window_seconds
        self.meters = {method.name: Timed(method, self.machinery) for method in methods}
        self.naive = Naive(window_seconds)
        self.published: list[Snapshot] = []
        self.seen: list[Seen] = []
        self.not_compared = 0  # windows in which the product covers less than it could: its coverage says so
        self.naive_errors: list[float] = []
        self._binding = nvml_of(self.machinery, "naive")
        self._binding.nvmlInit()
        self._rng = Random(f"ticks {drawn.seed}")

    async def go(self, seconds: int) -> None:
        sampler = self._sampler()
        for method in self.methods:
            sampler.watch_tokens(Server(method.name, self.shared))  # type: ignore[arg-type]
            sampler.watch_power(self.meters[method.name])  # type: ignore[arg-type]
        for second in range(seconds):
            jitter = self._rng.uniform(0.0, self.machinery.drawn.jitter_seconds)
            self.clock.now = max(self.clock.now, self.machinery.start + second + jitter)
            began, joules = self.clock(), self._naive_joules()
            self.shared.new_tick()
            await sampler.tick()
            if self.page.answered:
                self.naive.rows.append((began, joules, self.page.output_tokens, self.page.read_at))
            if second > WARM_UP_WINDOWS * self.window_seconds + 2:
                self._compare()
        await sampler.aclose()

    def _naive_joules(self) -> float:
        return sum(self._binding.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3 for gpu in self.machinery.gpus)

    def _sampler(self) -> Sampler:
        devices = {m.name: tuple(f"{m.name} {gpu.uuid}" for gpu in self.machinery.gpus) for m in self.methods}
        servers = tuple(
            ServerPlan(
                server_of(method.name),
                gpus=devices[method.name] if method.boundary is Boundary.GPU else (),
                hosts=(f"{method.name} {method.name}",) if method.boundary is Boundary.HOST else (),
            )
            for method in self.methods
        )
        paces = {m.name: Pace(m.period_seconds or 1.0, 1.0) for m in self.methods}
        plan = Plan(servers, window_seconds=self.window_seconds, tick_seconds=1.0, paces=paces)

        async def sleep(seconds: float) -> None:
            self.clock.advance(seconds)

        return Sampler(Books(plan, Ledger()), self.clock, self.clock, self.published.append, sleep=sleep)

    def _compare(self) -> None:
        snapshot = self.published[-1]
        self.published.clear()
        for method, server in zip(self.methods, snapshot.servers, strict=True):
            if server.window is not None:
                self._compare_window(method, server.window)
        if self.page.answered:
            error = self.naive.error(self.machinery, self.machinery.drawn.gain("naive"))
            if error is not None:
                self.naive_errors.append(error)

    def _compare_window(self, method: Method, window: LiveWindow) -> None:
        boundary = next((b for b in window.boundaries if b.boundary is GIVEN[method.boundary]), None)
        if boundary is None or boundary.power_watts is None or not window.models:
            return
        ratio = window.models[0].output_tokens_per_joule.get(boundary.boundary)
        covered, joules, made, shown_joules, shown_made = self._truth(method, window)
        if not ratio or made < 1.0 or shown_made < 1.0:
            return
        if abs(covered - boundary.coverage_ratio * (window.end_seconds - window.start_seconds)) > COVERAGE_SECONDS:
            self.not_compared += 1
            return
        gain = self.machinery.drawn.gain(method.name)
        energy_error = made / ratio / joules - 1
        self.seen.append(
            Seen(
                method.name,
                self.machinery.drawn.seed,
                self.window_seconds,
                energy_error=energy_error,
                timing_error=(1 + energy_error) / gain - 1,
                shown_error=shown_made / (ratio * gain) / shown_joules - 1,
                half_width=getattr(boundary, "error_ratio", None) or 0.0,
                late=self.machinery.drawn.lag != Lag(),
            )
        )

    def _truth(self, method: Method, window: LiveWindow) -> tuple[float, ...]:
        """Seconds, joules and tokens of the window without its gaps: what the product should cover.

        Joules and tokens twice: between the instants that the tokens were really read at, and between those that the
        product took.
        """
        cuts = self.shared.cuts
        first = bisect_left(cuts, window.start_seconds, key=lambda cut: cut.at)
        last = bisect_right(cuts, window.end_seconds, key=lambda cut: cut.at) - 1
        host = method.boundary is Boundary.HOST
        found = _between(cuts[first], cuts[last], host)
        gaps = self._meter_gaps(method)
        for earlier, later in pairwise(cuts[first : last + 1]):
            if later.at - earlier.at > MAX_GAP_PERIODS or any(a < later.at and b > earlier.at for a, b in gaps):
                lost = _between(earlier, later, host)
                found = tuple(whole - part for whole, part in zip(found, lost, strict=True))
        return found

    def _meter_gaps(self, method: Method) -> list[tuple[float, float]]:
        longest = MAX_GAP_PERIODS * (method.period_seconds or 1.0)
        instants = self.meters[method.name].read_at
        return [(a, b) for a, b in pairwise(instants) if b - a > longest] + [(instants[-1], float("inf"))]


def run(drawn: Scenario, methods: Sequence[Method], window_seconds: float, seconds: int) -> Run:
    one = Run(drawn, methods, window_seconds)
    asyncio.run(one.go(seconds))
    return one
