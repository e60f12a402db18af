"""Every power source through every fault it can have: `test_fault[source-fault]` is the table of pairs.

While a fault lasts, `/metrics` answers at once and the other sources go on; afterwards the source is back. Always: no
total falls, what is given and what is not add up to what was measured, and nothing is counted that was not drawn.
"""

import asyncio
import time
from dataclasses import replace

import pytest
from aiohttp.test_utils import TestClient, TestServer
from support import amdsmi_double
from support.clock import FakeClock
from support.meter_benches import (
    BENCHES,
    FAULTS,
    GLITCH_JOULES,
    IMPOSSIBLE,
    NAME,
    PAIRS,
    STEP_SECONDS,
    WATTS,
    Bench,
    Fault,
)
from support.openmetrics import classic_samples, present, total
from support.readings import gpu_pass, tokens
from support.redfish_double import PASSWORD

from tokwatt.app.http import Face, application
from tokwatt.economics.books import Books
from tokwatt.economics.plan import Plan, ServerPlan
from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import Boundary, PowerReading, PowerSource, ServerReading
from tokwatt.sampler import Sampler
from tokwatt.sources.power import specs

pytestmark = pytest.mark.e2e

HEALTHY_TICKS = 5
LASTS_TICKS = {"suspended": 7, "backwards": 1}  # a value that stands is doubted after four periods
BACK_WITHIN_TICKS = 15  # a driver that was gone is tried every 10 s
STEP_JOULES = WATTS * STEP_SECONDS
OTHER_WATTS = 100.0


class AtTick:
    """A source read at each tick, whatever its own timer: the test owns the time."""

    period_seconds = None

    def __init__(self, source: PowerSource) -> None:
        self.name, self.timeout_seconds, self._source = source.name, source.timeout_seconds, source
        self.latest: PowerReading | None = None

    async def read(self) -> PowerReading:
        self.latest = await self._source.read()
        return self.latest

    async def aclose(self) -> None:
        pass


class Twin:
    """A second source of the same devices."""

    name, timeout_seconds, period_seconds = "twin", 1.0, None

    def __init__(self, of: AtTick) -> None:
        self.of = of

    async def read(self) -> PowerReading:
        assert self.of.latest is not None
        readings = self.of.latest.readings
        return PowerReading(tuple(replace(one, meter=replace(one.meter, source=self.name)) for one in readings), ())

    async def aclose(self) -> None:
        pass


class Other:
    """A healthy GPU meter."""

    name, timeout_seconds, period_seconds = "other", 1.0, None

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    async def read(self) -> PowerReading:
        return gpu_pass(self.clock(), {7: OTHER_WATTS * self.clock()}, self.name)

    async def aclose(self) -> None:
        pass


class Chat:
    """A healthy inference server."""

    name, timeout_seconds = "chat", 1.0

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    async def read(self) -> ServerReading:
        return tokens(self.clock(), 100 * self.clock())

    async def aclose(self) -> None:
        pass


class Rig:
    def __init__(self, bench: Bench, clock: FakeClock) -> None:
        self.bench, self.clock, self.wall_step = bench, clock, 0.0
        self.face = Face()
        plan = Plan((ServerPlan("chat", all_gpus=True),), tick_seconds=STEP_SECONDS)
        books = Books(plan, Ledger())
        self.sampler = Sampler(books, clock, lambda: 1.8e9 + clock() + self.wall_step, self.face.publish)
        self.sampler.watch_tokens(Chat(clock))
        self.meter = AtTick(bench.source)
        self.sampler.watch_power(self.meter)
        self.sampler.watch_power(Other(clock))
        self.highest: dict = {}
        self.first_at: float | None = None

    async def tick(self) -> None:
        self.clock.advance(STEP_SECONDS)
        self.bench.refresh()
        await self.sampler.tick()

    async def page(self, client: TestClient):
        """Scrape; what must hold of every page holds of it."""
        response = await client.get("/metrics")
        assert response.status == 200
        samples = classic_samples(await response.text())
        for key, value in samples.items():
            if key[0].endswith("_total"):
                assert value >= self.highest.get(key, 0.0) - 1e-6, f"{key} fell from {self.highest[key]} to {value}"
                self.highest[key] = value
        for boundary in ("gpu", "host"):
            parts = [
                total(samples, f"tokwatt_{name}_energy_joules_total")
                for name in (boundary, f"server_{boundary}", f"unattributed_{boundary}")
                if present(samples, f"tokwatt_{name}_energy_joules_total")
            ]
            if parts:
                assert sum(parts[1:]) == pytest.approx(parts[0], rel=1e-9, abs=1e-6), f"{boundary} does not balance"
        if self.first_at is None and present(samples, self.metric, source=NAME):
            self.first_at = self.clock.now
        return samples

    @property
    def metric(self) -> str:
        return f"tokwatt_{self.bench.boundary.value}_energy_joules_total"

    def reason(self) -> str:
        snapshot = self.face.snapshot
        assert snapshot is not None
        health = next(one for one in snapshot.sources if one.source == NAME)
        return health.reason if not health.up else ""


@pytest.fixture(autouse=True)
def _password(monkeypatch):
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)


def fault_of(rig: Rig, name: str) -> Fault:
    made = rig.bench.faults.get(name)
    if name == "duplicate":
        return Fault(lambda: rig.sampler.watch_power(Twin(rig.meter)), lambda: None, "")
    if name == "clock_step" and made is None:
        return Fault(lambda: setattr(rig, "wall_step", -3600.0), lambda: None, "")
    assert made is not None, f"the bench of {NAME} cannot make {name}"
    return made


@pytest.mark.parametrize(("source", "name"), PAIRS, ids=[f"{source}-{fault}" for source, fault in PAIRS])
async def test_fault(source, name, tmp_path):
    if source == "amdsmi" and not amdsmi_double.available():
        pytest.skip("needs the package amdsmi and gcc")
    clock = FakeClock(1000.0)
    async with BENCHES[source](clock, tmp_path, name) as bench:
        rig = Rig(bench, clock)
        async with TestClient(TestServer(application(rig.face, clock))) as client:
            for _ in range(HEALTHY_TICKS):
                await rig.tick()
                await rig.page(client)
            assert rig.reason() == ""
            assert rig.first_at is not None
            fault = fault_of(rig, name)
            fault.begin()
            scrapes = []
            for _ in range(LASTS_TICKS.get(name, 4)):
                ticking = asyncio.create_task(rig.tick())
                await asyncio.sleep(0)
                begun = time.monotonic()
                await rig.page(client)
                scrapes.append(time.monotonic() - begun)
                await ticking
            during = await rig.page(client)
            assert min(scrapes) < 0.1, "a scrape waited for a source"
            assert rig.reason() == fault.reason
            for healthy in ("other", "chat"):
                assert total(during, "tokwatt_source_up", source=healthy) == 1
            assert total(during, "tokwatt_gpu_energy_joules_total", source="other") == pytest.approx(
                OTHER_WATTS * (clock.now - 1000.0 - STEP_SECONDS), abs=OTHER_WATTS
            )
            fault.end()
            clock.advance(fault.retried_after_seconds)
            for _ in range(BACK_WITHIN_TICKS):
                await rig.tick()
                if rig.reason() == "":
                    break
            for _ in range(3):
                await rig.tick()
                after = await rig.page(client)
            assert rig.reason() == ""
            check_energy(rig, name, fault, total(after, rig.metric, source=NAME))
            if name == "duplicate":
                assert total(after, "tokwatt_source_errors_total", source="twin", reason="duplicate_device") > 0
        await rig.sampler.aclose()


def check_energy(rig: Rig, name: str, fault: Fault, counted: float) -> None:
    """Nothing is counted that was not drawn, and what is missing is what nobody can know."""
    drawn = WATTS * (rig.clock.now - rig.first_at)
    unguarded = name == "backwards" and fault.reason == ""
    glitch = GLITCH_JOULES if unguarded else 0.0
    assert counted <= drawn + 2 * STEP_JOULES + glitch
    known = rig.bench.counts and name not in ("reset", "backwards")
    unknown_seconds = (LASTS_TICKS.get(name, 4) + 12) * STEP_SECONDS + fault.retried_after_seconds
    missing = 3 * STEP_JOULES if known else WATTS * unknown_seconds
    assert counted >= drawn - missing


def test_every_source_meets_every_fault_or_says_why_it_cannot():
    assert set(BENCHES) == set(specs())
    unknown = [pair for pair in IMPOSSIBLE if pair[0] not in BENCHES or pair[1] not in FAULTS]
    assert not unknown
    assert all(IMPOSSIBLE.values())
    assert len(PAIRS) + len(IMPOSSIBLE) == len(BENCHES) * len(FAULTS)
    assert {bench.boundary for bench in BENCHES.values()} >= {Boundary.GPU, Boundary.CPU, Boundary.HOST}
