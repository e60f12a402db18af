"""The dcgm-exporter meter: one board is one device, and a repeated value is no new reading."""

import contextlib
from pathlib import Path

import pytest
from support.clock import FakeClock
from support.page_server import PageFault, page_server

from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import (
    Boundary,
    DeviceLost,
    EnergyCounter,
    Fidelity,
    Malformed,
    Method,
    PowerSample,
    Refused,
    SourceContext,
    SourceError,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import specs
from tokwatt.sources.power.dcgm import DcgmOptions, DcgmSource

PAGES = Path(__file__).parents[1] / "fixtures/dcgm"  # written, not recorded: see the README there
GPU0, GPU1 = "GPU-5fd4f087-86f3-7a43-b711-4771313afc50", "GPU-9e5b1c22-61bf-5124-a0a9-079af1b65cc6"
ENERGY0, ENERGY1 = 257858316, 187554325  # mJ on the pages


def shown(name: str, joules: float = 0.0) -> str:
    """A page with its energy counters `joules` further, and its power changed a little with them."""
    moved = []
    for line in (PAGES / f"{name}.prom").read_text().splitlines():
        series, _, value = line.rpartition(" ")
        if series.startswith("DCGM_FI_DEV_TOTAL_ENERGY"):
            line = f"{series} {int(value) + round(joules * 1000)}"
        elif series.startswith("DCGM_FI_DEV_POWER"):
            line = f"{series} {float(value) + joules / 1e6:.6f}"
        moved.append(line)
    return "\n".join([*moved, ""])


@contextlib.asynccontextmanager
async def dcgm(body: str = "", **changes):
    clock = FakeClock()
    async with page_server(body) as page:
        source = DcgmSource(DcgmOptions(url=page.url, **changes), SourceContext("dcgm", clock))
        try:
            yield page, source, clock
        finally:
            await source.aclose()


async def started(page, source, clock, name="plain"):
    """Two reads with a change in between, so that the age of the values is known."""
    page.body = shown(name)
    with pytest.raises(Unavailable, match="age of the first value"):
        await source.read()
    clock.advance(15)
    page.body = shown(name, 6000.0)
    return await source.read()


@pytest.mark.parametrize("name", ["plain", "mig", "shared"])
async def test_each_board_is_one_device_however_often_its_value_is_repeated(name):
    async with dcgm() as (page, source, clock):
        reading = await started(page, source, clock, name)
        by_device = {one.meter.device: one for one in reading.readings}
        assert set(by_device) == {GPU0, GPU1}
        assert len(reading.readings) == 2
        first = by_device[GPU0]
        assert isinstance(first, EnergyCounter)
        assert first.joules == pytest.approx(ENERGY0 / 1000 + 6000.0)
        assert (first.meter.boundary, first.meter.fidelity) == (Boundary.GPU, Fidelity.HIGHEST)
        assert (first.meter.source, first.meter.method) == ("dcgm", Method.COUNTER)
        info = next(info for info in reading.devices if info.meter.device == GPU1)
        assert (info.name, info.index) == ("NVIDIA H100 80GB HBM3", 1)
        assert dict(info.details)["Hostname"] == "node-1"


async def test_joules_over_a_minute_are_the_counters_whatever_the_pace_of_its_renewal():
    """Renewed every 30 s, read every 15 s: no zero and double, and nothing from before the first change."""
    ledger = Ledger()
    async with dcgm() as (page, source, clock):
        for step in range(9):
            page.body = shown("plain", 9000.0 * (step // 2))  # 300 W
            with contextlib.suppress(Unavailable):
                assert ledger.add_power(await source.read(), 3.5 * 15) == ()
            clock.advance(15)
    curve = ledger.curves[Boundary.GPU, GPU0]
    assert curve.line.end_value == pytest.approx(3 * 9000.0)  # 4 changes, the first of which is the baseline
    assert curve.line.end_seconds - curve.line.start_seconds == 90.0
    assert curve.gap_seconds == 0
    middle = curve.line.start_seconds + 45
    assert curve.line.at(middle) - curve.line.at(middle - 15) == pytest.approx(300 * 15)


async def test_a_change_is_placed_in_the_middle_of_when_it_can_have_happened():
    async with dcgm() as (page, source, clock):
        first = await started(page, source, clock)
        assert {one.at_seconds for one in first.readings} == {clock.now - 7.5}
        clock.advance(15)
        repeated = await source.read()
        assert repeated.readings == first.readings  # the same reading at its old instant: the ledger passes it over
        clock.advance(300)  # nothing was read for long: the change is at most one renewal old
        page.body = shown("plain", 90_000.0)
        assert {one.at_seconds for one in (await source.read()).readings} == {clock.now - 15.0}


async def test_without_the_energy_field_power_is_integrated():
    async with dcgm() as (page, source, clock):
        reading = await started(page, source, clock, "gauge")
        (one,) = [one for one in reading.readings if one.meter.device == GPU1]
        assert isinstance(one, PowerSample)
        assert one.watts == pytest.approx(70.256)
        assert one.meter.method is Method.INTEGRATED


async def test_the_newer_name_of_the_gauge_is_the_same_board():
    async with dcgm() as (page, source, clock):
        page.body = shown("gauge").replace("DEV_POWER_USAGE", "DEV_BOARD_POWER_WATTS") + shown("gauge")
        with pytest.raises(Unavailable):
            await source.read()
        clock.advance(15)
        page.body = page.body.replace(" 70.25", " 80.25")
        assert [one.watts for one in (await source.read()).readings] == [80.25]


async def test_a_counter_that_falls_is_a_reset_not_energy():
    ledger = Ledger()
    async with dcgm() as (page, source, clock):
        ledger.add_power(await started(page, source, clock), 60)
        clock.advance(30)
        page.body = shown("plain", -180_000.0)
        ledger.add_power(await source.read(), 60)
        curve = ledger.curves[Boundary.GPU, GPU0]
        assert (curve.line.end_value, curve.resets) == (0.0, 1)


async def test_a_collection_that_stands_still_is_told_and_not_taken_for_no_power():
    async with dcgm() as (page, source, clock):
        await started(page, source, clock)
        for _ in range(8):
            clock.advance(15)
            await source.read()
        clock.advance(15)
        with pytest.raises(Unavailable, match="has not changed for 135 s"):
            await source.read()


async def test_a_board_that_leaves_the_page_is_lost_and_the_others_go_on():
    async with dcgm() as (page, source, clock):
        await started(page, source, clock)
        clock.advance(15)
        page.body = "\n".join(line for line in shown("plain", 9000.0).splitlines() if GPU0 not in line) + "\n"
        reading = await source.read()
        assert [one.meter.device for one in reading.readings] == [GPU1]
        (failure,) = reading.failures
        assert failure.device == GPU0
        assert isinstance(failure.error, DeviceLost)
        page.body = "up 1\n"
        with pytest.raises(DeviceLost, match="neither"):
            await source.read()


async def test_a_counter_that_leaves_the_page_is_not_replaced_by_the_gauge():
    async with dcgm() as (page, source, clock):
        await started(page, source, clock)
        page.body = shown("gauge", 1.0)
        clock.advance(15)
        with pytest.raises(DeviceLost, match="gone from the page"):
            await source.read()


async def test_zeros_of_mig_instances_beside_the_board_are_passed_over():
    async with dcgm() as (page, source, clock):
        page.body = shown("mig").replace(
            'GPU_I_ID="3",DCGM_FI_DRIVER_VERSION="570.133.20"} 257858316', 'GPU_I_ID="3"} 0'
        )
        with pytest.raises(Unavailable):
            await source.read()
        clock.advance(15)
        page.body = page.body.replace(f" {ENERGY0}", f" {ENERGY0 + 5000}")
        readings = {one.meter.device: one for one in (await source.read()).readings}
        assert readings[GPU0].joules == pytest.approx(ENERGY0 / 1000 + 5)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (f" {ENERGY0}", " 9223372036854775794", "DCGM has no value"),
        (f" {ENERGY0}", " NaN", "shows nan mJ"),
        (f" {ENERGY0}", " -1", "shows -1 mJ"),
        (f" {ENERGY0}", " 0", "0 mJ, which is no measurement"),
    ],
)
async def test_what_is_no_measurement_fails_for_its_board_alone(old, new, words):
    async with dcgm() as (page, source, clock):
        page.body = shown("plain").replace(old, new)
        with pytest.raises(SourceError):
            await source.read()
        clock.advance(15)
        page.body = shown("plain", 6000.0).replace(f" {ENERGY0 + 6_000_000}", new)
        reading = await source.read()
        assert [one.meter.device for one in reading.readings] == [GPU1]
        assert words in str(reading.failures[0].error)


async def test_gauges_of_one_board_that_disagree_are_refused():
    async with dcgm(shown("gauge")) as (page, source, _clock):
        lines = [line for line in page.body.splitlines() if "POWER_USAGE{" in line and GPU0 in line]
        page.body = "\n".join(
            [lines[0].replace('device="', 'GPU_I_ID="1",device="'), lines[0].replace(" 412.5", " 90.0")]
        )
        with pytest.raises(Malformed, match=r"from 90 to 412.5 W .*not this meter's to add up"):
            await source.read()


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("<!doctype html><html>Welcome</html>", Malformed, "web page"),
        ("up 1\n", Unavailable, "counters file"),
        ("", Unavailable, "counters file"),
        ('DCGM_FI_DEV_POWER_USAGE{gpu="0"} 250.5\n', Malformed, "names no GPU by UUID"),
        ('DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1"} many\n', Malformed, "cannot read the line"),
        (2 * 'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1"} 7\n', Malformed, "the same series twice"),
    ],
)
async def test_wrong_pages_say_what_is_wrong(body, kind, words):
    async with dcgm(body) as (_page, source, _clock):
        with pytest.raises(kind, match=words):
            await source.read()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (PageFault.HANG, TimedOut),
        (PageFault.STALLS, TimedOut),
        (PageFault.RESET, Unavailable),
        (PageFault.TRUNCATED, Malformed),
        (PageFault.ERROR_500, Malformed),
        (PageFault.UNAUTHORIZED, Refused),
    ],
)
async def test_a_fault_ends_in_time_and_the_counter_goes_on_after_it(fault, kind):
    async with dcgm(timeout_seconds=0.2) as (page, source, clock):
        await started(page, source, clock)
        page.fault = fault
        with pytest.raises(kind):
            await source.read()
        page.fault = PageFault.NONE
        clock.advance(15)
        page.body = shown("plain", 7000.0)
        readings = {one.meter.device: one for one in (await source.read()).readings}
        assert readings[GPU0].joules == pytest.approx(ENERGY0 / 1000 + 7000.0)


def test_the_spec_is_not_detected_because_nvml_reads_the_same_boards():
    spec = specs()["dcgm"]
    source = spec.open(spec.options(), SourceContext("dcgm", FakeClock()))
    assert (source.name, source.period_seconds) == ("dcgm", 15.0)
    assert not spec.detect


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"collect_seconds": 60.0}, "period_seconds must be at least 24"),
        ({"collect_seconds": 0.0}, "collect_seconds"),
        ({"url": "dcgm:9400"}, "url"),
        ({"url": "http://u:hunter2@127.0.0.1/metrics"}, "no user name or password"),
        ({"period_seconds": 0.0}, "period_seconds"),
    ],
)
def test_impossible_options_are_refused(changes, words):
    with pytest.raises(ValueError, match=words) as refused:
        DcgmOptions(**changes)
    assert "hunter2" not in str(refused.value)
