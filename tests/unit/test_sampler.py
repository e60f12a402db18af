"""One source's trouble stays its own: health, deadlines, bugs."""

from __future__ import annotations

import asyncio
import logging

import pytest
from support.clock import FakeClock
from support.readings import gpu_meter, gpu_pass, tokens

from tokwatt.economics.books import Books
from tokwatt.economics.plan import Pace, Plan, ServerPlan
from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import (
    DeviceFailure,
    DeviceLost,
    GpuHold,
    OwnersReading,
    PowerReading,
    Refused,
    ServerGpus,
    ServerReading,
)
from tokwatt.sampler import Sampler
from tokwatt.snapshot import Snapshot, SourceHealth


class Server:
    """A token source that does what it is told."""

    timeout_seconds = 0.05

    def __init__(self, clock: FakeClock, name: str = "chat") -> None:
        self.name = name
        self.clock = clock
        self.trouble: Exception | None = None
        self.hangs = False
        self.closed = False

    async def read(self) -> ServerReading:
        if self.hangs:
            await asyncio.Event().wait()
        if self.trouble is not None:
            raise self.trouble
        return tokens(self.clock(), 100 * self.clock(), server=self.name)

    async def aclose(self) -> None:
        self.closed = True


class Gpus:
    """A power source that does what it is told."""

    timeout_seconds = 0.05
    period_seconds = None

    def __init__(self, clock: FakeClock, name: str = "nvml") -> None:
        self.name = name
        self.clock = clock
        self.failures: tuple[DeviceFailure, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.dead = False

    async def read(self) -> PowerReading:
        if self.dead:
            return PowerReading((), (), self.failures)
        healthy = gpu_pass(self.clock(), {0: 300 * self.clock()}, self.name)
        return PowerReading(healthy.readings, healthy.devices, self.failures, self.warnings)

    async def aclose(self) -> None:
        pass


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.snapshots: list[Snapshot] = []
        plan = Plan((ServerPlan("chat", all_gpus=True), ServerPlan("code")), tick_seconds=0.1)
        self.sampler = Sampler(Books(plan, Ledger()), self.clock, self.clock, self.snapshots.append)
        self.server, self.gpus = Server(self.clock), Gpus(self.clock)
        self.sampler.watch_tokens(self.server)
        self.sampler.watch_power(self.gpus)

    async def ticks(self, count: int) -> None:
        for _ in range(count):
            await self.sampler.tick()
            self.clock.advance(0.1)

    def health(self, source: str) -> SourceHealth:
        return next(health for health in self.snapshots[-1].sources if health.source == source)


async def test_a_refused_source_is_down_with_its_reason_and_says_so_once(caplog):
    rig = Rig()
    await rig.ticks(2)
    rig.server.trouble = Refused("401", where="http://x", hint="give a token")
    with caplog.at_level(logging.WARNING):
        await rig.ticks(5)
    health = rig.health("chat")
    assert (health.up, health.reason, health.message) == (False, "refused", "http://x: 401 (give a token)")
    assert health.errors == {"refused": 5}
    assert len(caplog.records) == 1
    rig.server.trouble = None
    await rig.ticks(1)
    assert rig.health("chat").up
    assert rig.health("chat").errors == {"refused": 5}


async def test_a_bug_in_a_source_takes_only_that_source_down(caplog):
    rig = Rig()
    rig.server.trouble = ZeroDivisionError("oops")
    await rig.ticks(2)
    assert rig.health("chat").reason == "bug"
    assert rig.health("nvml").up
    assert "ZeroDivisionError" in caplog.text


async def test_a_hung_server_times_out_and_never_holds_the_tick(caplog):
    rig = Rig()
    rig.server.hangs = True
    started = asyncio.get_running_loop().time()
    await rig.ticks(6)
    assert asyncio.get_running_loop().time() - started < 0.6  # one third of a tick at most is waited for it
    async with asyncio.timeout(5):
        while rig.health("chat").up is None:
            await asyncio.sleep(0.01)
            await rig.ticks(1)
    assert rig.health("chat").reason == "timeout"
    assert rig.health("nvml").up
    await rig.sampler.aclose()


async def test_a_lost_gpu_is_told_while_its_source_is_up():
    rig = Rig()
    rig.gpus.failures = (DeviceFailure("GPU-1", DeviceLost("fell off the bus")),)
    await rig.ticks(3)
    health = rig.health("nvml")
    assert (health.up, health.errors) == (True, {"lost": 3})
    assert "GPU-1: fell off the bus" in health.message


async def test_what_a_person_should_know_of_a_meter_is_told_once_and_is_no_error(caplog):
    rig = Rig()
    rig.gpus.warnings = ("GPU-0: the counter contradicts the power",)
    with caplog.at_level(logging.WARNING):
        await rig.ticks(3)
    health = rig.health("nvml")
    assert (health.up, health.errors, health.message) == (True, {}, "GPU-0: the counter contradicts the power")
    assert len(caplog.records) == 1
    rig.gpus.warnings = ()
    await rig.ticks(1)
    assert rig.health("nvml").message == ""


async def test_a_source_of_which_every_device_failed_is_down():
    rig = Rig()
    rig.gpus.dead = True
    rig.gpus.failures = (DeviceFailure(gpu_meter().device, DeviceLost("fell off the bus")),)
    await rig.ticks(1)
    assert (rig.health("nvml").up, rig.health("nvml").reason) == (False, "lost")


async def test_a_second_source_of_a_device_is_told_what_is_wrong():
    rig = Rig()
    await rig.ticks(1)
    rig.sampler.watch_power(Gpus(rig.clock, "again"))
    await rig.ticks(1)
    assert rig.health("again").errors == {"duplicate_device": 1}
    assert "already read by nvml" in rig.health("again").message


async def test_a_failing_tick_does_not_end_the_sampler(caplog):
    rig = Rig()
    failed = []

    async def sleep(_: float) -> None:
        rig.clock.advance(0.1)
        if len(rig.snapshots) > 3:
            raise asyncio.CancelledError

    def publish(snapshot: Snapshot) -> None:
        rig.snapshots.append(snapshot)
        if len(rig.snapshots) == 2:
            failed.append(snapshot)
            raise RuntimeError("bug")

    rig.sampler.publish = publish
    rig.sampler.sleep = sleep
    with pytest.raises(asyncio.CancelledError):
        await rig.sampler.run()
    assert failed
    assert len(rig.snapshots) == 4
    assert "a tick failed" in caplog.text


async def test_unwatched_sources_are_closed():
    rig = Rig()
    await rig.ticks(1)
    await rig.sampler.unwatch(["chat"])
    assert rig.server.closed
    assert rig.sampler.source_names == ("nvml",)


async def test_hundreds_of_servers_are_spread_over_the_tick_in_groups():
    clock = FakeClock()
    asked: dict[float, int] = {}

    class Noted(Server):
        async def read(self) -> ServerReading:
            at = round(clock(), 6)
            asked[at] = asked.get(at, 0) + 1
            return await super().read()

    async def pass_time(seconds: float) -> None:
        for _ in range(5):
            await asyncio.sleep(0)  # reads that were started are at their own instant
        clock.advance(seconds)

    names = [f"server-{number}" for number in range(100)]
    plan = Plan(tuple(ServerPlan(name) for name in names), tick_seconds=0.7)
    snapshots: list[Snapshot] = []
    sampler = Sampler(Books(plan, Ledger()), clock, clock, snapshots.append, sleep=pass_time)
    for name in names:
        sampler.watch_tokens(Noted(clock, name))
    began = clock()
    await sampler.tick()
    await asyncio.sleep(0.01)
    assert asked == {round(began + 0.8 * 0.7 * group / 7, 6): 16 if group < 6 else 4 for group in range(7)}
    sampler.publish_now()
    assert all(health.up for health in snapshots[-1].sources)
    await sampler.aclose()


async def test_a_slow_one_of_many_servers_is_not_asked_twice_at_once():
    clock = FakeClock()

    async def pass_time(seconds: float) -> None:
        await asyncio.sleep(0)
        clock.advance(seconds)

    names = [f"server-{number}" for number in range(100)]
    plan = Plan(tuple(ServerPlan(name) for name in names), tick_seconds=0.1)
    sampler = Sampler(Books(plan, Ledger()), clock, clock, lambda _: None, sleep=pass_time)
    servers = [Server(clock, name) for name in names]
    servers[0].timeout_seconds = 60.0
    servers[0].hangs = True
    for server in servers:
        sampler.watch_tokens(server)
    for _ in range(3):
        await sampler.tick()
    running = [task for task in asyncio.all_tasks() if task.get_name() == "read server-0"]
    assert len(running) == 1
    await sampler.aclose()
    assert all(server.closed for server in servers)


class Owner:
    """An owner source that does what it is told."""

    name = "gpus of chat"
    server = "chat"
    timeout_seconds = 0.05
    period_seconds = 10.0

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.holds: tuple[GpuHold, ...] | None = (GpuHold("GPU-0"),)
        self.trouble: Exception | None = None

    async def read(self) -> OwnersReading:
        if self.trouble is not None:
            raise self.trouble
        return OwnersReading(self.clock(), {"chat": ServerGpus(self.holds, "by the test")})

    async def aclose(self) -> None:
        pass


async def test_a_failed_look_for_owners_keeps_what_was_found_for_a_while_and_then_nobody_knows():
    rig = Rig()
    looks = asyncio.Queue()

    async def sleep(seconds: float) -> None:
        """Of the owner's timer: the test says when the next look is."""
        await looks.get()

    plan = Plan((ServerPlan("chat", found_gpus=True),), tick_seconds=0.1, paces={"gpus of chat": Pace(10.0, 0.05)})
    rig.sampler.books.reconfigure(plan)
    rig.sampler.sleep = sleep
    owner = Owner(rig.clock)

    async def look_at(second: float) -> ServerGpus | None:
        rig.clock.now = 100 + second
        looks.put_nowait(None)
        await asyncio.sleep(0)
        await rig.ticks(1)
        return rig.sampler.books.attribution.found("chat")

    rig.sampler.watch_owner(owner)
    await rig.ticks(3)
    assert rig.sampler.books.attribution.ownership.gpus == {"chat": ("GPU-0",)}
    assert rig.health("gpus of chat").kind == "owner"
    assert rig.health("gpus of chat").up
    owner.trouble = Refused("no more", where="here")
    assert (await look_at(10)).holds is not None
    assert (await look_at(30)).holds is not None
    assert not rig.health("gpus of chat").up
    lost = await look_at(40)
    assert (lost.holds, lost.how) == (None, "here: no more")
    assert rig.sampler.books.attribution.ownership.gpus == {"chat": ()}
    owner.trouble = None
    assert (await look_at(50)).holds is not None
    await rig.sampler.aclose()
