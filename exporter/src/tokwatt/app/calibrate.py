"""`tokwatt calibrate`: seconds and joules per prefill token and per decode token, by a bounded series of requests.

Prompts of several lengths that ask for one token, long answers one at a time, and long answers several at once, round
after round in changing order. Around each load lies a quiet moment, long enough for every meter to have shown what was
drawn: a meter's delay then shifts energy inside a stretch, and out of none.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from tokwatt.app.calibrate_load import Completions, Usage, prompt_of
from tokwatt.app.calibrate_readings import Counted, Readings, Sleep
from tokwatt.economics.calibration import Block, Idle, Rates, joules, seconds
from tokwatt.readings import Clock, ServerReading, SourceError
from tokwatt.snapshot import Given

SHORT_PROMPT_WORDS = 16  # of the loads that are about the answer
BLOCK_SECONDS = 5.0  # of load in one stretch, where the time allowed is enough
SHORTEST_BLOCK_SECONDS = 0.3
FEWEST_ROUNDS = 2
PLANNED_RATIO = 0.9  # of the time allowed: the rest is for loads that take longer than they did at first
LONG_WAVE_SECONDS = 2.0
LOOK_SECONDS = 0.5  # between two looks at how many requests run together
WARM_UP_SECONDS = 1.0  # for the first readings of every meter
DISTURBED_RATIO = 0.02  # of the tokens of a stretch that nobody of us asked for
MOST_DISTURBED_RATIO = 1 / 3  # of all stretches


class CalibrationError(Exception):
    """No result. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a calibration may use up, and what its loads are made of."""

    seconds: float = 180.0
    requests: int = 3000
    tokens: int = 1_000_000
    prompt_tokens: int = 1024  # the longest prompt, about
    answer_tokens: int = 256
    at_once: int = 4
    rounds: int = 3
    idle_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of load."""

    kind: str
    prompt_words: int
    answer_tokens: int
    at_once: int = 1

    @property
    def tokens(self) -> int:
        """Tokens of one wave, about."""
        return self.at_once * (self.prompt_words + self.answer_tokens)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything a calibration found."""

    engine: str
    engine_version: str
    idle: Mapping[Given, Idle]
    blocks: tuple[Block, ...]
    seconds: Rates
    joules: Mapping[Given, Rates]
    at_once: float  # sequences in a step of the loads that ran together
    requests: int
    prompt_tokens: float
    output_tokens: float
    took_seconds: float
    disturbed: int  # stretches that held somebody else's tokens and were left out
    troubles: Mapping[str, str]  # by meter


def loads_of(limits: Limits) -> tuple[Load, ...]:
    """Name the loads of one round."""
    longest, answer = limits.prompt_tokens, limits.answer_tokens
    prompts = sorted({max(SHORT_PROMPT_WORDS, longest // 8), max(SHORT_PROMPT_WORDS, longest // 2), longest})
    loads = [Load(f"prompts of {words}", words, 1) for words in prompts]
    loads += [
        Load(f"answers of {tokens}", SHORT_PROMPT_WORDS, tokens) for tokens in sorted({max(8, answer // 4), answer})
    ]
    if limits.at_once > 1:
        loads.append(Load(f"{limits.at_once} answers at once", SHORT_PROMPT_WORDS, answer, limits.at_once))
    return tuple(loads)


class Campaign:
    """One calibration. `say` gets a line for people, now and then."""

    def __init__(
        self,
        readings: Readings,
        completions: Completions,
        limits: Limits,
        *,
        clock: Clock,
        sleep: Sleep,
        say: Callable[[str], None],
        rng: Random,
        force: bool = False,
    ) -> None:
        self._readings = readings
        self._completions = completions
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._say = say
        self._rng = rng
        self._force = force
        self._requests = 0
        self._pause = 1.0

    async def run(self) -> Outcome:
        """Measure. Raises CalibrationError, and SourceError where the server does not answer."""
        began = self._clock()
        until = began + PLANNED_RATIO * self._limits.seconds
        self._readings.start()
        first = await self._readings.server()
        self._require_rest(first, None)
        await self._sleep(WARM_UP_SECONDS)
        self._pause = self._readings.settle_seconds
        idle_seconds = max(self._limits.idle_seconds, 2 * self._pause)
        before = await self._idle(idle_seconds)
        loads = loads_of(self._limits)
        waves = self._plan(loads, [await self._pilot(load) for load in loads], until - idle_seconds)
        await self._quiet()
        blocks, disturbed = await self._rounds(waves, until - idle_seconds)
        after = await self._idle(idle_seconds)
        return self._outcome(first, blocks, disturbed, _idle_power(before, after), self._clock() - began)

    # Rest

    def _require_rest(self, reading: ServerReading, before: Counted | None) -> None:
        running, waiting = reading.requests_running or 0.0, reading.requests_waiting or 0.0
        moved = before is not None and self._readings.counted() != before
        if (running or waiting or moved) and not self._force:
            what = f"{running:g} requests run and {waiting:g} wait" if running or waiting else "its token counters move"
            raise CalibrationError(
                f"the server is not idle: {what}. Others' requests would be measured as ours: "
                "take it out of its load balancer first, or use --force for a rough answer"
            )

    async def _idle(self, idle_seconds: float) -> Mapping[Given, float]:
        """Mean power while nothing runs."""
        self._say(f"idle power, {idle_seconds:.0f} s")
        counted, start = self._readings.counted(), self._clock()
        for _ in range(4):
            await self._sleep(idle_seconds / 4)
            self._require_rest(await self._readings.server(), counted)
        end = self._clock()
        await self._quiet()
        return {boundary: amount / (end - start) for boundary, amount in self._readings.joules(start, end).items()}

    async def _quiet(self) -> None:
        await self._sleep(self._pause)

    # Loads

    async def _pilot(self, load: Load) -> float:
        """Seconds of one wave: where it is short of the second one, since the first may compile or allocate."""
        first, _ = await self._wave(load)
        return first if first > LONG_WAVE_SECONDS else (await self._wave(load))[0]

    def _plan(self, loads: Sequence[Load], durations: Sequence[float], until: float) -> Mapping[Load, int]:
        """Waves of each load in one stretch, within all limits."""
        limits = self._limits
        left = until - self._clock() - 2 * self._pause
        each = left / (limits.rounds * len(loads)) - self._pause
        if each < SHORTEST_BLOCK_SECONDS or max(durations) > 2 * max(each, BLOCK_SECONDS):
            slowest = max(SHORTEST_BLOCK_SECONDS, *durations)
            needed = limits.seconds + (limits.rounds * len(loads) * (self._pause + slowest) - left) / PLANNED_RATIO
            raise CalibrationError(
                f"{limits.seconds:g} s are not enough: a load takes up to {max(durations):.1f} s and the meters need "
                f"{self._pause:g} s of rest after each. Use --seconds {needed:.0f} or more, or shorter --answer-tokens "
                "and --prompt-tokens"
            )
        seconds_each = min(BLOCK_SECONDS, each)
        waves = {
            load: max(1, round(seconds_each / max(duration, 1e-3)))
            for load, duration in zip(loads, durations, strict=True)
        }
        planned = self._within(waves)
        requests, tokens = self._used_by(planned)
        self._say(
            f"{limits.rounds} rounds of {len(loads)} loads of up to {seconds_each:.1f} s: about {requests:,} requests, "
            f"{tokens:,} tokens"
        )
        return planned

    def _used_by(self, waves: Mapping[Load, int]) -> tuple[int, int]:
        """Requests and tokens of all rounds, about."""
        rounds = self._limits.rounds
        return (
            rounds * sum(count * load.at_once for load, count in waves.items()),
            rounds * sum(count * load.tokens for load, count in waves.items()),
        )

    def _within(self, waves: Mapping[Load, int]) -> Mapping[Load, int]:
        """Make stretches shorter until the limits of requests and tokens hold."""
        while True:
            requests, tokens = self._used_by(waves)
            scale = min((self._limits.requests - self._requests) / requests, self._limits.tokens / tokens)
            if scale >= 1:
                return waves
            if max(waves.values()) == 1:
                raise CalibrationError(
                    f"that would be {requests:,} requests and {tokens:,} tokens: use fewer --rounds, or shorter "
                    "--prompt-tokens and --answer-tokens"
                )
            waves = {load: max(1, int(count * min(scale, 0.95))) for load, count in waves.items()}

    async def _rounds(self, waves: Mapping[Load, int], until: float) -> tuple[list[Block], int]:
        blocks: list[Block] = []
        disturbed = 0
        for number in range(self._limits.rounds):
            order = self._rng.sample(list(waves), len(waves))
            for load in order:
                if self._clock() > until:
                    if number < FEWEST_ROUNDS:
                        raise CalibrationError(
                            f"{self._limits.seconds:g} s were not enough for {FEWEST_ROUNDS} rounds: use more --seconds"
                        )
                    return blocks, disturbed
                self._say(f"round {number + 1}: {load.kind}")
                block = await self._block(load, waves[load])
                disturbed += block is None
                blocks += [block] if block is not None else []
                if disturbed > MOST_DISTURBED_RATIO * self._limits.rounds * len(waves):
                    raise CalibrationError(
                        "others use the server: the tokens it counts are not those that were asked for"
                    )
        return blocks, disturbed

    async def _wave(self, load: Load) -> tuple[float, tuple[Usage, ...]]:
        """Seconds and usage of `at_once` requests that start together. Raises SourceError."""
        prompts = [prompt_of(load.prompt_words, self._rng) for _ in range(load.at_once)]
        start = self._clock()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._completions.complete(prompt, load.answer_tokens)) for prompt in prompts
                ]
        except ExceptionGroup as several:
            raise several.exceptions[0] from several
        self._requests += load.at_once
        return self._clock() - start, tuple(task.result() for task in tasks)

    async def _block(self, load: Load, waves: int) -> Block | None:
        """Measure one stretch; None if it held tokens of others."""
        await self._readings.server()
        counted = self._readings.counted()
        start = self._clock() - self._pause / 2
        look = asyncio.create_task(self._look()) if load.at_once > 1 else None
        busy, usage = 0.0, list[Usage]()
        try:
            for _ in range(waves):
                took, answers = await self._wave(load)
                busy += took
                usage += answers
        finally:
            if look is not None:
                look.cancel()
        ended = self._clock()
        seen = await _result(look) if look is not None else []
        await self._quiet()
        reading = await self._readings.server()
        end = ended + self._pause / 2
        work = self._readings.counted().since(counted)
        if not self._force and (_running(reading) or _strange(work, usage)):
            return None
        output = work.output_tokens if work.output_tokens is not None else sum(u.output_tokens or 0.0 for u in usage)
        asked = sum((u.prompt_tokens or 0.0) - u.cached_tokens for u in usage)
        requests = waves * load.at_once
        return Block(
            kind=load.kind,
            requests=requests,
            prefill_tokens=work.prefill_tokens if work.prefill_tokens is not None else asked,
            decode_tokens=max(0.0, output - requests),
            batch=min(load.at_once, statistics.median(seen)) if seen else load.at_once,
            busy_seconds=busy,
            quiet_seconds=end - start - busy,
            joules=self._readings.joules(start, end),
        )

    async def _look(self) -> list[float]:
        """How many requests ran together, now and then until cancelled."""
        seen: list[float] = []
        try:
            while True:
                await self._sleep(LOOK_SECONDS)
                running = (await self._readings.server()).requests_running
                seen += [running] if running else []
        except (asyncio.CancelledError, SourceError):
            return seen

    # Result

    def _outcome(
        self, first: ServerReading, blocks: list[Block], disturbed: int, idle: Mapping[Given, Idle], took: float
    ) -> Outcome:
        times = seconds(blocks)
        if times is None:
            raise CalibrationError(
                "the stretches do not tell prefill and decode apart: ask for longer prompts and answers"
            )
        energy = {boundary: joules(blocks, boundary, power) for boundary, power in idle.items()}
        together = [block.batch for block in blocks if block.batch > 1]
        return Outcome(
            engine=first.engine,
            engine_version=first.engine_version,
            idle=idle,
            blocks=tuple(blocks),
            seconds=times,
            joules={boundary: rates for boundary, rates in energy.items() if rates is not None},
            at_once=statistics.median(together) if together else 1.0,
            requests=self._requests,
            prompt_tokens=sum(block.prefill_tokens for block in blocks),
            output_tokens=sum(block.decode_tokens + block.requests for block in blocks),
            took_seconds=took,
            disturbed=disturbed,
            troubles=dict(self._readings.troubles),
        )


async def _result(look: asyncio.Task[list[float]]) -> list[float]:
    try:
        return await look
    except asyncio.CancelledError:  # before its first look
        return []


def _idle_power(before: Mapping[Given, float], after: Mapping[Given, float]) -> Mapping[Given, Idle]:
    return {
        boundary: Idle((before[boundary] + after[boundary]) / 2, abs(after[boundary] - before[boundary]) / 2)
        for boundary in before.keys() & after.keys()
    }


def _running(reading: ServerReading) -> bool:
    return bool(reading.requests_running or reading.requests_waiting)


def _strange(work: Counted, usage: Sequence[Usage]) -> bool:
    """Whether the server counted other tokens than those its answers name."""
    pairs = (
        (work.output_tokens, [answer.output_tokens for answer in usage]),
        (work.prefill_tokens, [None if u.prompt_tokens is None else u.prompt_tokens - u.cached_tokens for u in usage]),
    )
    for counted, parts in pairs:
        known = [part for part in parts if part is not None]
        if counted is None or len(known) < len(parts):
            continue
        expected = sum(known)
        if abs(counted - expected) > max(2.0 * len(usage), DISTURBED_RATIO * expected):
            return True
    return False
