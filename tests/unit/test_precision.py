"""What each meter declares of its own precision: the error interval of a window is made from it."""

import contextlib
import struct

import pytest
from support.clock import FakeClock
from support.page_server import page_server
from support.redfish_double import CHASSIS, PASSWORD, USER, running
from support.sensor_record import sensor_record
from support.sysfs_tree import Hwmon, Powercap

from tokwatt.readings import Boundary, Precision, SourceContext, Unavailable
from tokwatt.simulate.meters import SimulatedGpu, steady
from tokwatt.simulate.nvml import SimulatedNvml
from tokwatt.sources.power._bmc import BmcReply
from tokwatt.sources.power._readout import Kind
from tokwatt.sources.power._sdr_record import power_sensor
from tokwatt.sources.power.dcgm import DcgmOptions, DcgmSource
from tokwatt.sources.power.hwmon import HwmonOptions, HwmonSource
from tokwatt.sources.power.ipmi import IpmiOptions, IpmiSource
from tokwatt.sources.power.nvml import NvmlOptions, NvmlSource
from tokwatt.sources.power.prometheus import PrometheusOptions, PrometheusSource
from tokwatt.sources.power.rapl import RaplOptions, RaplSource
from tokwatt.sources.power.redfish import RedfishOptions, RedfishSource


async def declared(source) -> dict[str, Precision]:
    """Read once; return what each device declares."""
    try:
        reading = await source.read()
    finally:
        await source.aclose()
    return {info.meter.device: info.precision for info in reading.devices}


def context(*, simulated: bool = False) -> SourceContext:
    return SourceContext("meter", FakeClock(), simulated=simulated)


@pytest.mark.parametrize("counter", [True, False])
@pytest.mark.parametrize(("simulated", "gain_ratio"), [(False, 0.05), (True, 0.0)])
async def test_a_gpu_declares_the_gain_of_its_kind_and_the_latch_of_its_counter(counter, simulated, gain_ratio):
    clock = FakeClock(100.0)
    gpu = SimulatedGpu(0, "GPU-1", "NVIDIA H100", 700.0, 70.0, steady(300, start_seconds=0.0))
    without = frozenset() if counter else frozenset({"GPU-1"})
    driver = SimulatedNvml([gpu], clock, unix_clock=clock, without_counter=without)
    found = await declared(NvmlSource(NvmlOptions(), SourceContext("nvml", clock, simulated=simulated), driver))
    step = {"resolution_joules": 0.001} if counter else {"resolution_watts": 0.001}
    assert found == {"GPU-1": Precision(gain_ratio, renewed_every_seconds=0.1, **step)}


async def test_rapl_counts_in_fine_steps_and_its_dram_zone_is_the_less_certain(tmp_path):
    tree = Powercap(tmp_path)
    tree.add("intel-rapl:0", "package-0", 100)
    tree.add("intel-rapl:0:0", "dram", 50)
    found = await declared(RaplSource(RaplOptions(sysfs_root=str(tmp_path)), context()))
    assert found["package-0"] == Precision(0.05, resolution_joules=61e-6, renewed_every_seconds=0.001)
    assert found["package-0-dram"].gain_ratio == 0.2


@pytest.mark.parametrize(
    ("stated", "gain_ratio"), [("97.5%", 0.025), ("80", 0.2), ("100.0%", 0.05), ("0%", 0.05), ("good", 0.05)]
)
async def test_an_acpi_meter_declares_the_accuracy_that_its_firmware_states(tmp_path, stated, gain_ratio):
    files = {"power1_average": 300_000_000, "power1_average_interval": 5000, "power1_accuracy": stated}
    Hwmon(tmp_path).add(0, "power_meter", **files)
    options = HwmonOptions(sysfs_root=str(tmp_path), boundaries={"power_meter": "host"})
    found = await declared(HwmonSource(options, context()))
    assert found["meter"] == Precision(pytest.approx(gain_ratio), resolution_watts=1e-6, renewed_every_seconds=5.0)


class DcmiBmc:
    """A BMC with DCMI alone."""

    async def command(self, netfn, command, data):
        if (netfn, command) != (0x2C, 2):
            return BmcReply(0xC1)
        return BmcReply(0, b"\xdc" + struct.pack("<HHHHII", 412, 1, 2, 3, 0, 1000) + b"\x40")

    async def aclose(self):
        pass


@pytest.mark.parametrize(("simulated", "gain_ratio"), [(False, 0.05), (True, 0.0)])
async def test_dcmi_has_whole_watts_and_a_simulated_sensor_no_gain(simulated, gain_ratio):
    options = IpmiOptions(host="127.0.0.1", username="root", password_env="BMC_PASSWORD")
    found = await declared(IpmiSource(options, context(simulated=simulated), DcmiBmc))
    assert found == {"meter": Precision(gain_ratio, resolution_watts=1.0, renewed_every_seconds=1.0)}


@pytest.mark.parametrize(
    ("accuracy", "exponent", "ratio"), [(0, 0, 0.0), (250, 0, 0.025), (1023, 0, 0.1023), (3, 2, 0.03)]
)
def test_a_sensor_record_states_its_accuracy_and_its_step(accuracy, exponent, ratio):
    record = sensor_record(1, "Power Meter", m=45, exponents=0xF0, accuracy=accuracy, accuracy_exponent=exponent)
    sensor = power_sensor(record)
    assert sensor is not None
    assert sensor.accuracy_ratio == pytest.approx(ratio)
    assert sensor.step_watts == pytest.approx(4.5)
    assert sensor.watts(100) == pytest.approx(450.0)


@pytest.mark.parametrize(
    ("sensor", "expected"),
    [
        ({"Accuracy": 2}, Precision(0.02, resolution_watts=0.1, renewed_every_seconds=1.0)),
        ({"SensingInterval": "PT0.5S"}, Precision(0.05, resolution_watts=0.1, renewed_every_seconds=0.5)),
        ({"SensingInterval": "PT1M5S"}, Precision(0.05, resolution_watts=0.1, renewed_every_seconds=65.0)),
        ({"SensingInterval": "often"}, Precision(0.05, resolution_watts=0.1, renewed_every_seconds=1.0)),
        ({"Accuracy": 0}, Precision(0.05, resolution_watts=0.1, renewed_every_seconds=1.0)),
        ({}, Precision(0.05, resolution_watts=0.1, renewed_every_seconds=1.0)),
    ],
)
async def test_a_redfish_sensor_that_states_its_accuracy_is_believed(monkeypatch, sensor, expected):
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)
    async with running() as bmc:
        path = f"{CHASSIS}/1/Sensors/Total"
        bmc.add_server(EnvironmentMetrics={"PowerWatts": {"Reading": 374.5, "DataSourceUri": path}})
        bmc.resources[path] = {"Reading": 374.5, "ReadingTime": "2026-01-01T00:00:00Z"} | sensor
        options = RedfishOptions(url=bmc.url, username=USER, password_env="BMC_PASSWORD")
        assert await declared(RedfishSource(options, context())) == {"meter": expected}


async def test_a_fine_redfish_counter_declares_its_steps(monkeypatch):
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)
    async with running() as bmc:
        bmc.add_server(EnvironmentMetrics={"PowerWatts": {"Reading": 374}, "EnergyJoules": {"Reading": 5000.5}})
        options = RedfishOptions(url=bmc.url, username=USER, password_env="BMC_PASSWORD")
        expected = Precision(0.05, resolution_joules=0.1, renewed_every_seconds=1.0)
        assert await declared(RedfishSource(options, context())) == {"meter": expected}


@pytest.mark.parametrize(("collect", "period", "renewed"), [(30.0, 15.0, 15.0), (1.0, 15.0, 1.0)])
async def test_of_a_slow_exporter_the_distance_of_two_looks_is_what_remains_unknown(collect, period, renewed):
    clock = FakeClock()
    async with page_server('DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1"} 300\n') as page:
        options = DcgmOptions(url=page.url, collect_seconds=collect, period_seconds=period)
        source = DcgmSource(options, SourceContext("dcgm", clock))
        with pytest.raises(Unavailable, match="age of the first value"):
            await source.read()
        clock.advance(period)
        page.body = 'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1"} 310\n'
        found = await declared(source)
    expected = Precision(0.05, resolution_watts=0.001, renewed_every_seconds=renewed, renewed_together=True)
    assert found == {"GPU-1": expected}


@pytest.mark.parametrize(("changes", "gain_ratio"), [({}, 0.05), ({"accuracy_ratio": 0.01}, 0.01)])
async def test_an_external_meter_is_as_good_as_its_owner_says(changes, gain_ratio):
    wanted = {"metric": "pdu_watts", "kind": Kind.WATTS, "boundary": Boundary.OUTLET} | changes
    async with page_server("pdu_watts 412\n") as page:
        found = await declared(PrometheusSource(PrometheusOptions(url=page.url, **wanted), context()))
    assert found == {"meter": Precision(gain_ratio, renewed_every_seconds=1.0)}


@pytest.mark.parametrize(
    ("boundary", "update_seconds", "together"),
    [
        (Boundary.GPU, 5.0, True),
        (Boundary.CPU, 5.0, True),
        (Boundary.GPU, 0.0, False),
        (Boundary.OUTLET, 30.0, False),
        (Boundary.HOST, 30.0, False),
    ],
)
async def test_slow_counters_inside_a_machine_are_renewed_in_one_pass_and_coarse_steps_come_one_by_one(
    boundary, update_seconds, together
):
    options = {"metric": "joules", "kind": Kind.JOULES, "boundary": boundary, "update_seconds": update_seconds}
    options["period_seconds"] = 15.0
    clock = FakeClock()
    async with page_server("joules 412\n") as page:
        source = PrometheusSource(PrometheusOptions(url=page.url, **options), SourceContext("meter", clock))
        with contextlib.suppress(Unavailable):  # the age of its first value is not known
            await source.read()
        clock.advance(15.0)
        page.body = "joules 500\n"
        (precision,) = (await declared(source)).values()
    assert precision.renewed_together is together


@pytest.mark.parametrize("ratio", [0, -0.1, 0.6, float("nan")])
def test_an_accuracy_that_cannot_be_is_refused(ratio):
    with pytest.raises(ValueError, match="accuracy_ratio must be above 0"):
        PrometheusOptions(
            url="http://127.0.0.1/metrics", metric="x", kind=Kind.WATTS, boundary=Boundary.OUTLET, accuracy_ratio=ratio
        )
