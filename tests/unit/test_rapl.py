"""RAPL zones of a fake sysfs: what is counted, what is left out, and what a person is told when it cannot be read."""

import asyncio
import dataclasses
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clock import FakeClock
from support.other_user import as_nobody, needs_root
from support.sysfs_tree import RANGE_MICROJOULES, Powercap, as_pipe

from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import (
    Boundary,
    DeviceLost,
    DuplicateDevice,
    EnergyCounter,
    Fidelity,
    Malformed,
    Method,
    PowerReading,
    Refused,
    SourceContext,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import specs
from tokwatt.sources.power.rapl import RaplOptions, RaplSource


def meter(root: Path, clock=None, **changes) -> RaplSource:
    context = SourceContext("rapl", clock or FakeClock(), simulated=changes.pop("simulated", False))
    return RaplSource(RaplOptions(sysfs_root=str(root), **changes), context)


async def read(root: Path, **changes) -> PowerReading:
    source = meter(root, **changes)
    try:
        return await source.read()
    finally:
        await source.aclose()


def joules(reading: PowerReading) -> dict[tuple[str, str], float]:
    assert all(isinstance(counter, EnergyCounter) for counter in reading.readings)
    return {(c.meter.boundary.value, c.meter.device): c.joules for c in reading.readings}


@pytest.fixture
def powercap(tmp_path) -> Powercap:
    """Two sockets as Intel servers show them, with everything that must not be counted twice."""
    tree = Powercap(tmp_path)
    for socket in (0, 1):
        tree.add(f"intel-rapl:{socket}", f"package-{socket}", 1000 + socket)
        tree.add(f"intel-rapl:{socket}:0", "core", 600)
        tree.add(f"intel-rapl:{socket}:1", "uncore", 100)
        tree.add(f"intel-rapl:{socket}:2", "dram", 200 + socket, 65_532_610_987)
        tree.add(f"intel-rapl-mmio:{socket}", f"package-{socket}", 1000 + socket)
    tree.add("intel-rapl:2", "psys", 5000)
    return tree


async def test_packages_and_their_dram_are_counted_and_nothing_that_they_contain(powercap):
    reading = await read(powercap.root)
    assert joules(reading) == {
        ("cpu", "package-0"): 1000,
        ("dram", "package-0-dram"): 200,
        ("cpu", "package-1"): 1001,
        ("dram", "package-1-dram"): 201,
    }
    assert reading.failures == ()
    package, dram = reading.readings[:2]
    assert (package.meter.fidelity, package.meter.method) == (Fidelity.HIGH, Method.COUNTER)
    assert package.wraps_at_joules == pytest.approx(RANGE_MICROJOULES / 1e6)
    assert dram.wraps_at_joules == pytest.approx(65_532.610987)
    assert [info.name for info in reading.devices[:2]] == ["CPU package", "DRAM beside a CPU package"]
    assert dict(reading.devices[1].details)["zone"] == "intel-rapl:0:2"
    assert all(info.index is None for info in reading.devices)  # an index names GPUs


async def test_amd_and_several_dies_are_packages_too(tmp_path):
    tree = Powercap(tmp_path)
    for number, die in enumerate(("package-0-die-0", "package-0-die-1")):
        tree.add(f"intel-rapl:{number}", die, 10 + number)
        tree.add(f"intel-rapl:{number}:0", "core", 5)
    assert joules(await read(tmp_path)) == {("cpu", "package-0-die-0"): 10, ("cpu", "package-0-die-1"): 11}


async def test_dram_is_named_by_its_own_package_and_not_by_its_number(tmp_path):
    tree = Powercap(tmp_path)
    tree.add("intel-rapl:0", "package-1", 10)
    tree.add("intel-rapl:0:0", "dram", 1)
    tree.add("intel-rapl:1", "package-0", 20)
    tree.add("intel-rapl:10", "package-10", 100)
    tree.add("intel-rapl:10:0", "dram", 7)
    assert joules(await read(tmp_path)) == {
        ("cpu", "package-1"): 10,
        ("dram", "package-1-dram"): 1,
        ("cpu", "package-0"): 20,
        ("cpu", "package-10"): 100,
        ("dram", "package-10-dram"): 7,
    }


async def test_a_counter_that_wraps_while_it_is_read_loses_no_joule(tmp_path):
    tree, clock, ledger = Powercap(tmp_path), FakeClock(), Ledger()
    top = RANGE_MICROJOULES / 1e6
    tree.add("intel-rapl:0", "package-0", top - 1000)
    source, used = meter(tmp_path, clock), 0.0
    for _ in range(12):  # 150 J a second: the seventh reading is past the wrap
        ledger.add_power(await source.read(), max_gap_seconds=3.5)
        clock.advance(1)
        used += 150
        tree.set("intel-rapl:0", (top - 1000 + used) % top)
    await source.aclose()
    curve = ledger.curves[Boundary.CPU, "package-0"]
    assert curve.line.end_value == pytest.approx(11 * 150, abs=1e-3)
    assert curve.resets == 0


@pytest.mark.parametrize("range_microjoules", [None, 0])
async def test_without_a_range_a_fall_is_a_reset(tmp_path, range_microjoules):
    Powercap(tmp_path).add("intel-rapl:0", "package-0", 5, range_microjoules)
    assert (await read(tmp_path)).readings[0].wraps_at_joules is None


async def test_the_counter_is_stamped_when_it_is_read(powercap):
    clock = FakeClock(77.0)
    assert {counter.at_seconds for counter in (await read(powercap.root, clock=clock)).readings} == {77.0}


async def test_the_power_between_two_readings_is_that_of_the_tree(tmp_path):
    tree = Powercap(tmp_path)
    tree.add("intel-rapl:0", "package-0", 1)
    source, start, stop = meter(tmp_path, time.monotonic), time.monotonic(), threading.Event()

    def burn():
        while not stop.wait(0.001):
            tree.set("intel-rapl:0", 1 + 250 * (time.monotonic() - start))

    burning = threading.Thread(target=burn)
    burning.start()
    first = (await source.read()).readings[0]
    await asyncio.sleep(0.3)
    last = (await source.read()).readings[0]
    stop.set()
    burning.join()
    await source.aclose()
    assert (last.joules - first.joules) / (last.at_seconds - first.at_seconds) == pytest.approx(250, rel=0.1)


# --- what goes wrong


async def test_one_zone_that_fails_does_not_hide_the_others(powercap):
    (powercap.folder / "intel-rapl:0/energy_uj").write_text("\n")
    (powercap.folder / "intel-rapl:1:2/energy_uj").unlink()
    reading = await read(powercap.root)
    assert set(joules(reading)) == {("dram", "package-0-dram"), ("cpu", "package-1")}
    errors = {failure.device: failure.error for failure in reading.failures}
    assert isinstance(errors["package-0"], Malformed)
    assert "intel-rapl:0/energy_uj: holds '', not a whole number" in str(errors["package-0"])
    assert isinstance(errors["package-1-dram"], DeviceLost)


async def test_a_zone_that_returns_is_read_again(powercap):
    source = meter(powercap.root)
    energy = powercap.folder / "intel-rapl:1/energy_uj"
    energy.rename(powercap.folder / "away")
    assert ("cpu", "package-1") not in joules(await source.read())
    (powercap.folder / "away").rename(energy)
    assert ("cpu", "package-1") in joules(await source.read())
    await source.aclose()


async def test_a_counter_that_stands_at_0_is_absent_and_not_0(powercap):
    powercap.set("intel-rapl:0:2", 0)
    reading = await read(powercap.root)
    assert ("dram", "package-0-dram") not in joules(reading)
    assert "stands at 0" in str(reading.failures[0].error)


async def test_two_zones_of_one_name_count_once(powercap):
    powercap.add("intel-rapl:3", "package-0", 9999)
    reading = await read(powercap.root)
    assert joules(reading)["cpu", "package-0"] == 1000
    assert [(f.device, type(f.error)) for f in reading.failures] == [("package-0", DuplicateDevice)]


@pytest.mark.parametrize(
    ("zones", "words"),
    [
        ({}, "no RAPL zones.*modprobe intel_rapl_msr"),
        ({"intel-rapl-mmio:0": "package-0"}, "no RAPL zones"),
        ({"intel-rapl:0": "psys"}, r"no package among the RAPL zones \(psys\)"),
    ],
)
async def test_a_host_without_packages_is_unavailable(tmp_path, zones, words):
    tree = Powercap(tmp_path)
    for zone, name in zones.items():
        tree.add(zone, name, 5)
    with pytest.raises(Unavailable, match=words):
        await read(tmp_path)


async def test_a_host_without_powercap_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="no RAPL zones"):
        await read(tmp_path / "nothing")


async def test_a_container_that_hides_powercap_is_told_apart(tmp_path):
    tree = Powercap(tmp_path)
    (tree.folder / "intel-rapl:0").symlink_to(tmp_path / "devices/virtual/powercap/intel-rapl/intel-rapl:0")
    with pytest.raises(Unavailable, match=r"lead nowhere.*hostPath.*sysfs_root"):
        await read(tmp_path)


async def test_a_read_that_hangs_times_out_and_resumes_by_itself(powercap):
    source, energy = (
        meter(powercap.root, time.monotonic, timeout_seconds=0.05),
        powercap.folder / "intel-rapl:0/energy_uj",
    )
    as_pipe(energy)
    with pytest.raises(TimedOut):
        await source.read()
    with pytest.raises(TimedOut, match="an earlier call has not returned"):
        await source.read()
    energy.write_text("1000000000")  # the pipe gets a writer: the hung read returns
    energy.unlink()
    powercap.set("intel-rapl:0", 1234)
    for _ in range(200):
        try:
            reading = await source.read()
            break
        except TimedOut:
            await asyncio.sleep(0.01)
    assert joules(reading)["cpu", "package-0"] == 1234
    await source.aclose()


@pytest.fixture
def open_powercap() -> Iterator[Powercap]:
    """One that another user may enter; pytest's own folders are for their owner only."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        tree = Powercap(Path(folder))
        tree.add("intel-rapl:0", "package-0", 1000)
        tree.add("intel-rapl:1", "package-1", 1001)
        yield tree


@needs_root
def test_without_the_right_to_read_it_says_what_to_do(open_powercap):
    """Root ignores modes, so the reading is done by a child that is nobody."""
    for energy in open_powercap.folder.glob("*/energy_uj"):
        energy.chmod(0o400)
    said = as_nobody(lambda: asyncio.run(refusal(open_powercap.root)))
    for words in ("intel-rapl:0/energy_uj", "Permission denied", "run as root", "CAP_DAC_READ_SEARCH", "udev"):
        assert words in said


@needs_root
def test_what_may_be_read_is_read_where_the_rest_may_not(open_powercap):
    (open_powercap.folder / "intel-rapl:0/energy_uj").chmod(0o400)

    def look() -> str:
        reading = asyncio.run(read(open_powercap.root))
        return f"{sorted(joules(reading))} {[(f.device, type(f.error).__name__) for f in reading.failures]}"

    assert as_nobody(look) == "[('cpu', 'package-1')] [('package-0', 'Refused')]"


async def refusal(root: Path) -> str:
    with pytest.raises(Refused) as caught:
        await read(root)
    return str(caught.value)


# --- options


def test_the_spec_opens_a_source_and_explains_every_option():
    spec = specs()["rapl"]
    source = spec.open(spec.options(), SourceContext("rapl", FakeClock()))
    assert (source.name, source.period_seconds, source.timeout_seconds) == ("rapl", None, 1.0)
    assert spec.detect
    assert all(option.metadata["help"] for option in dataclasses.fields(spec.options))


async def test_a_simulated_meter_says_so(powercap):
    assert (await read(powercap.root, simulated=True)).readings[0].meter.method is Method.SIMULATED


@pytest.mark.parametrize("wrong", [{"sysfs_root": "sys"}, {"timeout_seconds": 0}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RaplOptions(**wrong)
