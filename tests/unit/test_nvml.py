"""The NVML meter against a stand-in driver library, read through the real nvidia-ml-py."""

import asyncio
import dataclasses
import time
from types import SimpleNamespace

import pynvml
import pytest
from support import nvml_double
from support.clock import FakeClock
from support.nvml_double import NvmlDouble

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
from tokwatt.simulate.meters import SimulatedGpu
from tokwatt.simulate.nvml import SimulatedNvml
from tokwatt.sources.power import specs
from tokwatt.sources.power.nvml import NvmlOptions, NvmlSource

pytestmark = pytest.mark.skipif(not nvml_double.have_compiler(), reason="gcc builds the stand-in driver")


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Make stand-in drivers: `driver(gpus=2)`. The last one made is the one that NVML opens."""
    nvml_double.load_into_this_process()

    def make(**settings) -> NvmlDouble:
        double = NvmlDouble(tmp_path, **settings)
        monkeypatch.setenv("NVML_DOUBLE_STATE", str(double.path))
        return double

    return make


@pytest.fixture
async def opened():
    """Open sources that are closed after the test."""
    sources: list[NvmlSource] = []

    def open_source(clock=time.monotonic, *, simulated=False, binding=None, **options) -> NvmlSource:
        context = SourceContext("nvml", clock, simulated=simulated)
        sources.append(NvmlSource(NvmlOptions(**options), context, binding))
        return sources[-1]

    yield open_source
    for source in sources:
        await source.aclose()


def by_device(reading: PowerReading) -> dict[str, float]:
    return {item.meter.device: item.joules for item in reading.readings if isinstance(item, EnergyCounter)}


def errors(reading: PowerReading) -> dict[str, SourceError]:
    return {failure.device: failure.error for failure in reading.failures}


async def test_reads_the_energy_counter_of_every_gpu(driver, opened):
    double = driver(gpus=2, watts=300, counter_joules=5000)
    before = time.monotonic()
    source = opened()
    first = await source.read()
    after = time.monotonic()

    assert list(by_device(first)) == [double.uuid(0), double.uuid(1)]
    assert first.failures == ()
    counter = first.readings[0]
    assert isinstance(counter, EnergyCounter)
    assert counter.joules == pytest.approx(5000, abs=300 * (after - before + 0.2) + 40)
    assert counter.wraps_at_joules is None
    assert before <= counter.at_seconds + 0.05 <= after, "placed in the middle of its refresh period of 0.1 s"
    assert counter.meter.boundary is Boundary.GPU
    assert counter.meter.fidelity is Fidelity.HIGHEST
    assert counter.meter.method is Method.COUNTER
    info = first.devices[1]
    assert (info.name, info.index, info.meter) == ("NVIDIA H100 80GB HBM3", 1, first.readings[1].meter)
    assert dict(info.details) == {
        "driver_version": "999.01.double",
        "pci_bus_id": "00000000:11:00.0",
        "power_limit_watts": "700",
        "persistence_mode": "on",
    }


async def test_the_counter_follows_the_energy_used_within_its_latch(driver, opened):
    double = driver(gpus=1, watts=200)
    source = opened()
    first = (await source.read()).readings[0]
    await asyncio.sleep(0.12)
    double.set_watts(0, 600)
    await asyncio.sleep(0.25)
    last = (await source.read()).readings[0]
    truth = double.joules(0, first.at_seconds, last.at_seconds)
    latch = nvml_double.LATCH_SECONDS * 600
    assert last.joules - first.joules == pytest.approx(truth, abs=latch + 1)


@pytest.mark.parametrize("cross_check", [True, False])
async def test_the_counter_is_read_once_per_read_and_the_power_beside_it_if_wanted(driver, opened, cross_check):
    double = driver(gpus=2)
    source = opened(cross_check=cross_check)
    for _ in range(5):
        await source.read()
    power_calls = 5 if cross_check else 0
    assert [double.calls(0), double.calls(1)] == [(5, power_calls), (5, power_calls)]


async def test_a_lost_gpu_hides_no_other_and_is_found_again_after_its_reset(driver, opened):
    double, clock = driver(gpus=3), FakeClock()
    source = opened(clock)
    assert len((await source.read()).readings) == 3
    double.set_code(1, nvml_double.LOST)
    reading = await source.read()
    assert list(by_device(reading)) == [double.uuid(0), double.uuid(2)]
    error = errors(reading)[double.uuid(1)]
    assert isinstance(error, DeviceLost)
    assert "GPU 1" in str(error)
    assert "Xid" in str(error)

    clock.advance(11)  # listed again while still lost
    assert set(errors(await source.read())) == {double.uuid(1)}
    double.set_code(1, 0)
    clock.advance(11)
    reading = await source.read()
    assert list(by_device(reading)) == [double.uuid(0), double.uuid(1), double.uuid(2)]
    assert reading.failures == ()


async def test_a_gpu_that_vanishes_from_the_list_is_named_though_the_indices_shift(driver, opened):
    double, clock = driver(gpus=3), FakeClock()
    source = opened(clock)
    await source.read()
    double.set_code(0, nvml_double.LOST)
    await source.read()
    double.set_code(0, 0)  # the driver renumbers: index 0 is now the GPU that was index 1
    double.set_uuid_number(0, 1)
    double.set_uuid_number(1, 2)
    double.set_count(2)
    clock.advance(11)
    reading = await source.read()
    assert list(by_device(reading)) == [double.uuid(1), double.uuid(2)]
    assert isinstance(errors(reading)[double.uuid(0)], DeviceLost)


async def test_no_permission_on_one_gpu_is_that_gpus_failure(driver, opened):
    double = driver(gpus=2)
    double.set_code(1, nvml_double.NO_PERMISSION, "energy")
    reading = await opened().read()
    assert list(by_device(reading)) == [double.uuid(0)]
    assert isinstance(errors(reading)[double.uuid(1)], Refused)


async def test_a_reset_counter_is_reported_as_it_is(driver, opened):
    double = driver(gpus=1, counter_joules=9000)
    source = opened()
    await source.read()
    double.reset_counter(0)
    assert by_device(await source.read())[double.uuid(0)] < 1000


@pytest.mark.parametrize(
    ("code", "kind", "hint"),
    [
        (nvml_double.DRIVER_NOT_LOADED, Unavailable, "modprobe nvidia"),
        (nvml_double.VERSION_MISMATCH, Unavailable, "restart tokwatt"),
        (nvml_double.UNKNOWN, Unavailable, "container"),
        (nvml_double.NO_PERMISSION, Refused, "/dev/nvidiactl"),
    ],
)
async def test_a_driver_that_does_not_start_says_why_and_is_tried_again_slowly(driver, opened, code, kind, hint):
    double, clock = driver(), FakeClock()
    double.set_init_code(code)
    source = opened(clock)
    for _ in range(3):
        with pytest.raises(kind, match=hint):
            await source.read()
    assert double.inits == 1
    double.set_init_code(0)
    clock.advance(11)
    assert len((await source.read()).readings) == 2


async def test_nvml_shut_down_by_other_code_is_started_again_at_the_next_read(driver, opened):
    double = driver()
    source = opened()
    await source.read()
    pynvml.nvmlShutdown()
    with pytest.raises(Unavailable, match="started again"):
        await source.read()
    assert len((await source.read()).readings) == 2
    assert double.inits == 2


async def test_unknown_error_on_all_gpus_is_the_drivers_failure_on_one_it_is_that_gpus(driver, opened):
    double, clock = driver(gpus=2), FakeClock()
    source = opened(clock)
    double.set_code(0, nvml_double.UNKNOWN, "energy")
    assert list(errors(await source.read())) == [double.uuid(0)]
    double.set_code(1, nvml_double.UNKNOWN, "energy")
    with pytest.raises(Unavailable, match="code 999"):
        await source.read()
    double.set_code(0, 0, "energy")
    double.set_code(1, 0, "energy")
    clock.advance(11)
    assert len((await source.read()).readings) == 2


async def test_no_driver_library_is_unavailable(opened):
    def no_library():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    binding = SimpleNamespace(NVMLError=pynvml.NVMLError, nvmlInit=no_library)
    with pytest.raises(Unavailable, match=r"libnvidia-ml\.so\.1 comes with the NVIDIA driver"):
        await opened(binding=binding).read()


async def test_a_driver_without_gpus_is_unavailable_at_every_read(driver, opened):
    driver(gpus=0)
    source = opened()
    for _ in range(2):
        with pytest.raises(Unavailable, match="lists no GPU"):
            await source.read()


async def test_a_hung_driver_times_out_and_recovers(driver, opened):
    double = driver()
    source = opened(timeout_seconds=0.05)
    await source.read()
    double.hang()
    with pytest.raises(TimedOut, match="no answer within"):
        await source.read()
    with pytest.raises(TimedOut, match="has not returned"):
        await source.read()
    double.release()
    for _ in range(1000):
        try:
            reading = await source.read()
            break
        except TimedOut:
            await asyncio.sleep(0.001)
    assert len(reading.readings) == 2


# --- boards without an energy counter


@pytest.mark.parametrize("code", [nvml_double.NOT_SUPPORTED, nvml_double.FUNCTION_NOT_FOUND])
async def test_the_energy_field_stands_in_for_the_energy_function(driver, opened, code):
    double = driver(gpus=1, counter_joules=7000)
    double.set_code(0, code, "energy")
    source = opened()
    assert by_device(await source.read())[double.uuid(0)] == pytest.approx(7000, rel=0.1)
    await source.read()
    assert double.calls(0)[0] == 3  # the refused function was asked once and never again


async def test_without_a_counter_all_power_samples_since_the_last_read_are_returned(driver, opened):
    double = driver(gpus=1, watts=250)
    double.without_counter(0)
    source = opened(sampling_seconds=0.05)
    first = await source.read()
    assert [type(sample) for sample in first.readings] == [PowerSample]
    assert first.readings[0].meter.method is Method.INTEGRATED
    assert first.readings[0].averaged_over_seconds == 0.0
    await asyncio.sleep(0.3)
    second = await source.read()
    assert len(second.readings) >= 4
    assert {sample.watts for sample in second.readings} == {250.0}
    instants = [sample.at_seconds for sample in (*first.readings, *second.readings)]
    assert instants == sorted(set(instants))
    assert second.devices[0].meter == second.readings[0].meter


@pytest.mark.parametrize(
    ("name", "architecture", "window_seconds"),
    [
        ("NVIDIA L40S", 8, 1.0),
        ("NVIDIA A100-SXM4-80GB", nvml_double.AMPERE, 0.0),
        ("NVIDIA A30", nvml_double.AMPERE, 0.0),
        ("NVIDIA RTX A3000", nvml_double.AMPERE, 1.0),
        ("Tesla T4", nvml_double.TURING, 0.0),
    ],
)
async def test_power_usage_is_the_last_resort_with_the_documented_window(
    driver, opened, name, architecture, window_seconds
):
    double = driver(gpus=1, name=name, architecture=architecture)
    double.without_counter(0)
    double.set_code(0, nvml_double.NOT_SUPPORTED, "field_instant")
    sample = (await opened().read()).readings[0]
    assert (sample.watts, sample.averaged_over_seconds) == (300.0, window_seconds)


@pytest.mark.parametrize(("name", "scope"), [("NVIDIA GH200 480GB", "module"), ("NVIDIA H100 80GB HBM3", None)])
async def test_the_module_scope_is_asked_on_superchips_only(driver, opened, name, scope):
    double = driver(gpus=1, name=name)
    double.without_counter(0)
    double.set_code(0, nvml_double.NOT_SUPPORTED, "field_instant")
    double.set_code(0, nvml_double.NOT_SUPPORTED, "usage")
    reading = await opened().read()
    assert len(reading.readings) == (1 if scope else 0)
    assert [dict(info.details).get("scope") for info in reading.devices] == ([scope] if scope else [])


async def test_the_counter_of_gh200_says_that_it_covers_the_module(driver, opened):
    driver(gpus=1, name="NVIDIA GH200 480GB")
    assert dict((await opened().read()).devices[0].details)["scope"] == "module"


async def test_a_gpu_that_offers_nothing_is_absent_and_never_zero(driver, opened):
    double = driver(gpus=2)
    double.without_counter(1)
    for what in ("field_instant", "usage"):
        double.set_code(1, nvml_double.NOT_SUPPORTED, what)
    source = opened()
    await source.read()
    reading = await source.read()
    assert list(by_device(reading)) == [double.uuid(0)]
    assert len(reading.devices) == 1
    error = errors(reading)[double.uuid(1)]
    assert isinstance(error, Unavailable)
    assert "neither an energy counter nor a power reading" in str(error)
    assert double.calls(1) == (2, 2)  # all four ways were asked once


async def test_a_power_sensor_that_shows_zero_is_a_failure_not_a_sample(driver, opened):
    double = driver(gpus=1, watts=0)
    double.without_counter(0)
    reading = await opened().read()
    assert reading.readings == ()
    assert isinstance(errors(reading)[double.uuid(0)], Malformed)


async def test_a_field_error_other_than_not_supported_is_a_failure(driver, opened):
    double = driver(gpus=1)
    double.set_code(0, nvml_double.NOT_SUPPORTED, "energy")
    double.set_code(0, nvml_double.LOST, "field_energy")
    assert isinstance(errors(await opened().read())[double.uuid(0)], DeviceLost)


async def test_a_counter_that_worked_is_not_traded_for_power_at_its_first_failure(driver, opened):
    double = driver(gpus=1)
    source = opened(FakeClock())
    await source.read()
    double.set_code(0, nvml_double.NOT_SUPPORTED, "energy")
    assert list(errors(await source.read())) == [double.uuid(0)]
    double.set_code(0, 0, "energy")
    assert list(by_device(await source.read())) == [double.uuid(0)]


async def test_the_value_type_of_a_field_decides_which_member_is_read(opened):
    def not_offered(_handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)

    union = SimpleNamespace(dVal=123456.0, uiVal=1, ullVal=2)
    binding = SimpleNamespace(
        NVMLError=pynvml.NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlSystemGetDriverVersion=lambda: "1",
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda _: "GPU-x",
        nvmlDeviceGetName=lambda _: "made up",
        nvmlDeviceGetPciInfo=not_offered,
        nvmlDeviceGetEnforcedPowerLimit=not_offered,
        nvmlDeviceGetPersistenceMode=not_offered,
        nvmlDeviceGetMigMode=not_offered,
        nvmlDeviceGetPowerUsage=not_offered,
        nvmlDeviceGetArchitecture=not_offered,
        nvmlDeviceGetTotalEnergyConsumption=not_offered,
        nvmlDeviceGetFieldValues=lambda _handle, _fields: [SimpleNamespace(nvmlReturn=0, valueType=0, value=union)],
    )
    reading = await opened(binding=binding).read()
    assert by_device(reading) == {"GPU-x": pytest.approx(123.456)}
    assert reading.devices[0].details == (("driver_version", "1"),)


# --- choice of GPUs and spec


async def test_only_the_wanted_gpus_are_read(driver, opened):
    double = driver(gpus=4)
    wanted = (double.uuid(2), "0")
    assert list(by_device(await opened(gpus=wanted).read())) == [double.uuid(0), double.uuid(2)]


async def test_a_wanted_gpu_that_does_not_exist_is_a_failure_that_names_those_that_do(driver, opened):
    double = driver(gpus=1)
    reading = await opened(gpus=("0", "7", "MIG-1")).read()
    assert list(by_device(reading)) == [double.uuid(0)]
    found = errors(reading)
    assert f"0: {double.uuid(0)}" in str(found["7"])
    assert "name the parent" in str(found["MIG-1"])


async def test_in_place_of_mig_slices_their_gpu_is_read_once(driver, opened):
    double = driver(gpus=2)
    double.set_slices(1, 3)
    slices = [double.slice_uuid(1, number) for number in range(3)]
    reading = await opened(gpus=(slices[0], slices[2], "MIG-" + double.uuid(1) + "/1/0")).read()
    assert list(by_device(reading)) == [double.uuid(1)]
    assert reading.failures == ()
    assert len(reading.warnings) == 3
    assert (
        f"{slices[0]} is a MIG slice, which has no sensor: its whole GPU {double.uuid(1)} is read" in reading.warnings
    )
    details = dict(reading.devices[0].details)
    assert details["mig"] == "enabled"
    assert details["mig_devices"].split() == slices


async def test_a_slice_that_the_driver_does_not_know_is_a_failure(driver, opened):
    double = driver(gpus=1)
    reading = await opened(gpus=("0", double.slice_uuid(0, 5))).read()
    assert list(by_device(reading)) == [double.uuid(0)]
    assert "name the parent" in str(errors(reading)[double.slice_uuid(0, 5)])
    assert reading.warnings == ()


async def test_persistence_mode_is_told(driver, opened):
    double = driver(gpus=2)
    double.set_persistence(1, on=False)
    details = [dict(info.details) for info in (await opened().read()).devices]
    assert [one["persistence_mode"] for one in details] == ["on", "off"]


async def test_module_power_belongs_to_no_gpu_of_grace_blackwell(driver, opened):
    double = driver(gpus=2, name="NVIDIA GB200")
    for gpu in (0, 1):
        double.without_counter(gpu)
        double.set_code(gpu, nvml_double.NOT_SUPPORTED, "field_instant")
        double.set_code(gpu, nvml_double.NOT_SUPPORTED, "usage")
    reading = await opened().read()
    assert reading.readings == ()  # the module holds both: read for each, it would count twice
    assert len(reading.failures) == 2


async def test_the_driver_is_mismatched_while_running_and_says_restart(driver, opened):
    double, clock = driver(gpus=2), FakeClock()
    source = opened(clock)
    await source.read()
    for gpu in (0, 1):
        double.set_code(gpu, nvml_double.VERSION_MISMATCH)
    double.set_init_code(nvml_double.VERSION_MISMATCH)
    for _ in range(2):
        with pytest.raises(Unavailable, match="restart tokwatt"):
            await source.read()
    assert double.inits == 1


async def test_handles_that_went_stale_are_replaced_by_listing_the_gpus_again(driver, opened):
    double, clock = driver(gpus=2), FakeClock()
    source = opened(clock)
    await source.read()
    double.set_code(0, pynvml.NVML_ERROR_INVALID_ARGUMENT)
    assert isinstance(errors(await source.read())[double.uuid(0)], DeviceLost)
    double.set_code(0, 0)
    clock.advance(11)
    assert list(by_device(await source.read())) == [double.uuid(0), double.uuid(1)]


async def test_a_driver_that_is_reloaded_is_started_anew_and_its_counter_is_a_reset(driver, opened):
    double, clock, ledger = driver(gpus=1, counter_joules=9000), FakeClock(), Ledger()
    source = opened(clock)
    ledger.add_power(await source.read(), 60)
    double.set_code(0, nvml_double.DRIVER_NOT_LOADED)
    double.set_init_code(nvml_double.DRIVER_NOT_LOADED)
    with pytest.raises(Unavailable, match="modprobe nvidia"):
        await source.read()
    double.set_code(0, 0)
    double.set_init_code(0)
    double.reset_counter(0)
    clock.advance(11)
    ledger.add_power(await source.read(), 60)
    (curve,) = ledger.curves.values()
    assert (double.inits, curve.resets, curve.line.end_value) == (2, 1, 0.0)


# --- the counter against the power beside it


async def minutes(binding, opened, count=2, every_seconds=1.0, **options):
    """Read for some minutes of a fake clock; return the last reading."""
    source = opened(binding._clock, binding=binding, **options)
    reading = None
    for _ in range(round(count * 60 / every_seconds) + 1):
        reading = await source.read()
        binding._clock.advance(every_seconds)
    return reading


def bursty(at_seconds: float) -> float:
    """Joules of a board that works for 7 s at 600 W and rests for 3 s at 80 W."""
    whole, part = divmod(at_seconds, 10.0)
    return whole * (7 * 600 + 3 * 80) + min(part, 7.0) * 600 + max(0.0, part - 7.0) * 80


def simulated(joules_at, **changes) -> SimulatedNvml:
    clock = FakeClock(1000.0)
    gpu = SimulatedGpu(0, "GPU-a", "NVIDIA H100 80GB HBM3", 700.0, 80.0, joules_at)
    binding = SimulatedNvml([gpu], clock, unix_clock=clock, **changes)
    binding._clock = clock
    return binding


@pytest.mark.parametrize(("every_seconds", "count"), [(1.0, 2.0), (5.0, 26)])
async def test_a_counter_that_keeps_step_with_the_power_of_bursts_is_not_complained_about(opened, every_seconds, count):
    reading = await minutes(simulated(bursty), opened, count=count, every_seconds=every_seconds)
    (info,) = reading.devices
    assert info.energy_to_power_ratio == pytest.approx(1.0, abs=0.02 if every_seconds == 1.0 else 0.35)
    assert reading.warnings == ()


async def test_before_a_minute_nothing_is_said(opened):
    reading = await minutes(simulated(bursty), opened, count=0.9)
    assert reading.devices[0].energy_to_power_ratio is None


class LyingCounter(SimulatedNvml):
    """Counts only a share of the energy, as some consumer boards do."""

    share = 0.5

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, /):  # noqa: N802
        return round(super().nvmlDeviceGetTotalEnergyConsumption(handle) * self.share)


@pytest.mark.parametrize(
    ("share", "told"), [(0.5, "0.50 times"), (0.79, "0.79 times"), (0.85, ""), (1.3, "1.30 times")]
)
async def test_a_counter_that_contradicts_the_power_is_told_and_still_read(opened, share, told):
    binding = simulated(bursty)
    binding.__class__ = LyingCounter
    binding.share = share
    reading = await minutes(binding, opened)
    assert reading.devices[0].energy_to_power_ratio == pytest.approx(share, rel=0.03)
    assert len(reading.readings) == 1
    assert [told in warning for warning in reading.warnings] == ([True] if told else [])


async def test_a_counter_that_stands_still_is_absent_and_never_zero_joules(opened):
    binding = simulated(bursty)
    binding.__class__ = LyingCounter
    binding.share = 1e-9
    reading = await minutes(binding, opened)
    assert reading.readings == ()
    assert "stands still" in str(errors(reading)["GPU-a"])
    binding.share = 1.0
    source_seconds = binding._clock.now
    reading = await minutes(binding, opened)
    assert binding._clock.now > source_seconds
    assert len(reading.readings) == 1


async def test_where_power_is_not_offered_nothing_is_compared(driver, opened):
    double = driver(gpus=1)
    double.set_code(0, nvml_double.NOT_SUPPORTED, "usage")
    source = opened()
    for _ in range(3):
        reading = await source.read()
    assert len(reading.readings) == 1
    assert reading.failures == ()
    assert double.calls(0)[1] == 1  # asked once


async def test_the_counter_of_a_module_is_held_against_the_modules_power(driver, opened):
    double = driver(gpus=1, name="NVIDIA GH200 480GB")
    double.set_code(0, nvml_double.LOST, "usage")  # the board's own power, which is less
    reading = await opened().read()
    assert reading.failures == ()
    assert double.calls(0)[1] == 1


async def test_a_simulated_source_says_so(driver, opened):
    driver()
    assert (await opened(simulated=True).read()).readings[0].meter.method is Method.SIMULATED


def test_the_spec_opens_a_source_and_explains_every_option(driver):
    spec = specs()["nvml"]
    source = spec.open(NvmlOptions(), SourceContext("gpus", FakeClock()))
    assert (source.name, source.period_seconds, source.timeout_seconds) == ("gpus", None, 1.0)
    assert spec.detect
    assert all(field.metadata["help"] for field in dataclasses.fields(spec.options))


@pytest.mark.parametrize("options", [{"gpus": ()}, {"timeout_seconds": 0}, {"sampling_seconds": 0.01}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        NvmlOptions(**options)
