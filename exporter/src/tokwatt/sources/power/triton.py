"""NVIDIA GPUs through the metrics page of a Triton Inference Server: its own energy counter, by GPU UUID.

Owns the options and the spec of `source: triton`. What is read and how it is placed in time is `prometheus`'s.
Source: triton-inference-server/core: src/metrics.cc; server: docs/user_guide/metrics.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tokwatt.readings import Boundary, PowerSourceSpec, SourceContext
from tokwatt.sources.power._page_meter import PrometheusOptions, PrometheusSource
from tokwatt.sources.power._precision import NVML_COUNTER
from tokwatt.sources.power._readout import Kind, check_renewal
from tokwatt.sources.power._web import WebOptions

_METRIC: Final = "nv_energy_consumption"
_LABEL: Final = "gpu_uuid"


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonOptions(WebOptions):
    """Options of `source: triton`."""

    url: str = field(default="http://127.0.0.1:8002/metrics", metadata={"help": "Triton's metrics page"})
    update_seconds: float = field(
        default=2.0, metadata={"help": "Triton's own --metrics-interval-ms, in seconds", "unit": "s", "minimum": 0}
    )

    def __post_init__(self) -> None:
        WebOptions.__post_init__(self)
        check_renewal("update_seconds", self.update_seconds, self.period_seconds)


def _build(options: TritonOptions, context: SourceContext) -> PrometheusSource:
    page = PrometheusOptions(
        url=options.url,
        bearer_token_file=options.bearer_token_file,
        ca_file=options.ca_file,
        verify_tls=options.verify_tls,
        period_seconds=options.period_seconds,
        timeout_seconds=options.timeout_seconds,
        metric=_METRIC,
        kind=Kind.JOULES,
        boundary=Boundary.GPU,
        device_label=_LABEL,
        update_seconds=options.update_seconds,
    )
    return PrometheusSource(page, context)


SPEC = PowerSourceSpec(
    name="triton",
    summary="NVIDIA GPU boards through the metrics page of a Triton Inference Server, where nothing nearer is at hand",
    needs="Triton with GPU metrics (on unless --allow-gpu-metrics=false), on the metrics port, usually 8002",
    boundaries=(Boundary.GPU,),
    method="counter",
    resolution="1 mJ, renewed every 2 s unless Triton is told otherwise",
    precisions=(("energy counter", NVML_COUNTER),),
    options=TritonOptions,
    build=_build,
    traps=(
        "The counter begins at 0 when Triton starts; after three failed reads Triton gives up and it stands still.",
        "A counter that stands still for long is refused: its value is old, not zero watts.",
        "Two Triton servers on one GPU show the same energy: the second is refused, by the GPU's UUID.",
        "Where NVML or dcgm-exporter is at hand, use those: fewer programs in between.",
    ),
)
