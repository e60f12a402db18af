"""Who asks what when: request arrivals for simulated engines, each reproducible from its seed.

Owns arrival instants and request sizes. Knows nothing of how fast they are served, except the closed loop.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Protocol

from tokwatt.simulate.counters import Finish

HOURS_PER_DAY = 24.0
CACHE_BLOCK_TOKENS = 16  # engines reuse whole blocks of a prompt


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `cached_tokens` is the part of the prompt that the prefix cache holds."""

    arrives_at_seconds: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int  # generated until it ends, however it ends
    finish: Finish = Finish.STOP


class Load(Protocol):
    """A stream of arrivals in time order."""

    def peek(self) -> float:
        """Return the instant of the next arrival; infinity when none is scheduled."""
        ...

    def take(self) -> Request:
        """Return the next arrival and go on to the one after it."""
        ...

    def ended(self, at_seconds: float) -> None:
        """Hear that one request ended; a closed loop schedules its next one."""
        ...


@dataclass(frozen=True, slots=True)
class Mix:
    """One kind of request: log-normal lengths around medians."""

    prompt_tokens: int  # median
    output_tokens: int  # median
    cached_ratio: float = 0.0  # mean share of the prompt that is cached
    spread: float = 0.5  # sigma of the logarithm of lengths; 0: every request alike
    abort_ratio: float = 0.0  # share of requests whose client leaves early
    hours: tuple[tuple[float, float], ...] = ((0.0, 1.0),)  # weight over the day: (hour, weight)

    def draw(self, rng: Random, at_seconds: float) -> Request:
        """Draw one request of this kind."""
        prompt = max(1, round(self.prompt_tokens * math.exp(self.spread * rng.gauss(0.0, 1.0))))
        output = max(1, round(self.output_tokens * math.exp(self.spread * rng.gauss(0.0, 1.0))))
        cached = _cached_tokens(rng, prompt, self.cached_ratio)
        finish = Finish.STOP if rng.random() < 0.85 else Finish.LENGTH
        if rng.random() < self.abort_ratio:
            finish, output = Finish.ABORT, max(1, int(output * rng.random()))
        return Request(at_seconds, min(prompt, 30_000), cached, min(output, 4_000), finish)


def _cached_tokens(rng: Random, prompt_tokens: int, cached_ratio: float) -> int:
    if cached_ratio <= 0.0:
        return 0
    share = min(1.0, cached_ratio * rng.uniform(0.4, 1.6))
    # The last prompt token is always computed: it yields the first answer token.
    return int(min(share * prompt_tokens, prompt_tokens - 1, 30_000)) // CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS


def over_day(points: tuple[tuple[float, float], ...], hour: float) -> float:
    """Interpolate (hour, level) points, in rising order, round the clock."""
    previous_hour, previous_level = points[-1][0] - HOURS_PER_DAY, points[-1][1]
    for point_hour, level in (*points, (points[0][0] + HOURS_PER_DAY, points[0][1])):
        if hour < point_hour:
            part = (hour - previous_hour) / (point_hour - previous_hour)
            return previous_level + part * (level - previous_level)
        previous_hour, previous_level = point_hour, level
    return previous_level


class Idle:
    """No requests at all."""

    def peek(self) -> float:
        """Return infinity."""
        return math.inf

    def take(self) -> Request:
        """Fail: there is nothing to take."""
        raise LookupError("an idle load has no request")

    def ended(self, at_seconds: float) -> None:  # noqa: ARG002 - open loop
        """Do nothing."""
        return


class Scripted:
    """A known list of requests, in time order: for tests that compare sums."""

    def __init__(self, requests: list[Request]) -> None:
        self._requests = deque(sorted(requests, key=lambda request: request.arrives_at_seconds))

    def peek(self) -> float:
        """Return the next arrival."""
        return self._requests[0].arrives_at_seconds if self._requests else math.inf

    def take(self) -> Request:
        """Return the next request."""
        return self._requests.popleft()

    def ended(self, at_seconds: float) -> None:  # noqa: ARG002 - open loop
        """Do nothing."""
        return


class RateLoad(ABC):
    """Poisson arrivals whose rate varies in time, drawn by thinning. Subclasses say the rate and the mix."""

    def __init__(self, *, start_seconds: float, peak_per_second: float, seed: int) -> None:
        self._rng = Random(seed)  # noqa: S311 - a simulation, not a secret
        self._peak_per_second = peak_per_second
        self._next_seconds = self._after(start_seconds)

    def peek(self) -> float:
        """Return the next arrival."""
        return self._next_seconds

    def take(self) -> Request:
        """Return the next request."""
        at_seconds = self._next_seconds
        request = self.mix_at(at_seconds).draw(self._rng, at_seconds)
        self._next_seconds = self._after(at_seconds)
        return request

    def ended(self, at_seconds: float) -> None:  # noqa: B027 - arrivals at a rate do not wait for answers
        """Do nothing: people ask whether or not others were answered."""

    @abstractmethod
    def rate_at(self, at_seconds: float) -> float:
        """Return requests/s, at most the peak."""

    @abstractmethod
    def mix_at(self, at_seconds: float) -> Mix:
        """Return the kind of a request that arrives now."""

    def _after(self, at_seconds: float) -> float:
        if self._peak_per_second <= 0.0:
            return math.inf
        while True:
            at_seconds += self._rng.expovariate(self._peak_per_second)
            if self._rng.random() * self._peak_per_second <= self.rate_at(at_seconds):
                return at_seconds


class Constant(RateLoad):
    """Poisson arrivals at one rate; with `on_seconds` and `off_seconds`, in bursts with silence between."""

    def __init__(
        self,
        mix: Mix,
        *,
        start_seconds: float,
        per_second: float,
        seed: int,
        on_seconds: float = math.inf,
        off_seconds: float = 0.0,
    ) -> None:
        self._mix = mix
        self._start_seconds = start_seconds
        self._on_seconds, self._off_seconds = on_seconds, off_seconds
        super().__init__(start_seconds=start_seconds, peak_per_second=per_second, seed=seed)

    def rate_at(self, at_seconds: float) -> float:
        """Return the rate while on, else 0."""
        if math.isinf(self._on_seconds):
            return self._peak_per_second
        into_cycle = (at_seconds - self._start_seconds) % (self._on_seconds + self._off_seconds)
        return self._peak_per_second if into_cycle < self._on_seconds else 0.0

    def mix_at(self, at_seconds: float) -> Mix:  # noqa: ARG002 - the same at all times
        """Return the one kind."""
        return self._mix


@dataclass(frozen=True, slots=True)
class DayShape:
    """A day squeezed into minutes."""

    hours: tuple[tuple[float, float], ...]  # (hour, requests/s) round the clock
    mixes: tuple[Mix, ...]
    day_seconds: float = 600.0
    start_hour: float = 6.5
    bursts_per_day: float = 30.0
    burst_seconds: float = 6.0
    burst_factor: float = 2.5


class Day(RateLoad):
    """Arrivals that follow a day: quiet night, morning rise, busy noon, evening peak, and sudden bursts."""

    def __init__(self, shape: DayShape, *, start_seconds: float, seed: int) -> None:
        self._shape = shape
        self._start_seconds = start_seconds
        # Own stream, so that the bursts do not depend on how many requests were drawn.
        self._burst_rng = Random(f"bursts {seed}")  # noqa: S311 - a simulation, not a secret
        self._burst_start_seconds = start_seconds + self._burst_gap()
        busiest = max(level for _, level in shape.hours)
        super().__init__(start_seconds=start_seconds, peak_per_second=busiest * shape.burst_factor, seed=seed)

    def hour_at(self, at_seconds: float) -> float:
        """Return the simulated hour of the day."""
        days = (at_seconds - self._start_seconds) / self._shape.day_seconds
        return (self._shape.start_hour + days * HOURS_PER_DAY) % HOURS_PER_DAY

    def rate_at(self, at_seconds: float) -> float:
        """Return the day's rate, raised inside a burst. Called with rising instants."""
        while at_seconds >= self._burst_start_seconds + self._shape.burst_seconds:
            self._burst_start_seconds += self._shape.burst_seconds + self._burst_gap()
        factor = self._shape.burst_factor if at_seconds >= self._burst_start_seconds else 1.0
        return factor * over_day(self._shape.hours, self.hour_at(at_seconds))

    def mix_at(self, at_seconds: float) -> Mix:
        """Choose a kind by the weights of this hour."""
        hour = self.hour_at(at_seconds)
        weights = [over_day(mix.hours, hour) for mix in self._shape.mixes]
        return self._rng.choices(self._shape.mixes, weights)[0]

    def _burst_gap(self) -> float:
        return self._burst_rng.expovariate(self._shape.bursts_per_day / self._shape.day_seconds)


class ClosedLoop:
    """A fixed number of users, each asking again after an answer and a pause."""

    def __init__(self, mix: Mix, *, start_seconds: float, users: int, seed: int, pause_seconds: float = 0.0) -> None:
        self._mix = mix
        self._rng = Random(seed)  # noqa: S311 - a simulation, not a secret
        self._pause_seconds = pause_seconds
        self._due = deque([start_seconds] * users)

    def peek(self) -> float:
        """Return the next arrival."""
        return self._due[0] if self._due else math.inf

    def take(self) -> Request:
        """Return the next request."""
        return self._mix.draw(self._rng, self._due.popleft())

    def ended(self, at_seconds: float) -> None:
        """Schedule the same user's next request. Requests end in time order, so the queue stays sorted."""
        self._due.append(at_seconds + self._pause_seconds)
