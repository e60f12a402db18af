"""The AMD SMI meter, read through AMD's own Python package over a stand-in for its C library."""

import asyncio
import dataclasses
import threading
import time

import pytest
from support import amdsmi_double
from support.amdsmi_double import AmdsmiDouble, Gpu
from support.clock import FakeClock

from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import (
    Boundary,
    DeviceLost,
    EnergyCounter,
    Fidelity,
    Malformed,
    Method,
    PowerReading,
    PowerSample,
    Refused,
    SourceContext,
    SourceError,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import _amdsmi_binding, specs
from tokwatt.sources.power._amdsmi_reader import AmdsmiReader
from tokwatt.sources.power.amdsmi import AmdsmiOptions, AmdsmiSource

pytestmark = pytest.mark.skipif(not amdsmi_double.available(), reason="needs the package amdsmi and gcc")


@pytest.fixture(autouse=True)
def _no_driver_afterwards():
    yield
    AmdsmiDouble(FakeClock()).close()


class Rig:
    """A reader on a fake clock: its pause for the comparison moves the clock."""

    def __init__(self, wanted=("all",), **settings):
        self.clock = FakeClock(1000.0)
        self.double = AmdsmiDouble(self.clock, **settings)
        context = SourceContext("amd", self.clock)
        self.reader = AmdsmiReader(wanted, context, lambda: self.double.package, self.clock.advance)
        self.ledger = Ledger()

    def read(self) -> PowerReading:
        reading = self.reader.read()
        self.ledger.add_power(reading, 3.5)
        self.clock.advance(1.0)
        return reading

    def counted(self) -> list[float]:
        return [curve.line.end_value for curve in self.ledger.curves.values()]


def kinds(reading: PowerReading) -> dict[str, type]:
    return {one.meter.device: type(one) for one in reading.readings}


def errors(reading: PowerReading) -> dict[str, SourceError]:
    return {failure.device: failure.error for failure in reading.failures}


def test_an_accumulator_that_keeps_step_with_the_power_is_read():
    rig = Rig(watts=700)
    for _ in range(11):
        reading = rig.read()
    assert reading.failures == ()
    assert rig.counted() == [pytest.approx(7000, rel=1e-4)] * 2
    meter = reading.readings[1].meter
    assert (meter.boundary, meter.fidelity, meter.method) == (Boundary.GPU, Fidelity.HIGHEST, Method.COUNTER)
    info = reading.devices[1]
    assert (info.name, info.index, info.meter.device) == ("AMD Instinct MI300X", 1, rig.double.gpus[1].uuid)
    assert dict(info.details) == {"driver_version": "6.14.14", "pci_bus_id": "0000:11:00.0"}
    assert info.precision.resolution_joules == pytest.approx(15.259e-6)


@pytest.mark.parametrize("share", [0.0, 0.05, 20.0])
def test_one_that_is_frozen_or_off_by_a_large_factor_is_never_used(share):
    rig = Rig(gpus=1, watts=300, share=share)
    for _ in range(11):
        reading = rig.read()
    assert kinds(reading) == {rig.double.gpus[0].uuid: PowerSample}
    assert reading.devices[0].meter.method is Method.INTEGRATED
    assert rig.counted() == [pytest.approx(3000)]


@pytest.mark.parametrize("field", ["socket_power", "current_socket_power", "average_socket_power"])
def test_each_generation_shows_its_power_in_another_field(field):
    rig = Rig(gpus=1, watts=300, power_fields=(field,), share=0.0)
    assert rig.read().readings[0].watts == 300.0


def test_no_power_is_absent_and_no_zero():
    rig = Rig(gpus=2, share=0.0)
    rig.double.gpus[1].power_fields = ()
    reading = rig.read()
    assert list(kinds(reading)) == [rig.double.gpus[0].uuid]
    assert "no power above 0 W" in str(errors(reading)[rig.double.gpus[1].uuid])


def test_an_accumulator_that_goes_back_and_comes_back_adds_nothing_twice():
    rig = Rig(gpus=1, watts=100)
    gpu = rig.double.gpus[0]
    for _ in range(4):
        rig.read()
    gpu.joules = 50.0
    reading = rig.read()
    assert reading.readings == ()
    assert isinstance(errors(reading)[gpu.uuid], Malformed)
    gpu.joules = None
    for _ in range(3):
        rig.read()
    assert rig.counted() == [pytest.approx(700, rel=1e-3)]
    (curve,) = rig.ledger.curves.values()
    assert curve.resets == 0


def test_one_that_stays_low_was_reset():
    rig = Rig(gpus=1, watts=100)
    gpu = rig.double.gpus[0]
    for _ in range(4):
        rig.read()
    gpu.ticks_before, gpu.since = 0, rig.clock.now
    for _ in range(4):
        reading = rig.read()
    assert reading.failures == ()
    (curve,) = rig.ledger.curves.values()
    assert curve.resets == 1
    assert rig.counted() == [pytest.approx(300 + 200, rel=1e-3)]  # nothing of what nobody saw


def test_one_that_freezes_later_becomes_absent():
    rig = Rig(gpus=1, watts=100)
    gpu = rig.double.gpus[0]
    rig.read()
    gpu.joules = gpu.watts * (rig.clock.now - gpu.since)
    for _ in range(700):
        reading = rig.read()
    assert reading.readings == ()
    assert "stands still" in str(errors(reading)[gpu.uuid])


def test_of_an_mi250_the_first_die_is_the_board():
    rig = Rig(gpus=4, name="AMD Instinct MI250X", watts=400)
    for die in (1, 3):
        rig.double.gpus[die].power_fields, rig.double.gpus[die].watts = (), 0.0
    reading = rig.read()
    assert list(kinds(reading)) == [rig.double.gpus[0].uuid, rig.double.gpus[2].uuid]
    assert reading.failures == ()
    assert dict(reading.devices[0].details)["dies"] == "2"


def test_partitions_of_one_socket_are_one_device():
    rig = Rig(gpus=0)
    for socket in (0, 1):
        for partition in range(4):
            rig.double.gpus.append(Gpu(f"gpu-{socket}-{partition}", socket=socket, partition=partition, since=1000.0))
    assert list(kinds(rig.read())) == ["gpu-0-0", "gpu-1-0"]


def test_wanted_gpus_and_parts_of_others():
    rig = Rig(("1", "7", "part"), gpus=2)
    rig.double.gpus.insert(1, Gpu("part", socket=0, partition=1, since=1000.0))
    reading = rig.read()
    assert kinds(reading) == {}
    found = errors(reading)
    assert "is a part of" in str(found["1"])
    assert "is a part of" in str(found["part"])
    assert "no such GPU" in str(found["7"])
    assert list(kinds(Rig(("0",)).read())) == [rig.double.gpus[0].uuid]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (amdsmi_double.NO_PERMISSION, Refused),
        (amdsmi_double.BUSY, TimedOut),
        (amdsmi_double.NOT_FOUND, DeviceLost),
        (amdsmi_double.NOT_SUPPORTED, Unavailable),
        (8, TimedOut),
        (9, TimedOut),
    ],
)
def test_one_gpus_failure_is_its_own(code, kind):
    rig = Rig(gpus=2)
    rig.read()
    rig.double.gpus[1].code = code
    reading = rig.read()
    assert list(kinds(reading)) == [rig.double.gpus[0].uuid]
    assert isinstance(errors(reading)[rig.double.gpus[1].uuid], kind)
    rig.double.gpus[1].code = 0
    assert len(rig.read().readings) == 2


def test_a_driver_that_is_gone_is_tried_again_slowly():
    rig = Rig(gpus=1)
    rig.read()
    rig.double.gpus[0].code = rig.double.init_code = amdsmi_double.DRIVER_NOT_LOADED
    for _ in range(5):
        with pytest.raises(Unavailable, match="modprobe amdgpu"):
            rig.read()
    assert rig.double.inits == 1
    rig.double.gpus[0].code = rig.double.init_code = 0
    rig.clock.advance(11)
    assert len(rig.read().readings) == 1
    assert (rig.double.inits, rig.double.shutdowns) == (2, 1)


def test_builds_without_a_function_lose_only_what_it_told(monkeypatch):
    rig = Rig(gpus=1)
    for name in ("amdsmi_get_gpu_kfd_info", "amdsmi_get_gpu_driver_info"):
        monkeypatch.delattr(rig.double.package, name)
    reading = rig.read()
    assert len(reading.readings) == 1
    assert [key for key, _ in reading.devices[0].details] == ["pci_bus_id"]


def test_the_key_of_the_accumulator_before_rocm_6_2_1(monkeypatch):
    rig = Rig(gpus=1)
    ask = rig.double.package.amdsmi_get_energy_count

    def old(handle):
        answer = ask(handle)
        answer["power"] = answer.pop("energy_accumulator")
        return answer

    monkeypatch.setattr(rig.double.package, "amdsmi_get_energy_count", old)
    assert isinstance(rig.read().readings[0], EnergyCounter)


def test_without_the_package_or_its_library_people_learn_what_to_install(monkeypatch):
    def missing(_name):
        raise ModuleNotFoundError("No module named 'amdsmi'")

    monkeypatch.setattr(_amdsmi_binding.importlib, "import_module", missing)
    with pytest.raises(Unavailable, match=r"tokwatt\[amd\]"):
        _amdsmi_binding.load_binding()

    def without_library(_name):
        print("Unable to find libamd_smi.so library")
        raise KeyError("libamd_smi.so")

    monkeypatch.setattr(_amdsmi_binding.importlib, "import_module", without_library)
    with pytest.raises(Unavailable, match=r"Unable to find libamd_smi.so.*amd-smi-lib"):
        _amdsmi_binding.load_binding()


async def test_a_hung_driver_times_out_and_recovers():
    double = AmdsmiDouble(time.monotonic, gpus=1, watts=300)
    source = AmdsmiSource(AmdsmiOptions(timeout_seconds=1.5), SourceContext("amd", time.monotonic), double.package)
    assert len((await source.read()).readings) == 1
    hang = threading.Event()
    double.pause = hang.wait
    source._options = AmdsmiOptions(timeout_seconds=0.05)
    with pytest.raises(TimedOut, match="no answer within"):
        await source.read()
    with pytest.raises(TimedOut, match="has not returned"):
        await source.read()
    hang.set()
    async with asyncio.timeout(10):
        while True:
            try:
                reading = await source.read()
                break
            except TimedOut:
                await asyncio.sleep(0.001)
    assert len(reading.readings) == 1
    await source.aclose()
    assert double.shutdowns == 1


async def test_power_is_sampled_between_reads_where_the_accumulator_is_not_believed():
    double = AmdsmiDouble(time.monotonic, gpus=1, watts=250, share=0.0)
    source = AmdsmiSource(AmdsmiOptions(sampling_seconds=0.05), SourceContext("amd", time.monotonic), double.package)
    await source.read()
    await asyncio.sleep(0.4)
    reading = await source.read()
    await source.aclose()
    assert len(reading.readings) >= 4
    assert {sample.watts for sample in reading.readings} == {250.0}


def test_the_spec_opens_a_source_and_explains_every_option():
    spec = specs()["amdsmi"]
    source = spec.open(AmdsmiOptions(), SourceContext("amd", FakeClock()))
    assert (source.name, source.period_seconds, source.timeout_seconds) == ("amd", None, 2.0)
    assert all(field.metadata["help"] for field in dataclasses.fields(spec.options))


@pytest.mark.parametrize("options", [{"gpus": ()}, {"timeout_seconds": 0}, {"sampling_seconds": 0.01}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        AmdsmiOptions(**options)
