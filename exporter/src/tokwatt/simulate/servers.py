"""A simulated engine as a real HTTP server on loopback that answers /metrics like vLLM or llama.cpp.

Owns the listener and its misbehaviour on request. The numbers are the engine's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random

from aiohttp import web

from tokwatt.readings import Clock
from tokwatt.simulate.engine import Engine
from tokwatt.simulate.llamacpp_text import LlamacppText
from tokwatt.simulate.vllm_text import vllm_template

VLLM, LLAMACPP = "vllm", "llamacpp"
VERSIONS: Mapping[str, str] = {VLLM: "0.32.0+simulated", LLAMACPP: "b11434-simulated"}
CONTENT_TYPES: Mapping[str, str] = {
    VLLM: "text/plain; version=1.0.0; charset=utf-8",
    LLAMACPP: "text/plain; version=0.0.4",
}
LOOPBACK = "127.0.0.1"
FOREVER_SECONDS = 1e9

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a server answers /metrics. Delays are drawn evenly between two limits, in seconds."""

    delay_before_seconds: tuple[float, float] = (0.0, 0.0)  # before it reads its counters
    delay_after_seconds: tuple[float, float] = (0.0, 0.0)  # between reading them and answering
    hangs: bool = False  # never answers
    status: int = 200  # any other: an error page without counters


class SimulatedServer:
    """One inference server: `engine` names what it looks like, `core` is what computes, `gpus` are UUIDs.

    Down, it refuses connections and keeps its port.
    """

    def __init__(
        self,
        name: str,
        engine: str,
        model: str,
        core: Engine,
        *,
        clock: Clock,
        unix_clock: Callable[[], float],
        seed: int,
        gpus: tuple[str, ...] = (),
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if engine not in VERSIONS:
            raise ValueError(f"server {name}: engine {engine!r} is not simulated, choose {' or '.join(VERSIONS)}")
        self.name = name
        self.engine = engine
        self.model = model
        self.core = core
        self.gpus = gpus
        self.behaviour = Behaviour()
        self.sampled_at_seconds: deque[float] = deque(maxlen=256)  # when counters were read for an answer
        self._clock = clock
        self._unix_clock = unix_clock
        self._sleep = sleep
        self._rng = Random(seed)  # noqa: S311 - a simulation, not a secret
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._render = self._new_text()

    @property
    def url(self) -> str:
        """Address of the metrics page."""
        if not self._port:
            raise RuntimeError(f"server {self.name} has no port before start()")
        return f"http://{LOOPBACK}:{self._port}/metrics"

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/version", self._version)
        app.router.add_get("/props", self._props)
        # A hanging answer must not hold up the end.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._runner = runner
        site = web.TCPSite(runner, LOOPBACK, self._port, reuse_address=True)
        await site.start()
        self._port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; the engine goes on, unseen."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def crash(self) -> None:
        """Go down as a process does: requests in flight are lost, connections refused."""
        self.core.stop(self._clock())
        await self.stop()

    async def come_back(self) -> None:
        """Start again after a crash: counters from 0."""
        self.core.start(self._clock())
        self._render = self._new_text()
        await self.start()

    def restart(self) -> None:
        """Crash and come back in one instant: between two scrapes the counters fall to 0."""
        self.core.restart(self._clock())
        self._render = self._new_text()

    def metrics_text(self) -> str:
        """Read the counters now and return the body."""
        with self.core.lock:
            now = self._clock()
            self.core.advance_to(now)
            self.sampled_at_seconds.append(now)
            return self._render(self.core)

    def _new_text(self) -> Callable[[Engine], str]:
        if self.engine == LLAMACPP:
            return LlamacppText().render
        started = self._unix_clock()
        return vllm_template(self.core.machine, self.model, started_unix_seconds=started).render

    async def _metrics(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        behaviour = self.behaviour
        if behaviour.hangs:
            await self._sleep(FOREVER_SECONDS)
        await self._wait(behaviour.delay_before_seconds)
        if behaviour.status != 200:
            return web.json_response({"error": {"message": "simulated failure"}}, status=behaviour.status)
        text = self.metrics_text()
        await self._wait(behaviour.delay_after_seconds)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPES[self.engine]})

    async def _wait(self, limits: tuple[float, float]) -> None:
        if limits[1] > 0.0:
            await self._sleep(self._rng.uniform(*limits))

    async def _health(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        return web.json_response({"status": "ok"})

    async def _models(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        return web.json_response({"object": "list", "data": [{"id": self.model, "object": "model"}]})

    async def _version(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        if self.engine != VLLM:
            raise web.HTTPNotFound
        return web.json_response({"version": VERSIONS[VLLM]})

    async def _props(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        if self.engine != LLAMACPP:
            raise web.HTTPNotFound
        return web.json_response({"model_alias": self.model, "build_info": VERSIONS[LLAMACPP]})
