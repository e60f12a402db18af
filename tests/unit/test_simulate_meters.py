import asyncio
import struct

import pytest
from support.simclock import SimClock

from tokwatt.readings import TimedOut
from tokwatt.simulate.bmc import SimulatedBmc
from tokwatt.simulate.engine import Engine
from tokwatt.simulate.load import ClosedLoop, Mix
from tokwatt.simulate.machines import LLAMA_8B_ON_H100
from tokwatt.simulate.meters import HostModel, LiveEnergy, SimulatedGpu, host_energy, share_of_engine, steady
from tokwatt.simulate.nvml import SimulatedNvml, SimulatedNvmlError

READ_POWER = bytes([0xDC, 0x01, 0x00, 0x00])


def busy_gpu(clock: SimClock) -> SimulatedGpu:
    load = ClosedLoop(Mix(400, 60), start_seconds=clock.now, users=4, seed=1, pause_seconds=0.3)
    engine = Engine(LLAMA_8B_ON_H100, load, start_seconds=clock.now, seed=1)
    return SimulatedGpu(0, "GPU-a", "H100 (simulated)", 700.0, 71.0, share_of_engine(engine, 1.0))


def quiet_gpu(clock: SimClock) -> SimulatedGpu:
    return SimulatedGpu(1, "GPU-b", "H100 (simulated)", 700.0, 68.0, steady(68.0, start_seconds=clock.now))


def nvml_of(clock: SimClock, *gpus: SimulatedGpu, **options: object) -> SimulatedNvml:
    nvml = SimulatedNvml(gpus, clock, unix_clock=clock.unix, joules_before_start=0.0, **options)
    nvml.nvmlInit()
    return nvml


def bmc_of(clock: SimClock, watts: float = 812.4, **options: object) -> SimulatedBmc:
    energy = steady(watts, start_seconds=clock.now)
    return SimulatedBmc("b", energy, clock, unix_clock=clock.unix, watts_at_start=watts, sleep=clock.sleep, **options)


def test_energy_counter_is_the_truth_of_the_last_latch():
    clock = SimClock(0.0)
    gpu = busy_gpu(clock)
    nvml = nvml_of(clock, gpu)
    for clock.now in (0.05, 0.1, 0.17, 1.0, 3.333, 12.34, 12.399):
        latch = int(clock.now * 10 + 1e-9) / 10
        assert nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) == round(gpu.joules_at(latch) * 1e3)
    assert nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) > 12 * 71 * 1e3


def test_power_is_a_mean_over_its_window():
    clock = SimClock(0.0)
    gpu = busy_gpu(clock)
    nvml = nvml_of(clock, gpu)
    clock.now = 7.42
    second = gpu.joules_at(7.4) - gpu.joules_at(6.4)
    average, instant, energy, unknown = nvml.nvmlDeviceGetFieldValues(gpu, [185, (186, 0), 83, 4711])

    assert nvml.nvmlDeviceGetPowerUsage(gpu) == average.value.uiVal == round(second * 1e3)
    assert instant.value.uiVal == round((gpu.joules_at(7.4) - gpu.joules_at(7.375)) / 0.025 * 1e3)
    assert energy.value.ullVal == nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
    assert [answer.nvmlReturn for answer in (average, instant, energy, unknown)] == [0, 0, 0, 3]
    assert [answer.valueType for answer in (average, instant, energy)] == [1, 1, 3]
    assert average.timestamp == round(clock.unix() * 1e6)


def test_power_before_the_first_refresh_is_idle_power():
    clock = SimClock(0.0)
    gpu = busy_gpu(clock)
    assert nvml_of(clock, gpu).nvmlDeviceGetPowerUsage(gpu) == 71_000


def test_gain_error_of_one_board():
    clock = SimClock(0.0)
    gpu = quiet_gpu(clock)
    nvml = nvml_of(clock, gpu, gain={"GPU-b": 1.05})
    clock.now = 100.0
    assert nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) == pytest.approx(1.05 * 68 * 100 * 1e3)


def test_identity_of_boards():
    clock = SimClock(0.0)
    nvml = nvml_of(clock, busy_gpu(clock), quiet_gpu(clock))
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    assert [nvml.nvmlDeviceGetUUID(handle) for handle in handles] == ["GPU-a", "GPU-b"]
    assert "simulated" in nvml.nvmlDeviceGetName(handles[0])
    assert "simulated" in nvml.nvmlSystemGetDriverVersion()
    assert nvml.nvmlDeviceGetEnforcedPowerLimit(handles[0]) == 700_000
    assert len({nvml.nvmlDeviceGetPciInfo(handle).busId for handle in handles}) == 2


def test_nvml_errors_carry_the_code():
    clock = SimClock(0.0)
    gpu, other = busy_gpu(clock), quiet_gpu(clock)
    nvml = nvml_of(clock, gpu, other, without_counter=frozenset({"GPU-b"}))

    def code(call: object, *arguments: object) -> int:
        with pytest.raises(SimulatedNvmlError) as caught:
            call(*arguments)  # type: ignore[operator]
        assert isinstance(caught.value, nvml.NVMLError)
        return caught.value.value

    assert code(nvml.nvmlDeviceGetHandleByIndex, 2) == 2
    assert code(nvml.nvmlDeviceGetTotalEnergyConsumption, other) == 3
    nvml.fail(15, "GPU-a")
    assert code(nvml.nvmlDeviceGetPowerUsage, gpu) == 15
    assert nvml.nvmlDeviceGetPowerUsage(other) > 0
    nvml.heal("GPU-a")
    assert nvml.nvmlDeviceGetPowerUsage(gpu) > 0
    nvml.fail(999)
    assert code(nvml.nvmlDeviceGetCount) == 999
    nvml.heal()
    nvml.nvmlShutdown()
    assert code(nvml.nvmlDeviceGetCount) == 1


async def test_bmc_power_reading_is_the_mean_of_the_last_second_in_whole_watts():
    clock = SimClock(0.0)
    gpu = busy_gpu(clock)
    bmc = SimulatedBmc("b", gpu.joules_at, clock, unix_clock=clock.unix, watts_at_start=71.0)
    clock.now = 9.7
    reply = await bmc.command(0x2C, 0x02, READ_POWER)
    group, now, low, high, mean, stamp, period, state = struct.unpack("<B4HIIB", reply.data)

    assert (reply.completion_code, len(reply.data), group) == (0, 18, 0xDC)
    assert now == round(gpu.joules_at(9.0) - gpu.joules_at(8.0))
    assert low <= now <= high
    assert mean == round(gpu.joules_at(9.7) / 9.7)
    assert (stamp, period, state) == (int(clock.unix()), 9700, 0x40)


async def test_bmc_that_does_not_measure_says_so():
    bmc = bmc_of(SimClock(0.0))
    bmc.measuring = False
    data = (await bmc.command(0x2C, 0x02, READ_POWER)).data
    assert struct.unpack("<H", data[1:3])[0] == 0
    assert data[17] == 0


async def test_bmc_refuses_what_it_does_not_know():
    clock = SimClock(0.0)
    assert (await bmc_of(clock).command(0x2C, 0x02, b"\x00\x01\x00\x00")).completion_code == 0xCC
    assert (await bmc_of(clock).command(0x30, 0x70, b"")).completion_code == 0xC1
    assert (await bmc_of(clock, without_dcmi=True).command(0x2C, 0x02, READ_POWER)).completion_code == 0xC1


async def test_bmc_sensor_can_be_found_and_converted():
    clock = SimClock(0.0)
    bmc = bmc_of(clock, without_dcmi=True)
    clock.now = 5.0
    reservation = (await bmc.command(0x0A, 0x22, b"")).data
    answer = (await bmc.command(0x0A, 0x23, reservation + b"\x00\x00\x00\xff")).data
    record = answer[2:]
    multiplier = record[24] | (record[25] & 0xC0) << 2
    count, state = (await bmc.command(0x04, 0x2D, record[7:8])).data[:2]

    assert answer[:2] == b"\xff\xff"
    assert len(record) == 5 + record[4]
    assert (record[3], record[20] & 0xC1, record[21], record[29]) == (0x01, 0, 0x06, 0)
    assert record[48:].decode() == "Pwr Consumption"
    assert state & 0x20 == 0
    assert abs(count * multiplier - 812.4) <= multiplier / 2


async def test_silent_bmc_times_out():
    clock = SimClock(0.0)
    bmc = bmc_of(clock)
    bmc.silent = True

    async def ask() -> None:
        with pytest.raises(TimedOut, match="does not answer"):
            await bmc.command(0x2C, 0x02, READ_POWER)

    asking = asyncio.create_task(ask())
    await clock.advance(1.0)
    assert not asking.done()
    await clock.advance(5.0)
    await asking


def test_host_draws_more_than_its_gpus_in_true_proportion():
    model = HostModel()
    host = host_energy(model, (steady(700.0, start_seconds=0.0),) * 8, start_seconds=0.0)
    assert host(10.0) / (8 * 7000.0) == pytest.approx(1.4, abs=0.12)
    assert host(10.0) == pytest.approx(2 * host(5.0))


def test_live_energy_follows_what_it_is_told():
    energy = LiveEnergy(30.0, start_seconds=0.0)
    energy.set_watts(10.0, 100.0)
    energy.set_watts(12.0, 50.0)
    assert energy.joules_at(10.0) == pytest.approx(300.0)
    assert energy.joules_at(11.0) == pytest.approx(400.0)
    assert energy.joules_at(14.0) == pytest.approx(600.0)
