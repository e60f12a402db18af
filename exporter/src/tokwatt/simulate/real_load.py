"""Requests to a real OpenAI-style server on loopback: a known list with its usage sums, or a bounded background load.

Owns the client side. What the server answered in `usage` is the truth that its counters are compared with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp

REQUEST_TIMEOUT_SECONDS = 300.0
RETRY_SECONDS = 1.0
MEAN_PAUSE_SECONDS = 1.5
TOPICS = ("a lighthouse", "the tide", "a bakery", "an old map", "the night train", "a chess club", "rain on a roof")
TASKS = ("Write a short story about", "Explain to a child", "List five facts about", "Describe the history of")
CONTEXT = "The harbour was quiet that morning, and the keeper wrote down the weather as he did every day. "


@dataclass(frozen=True, slots=True)
class Completion:
    """One request to /v1/completions."""

    prompt: str
    max_tokens: int
    ignore_eos: bool = True  # answer with exactly `max_tokens`


@dataclass(frozen=True, slots=True)
class UsageSums:
    """Sums of `usage` over requests. `prompt_tokens` includes `cached_tokens`."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: UsageSums) -> UsageSums:
        return UsageSums(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
        )


async def complete(session: aiohttp.ClientSession, base_url: str, request: Completion) -> UsageSums:
    """Send one request and return its usage. Raises aiohttp.ClientError or TimeoutError if it fails."""
    body = {
        "prompt": request.prompt,
        "max_tokens": request.max_tokens,
        "ignore_eos": request.ignore_eos,
        "temperature": 0.7,
    }
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
    async with session.post(f"{base_url}/v1/completions", json=body, timeout=timeout) as response:
        response.raise_for_status()
        usage: Mapping[str, Any] = (await response.json())["usage"]
    details = usage.get("prompt_tokens_details") or {}
    return UsageSums(1, usage["prompt_tokens"], details.get("cached_tokens") or 0, usage["completion_tokens"])


async def send_all(base_url: str, requests: Sequence[Completion], *, concurrency: int = 2) -> UsageSums:
    """Send a known list of requests and return the sums of what the server says it used."""
    gate = asyncio.Semaphore(concurrency)
    async with aiohttp.ClientSession() as session:

        async def one(request: Completion) -> UsageSums:
            async with gate:
                return await complete(session, base_url, request)

        return sum(await asyncio.gather(*(one(request) for request in requests)), UsageSums())


def varied_request(rng: Random) -> Completion:
    """Draw a request: some prompts short, some long, some sharing a beginning that the server has cached."""
    context = CONTEXT * rng.choice((0, 0, 2, 6, 12))
    prompt = f"{context}{rng.choice(TASKS)} {rng.choice(TOPICS)}, number {rng.randrange(1000)}."
    return Completion(prompt, rng.choice((16, 32, 48, 96)))


class BackgroundLoad:
    """A few users who ask, read and ask again until stopped. `done` sums what was answered."""

    def __init__(self, base_url: str, *, users: int = 2, seed: int = 1) -> None:
        self.done = UsageSums()
        self._base_url = base_url
        self._users = users
        self._rng = Random(seed)  # noqa: S311 - a load, not a secret
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Begin asking."""
        session = self._session = aiohttp.ClientSession()
        self._tasks = [asyncio.create_task(self._user(session)) for _ in range(self._users)]

    async def stop(self) -> None:
        """Drop what is in flight and close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _user(self, session: aiohttp.ClientSession) -> None:
        while True:
            try:
                self.done += await complete(session, self._base_url, varied_request(self._rng))
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(RETRY_SECONDS)  # the server is down: the exporter tells, not we
            await asyncio.sleep(self._rng.expovariate(1.0 / MEAN_PAUSE_SECONDS))
