"""One bench for each power source: the source over its stand-in, 300 W on a clock of the test, and its ways to fail.

    async with BENCHES["rapl"](clock, folder) as bench:
        bench.refresh(); await bench.source.read()
        bench.faults["hang"].begin(); ...; bench.faults["hang"].end()

A bench knows how each fault of its protocol is made. Which faults a source cannot have, and why, is in `IMPOSSIBLE`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from support.amdsmi_double import AmdsmiDouble
from support.clock import FakeClock
from support.ipmi_kernel import DCMI, FakeKernel
from support.ipmi_kernel import power_reading as kernel_power_reading
from support.page_server import PageFault, page_server
from support.redfish_double import CHASSIS, PASSWORD, USER, running
from support.sysfs_tree import Hwmon, Powercap, as_pipe, replace

from tokwatt.readings import Boundary, PowerSource, SourceContext, TimedOut
from tokwatt.simulate.meters import SimulatedGpu, steady
from tokwatt.simulate.nvml import SimulatedNvml
from tokwatt.sources.power import specs
from tokwatt.sources.power._bmc import BmcReply
from tokwatt.sources.power._readout import Kind
from tokwatt.sources.power.amd_exporter import AmdExporterOptions
from tokwatt.sources.power.amdsmi import AmdsmiOptions, AmdsmiSource
from tokwatt.sources.power.dcgm import DcgmOptions
from tokwatt.sources.power.hwmon import HwmonOptions
from tokwatt.sources.power.ipmi import IpmiOptions, IpmiSource
from tokwatt.sources.power.ipmi_local import IpmiLocalOptions, IpmiLocalSource
from tokwatt.sources.power.nvml import NvmlOptions, NvmlSource
from tokwatt.sources.power.prometheus import PrometheusOptions, PrometheusSource
from tokwatt.sources.power.promql import PromqlOptions
from tokwatt.sources.power.rapl import RaplOptions
from tokwatt.sources.power.redfish import RedfishOptions
from tokwatt.sources.power.triton import TritonOptions
from tokwatt.sources.power.trtllm import TrtllmOptions

WATTS: Final = 300.0
STEP_SECONDS: Final = 1.0  # of the clock, between two reads
TIMEOUT_SECONDS: Final = 0.25
SLOW_SECONDS: Final = 0.05
JOULES_BEFORE: Final = 50_000.0  # a counter runs since the host or driver was started
GLITCH_JOULES: Final = 10_000.0
WRAP_JOULES: Final = 262_143.0
NAME: Final = "meter"
FAULTS: Final = (
    *("hang", "slow", "wrong", "reset", "wrap", "lost", "credentials"),
    *("clock_step", "suspended", "duplicate", "backwards"),
)
_GAUGE: Final = "reads a power gauge, which counts nothing"
_NO_WRAP: Final = "its counter has 64 bits or is a float: it starts over by a reset only"
_ROOT: Final = "root reads every file; as nobody in test_rapl.py"
IMPOSSIBLE: Final[Mapping[tuple[str, str], str]] = {
    **{(source, "wrap"): _NO_WRAP for source in ("nvml", "dcgm", "triton", "trtllm", "amdsmi", "amd_exporter")},
    **{(source, fault): _GAUGE for source in ("ipmi", "ipmi_local", "redfish", "hwmon") for fault in ("reset", "wrap")},
    **{(source, "backwards"): _GAUGE for source in ("ipmi", "ipmi_local", "redfish", "hwmon")},
    ("rapl", "credentials"): _ROOT,
    ("hwmon", "credentials"): _ROOT,
    ("rapl", "reset"): "it restarts with the host only, and tokwatt with it",
    ("rapl", "backwards"): "a fall of a counter that wraps is a wrap; see `wrap`",
    ("prometheus", "backwards"): "as rapl: its bench wraps",
    ("promql", "backwards"): "as rapl: its bench wraps",
    ("rapl", "slow"): "sysfs answers at once or never",
    ("hwmon", "slow"): "sysfs answers at once or never",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """How a fault is made and healed, and what the source's state is meanwhile: "" up, else the reason.

    `retried_after_seconds`: how long the source leaves what failed alone.
    """

    begin: Callable[[], None]
    end: Callable[[], None]
    reason: str
    retried_after_seconds: float = 0.0


class Bench:
    """A source and the world behind it. `clock` is the monotonic clock of both."""

    boundary = Boundary.GPU
    counts = True  # whether it is an energy counter, whose difference over an outage is real

    def __init__(self, clock: FakeClock, folder: Path, fault: str) -> None:
        self.clock = clock
        self.folder = folder
        self.fault = fault
        self.since = clock.now
        self.offset_joules = JOULES_BEFORE
        self.source: PowerSource
        self.faults: dict[str, Fault] = {}
        self._stack = contextlib.AsyncExitStack()

    @property
    def context(self) -> SourceContext:
        return SourceContext(NAME, self.clock)

    @property
    def counter(self) -> float:
        """What the hardware counter shows now."""
        return self.offset_joules + WATTS * (self.clock.now - self.since)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for fault in self.faults.values():
            fault.end()
        await self.source.aclose()
        await self._stack.aclose()

    async def open(self) -> None:
        raise NotImplementedError

    def refresh(self) -> None:
        """Show what is true now."""

    def reset(self) -> None:
        """Start the counter over."""
        self.offset_joules = -WATTS * (self.clock.now - self.since) + 0.5

    def shift(self, joules: float) -> Callable[[], None]:
        def change() -> None:
            self.offset_joules += joules

        return change

    def near_the_wrap(self) -> None:
        """Start so that the counter wraps while the fault lasts, where that is the fault."""
        if self.fault == "wrap":
            self.offset_joules = WRAP_JOULES - 5.5 * WATTS * STEP_SECONDS

    def counter_faults(self, backwards: str = "") -> dict[str, Fault]:
        """The counter starts over; or shows a lower value once and goes on."""
        return {
            "reset": Fault(self.reset, _nothing, ""),
            "backwards": Fault(self.shift(-GLITCH_JOULES), _once(self.shift(GLITCH_JOULES)), backwards),
        }


def _nothing() -> None:
    pass


def _once(run: Callable[[], None]) -> Callable[[], None]:
    todo = [run]
    return lambda: todo.pop()() if todo else None


def switch(target: object, name: str, bad: object, good: object, reason: str) -> Fault:
    """A fault that is one attribute's value."""
    return Fault(lambda: setattr(target, name, bad), lambda: setattr(target, name, good), reason)


class NvmlBench(Bench):
    async def open(self) -> None:
        gpu = SimulatedGpu(0, "GPU-a", "NVIDIA H100", 700.0, 70.0, lambda at: steady(WATTS, start_seconds=0.0)(at))
        self.driver = SimulatedNvml([gpu], self.clock, unix_clock=self.clock)
        bench, real, self.hang = self, self.driver.nvmlDeviceGetTotalEnergyConsumption, threading.Event()
        self.hang.set()
        self.delay = 0.0

        def energy(handle: SimulatedGpu) -> int:
            bench.hang.wait()
            threading.Event().wait(bench.delay)
            real(handle)  # its failures
            return round(bench.counter * 1000)

        self.driver.nvmlDeviceGetTotalEnergyConsumption = energy  # type: ignore[method-assign]
        self.source = NvmlSource(NvmlOptions(timeout_seconds=TIMEOUT_SECONDS), self.context, self.driver)

        def code(number: int, reason: str) -> Fault:
            return Fault(lambda: self.driver.fail(number, "GPU-a"), lambda: self.driver.heal("GPU-a"), reason)

        self.faults = self.counter_faults() | {
            "hang": Fault(self.hang.clear, self.hang.set, "timeout"),
            "slow": switch(self, "delay", SLOW_SECONDS, 0.0, ""),
            "wrong": code(999, "unavailable"),
            "lost": code(15, "lost"),
            "credentials": code(4, "refused"),
            "suspended": code(3, "unavailable"),
        }


class PageBench(Bench):
    """A source that reads a page: `body` is what it shows."""

    gone = "other_metric 1\n"
    content_type = "text/plain; version=0.0.4"
    path = "/metrics"

    def body(self) -> str:
        raise NotImplementedError

    def options(self, url: str) -> object:
        raise NotImplementedError

    async def open(self) -> None:
        self.page = await self._stack.enter_async_context(page_server("", self.content_type, self.path))
        self.override: str | None = None
        self.page.respond = self.respond
        self.source = self.make(self.page.url)

        def fault(kind: PageFault, reason: str) -> Fault:
            return switch(self.page, "fault", kind, PageFault.NONE, reason)

        self.faults = self.counter_faults() | {
            "hang": fault(PageFault.HANG, "timeout"),
            "slow": switch(self.page, "delay_seconds", SLOW_SECONDS, 0.0, ""),
            "wrong": switch(self, "override", "<html>boom</html>", None, "malformed"),
            "lost": switch(self, "override", self.gone, None, "lost"),
            "credentials": fault(PageFault.UNAUTHORIZED, "refused"),
            **self.more_faults(),
        }

    def make(self, url: str) -> PowerSource:
        return specs()[self.spec_name].open(self.options(url), self.context)

    spec_name = ""

    def respond(self, _parameters: dict[str, list[str]]) -> str:
        return self.body() if self.override is None else self.override

    def more_faults(self) -> dict[str, Fault]:
        return {}


class DcgmBench(PageBench):
    spec_name = "dcgm"

    def body(self) -> str:
        return f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{UUID="GPU-a"}} {round(self.counter * 1000)}\n'

    def options(self, url: str) -> object:
        return DcgmOptions(
            url=url, collect_seconds=STEP_SECONDS, period_seconds=STEP_SECONDS, timeout_seconds=TIMEOUT_SECONDS
        )

    def more_faults(self) -> dict[str, Fault]:
        blank = 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{UUID="GPU-a"} 9223372036854775794\n'
        return {"suspended": switch(self, "override", blank, None, "malformed")}


class AmdExporterBench(PageBench):
    spec_name = "amd_exporter"
    labels = '{gpu_id="0",serial_number="SN-0",hostname="a"}'

    def body(self) -> str:
        return f"gpu_energy_consumed{self.labels} {self.counter * 1e6!r}\ngpu_package_power{self.labels} {WATTS}\n"

    def options(self, url: str) -> object:
        return AmdExporterOptions(url=url, period_seconds=STEP_SECONDS, timeout_seconds=TIMEOUT_SECONDS)

    def more_faults(self) -> dict[str, Fault]:
        back = self.counter_faults("malformed")["backwards"]
        zero = f"gpu_energy_consumed{self.labels} 0\ngpu_package_power{self.labels} 0\n"
        return {"backwards": back, "suspended": switch(self, "override", zero, None, "unavailable")}


class TritonBench(PageBench):
    spec_name = "triton"

    def body(self) -> str:
        return f'nv_energy_consumption{{gpu_uuid="GPU-a"}} {self.counter!r}\n'

    def options(self, url: str) -> object:
        return TritonOptions(
            url=url, update_seconds=STEP_SECONDS, period_seconds=STEP_SECONDS, timeout_seconds=TIMEOUT_SECONDS
        )

    def more_faults(self) -> dict[str, Fault]:
        def stand() -> None:
            self.override = self.body()  # Triton gave up reading its GPU

        return {"suspended": Fault(stand, lambda: setattr(self, "override", None), "unavailable")}


class TrtllmBench(PageBench):
    spec_name = "trtllm"
    content_type = "application/json"
    gone = "{}"

    def body(self) -> str:
        return json.dumps({"total_energy_j": self.counter, "query_time": self.clock.now})

    def options(self, url: str) -> object:
        return TrtllmOptions(url=url, period_seconds=STEP_SECONDS, timeout_seconds=TIMEOUT_SECONDS)

    def more_faults(self) -> dict[str, Fault]:
        return {
            "lost": switch(self, "override", self.gone, None, "malformed"),
            "suspended": switch(self.page, "fault", PageFault.ERROR_503, PageFault.NONE, "unavailable"),
        }


class PrometheusBench(PageBench):
    spec_name = "prometheus"
    boundary = Boundary.CPU

    def body(self) -> str:
        return f"node_rapl_package_joules_total {self.counter % WRAP_JOULES!r}\n"

    def make(self, url: str) -> PowerSource:
        options = PrometheusOptions(
            url=url,
            metric="node_rapl_package_joules_total",
            kind=Kind.JOULES,
            boundary=Boundary.CPU,
            wraps_at_joules=WRAP_JOULES,
            period_seconds=STEP_SECONDS,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        return PrometheusSource(options, self.context)

    def reset(self) -> None:
        self.offset_joules -= self.counter - 0.5

    def more_faults(self) -> dict[str, Fault]:
        def stand() -> None:
            self.override = self.body()

        self.near_the_wrap()
        return {
            "wrap": Fault(_nothing, _nothing, ""),
            "suspended": Fault(stand, lambda: setattr(self, "override", None), "unavailable"),
        }


class PromqlBench(PrometheusBench):
    spec_name = "promql"
    content_type = "application/json"
    path = ""
    gone = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}})

    def make(self, url: str) -> PowerSource:
        self.ahead = 1_800_000_000.0
        self.points: list[tuple[float, str]] = []
        self.suspended = False
        options = PromqlOptions(
            url=url,
            query="node_rapl_package_joules_total",
            kind=Kind.JOULES,
            boundary=Boundary.CPU,
            wraps_at_joules=WRAP_JOULES,
            period_seconds=STEP_SECONDS,
            timeout_seconds=TIMEOUT_SECONDS,
            max_age_seconds=3.0,
        )
        return specs()["promql"].open(options, self.context)

    def refresh(self) -> None:
        if not self.suspended:
            self.points.append((self.ahead + self.clock.now, repr(self.counter % WRAP_JOULES)))

    def respond(self, parameters: dict[str, list[str]]) -> str:
        now = self.ahead + self.clock.now
        if parameters["query"] == ["time()"]:
            return json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [now, str(now)]}})
        if self.override is not None:
            return self.override
        series = {"metric": {"__name__": "node_rapl_package_joules_total"}, "values": self.points[-300:]}
        return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [series]}})

    def more_faults(self) -> dict[str, Fault]:
        faults = super().more_faults()
        faults["clock_step"] = Fault(lambda: setattr(self, "ahead", self.ahead + 3600), _nothing, "")
        return faults | {"suspended": switch(self, "suspended", True, False, "unavailable")}


class RaplBench(Bench):
    boundary = Boundary.CPU

    async def open(self) -> None:
        self.tree = Powercap(self.folder)
        self.tree.add("intel-rapl:0", "package-0", self.counter, round(WRAP_JOULES * 1e6))
        self.energy = self.tree.folder / "intel-rapl:0/energy_uj"
        self.override: str | None = None
        self.source = specs()["rapl"].open(
            RaplOptions(sysfs_root=str(self.folder), timeout_seconds=TIMEOUT_SECONDS), self.context
        )
        self.near_the_wrap()
        self.gone = False
        self.faults = {
            "hang": Fault(lambda: self.pipe(True), lambda: self.pipe(False), "timeout"),
            "wrong": switch(self, "override", "many", None, "malformed"),
            "wrap": Fault(_nothing, _nothing, ""),
            "lost": Fault(self.remove, self.put_back, "lost"),
            "suspended": switch(self, "override", "0", None, "unavailable"),
        }

    def refresh(self) -> None:
        if self.gone or self.energy.is_fifo():
            return
        text = f"{round(self.counter % WRAP_JOULES * 1e6)}" if self.override is None else self.override
        replace(self.energy, f"{text}\n")

    def pipe(self, hangs: bool) -> None:
        if hangs:
            as_pipe(self.energy)
        elif self.energy.is_fifo():
            _release(self.energy)
            self.refresh()

    def remove(self) -> None:
        self.gone = True
        self.energy.unlink()

    def put_back(self) -> None:
        self.gone = False


class HwmonBench(Bench):
    boundary = Boundary.CPU
    counts = False

    async def open(self) -> None:
        place = Hwmon(self.folder).add(
            0, "power_meter", device="ACPI000D:00", power1_average=300_000_000, power1_oem_info="CPU Power Socket 0"
        )
        self.file = place / "power1_average"
        self.source = specs()["hwmon"].open(
            HwmonOptions(sysfs_root=str(self.folder), timeout_seconds=TIMEOUT_SECONDS), self.context
        )

        def text(bad: str, reason: str) -> Fault:
            return Fault(lambda: replace(self.file, bad), lambda: replace(self.file, "300000000\n"), reason)

        self.faults = {
            "hang": Fault(lambda: as_pipe(self.file), self.heal_pipe, "timeout"),
            "wrong": text("many\n", "malformed"),
            "lost": Fault(lambda: self.file.unlink(), lambda: replace(self.file, "300000000\n"), "unavailable"),
            "suspended": text("0\n", "unavailable"),
        }

    def heal_pipe(self) -> None:
        if self.file.is_fifo():
            _release(self.file)
        replace(self.file, "300000000\n")


def _release(pipe: Path) -> None:
    """Let a reader of a pipe go on, and take the pipe away."""
    with contextlib.suppress(OSError):
        fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        os.write(fd, b"1\n")
        os.close(fd)
    pipe.unlink()


class _Session:
    """A BMC session that answers DCMI."""

    def __init__(self) -> None:
        self.watts, self.state, self.code = int(WATTS), 0x40, 0
        self.delay, self.hangs = 0.0, False
        self.error: Exception | None = None
        self.garbage = False

    async def command(self, netfn: int, command: int, _data: bytes) -> BmcReply:
        await asyncio.sleep(3600 if self.hangs else self.delay)
        if self.error is not None:
            raise self.error
        if (netfn, command) != DCMI:
            return BmcReply(0xC1)
        if self.garbage:
            return BmcReply(0, b"\xdc\x01")
        reading = struct.pack("<HHHHII", self.watts, 1, 9999, 7777, 0, 1000)
        return BmcReply(self.code, b"" if self.code else b"\xdc" + reading + bytes((self.state,)))

    async def aclose(self) -> None:
        pass


class IpmiBench(Bench):
    boundary = Boundary.HOST
    counts = False

    async def open(self) -> None:
        bmc = _Session()
        options = IpmiOptions(
            host="127.0.0.1",
            username="root",
            password_env="BMC_PASSWORD",
            period_seconds=STEP_SECONDS,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        self.source = IpmiSource(options, self.context, lambda: bmc)
        self.faults = {
            "hang": switch(bmc, "hangs", True, False, "timeout"),
            "slow": switch(bmc, "delay", SLOW_SECONDS, 0.0, ""),
            "wrong": switch(bmc, "garbage", True, False, "malformed"),
            "lost": switch(bmc, "error", TimedOut("no answer"), None, "timeout"),
            "credentials": switch(bmc, "code", 0xD4, 0, "refused"),
            "suspended": switch(bmc, "state", 0x00, 0x40, "unavailable"),
        }


class IpmiLocalBench(Bench):
    boundary = Boundary.HOST
    counts = False

    async def open(self) -> None:
        kernel = FakeKernel()
        kernel.replies[DCMI] = kernel_power_reading(int(WATTS))
        self.delay = 0.0
        wait = kernel.wait_readable

        def wait_readable(fd: int, seconds: float) -> bool:
            threading.Event().wait(self.delay)
            return wait(fd, seconds)

        kernel.wait_readable = wait_readable  # type: ignore[method-assign]
        options = IpmiLocalOptions(device="/dev/ipmi0", period_seconds=STEP_SECONDS, timeout_seconds=TIMEOUT_SECONDS)
        self.source = IpmiLocalSource(options, self.context, kernel)

        def reply(data: bytes, reason: str) -> Fault:
            def show(what: bytes) -> Callable[[], None]:
                return lambda: kernel.replies.__setitem__(DCMI, what)

            return Fault(show(data), show(kernel_power_reading(int(WATTS))), reason)

        def error(number: int, reason: str) -> Fault:
            def begin() -> None:
                kernel.errors |= {"open": number, "send": number}

            return Fault(begin, kernel.errors.clear, reason)

        self.faults = {
            "hang": switch(kernel, "silent", True, False, "timeout"),
            "slow": switch(self, "delay", SLOW_SECONDS, 0.0, ""),
            "wrong": reply(b"\0\xdc\x01", "malformed"),
            "lost": error(errno.ENODEV, "unavailable"),
            "credentials": error(errno.EACCES, "refused"),
            "suspended": reply(kernel_power_reading(int(WATTS), 0), "unavailable"),
        }


class RedfishBench(Bench):
    boundary = Boundary.HOST
    counts = False

    async def open(self) -> None:
        bmc = await self._stack.enter_async_context(running())
        bmc.add_server(EnvironmentMetrics={"PowerWatts": {"Reading": WATTS}})
        path = f"{CHASSIS}/1/EnvironmentMetrics"
        good = bmc.resources[path]
        options = RedfishOptions(
            url=bmc.url,
            username=USER,
            password_env="BMC_PASSWORD",
            period_seconds=STEP_SECONDS,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        self.source = specs()["redfish"].open(options, self.context)

        def resource(content: Any, reason: str) -> Fault:
            def show(what: Any) -> Callable[[], None]:
                return lambda: bmc.resources.__setitem__(path, what)

            return Fault(show(content), show(good), reason)

        def change_password() -> None:
            bmc.password = "changed"
            bmc.expire()

        self.faults = {
            "hang": switch(bmc, "hangs", True, False, "timeout"),
            "slow": switch(bmc, "delay_seconds", SLOW_SECONDS, 0.0, ""),
            "wrong": resource("not json", "malformed"),
            "lost": resource(404, "unavailable"),
            "credentials": Fault(change_password, lambda: setattr(bmc, "password", PASSWORD), "refused", 301.0),
            "suspended": resource({"PowerWatts": {"Reading": None}}, "unavailable"),
        }


class AmdsmiBench(Bench):
    async def open(self) -> None:
        self.driver = AmdsmiDouble(self.clock, gpus=1, watts=WATTS)
        (gpu,) = self.driver.gpus
        self.gpu = gpu
        self.refresh()
        self._stack.callback(self.driver.close)
        hang, self.delay = threading.Event(), 0.0
        hang.set()
        self.driver.pause = lambda: (hang.wait(), threading.Event().wait(self.delay))[0]
        options = AmdsmiOptions(timeout_seconds=TIMEOUT_SECONDS)
        self.source = AmdsmiSource(options, self.context, self.driver.package, self.clock.advance)

        def code(number: int, reason: str) -> Fault:
            return switch(gpu, "code", number, 0, reason)

        self.faults = self.counter_faults("malformed") | {
            "hang": Fault(hang.clear, hang.set, "timeout"),
            "slow": switch(self, "delay", SLOW_SECONDS / 4, 0.0, ""),
            "wrong": code(43, "unavailable"),
            "lost": code(31, "lost"),
            "credentials": code(10, "refused"),
            "suspended": code(2, "unavailable"),
        }

    def refresh(self) -> None:
        self.gpu.ticks_before = round(self.offset_joules * 1e6 / self.gpu.microjoules_per_tick)


BENCHES: Final[Mapping[str, type[Bench]]] = {
    "amd_exporter": AmdExporterBench,
    "amdsmi": AmdsmiBench,
    "dcgm": DcgmBench,
    "hwmon": HwmonBench,
    "ipmi": IpmiBench,
    "ipmi_local": IpmiLocalBench,
    "nvml": NvmlBench,
    "prometheus": PrometheusBench,
    "promql": PromqlBench,
    "rapl": RaplBench,
    "redfish": RedfishBench,
    "triton": TritonBench,
    "trtllm": TrtllmBench,
}
PAIRS: Final = tuple((source, fault) for source in BENCHES for fault in FAULTS if (source, fault) not in IMPOSSIBLE)
