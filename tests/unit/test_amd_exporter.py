"""The meter on AMD's device-metrics-exporter. Pages are written after its documentation, never recorded."""

import contextlib
import dataclasses

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
    PowerReading,
    PowerSample,
    SourceContext,
    SourceError,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import specs
from tokwatt.sources.power.amd_exporter import AmdExporterOptions, AmdExporterSource


def labels(gpu: int, **more: str) -> str:
    known = {"gpu_id": str(gpu), "card_model": "Instinct MI300X", "serial_number": f"SN-{gpu}", "hostname": "node-a"}
    return "{" + ",".join(f'{key}="{value}"' for key, value in (known | more).items()) + "}"


def page(*boards: tuple[str, float, float], power: str = "gpu_package_power") -> str:
    """Boards as (labels, joules, watts)."""
    lines = ["# TYPE gpu_energy_consumed gauge"]
    lines += [f"gpu_energy_consumed{which} {1.4e17 + joules * 1e6!r}" for which, joules, _ in boards]
    lines += [f"# TYPE {power} gauge", *(f"{power}{which} {watts}" for which, _, watts in boards)]
    return "\n".join([*lines, ""])


class Rig:
    def __init__(self, server, source, clock):
        self.server, self.source, self.clock = server, source, clock
        self.ledger = Ledger()

    async def read(self, body: str) -> PowerReading:
        self.server.body = body
        self.clock.advance(5)
        reading = await self.source.read()
        self.ledger.add_power(reading, 17.5)
        return reading

    def counted(self) -> dict[str, float]:
        return {device: curve.line.end_value for (_, device), curve in self.ledger.curves.items()}


@contextlib.asynccontextmanager
async def rig(**changes):
    clock = FakeClock()
    async with page_server("") as server:
        source = AmdExporterSource(AmdExporterOptions(url=server.url, **changes), SourceContext("amd", clock))
        try:
            yield Rig(server, source, clock)
        finally:
            await source.aclose()


def errors(reading: PowerReading) -> dict[str, SourceError]:
    return {failure.device: failure.error for failure in reading.failures}


@pytest.mark.parametrize("power", ["gpu_package_power", "gpu_average_package_power", "gpu_power_usage"])
async def test_the_accumulator_in_microjoules_is_a_counter_once_it_kept_step_with_the_power(power):
    async with rig() as it:
        with pytest.raises(Unavailable, match="compared with its power"):
            await it.read(page((labels(0), 0, 700), (labels(1), 0, 300), power=power))
        for step in range(1, 4):
            boards = ((labels(0), 3500 * step, 700), (labels(1), 1500 * step, 300))
            reading = await it.read(page(*boards, power=power))
        assert it.counted() == {"SN-0": pytest.approx(7000, abs=1e-3), "SN-1": pytest.approx(3000, abs=1e-3)}
        one = reading.readings[0]
        assert isinstance(one, EnergyCounter)
        assert (one.meter.boundary, one.meter.fidelity, one.meter.method) == (
            Boundary.GPU,
            Fidelity.HIGHEST,
            Method.COUNTER,
        )
        info = reading.devices[1]
        assert (info.name, info.index) == ("Instinct MI300X", 1)
        assert dict(info.details)["hostname"] == "node-a"


@pytest.mark.parametrize("watts_of_counter", [0, 10, 4000])
async def test_an_accumulator_that_is_frozen_or_far_off_is_not_used(watts_of_counter):
    async with rig() as it:
        with pytest.raises(Unavailable):
            await it.read(page((labels(0), 0, 300)))
        for step in range(1, 5):
            reading = await it.read(page((labels(0), watts_of_counter * 5 * step, 300)))
        assert isinstance(reading.readings[0], PowerSample)
        assert it.counted() == {"SN-0": pytest.approx(300 * 15)}


async def test_partitions_and_pods_of_one_socket_are_one_device():
    def shown(joules):
        first = labels(0, gpu_partition_id="0", pod="a")
        again = labels(0, gpu_partition_id="0", pod="b")
        other = labels(0, gpu_partition_id="1")
        return page((first, joules, 500), (again, joules, 500), (other, 0, 0))

    async with rig() as it:
        with pytest.raises(Unavailable):
            await it.read(shown(0))
        await it.read(shown(2500))
        await it.read(shown(5000))
        assert it.counted() == {"SN-0": pytest.approx(2500, abs=1e-3)}


async def test_without_a_serial_number_host_and_index_are_the_name():
    body = page((labels(3, serial_number="N/A"), 0, 500)).replace("gpu_energy_consumed", "gpu_energy_unknown")
    async with rig() as it:
        reading = await it.read(body)
        assert reading.readings[0].meter.device == "node-a-gpu-3"
        with pytest.raises(Malformed, match="names no GPU"):
            await it.read(page(('{hostname="x"}', 0, 500)))


async def test_one_that_vanishes_is_lost_and_the_other_goes_on():
    async with rig() as it:
        with pytest.raises(Unavailable):
            await it.read(page((labels(0), 0, 500), (labels(1), 0, 500)))
        await it.read(page((labels(0), 2500, 500), (labels(1), 2500, 500)))
        reading = await it.read(page((labels(1), 5000, 500)))
        assert [one.meter.device for one in reading.readings] == ["SN-1"]
        assert isinstance(errors(reading)["SN-0"], DeviceLost)
        with pytest.raises(DeviceLost, match="shows neither"):
            await it.read("other 1\n")


@pytest.mark.parametrize("value", ["NaN", "-1", "+Inf"])
async def test_what_cannot_be_a_measurement_is_refused(value):
    async with rig() as it:
        with pytest.raises(Malformed, match="shows"):
            await it.read(f"gpu_package_power{labels(0)} {value}\n")


async def test_zero_and_all_ones_are_no_measurement():
    async with rig() as it:
        for value in ("0", "4294967295"):
            with pytest.raises(Unavailable, match="no power above 0 W"):
                await it.read(f"gpu_package_power{labels(0)} {value}\n")


async def test_a_page_that_hangs_or_is_no_page_is_told():
    async with rig(timeout_seconds=0.05) as it:
        it.server.fault = PageFault.HANG
        with pytest.raises(TimedOut):
            await it.read("")
        it.server.fault = PageFault.NONE
        with pytest.raises(Malformed, match="HTML"):
            await it.read("<html>")


def test_the_spec_explains_every_option():
    spec = specs()["amd_exporter"]
    source = spec.open(AmdExporterOptions(), SourceContext("amd", FakeClock()))
    assert (source.name, source.period_seconds) == ("amd", 5.0)
    assert all(field.metadata["help"] for field in dataclasses.fields(spec.options))
