"""Short constructors of readings for tests of the pure core."""

from __future__ import annotations

from tokwatt.readings import (
    Boundary,
    CounterSample,
    DeviceInfo,
    EnergyCounter,
    Fidelity,
    Meter,
    Method,
    PowerReading,
    PowerSample,
    Quantity,
    ServerReading,
)


def gpu_meter(number: int = 0, source: str = "nvml") -> Meter:
    return Meter(source, Boundary.GPU, f"GPU-{number}", Fidelity.HIGHEST, Method.COUNTER)


def host_meter(name: str = "bmc1") -> Meter:
    return Meter(name, Boundary.HOST, name, Fidelity.HIGH, Method.INTEGRATED)


def gpu_pass(at: float, joules: dict[int, float], source: str = "nvml") -> PowerReading:
    """One NVML pass: cumulative joules by GPU index."""
    return PowerReading(
        tuple(EnergyCounter(gpu_meter(i, source), value, at) for i, value in joules.items()),
        tuple(DeviceInfo(gpu_meter(i, source), "test GPU", i) for i in joules),
    )


def host_pass(at: float, watts: float, name: str = "bmc1") -> PowerReading:
    return PowerReading((PowerSample(host_meter(name), watts, at),), (DeviceInfo(host_meter(name), "test BMC"),))


def tokens(
    at: float,
    output: float,
    *,
    computed: float = 0.0,
    cached: float | None = None,
    server: str = "chat",
    model: str = "m",
    running: float | None = 1.0,
    success: float | None = None,
    uncertainty: float = 0.0,
) -> ServerReading:
    values = {
        Quantity.OUTPUT: output,
        Quantity.COMPUTED_INPUT: computed,
        Quantity.CACHED_INPUT: cached,
        Quantity.REQUESTS_SUCCESS: success,
    }
    counters = tuple(CounterSample(q, model, f"{q}/{model}", v) for q, v in values.items() if v is not None)
    return ServerReading(server, at, uncertainty, counters, requests_running=running, requests_waiting=0, engine="test")


def outlet_pass(at: float, watts: float, name: str = "pdu") -> PowerReading:
    meter = Meter(name, Boundary.OUTLET, name, Fidelity.LOW, Method.INTEGRATED)
    return PowerReading((PowerSample(meter, watts, at),), (DeviceInfo(meter, "test outlet"),))
