"""hwmon sensors of a fake sysfs: the ones whose meaning is certain, the ones that a person explained, no others."""

import dataclasses
import time
from pathlib import Path

import pytest
from support.clock import FakeClock
from support.sysfs_tree import Hwmon, Powercap, as_pipe, replace

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
    PowerSample,
    SourceContext,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import specs
from tokwatt.sources.power.hwmon import HwmonOptions, HwmonSource
from tokwatt.sources.power.rapl import RaplOptions, RaplSource


def meter(root: Path, clock=None, *, simulated=False, **changes) -> HwmonSource:
    context = SourceContext("board", clock or FakeClock(), simulated=simulated)
    return HwmonSource(HwmonOptions(sysfs_root=str(root), **changes), context)


async def read(root: Path, **changes) -> PowerReading:
    source = meter(root, **changes)
    try:
        return await source.read()
    finally:
        await source.aclose()


def amounts(reading: PowerReading) -> dict[tuple[str, str], float]:
    return {
        (r.meter.boundary.value, r.meter.device): r.watts if isinstance(r, PowerSample) else r.joules
        for r in reading.readings
    }


@pytest.fixture
def grace(tmp_path) -> Hwmon:
    """A Grace Hopper node of two sockets, as its ACPI power meters show it."""
    tree, number = Hwmon(tmp_path), 0
    for socket in (0, 1):
        for what, watts in (("Module", 700), ("Grace", 180), ("CPU", 90), ("SysIO", 20)):
            tree.add(
                number,
                "power_meter",
                device=f"ACPI000D:0{number}",
                power1_average=(watts + socket) * 1_000_000,
                power1_average_interval=50,
                power1_oem_info=f"{what} Power Socket {socket}",
                power1_is_battery=0,
            )
            number += 1
    return tree


async def test_of_grace_the_cpu_rail_of_each_socket_is_read(grace):
    reading = await read(grace.root)
    assert amounts(reading) == {("cpu", "package-0"): 90.0, ("cpu", "package-1"): 91.0}
    sample = reading.readings[0]
    assert isinstance(sample, PowerSample)
    assert sample.averaged_over_seconds == 0.05
    assert (sample.meter.fidelity, sample.meter.method) == (Fidelity.HIGH, Method.INTEGRATED)
    info = reading.devices[0]
    assert (info.name, info.index) == ("CPU Power Socket 0", None)
    assert dict(info.details)["place"] == "ACPI000D:02"


async def test_what_the_configuration_names_goes_before_the_rule_for_the_same_socket(grace):
    reading = await read(grace.root, boundaries={"Grace Power Socket 0": "cpu"})
    assert amounts(reading) == {("cpu", "package-0"): 180.0, ("cpu", "package-1"): 91.0}
    assert reading.failures == ()
    assert set(amounts(await read(grace.root, boundaries={"CPU Power Socket 0": "none"}))) == {("cpu", "package-1")}


async def test_a_sensor_of_dram_is_another_device_than_its_socket(tmp_path):
    files = {"power1_average": 9_000_000, "power1_label": "DRAM Socket 1", "power2_average": 1, "power2_label": "x"}
    Hwmon(tmp_path).add(0, "board", **files)
    assert amounts(await read(tmp_path, boundaries={"DRAM Socket 1": "dram"})) == {("dram", "package-1-dram"): 9.0}


async def test_two_sensors_of_one_socket_count_once(grace):
    both = {"Grace Power Socket 0": "cpu", "SysIO Power Socket 0": "cpu"}
    reading = await read(grace.root, boundaries=both)
    assert amounts(reading) == {("cpu", "package-0"): 180.0, ("cpu", "package-1"): 91.0}
    (failure,) = reading.failures
    assert failure.device == "power_meter/SysIO Power Socket 0"
    assert isinstance(failure.error, DuplicateDevice)


async def test_an_acpi_meter_is_the_host_only_where_the_configuration_says_so(tmp_path):
    Hwmon(tmp_path).add(
        3, "power_meter", device="ACPI000D:00", power1_average=412_000_000, power1_average_interval=1000
    )
    with pytest.raises(Unavailable, match=r"found power_meter/power1@ACPI000D:00 .*power_meter: host"):
        await read(tmp_path)
    for name in ("power_meter", "power1", "power_meter/power1", "power_meter/power1@ACPI000D:00"):
        reading = await read(tmp_path, boundaries={name: "host"})
        assert amounts(reading) == {("host", "board"): 412.0}
    assert reading.readings[0].averaged_over_seconds == 1.0


async def test_two_meters_cannot_both_be_the_host(tmp_path):
    tree = Hwmon(tmp_path)
    for number, watts in enumerate((400, 30)):
        tree.add(number, "power_meter", device=f"ACPI000D:0{number}", power1_average=watts * 1_000_000)
    reading = await read(tmp_path, boundaries={"power_meter": "host"})
    assert amounts(reading) == {("host", "board"): 400.0}
    assert "power1@ACPI000D:01" in str(reading.failures[0].error)
    exact = {"power_meter": "none", "power_meter/power1@ACPI000D:01": "host"}
    assert amounts(await read(tmp_path, boundaries=exact)) == {("host", "board"): 30.0}


@pytest.fixture
def amd(tmp_path) -> Hwmon:
    tree = Hwmon(tmp_path)
    labels = {"energy1": "Ecore000", "energy2": "Ecore001", "energy3": "Esocket0", "energy4": "Esocket1"}
    files = {f"{name}_label": label for name, label in labels.items()}
    tree.add(1, "amd_energy", **files, **{f"{n}_input": int(n[-1]) * 1_000_000 for n in labels})
    tree.add(2, "k10temp", temp1_input=40000)
    return tree


async def test_of_amds_driver_the_sockets_are_counted_and_not_their_cores(amd):
    reading = await read(amd.root)
    assert amounts(reading) == {("cpu", "package-0"): 3.0, ("cpu", "package-1"): 4.0}
    assert all(isinstance(r, EnergyCounter) and r.wraps_at_joules is None for r in reading.readings)
    assert reading.readings[0].meter.method is Method.COUNTER


async def test_a_package_that_rapl_shows_is_left_to_rapl(amd):
    powercap = Powercap(amd.root)
    powercap.add("intel-rapl:0", "package-0", 50)
    assert set(amounts(await read(amd.root))) == {("cpu", "package-1")}
    powercap.add("intel-rapl:1", "package-1", 60)
    with pytest.raises(Unavailable, match="no power sensor whose meaning is certain"):
        await read(amd.root)


async def test_even_where_named_a_package_counts_once_beside_rapl(amd):
    Powercap(amd.root).add("intel-rapl:0", "package-0", 50)
    ledger = Ledger()
    rapl = RaplSource(RaplOptions(sysfs_root=str(amd.root)), SourceContext("rapl", FakeClock()))
    assert ledger.add_power(await rapl.read(), 3.5) == ()
    await rapl.aclose()
    (refused,) = ledger.add_power(await read(amd.root, boundaries={"Esocket0": "cpu"}), 3.5)
    assert (refused.device, type(refused.error)) == ("package-0", DuplicateDevice)
    assert ledger.curves[Boundary.CPU, "package-0"].meter.source == "rapl"


async def test_switched_off_sensors_and_batteries_are_no_sensors(tmp_path):
    tree = Hwmon(tmp_path)
    tree.add(0, "chip", power1_input=5_000_000, power1_enable=0, power2_input=7_000_000)
    tree.add(1, "power_meter", device="ACPI000D:00", power1_average=9_000_000, power1_is_battery=1)
    tree.add(2, "fan", fan1_input=1200)
    with pytest.raises(Unavailable, match=r"found chip/power2@hwmon0 "):
        await read(tmp_path, boundaries={"power_meter": "host"})


async def test_the_average_goes_before_the_instantaneous_value(tmp_path):
    Hwmon(tmp_path).add(0, "ina3221", power1_input=5_000_000, power1_average=4_000_000, power1_label="VDD_IN")
    assert amounts(await read(tmp_path, boundaries={"ina3221/VDD_IN": "host"})) == {("host", "board"): 4.0}


# --- what goes wrong


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("0", Unavailable, "a reading of 0 is no measurement"),
        ("-1000000", Unavailable, "no measurement"),
        ("", Malformed, "holds ''"),
        ("90 W", Malformed, "holds '90 W'"),
    ],
)
async def test_what_is_not_a_reading_is_never_a_number(grace, text, kind, words):
    replace(grace.root / "devices/ACPI000D:02/power1_average", text)
    reading = await read(grace.root)
    assert set(amounts(reading)) == {("cpu", "package-1")}
    (failure,) = reading.failures
    assert isinstance(failure.error, kind)
    assert words in str(failure.error)


async def test_a_sensor_that_goes_and_returns(tmp_path):
    tree = Hwmon(tmp_path)
    place = tree.add(0, "power_meter", power1_average=9_000_000, power1_oem_info="CPU Power Socket 0")
    source = meter(tmp_path)
    assert amounts(await source.read()) == {("cpu", "package-0"): 9.0}
    (place / "power1_average").rename(place / "away")
    with pytest.raises(Unavailable, match="no sensor shows power"):
        await source.read()
    place.rename(place.with_name("hwmon7"))  # after the driver was loaded anew it has another number
    (tree.folder / "hwmon7/away").rename(tree.folder / "hwmon7/power1_average")
    assert amounts(await source.read()) == {("cpu", "package-0"): 9.0}
    await source.aclose()


async def test_a_device_that_cannot_answer_is_lost_and_told(tmp_path):
    place = Hwmon(tmp_path).add(0, "power_meter", power1_average=1, power1_oem_info="CPU Power Socket 0")
    (place / "power1_average").unlink()
    (place / "power1_average").symlink_to(tmp_path / "gone")
    with pytest.raises(DeviceLost, match="power1_average"):
        await read(tmp_path)


async def test_a_read_that_hangs_times_out(grace):
    file = grace.root / "devices/ACPI000D:02/power1_average"
    as_pipe(file)
    source = meter(grace.root, time.monotonic, timeout_seconds=0.05)
    with pytest.raises(TimedOut):
        await source.read()
    file.write_text("5000000")  # lets the thread go
    await source.aclose()


async def test_a_host_without_hwmon_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="class/hwmon: no sensor shows power or energy"):
        await read(tmp_path)


# --- options


def test_the_spec_opens_a_source_and_explains_every_option():
    spec = specs()["hwmon"]
    source = spec.open(spec.options(), SourceContext("board", FakeClock()))
    assert (source.name, source.period_seconds, source.timeout_seconds) == ("board", None, 1.0)
    assert spec.detect
    assert all(option.metadata["help"] for option in dataclasses.fields(spec.options))


async def test_a_simulated_meter_says_so(grace):
    assert (await read(grace.root, simulated=True)).readings[0].meter.method is Method.SIMULATED


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"boundaries": {"amdgpu": "gpu"}}, r"boundaries\.amdgpu must be one of cpu, dram, host, none, not 'gpu'"),
        ({"sysfs_root": "sys"}, "sysfs_root"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_impossible_options_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        HwmonOptions(**wrong)
