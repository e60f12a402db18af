"""The product's own meters on a simulated machine, each as one way to measure the same energy.

Owns how a meter's other side (NVML, a BMC, an exporter, a Prometheus) shows the truth: latched, averaged, in steps.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from random import Random

from support.accuracy_world import Machinery
from yarl import URL

from tokwatt.readings import Boundary, Meter, PowerReading, SourceContext, Unavailable
from tokwatt.simulate.bmc import SimulatedBmc
from tokwatt.simulate.nvml import SimulatedNvml
from tokwatt.sources._http import Answer
from tokwatt.sources.power._nvml_reader import NvmlReader
from tokwatt.sources.power._promql_api import Point, QueryAnswer, Series
from tokwatt.sources.power._readout import Kind
from tokwatt.sources.power._web import WebAddress
from tokwatt.sources.power.dcgm import DcgmOptions, DcgmSource
from tokwatt.sources.power.ipmi import IpmiOptions, IpmiSource
from tokwatt.sources.power.prometheus import PrometheusOptions, PrometheusSource
from tokwatt.sources.power.promql import PromqlOptions, PromqlSource

Read = Callable[[], Awaitable[PowerReading]]


@dataclass(frozen=True)
class Method:
    """One way to measure: its name, its boundary, how often it is read (None: at each tick)."""

    name: str
    boundary: Boundary
    period_seconds: float | None
    build: Callable[[Machinery, Method], Read]


class Timed:
    """A source that is read at the first tick at or after its own timer; it misses reads as drawn."""

    timeout_seconds = 1.0
    period_seconds = None  # the harness owns time: to the sampler it is a source of the tick

    def __init__(self, method: Method, machinery: Machinery) -> None:
        self.name = method.name
        self._machinery = machinery
        self._read = method.build(machinery, method)
        self._every = method.period_seconds
        self._due = machinery.start
        self._rng = Random(f"misses {method.name} {machinery.drawn.seed}")
        self.read_at: list[float] = []  # instants of its readings

    async def read(self) -> PowerReading:
        now = self._machinery.clock()
        if now < self._due:
            return PowerReading((), ())
        if self._every is not None:
            self._due = max(self._due + self._every, now)
        drawn = self._machinery.drawn
        if self._machinery.is_out(drawn.meter_outage) or self._rng.random() < drawn.meter_misses:
            raise Unavailable("not now")
        reading = named(await self._read(), self.name)
        newest = max(one.at_seconds for one in reading.readings)
        if not self.read_at or newest > self.read_at[-1]:
            self.read_at.append(newest)
        return reading

    async def aclose(self) -> None:
        """Nothing is open."""


def named(reading: PowerReading, method: str) -> PowerReading:
    """Give each method its own devices: the same board read in two ways is two devices to the ledger."""
    return PowerReading(
        tuple(replace(one, meter=_own(one.meter, method)) for one in reading.readings),
        tuple(replace(info, meter=_own(info.meter, method), index=None) for info in reading.devices),
        tuple(replace(failure, device=f"{method} {failure.device}") for failure in reading.failures),
    )


def _own(meter: Meter, method: str) -> Meter:
    return replace(meter, device=f"{method} {meter.device}")


def _context(machinery: Machinery, method: Method) -> SourceContext:
    return SourceContext(method.name, machinery.clock)


def nvml_of(machinery: Machinery, method: str, *, counter: bool = True) -> SimulatedNvml:
    """NVML whose sensors carry the gain that was drawn for this method, its boards out of step."""
    uuids = frozenset(gpu.uuid for gpu in machinery.gpus)
    return SimulatedNvml(
        machinery.gpus,
        machinery.clock,
        unix_clock=machinery.clock,
        gain=dict.fromkeys(uuids, machinery.drawn.gain(method)),
        without_counter=frozenset() if counter else uuids,
        latch_seconds=machinery.drawn.latch_seconds,
        stagger_ratio=0.37,
    )


def _counter(machinery: Machinery, method: Method) -> Read:
    binding = nvml_of(machinery, method.name)
    reader = NvmlReader(("all",), _context(machinery, method), lambda: binding)

    async def read() -> PowerReading:
        return reader.read()

    return read


class _Exporter(WebAddress):
    """Stands in for the HTTP exchange of a web meter. `body` writes the page at an instant."""

    where = "http://exporter/metrics"
    url = URL(where)

    def __init__(self, machinery: Machinery, body: Callable[[float], str]) -> None:
        self._clock = machinery.clock
        self._body = body

    async def get(self, url: URL, timeout_seconds: float, *, switch_on: str = "") -> tuple[Answer, float]:
        now = self._clock()
        return Answer(self._body(now).encode(), "text/plain; version=0.0.4", now, now, True), now


def _watts_page(machinery: Machinery, method: Method) -> Read:
    """An exporter of nvidia-smi's kind: power as a mean of the last second."""
    binding = nvml_of(machinery, method.name)
    binding.nvmlInit()

    def body(_: float) -> str:
        lines = [
            f'power_watts{{uuid="{gpu.uuid}"}} {binding.nvmlDeviceGetPowerUsage(gpu) / 1e3}' for gpu in machinery.gpus
        ]
        return "\n".join(lines) + "\n"

    options = PrometheusOptions(
        url=_Exporter.where,
        metric="power_watts",
        kind=Kind.WATTS,
        boundary=Boundary.GPU,
        device_label="uuid",
        period_seconds=method.period_seconds or 1.0,
    )
    source = PrometheusSource(options, _context(machinery, method))
    source._web = _Exporter(machinery, body)
    return source.read


def _dcgm(machinery: Machinery, method: Method) -> Read:
    """dcgm-exporter with its default interval: the counter as it was up to 30 s ago."""
    gain, rng = machinery.drawn.gain(method.name), Random(f"dcgm {machinery.drawn.seed}")
    phase, every = rng.uniform(0.0, 30.0), rng.uniform(30.05, 31.5)  # its loop sleeps 30 s and works in between

    def body(now: float) -> str:
        collected = max(machinery.start, machinery.start + phase + (now - machinery.start - phase) // every * every)
        return "".join(
            f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="{gpu.index}",UUID="{gpu.uuid}",modelName="H100"}} '
            f"{round(1e9 + gain * gpu.joules_at(collected) * 1e3)}\n"
            for gpu in machinery.gpus
        )

    source = DcgmSource(DcgmOptions(period_seconds=method.period_seconds or 15.0), _context(machinery, method))
    source._web = _Exporter(machinery, body)
    return source.read


def _dcmi(machinery: Machinery, method: Method) -> Read:
    gain = machinery.drawn.gain(method.name)
    bmc = SimulatedBmc(
        "bmc",
        lambda at: gain * machinery.host_joules_at(max(at, machinery.start)),
        machinery.clock,
        unix_clock=machinery.clock,
        watts_at_start=500.0,
    )
    options = IpmiOptions("simulated", "simulated", "", "NONE", period_seconds=method.period_seconds or 5.0)
    return IpmiSource(options, _context(machinery, method), lambda: bmc).read


def _promql(machinery: Machinery, method: Method) -> Read:
    """A Prometheus that scrapes a host's energy counter (joules) every 15 s; the host renews it about once a second."""
    gain, rng = machinery.drawn.gain(method.name), Random(f"promql {machinery.drawn.seed}")
    phase, renewed = rng.uniform(0.0, 15.0), rng.uniform(0.95, 1.05)
    options = PromqlOptions(
        url="http://prometheus", query="joules_total", kind=Kind.JOULES, boundary=Boundary.HOST,
        period_seconds=method.period_seconds or 15.0,
    )  # fmt: skip
    source = PromqlSource(options, _context(machinery, method))

    def shown(at: float) -> float:
        return machinery.host_joules_at(machinery.start + (at - machinery.start) // renewed * renewed)

    class Api:
        where = "http://prometheus"

        async def query(self, query: str) -> QueryAnswer:
            now = machinery.clock()
            last = math.floor((now - machinery.start - phase) / 15.0)
            instants = [machinery.start + phase + 15.0 * n for n in range(max(0, last - 19), last + 1)]
            points = tuple(Point(at, 1e7 + gain * shown(at)) for at in instants)
            series = (Series({"__name__": "joules_total"}, points),) if points else ()
            return QueryAnswer(series, now, 0.0)

    source._api = Api()
    return source.read


OUTLET_STEP_KWH = 0.01


def _outlet(machinery: Machinery, method: Method) -> Read:
    """A smart plug or PDU outlet that counts in steps of 0.01 kWh: one in 40 to 90 s at 400 to 1,000 W."""
    gain = machinery.drawn.gain(method.name)
    options = PrometheusOptions(
        url=_Exporter.where, metric="energy_kwh", kind=Kind.KWH, boundary=Boundary.HOST, device=method.name,
        period_seconds=method.period_seconds or 15.0, update_seconds=37.5,
    )  # fmt: skip

    def body(now: float) -> str:
        kwh = 1000.0 + gain * machinery.host_joules_at(now) / 3.6e6
        return f"energy_kwh {math.floor(kwh / OUTLET_STEP_KWH) * OUTLET_STEP_KWH:.2f}\n"

    source = PrometheusSource(options, _context(machinery, method))
    source._web = _Exporter(machinery, body)
    return source.read


COUNTER = Method("counter", Boundary.GPU, None, _counter)
WATTS = Method("watts", Boundary.GPU, 1.0, _watts_page)
DCGM = Method("dcgm", Boundary.GPU, 15.0, _dcgm)
DCMI = Method("dcmi", Boundary.HOST, 15.0, _dcmi)
PROMQL = Method("promql", Boundary.HOST, 15.0, _promql)
OUTLET = Method("outlet", Boundary.HOST, 15.0, _outlet)
