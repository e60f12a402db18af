"""Energy that two meters of one superchip both hold is told to people, and never added here."""

import pytest
from support.clock import FakeClock
from support.page_server import page_server
from support.sysfs_tree import Hwmon

from tokwatt.ledger.overlap import contained
from tokwatt.readings import DeviceInfo, SourceContext, Unavailable
from tokwatt.simulate.meters import SimulatedGpu, steady
from tokwatt.simulate.nvml import SimulatedNvml
from tokwatt.sources.power.dcgm import DcgmOptions, DcgmSource
from tokwatt.sources.power.hwmon import HwmonOptions, HwmonSource
from tokwatt.sources.power.nvml import NvmlOptions, NvmlSource


async def devices(source) -> tuple[DeviceInfo, ...]:
    try:
        return (await source.read()).devices
    finally:
        await source.aclose()


async def gpu(name: str) -> tuple[DeviceInfo, ...]:
    clock = FakeClock(100.0)
    driver = SimulatedNvml(
        [SimulatedGpu(0, "GPU-a", name, 900.0, 100.0, steady(300, start_seconds=0.0))], clock, unix_clock=clock
    )
    return await devices(NvmlSource(NvmlOptions(), SourceContext("nvml", clock), driver))


async def cpu(folder, **boundaries) -> tuple[DeviceInfo, ...]:
    tree = Hwmon(folder)
    for number, what in enumerate(("CPU", "Grace", "Module")):
        label = f"{what} Power Socket 0"
        tree.add(number, "power_meter", device=f"ACPI000D:0{number}", power1_average=90_000_000, power1_oem_info=label)
    options = HwmonOptions(sysfs_root=str(folder), boundaries=boundaries)
    return await devices(HwmonSource(options, SourceContext("board", FakeClock())))


async def test_a_grace_cpu_beside_a_gh200_counter_is_told_by_the_cpus_meter(tmp_path):
    known = (*await gpu("NVIDIA GH200 480GB"), *await cpu(tmp_path))
    (text,) = contained(known, "board")
    assert "package-0" in text
    assert "GPU-a (nvml)" in text
    assert "never add tokwatt_cpu_energy_joules_total" in text
    assert contained(known, "nvml") == ()


@pytest.mark.parametrize("name", ["NVIDIA GB200", "NVIDIA GB300", "NVIDIA H100 80GB HBM3"])
async def test_where_gpu_and_module_are_apart_nothing_is_said(tmp_path, name):
    assert contained((*await gpu(name), *await cpu(tmp_path)), "board") == ()


async def test_dcgm_exporter_shows_the_same_counter_of_a_gh200():
    line = 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="0",UUID="GPU-a",modelName="NVIDIA GH200 480GB"}} {}\n'
    clock = FakeClock()
    async with page_server(line.format(1000)) as page:
        source = DcgmSource(DcgmOptions(url=page.url), SourceContext("dcgm", clock))
        with pytest.raises(Unavailable):
            await source.read()
        clock.advance(15)
        page.body = line.format(2000)
        (info,) = await devices(source)
    assert ("scope", "module") in info.details


@pytest.mark.parametrize("boundary", ["cpu", "dram"])
@pytest.mark.parametrize("name", ["Module Power Socket 0", "power_meter/Module Power Socket 1@ACPI000D:00"])
def test_module_power_is_never_a_cpus(boundary, name):
    with pytest.raises(ValueError, match="contains the GPU too"):
        HwmonOptions(boundaries={name: boundary})


def test_module_power_may_be_the_hosts():
    assert HwmonOptions(boundaries={"Module Power Socket 0": "host"})
