"""NVIDIA GPUs through NVML: the board's own energy counter, else integrated instantaneous power.

Owns the options and the spec of `source: nvml`. All NVML calls run on one worker thread, 8 GPUs in one call.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tokwatt.readings import Boundary, PowerSourceSpec, SourceContext
from tokwatt.sources._frame import above_zero
from tokwatt.sources.power._nvml_binding import NvmlBinding, load_binding
from tokwatt.sources.power._nvml_reader import NvmlReader
from tokwatt.sources.power._precision import NVML_COUNTER, NVML_POWER
from tokwatt.sources.power._worker_meter import BoardMeter, wanted_gpus


@dataclass(frozen=True, slots=True)
class NvmlOptions:
    """Options of `source: nvml`."""

    gpus: tuple[str, ...] = field(
        default=("all",),
        metadata={
            "help": "GPUs to read: all, or a list of UUIDs or indices in NVML's order; "
            "in place of a MIG slice its whole GPU is read"
        },
    )
    timeout_seconds: float = field(
        default=1.0, metadata={"help": "longest wait for one pass over the GPUs", "unit": "s"}
    )
    sampling_seconds: float = field(
        default=0.1,
        metadata={"help": "power sampling period of GPUs without an energy counter", "unit": "s"},
    )

    cross_check: bool = field(
        default=True,
        metadata={"help": "false: do not read the power beside each energy counter, which finds out one that lies"},
    )

    def __post_init__(self) -> None:
        if not self.gpus:
            raise ValueError("gpus must be all, or a list of at least one UUID or index")
        above_zero(timeout_seconds=self.timeout_seconds)
        if not 0.05 <= self.sampling_seconds <= 1.0:
            raise ValueError("sampling_seconds must be from 0.05 (sensors refuse faster polling) to 1.0")


class NvmlSource(BoardMeter):
    """All NVIDIA GPUs of this host. `binding` replaces `pynvml`, for a simulation."""

    def __init__(self, options: NvmlOptions, context: SourceContext, binding: NvmlBinding | None = None) -> None:
        load = load_binding if binding is None else lambda: binding
        super().__init__(
            NvmlReader(wanted_gpus(options.gpus), context, load, cross_check=options.cross_check),
            context,
            timeout_seconds=options.timeout_seconds,
            sampling_seconds=options.sampling_seconds,
        )


SPEC = PowerSourceSpec(
    name="nvml",
    summary="NVIDIA GPU boards: energy counter, or power sampled at 10 Hz where a board has no counter",
    needs="the NVIDIA driver (libnvidia-ml.so.1) and access to /dev/nvidia*; in a container the NVIDIA runtime",
    boundaries=(Boundary.GPU,),
    method="counter; power read every 0.1 s and integrated on boards without one (before Volta)",
    resolution="1 mJ, renewed about every 0.1 s; power 1 mW",
    precisions=(("energy counter", NVML_COUNTER), ("power", NVML_POWER)),
    options=NvmlOptions,
    build=NvmlSource,
    detect=True,
    traps=(
        "The sensor's gain error is about 5 % of the reading, board by board; no software can correct it.",
        "The counter is updated every 0.1 s: windows below 10 s carry more than 1 % of edge error.",
        "MIG slices have no sensor: a sliced GPU is read as a whole, once, also where the configuration names slices.",
        "On GH200 the energy counter covers the whole module, Grace CPU included (detail scope=module).",
        "A CPU meter of a GH200 host is inside that counter; on GB200 and GB300 GPU and module are apart.",
        "The counter is held against the power beside it: tokwatt_meter_energy_to_power_ratio, good from 0.8 to 1.25.",
        "Some consumer boards and some idle ones count too little: compare them with another meter.",
        "Without persistence mode the counter restarts when the last NVML client exits; while tokwatt runs it is one.",
        "After an update of the driver its library no longer fits: reload the driver or reboot, then restart tokwatt.",
    ),
)
