"""A measured run on simulated sources whose truth is known, on a clock that the test owns."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from support.clock import FakeClock

from tokwatt.app.build import Workshop
from tokwatt.app.demo import demo_setup
from tokwatt.app.exporter import Exporter
from tokwatt.app.measure import Measurement, NothingToMeasureError, Run
from tokwatt.app.measure_command import ProgressLine
from tokwatt.app.measure_page import run_page
from tokwatt.app.measure_report import COLUMNS, Occasion, as_json, as_rows, as_text
from tokwatt.config import ListenAddress
from tokwatt.economics.phases.none import NoSplit
from tokwatt.economics.phases.split import Shares, Tick
from tokwatt.simulate.fleet import ServerPlan
from tokwatt.simulate.load import Request, Scripted
from tokwatt.simulate.machines import LLAMA_8B_ON_H100, LLAMACPP_3B_ON_H100
from tokwatt.simulate.servers import LLAMACPP, VLLM
from tokwatt.simulate.world import World
from tokwatt.snapshot import Given, Phase

LISTEN = ListenAddress("127.0.0.1", 0)
OCCASION = Occasion(("bench", "--rate", "4"), {"rate": "4"}, "2026-01-01T00:00:00+00:00", 0, interrupted=False)


class Pause:
    """A command that runs for a time on the test's clock."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self.started_seconds = float("nan")
        self.ended_seconds: float | None = None

    async def start(self) -> None:
        self.started_seconds = self._clock()

    async def wait(self) -> None:
        while self._clock() < self.started_seconds + self._seconds:
            await asyncio.sleep(0)
        self.ended_seconds = self._clock()


def arrivals(start: float, begin: float, end: float, per_second: float, output_tokens: int = 200) -> Scripted:
    """Requests at a constant rate between two instants."""
    count = int((end - begin) * per_second)
    return Scripted([Request(start + begin + number / per_second, 300, 0, output_tokens) for number in range(count)])


@asynccontextmanager
async def world_of(clock: FakeClock, engine: str, load: Scripted) -> AsyncIterator[tuple[World, Measurement]]:
    machine = LLAMA_8B_ON_H100 if engine == VLLM else LLAMACPP_3B_ON_H100
    plan = ServerPlan("chat", engine, "sim/model", machine, lambda start, seed: load)

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)
        await asyncio.sleep(0)

    workshop = Workshop(clock)
    async with World((plan,), clock=clock, unix_clock=lambda: 1.79e9 + clock(), spare_gpus=0) as world:
        setup = demo_setup(world, workshop, LISTEN)
        power = {name: entry for name, entry in setup.power.items() if "nvml" in name}  # the BMC has a timer of its own
        exporter = Exporter(replace(setup, power=power), clock)
        exporter.open()
        try:
            yield world, Measurement(exporter, clock, sleep)
        finally:
            await exporter.stop()
            await workshop.aclose()


async def measured(engine: str, load: Scripted, seconds: float, clock: FakeClock) -> tuple[World, Run]:
    async with world_of(clock, engine, load) as (world, measurement):
        assert await measurement.get_ready() == ()
        return world, await measurement.run(Pause(clock, seconds))


@pytest.fixture(scope="module")
def run() -> tuple[World, Run]:
    return asyncio.run(measured(VLLM, arrivals(1000.0, 12, 72, 4), 80, FakeClock(1000.0)))


class TestSteadyLoad:
    """60 s of work between a quiet start (a benchmark that loads its data) and a quiet end."""

    def test_totals_are_the_truth_between_two_readings(self, run):
        world, found = run
        whole = found.servers[0].figures.whole
        assert whole.start_seconds <= found.started_seconds
        assert whole.end_seconds >= found.ended_seconds + 1
        tokens = world.tokens_between("chat", whole.start_seconds, whole.end_seconds)
        assert whole.total("output_tokens") == tokens.output_tokens == 4 * 60 * 200
        assert whole.total("input_tokens") == 4 * 60 * 300
        assert whole.total("responses") == 240
        joules = world.energy_between("chat", whole.start_seconds, whole.end_seconds).joules
        assert whole.energy[Given.GPU].joules == pytest.approx(joules, rel=0.005)
        assert whole.energy[Given.GPU].coverage_ratio == pytest.approx(1)
        assert 0 < whole.energy[Given.GPU].error_ratio < 0.1

    def test_the_steady_state_is_inside_the_load_and_nearly_all_of_it(self, run):
        _, found = run
        steady = found.servers[0].figures.steady
        start, end = steady.start_seconds - found.started_seconds, steady.end_seconds - found.started_seconds
        assert 11 <= start <= 24
        assert 66 <= end <= 76
        assert steady.output_tokens_per_second == pytest.approx(800, rel=0.03)

    def test_steady_figures_are_the_truth_of_their_stretch(self, run):
        world, found = run
        steady = found.servers[0].figures.steady
        truth = world.energy_between("chat", steady.start_seconds, steady.end_seconds)
        tokens = world.tokens_between("chat", steady.start_seconds, steady.end_seconds)
        energy = steady.energy[Given.GPU]
        assert energy.joules == pytest.approx(truth.joules, rel=0.01)
        assert energy.output_tokens_per_joule == pytest.approx(tokens.output_tokens / truth.joules, rel=0.01)
        assert energy.p50_watts <= energy.p90_watts
        assert energy.p50_watts == pytest.approx(energy.mean_watts, rel=0.1)
        whole = found.servers[0].figures.whole
        assert energy.output_tokens_per_joule > whole.energy[Given.GPU].output_tokens_per_joule

    def test_dollars_are_capacity_and_energy_of_the_same_time(self, run):
        _, found = run
        whole = found.servers[0].figures.whole
        hours, kwh = whole.seconds / 3600, whole.energy[Given.GPU].joules / 3.6e6
        assert whole.dollars == pytest.approx(2.5 * hours + 0.17 * 1.2 * kwh)
        assert whole.output_tokens_per_dollar == pytest.approx(whole.total("output_tokens") / whole.dollars)
        per_response = whole.dollars / 240
        assert whole.response_dollars == pytest.approx(1.2 * per_response + 150 * 0.000002)
        assert whole.response_joules[Given.GPU] == pytest.approx(1.2 * whole.energy[Given.GPU].joules / 240)

    def test_power_at_p90_load_is_that_of_the_busy_time(self, run):
        _, found = run
        figures = found.servers[0].figures
        busy = figures.whole.p90_load
        assert busy.output_tokens_per_second == pytest.approx(800, rel=0.02)
        assert busy.watts[Given.GPU] == pytest.approx(figures.steady.energy[Given.GPU].mean_watts, rel=0.1)

    def test_reports_say_the_same(self, run):
        _, found = run
        whole, steady = found.servers[0].figures.whole, found.servers[0].figures.steady
        text = as_text(found, OCCASION)
        assert text.startswith("bench --rate 4: exit status 0, 80.0 s")
        assert "48,000" in text
        assert max(map(len, text.splitlines())) < 100
        report = json.loads(json.dumps(as_json(found, OCCASION), allow_nan=False))
        assert report["servers"][0]["run"]["output_tokens"] == 48_000
        assert report["servers"][0]["run"]["gpu_energy_joules"] == whole.energy[Given.GPU].joules
        course = report["servers"][0]["course"]
        made = sum(
            rate * (end - start)
            for rate, start, end in zip(
                course["output_tokens_per_second"], course["from_second"], course["to_second"], strict=True
            )
        )
        assert made == pytest.approx(48_000)
        rows = as_rows(found, OCCASION)
        assert [row["part"] for row in rows] == ["run", "steady"]
        assert all(tuple(row) == COLUMNS for row in rows)
        assert float(rows[1]["gpu_output_tokens_per_joule"]) == pytest.approx(
            steady.energy[Given.GPU].output_tokens_per_joule
        )
        assert rows[0]["host_energy_joules"] == ""


class TestOtherRuns:
    async def test_a_load_that_only_rises_has_no_steady_state(self):
        load = Scripted(
            [Request(1000.0 + second, 300, 0, 100) for second in range(5, 65) for _ in range(1 + second // 6)]
        )
        _, found = await measured(VLLM, load, 70, FakeClock(1000.0))
        figures = found.servers[0].figures
        assert figures.steady is None
        assert "never was steady" in figures.why_not_steady
        assert "no steady state" in as_text(found, OCCASION)
        assert [row["part"] for row in as_rows(found, OCCASION)] == ["run"]

    async def test_a_run_without_any_token_costs_all_the_same(self):
        _, found = await measured(VLLM, Scripted([]), 20, FakeClock(1000.0))
        figures = found.servers[0].figures
        assert figures.whole.total("output_tokens") == 0
        assert figures.whole.energy[Given.GPU].output_tokens_per_joule == 0
        assert figures.whole.dollars > 0
        assert figures.steady is None

    @pytest.mark.parametrize(("per_second", "output_tokens"), [(1, 150), (1, 600), (2, 600)])
    async def test_where_tokens_are_counted_when_a_request_ends_the_edges_are_finishes(self, per_second, output_tokens):
        load = arrivals(1000.0, 5, 95, per_second, output_tokens)
        world, found = await measured(LLAMACPP, load, 130, FakeClock(1000.0))
        figures = found.servers[0].figures
        whole, steady = figures.whole, figures.steady
        assert whole.total("output_tokens") == 90 * per_second * output_tokens
        assert steady is not None
        assert 80 <= steady.seconds <= 92
        made = world.tokens_between("chat", steady.start_seconds, steady.end_seconds).output_tokens
        assert steady.total("output_tokens") == pytest.approx(made, rel=0.02)

    async def test_a_server_that_is_gone_before_the_command_is_an_error(self):
        clock = FakeClock(1000.0)
        async with world_of(clock, VLLM, Scripted([])) as (world, measurement):
            await world.server("chat").crash()
            with pytest.raises(NothingToMeasureError, match="no inference server answers"):
                await measurement.get_ready()

    async def test_a_server_that_dies_during_the_run_is_said_to_be_down(self):
        clock = FakeClock(1000.0)
        async with world_of(clock, VLLM, arrivals(1000.0, 2, 30, 4)) as (world, measurement):
            await measurement.get_ready()
            killing: list[asyncio.Task[None]] = []

            def on_tick() -> None:
                if clock() > 1020 and not killing:
                    killing.append(asyncio.create_task(world.server("chat").crash()))

            found = await measurement.run(Pause(clock, 30), on_tick)
            await killing[0]
        assert [health.source for health in found.down] == ["chat"]
        assert found.servers[0].figures is None
        assert "not measured" in as_text(found, OCCASION)
        assert as_rows(found, OCCASION)[0]["output_tokens"] == ""
        assert as_json(found, OCCASION)["servers"][0]["run"] is None

    async def test_energy_by_phase_where_it_is_split_some_seconds_behind(self):
        clock = FakeClock(1000.0)
        async with world_of(clock, VLLM, arrivals(1000.0, 5, 35, 4)) as (_, measurement):
            measurement.books.accounts["chat"].phases.change(LateSplit())
            await measurement.get_ready()
            found = await measurement.run(Pause(clock, 45))
        whole = found.servers[0].figures.whole
        phases = whole.phase_joules[Given.GPU]
        assert sum(phases.values()) == pytest.approx(whole.energy[Given.GPU].joules)
        assert phases[Phase.UNSPLIT] == pytest.approx(0, abs=1e-6)
        assert phases[Phase.IDLE] > 0
        assert phases[Phase.DECODE] == pytest.approx(3 * phases[Phase.PREFILL])
        assert "energy of decode, gpu" in as_text(found, OCCASION)
        page = run_page(found, OCCASION)
        assert page.count("<svg") == 3
        assert "Power by phase, gpu" in page


class LateSplit(NoSplit):
    """Gives a quarter of busy energy to prefill, four ticks behind."""

    method = "weights"  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[Tick, Shares]] = []

    def take(self, tick: Tick) -> None:
        self._waiting.append((tick, Shares(idle=1.0) if tick.idle else Shares(0.25, 0.75)))

    def settled(self) -> list[tuple[Tick, Shares]]:
        done, self._waiting = self._waiting[:-4], self._waiting[-4:]
        return done


class Terminal(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("terminal", [True, False])
async def test_a_line_shows_the_state_on_a_terminal_only(terminal):
    clock, stream = FakeClock(1000.0), Terminal(terminal=terminal)
    async with world_of(clock, VLLM, arrivals(1000.0, 2, 30, 4)) as (_, measurement):
        await measurement.get_ready()
        command = Pause(clock, 20)
        line = ProgressLine(measurement, command, stream)
        await measurement.run(command, line.show)
        line.clear()
    shown = [part.removeprefix("\x1b[K") for part in stream.getvalue().split("\r")]
    if terminal:
        assert any(part.startswith("00:15  chat 8") and part.endswith("W gpu") for part in shown), shown
        assert shown[-1] == ""
    else:
        assert stream.getvalue() == ""
