"""A real llama.cpp server under a meter that follows its slots, users who ask, and the exporter that reads it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from statistics import fmean

import aiohttp
from support.slot_meter import IDLE_WATTS, LIMIT_WATTS, Slots, Truth

from tokwatt.app.build import Workshop
from tokwatt.app.calibrate_load import prompt_of
from tokwatt.app.exporter import Exporter
from tokwatt.app.setup import PowerEntry, Setup, TokenEntry
from tokwatt.config import Config, GpuSelection, ServerConfig
from tokwatt.readings import SourceContext
from tokwatt.simulate.meters import SimulatedGpu
from tokwatt.simulate.nvml import SimulatedNvml
from tokwatt.simulate.real import RealLlamaServer
from tokwatt.simulate.world import gpu_uuid
from tokwatt.snapshot import Given, Phase, Snapshot
from tokwatt.sources.power.nvml import NvmlOptions, NvmlSource

SERVER, NVML = "real", "nvml"
TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """Users who ask, read and ask again."""

    name: str
    seconds: float
    users: int
    prompt_words: tuple[int, int]
    answer_tokens: tuple[int, int]
    mean_pause_seconds: float


@dataclass(frozen=True, slots=True)
class Tick:
    """What tokwatt had booked when a tick was settled."""

    until_seconds: float  # the end of the last reading that is in the books
    joules: dict[Phase, float]
    half_width: float | None  # of the published interval; None: no gauge
    gauges: bool  # of prefill and decode
    why_unsplit: str


@dataclass(slots=True)
class Seen:
    """One load as tokwatt published it."""

    load: Load
    ticks: list[Tick] = field(default_factory=list)
    requests: int = 0

    def steps(self) -> list[tuple[Tick, Tick, dict[Phase, float]]]:
        """Neighbouring ticks and what was booked between them."""
        return [
            (before, tick, {phase: tick.joules[phase] - before.joules[phase] for phase in Phase})
            for before, tick in itertools.pairwise(self.ticks)
            if tick.until_seconds > before.until_seconds
        ]

    def split(self) -> list[tuple[Tick, Tick, dict[Phase, float]]]:
        """Those that were split into prefill and decode."""
        return [step for step in self.steps() if step[2][Phase.UNSPLIT] <= 0]


@dataclass(frozen=True, slots=True)
class Judged:
    """One load against its truth, over the ticks that were split."""

    name: str
    seen: Seen
    truth: Truth
    prefill_joules: float
    decode_joules: float

    @property
    def share(self) -> float:
        """Prefill's published share of busy energy."""
        return self.prefill_joules / (self.prefill_joules + self.decode_joules)

    @property
    def half_width(self) -> float:
        """Mean of the published ones; 0 where none was."""
        widths = [tick.half_width for _, tick, _ in self.seen.split() if tick.half_width is not None]
        return fmean(widths) if widths else 0.0


class Bench:
    """A real server, its meter, its users and the exporter that reads it."""

    def __init__(self, server: RealLlamaServer, exporter: Exporter, slots: Slots) -> None:
        self.exporter = exporter
        self.slots = slots
        self._server = server
        self._rng = random.Random(11)

    async def under(self, load: Load) -> Seen:
        """Read the server each second while users ask."""
        seen = Seen(load)
        fresh = aiohttp.TCPConnector(force_close=True)  # the server closes a connection that waits, at any instant
        async with aiohttp.ClientSession(connector=fresh, timeout=aiohttp.ClientTimeout(total=60.0)) as session:
            users = [asyncio.create_task(self._user(session, seen)) for _ in range(load.users)]
            try:
                end = time.monotonic() + load.seconds
                while time.monotonic() < end:
                    await self.tick(seen.ticks)
            finally:
                for user in users:
                    user.cancel()
                ended = await asyncio.gather(*users, return_exceptions=True)
        self.slots.change()
        failed = [error for error in ended if not isinstance(error, asyncio.CancelledError)]
        assert not failed, failed
        return seen

    async def _user(self, session: aiohttp.ClientSession, seen: Seen) -> None:
        load = seen.load
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / load.mean_pause_seconds))
            prompt = prompt_of(self._rng.randint(*load.prompt_words), self._rng)
            await self.slots.complete(session, self._server.base_url, prompt, self._rng.randint(*load.answer_tokens))
            seen.requests += 1

    async def tick(self, ticks: list[Tick]) -> None:
        """Read once, note what is published, and wait for the next tick."""
        due = time.monotonic() + TICK_SECONDS
        await self.exporter.tick()
        server = self.snapshot.servers[0]
        joules = dict.fromkeys(Phase, 0.0)
        for row in server.phases:
            joules[row.phase] += row.joules.get(Given.GPU, 0.0)
        live = server.phase_live
        book = self.exporter.books.accounts[SERVER].phases
        ticks.append(
            Tick(
                book.taken_until_seconds,
                joules,
                live.error_ratio.get(Given.GPU) if live else None,
                live is not None and any(model.prefill_tokens_per_joule for model in live.models),
                book.splitter.reason,
            )
        )
        await asyncio.sleep(max(0.0, due - time.monotonic()))

    @property
    def snapshot(self) -> Snapshot:
        """The newest."""
        snapshot = self.exporter.face.snapshot
        assert snapshot is not None
        return snapshot

    def judge(self, seen: Seen) -> Judged:
        """Compare what was published with what the slots did in the same instants."""
        split = seen.split()
        return Judged(
            seen.load.name,
            seen,
            self.slots.truth([(before.until_seconds, tick.until_seconds) for before, tick, _ in split]),
            sum(booked[Phase.PREFILL] for *_, booked in split),
            sum(booked[Phase.DECODE] for *_, booked in split),
        )


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """A step of 128 tokens takes a third of a second here, as steps are shorter than a tick on a GPU."""
    workshop = Workshop()
    async with RealLlamaServer(n_parallel=4, threads=1, context_tokens=8192, batch_tokens=128) as llama:
        slots = Slots(workshop.clock)
        gpu = SimulatedGpu(0, gpu_uuid(0), "Stand-in", LIMIT_WATTS, IDLE_WATTS, slots.energy.joules_at)
        binding = SimulatedNvml([gpu], workshop.clock, unix_clock=time.time)
        server = ServerConfig(name=SERVER, url=llama.url, gpus=GpuSelection(devices=(gpu.uuid,)))
        meter = SourceContext(NVML, workshop.clock, simulated=True)
        setup = Setup(
            Config(servers=(server,), meters=(), window_seconds=20.0, tick_seconds=TICK_SECONDS),
            tokens={SERVER: TokenEntry(server, llama.url, lambda: workshop.token_source(server))},
            power={NVML: PowerEntry(NVML, "simulated NVML", lambda: NvmlSource(NvmlOptions(), meter, binding))},
            simulated=True,
        )
        exporter = Exporter(setup, workshop.clock)
        exporter.open()
        try:
            yield Bench(llama, exporter, slots)
        finally:
            await exporter.stop()
            await workshop.aclose()
