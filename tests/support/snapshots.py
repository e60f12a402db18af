"""Hand-made Snapshots for what reads them: two servers, two meters, four sources, and text that wants to be markup."""

from __future__ import annotations

from dataclasses import replace

from tokwatt.readings import Boundary, DeviceInfo, Fidelity, Meter, Method, Precision
from tokwatt.snapshot import (
    BoundaryWindow,
    Component,
    Given,
    LiveWindow,
    MeterTotal,
    ModelWindow,
    Phase,
    PhaseTotals,
    PriceSnapshot,
    ResponseTerms,
    ServerSnapshot,
    Snapshot,
    SourceHealth,
    TokenTotals,
)
from tokwatt.units import dollars_per_joule, dollars_per_second

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>&amp;\u202e" + "W" * 120
GPU_METER = Meter("local", Boundary.GPU, "GPU-1", Fidelity.HIGHEST, Method.COUNTER)
BMC_METER = Meter("bmc1", Boundary.HOST, "bmc1", Fidelity.HIGH, Method.SIMULATED)


def window(*, gpu_coverage: float = 1.0, host_coverage: float = 1.0) -> LiveWindow:
    """The worked example: 3,000 tokens/s at 1,000 W of GPU; 1,200 W of host, 1,500 W of facility at a PUE of 1.25."""
    covered = {Given.GPU: gpu_coverage, Given.HOST: host_coverage, Given.FACILITY: host_coverage}
    watts = {Given.GPU: 1000.0, Given.HOST: 1200.0, Given.FACILITY: 1500.0}
    trusted = [boundary for boundary in Given if covered[boundary] >= 0.9]
    model = ModelWindow(
        model="org/model-8b",
        output_tokens_per_second=3000.0,
        input_tokens_per_second=12_000.0,
        output_tokens_per_joule={boundary: 3000.0 / watts[boundary] for boundary in trusted},
        processed_tokens_per_joule={boundary: 15_000.0 / watts[boundary] for boundary in trusted},
        output_tokens_per_dollar=2_500_000.0 if host_coverage >= 0.9 else None,
        processed_tokens_per_dollar=12_500_000.0 if host_coverage >= 0.9 else None,
        response_cost_dollars=0.0273,
        response_energy_joules={Given.FACILITY: 90.0},
        response_terms=ResponseTerms(150.0, 1.2, 150.0, 0.0003, {}),
    )
    rows = tuple(
        BoundaryWindow(
            boundary,
            covered[boundary],
            power_watts=watts[boundary] if boundary in trusted else None,
            error_ratio=0.051 if boundary in trusted else None,
        )
        for boundary in Given
    )
    return LiveWindow(940.0, 1000.0, 60.0, rows, (model,))


def _phase(phase: Phase, joules: float) -> PhaseTotals:
    given = {Given.GPU: joules, Given.HOST: 1.2 * joules, Given.FACILITY: 1.5 * joules}
    return PhaseTotals("org/model-8b", phase, given, {Component.CAPACITY: joules / 1e5, Component.ENERGY: joules / 1e7})


def chat() -> ServerSnapshot:
    """A server of which everything is known."""
    return ServerSnapshot(
        name="chat",
        engine="vllm",
        engine_version="0.11.0",
        role="both",
        input_kind="computed",
        output_kind="live",
        labels={"config": "fp8-tp1", "owner": HOSTILE},
        simulated=True,
        tokens=(TokenTotals("org/model-8b", 7_200_000.0, 0.0, 1_800_000.0, {"success": 900.0, "error": 3.0}),),
        phases=(_phase(Phase.UNSPLIT, 750_000.0), _phase(Phase.IDLE, 250_000.0)),
        window=window(),
        requests_running=12.0,
        requests_waiting=0.0,
        capacity_dollars_per_second=dollars_per_second(4.0),
        capacity_includes_electricity=False,
        notes=(f"a note with {HOSTILE}",),
    )


def silent() -> ServerSnapshot:
    """A server that was never read: everything is unknown."""
    return ServerSnapshot(
        name="silent",
        engine="",
        engine_version="",
        role="decode",
        input_kind="",
        output_kind="live",
        labels={},
        simulated=False,
        tokens=(),
        phases=(),
        window=None,
        requests_running=None,
        requests_waiting=None,
        capacity_dollars_per_second=None,
        capacity_includes_electricity=False,
    )


def snapshot(*, at_seconds: float = 1000.0) -> Snapshot:
    """The whole picture at one tick."""
    unix = 1_800_000_000.0 + at_seconds
    return Snapshot(
        at_unix_seconds=unix,
        at_seconds=at_seconds,
        window_seconds=60.0,
        tick_seconds=1.0,
        min_coverage=0.9,
        simulated=True,
        servers=(chat(), silent()),
        meters=(MeterTotal(GPU_METER, 1_250_000.0, 250_000.0), MeterTotal(BMC_METER, 1_500_000.0, 300_000.0)),
        devices=(
            DeviceInfo(
                GPU_METER,
                f"Accelerator {HOSTILE}",
                0,
                (("driver_version", "580.0"),),
                Precision(0.05, resolution_joules=0.001, renewed_every_seconds=0.1),
                energy_to_power_ratio=0.98,
            ),
        ),
        sources=(
            SourceHealth("chat", "tokens", True, "", "", 0.004, unix - 0.1, {"timeout": 2}, 1, 3.5, ("vllm:x_total",)),
            SourceHealth("silent", "tokens", False, "refused", f"connection refused {HOSTILE}", errors={"refused": 9}),
            SourceHealth("local", "power", True, "", "", 0.001, unix - 0.1),
            SourceHealth("bmc1", "power", True, "", "", 0.02, unix - 1.5, target="10.0.0.9:623"),
        ),
        prices=PriceSnapshot(dollars_per_joule(0.17), 1.25),
        config_reload_successful=True,
        config_reload_unix_seconds=unix - 900.0,
    )


def with_source(picture: Snapshot, name: str, **changes: object) -> Snapshot:
    """The same picture with one source's health changed."""
    sources = tuple(
        replace(health, **changes) if health.source == name else health  # type: ignore[arg-type]
        for health in picture.sources
    )
    return replace(picture, sources=sources)


def with_chat(picture: Snapshot, **changes: object) -> Snapshot:
    """The same picture with the first server changed."""
    first = replace(picture.servers[0], **changes)  # type: ignore[arg-type]
    return replace(picture, servers=(first, *picture.servers[1:]))
