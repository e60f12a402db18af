"""AMD GPUs through AMD SMI: the board's energy accumulator where it can be believed, else integrated power.

Owns the options and the spec of `source: amdsmi`. All calls run on one worker thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tokwatt.readings import Boundary, PowerSourceSpec, SourceContext
from tokwatt.sources._frame import above_zero
from tokwatt.sources.power._amdsmi_binding import AmdsmiBinding, load_binding
from tokwatt.sources.power._amdsmi_reader import AmdsmiReader
from tokwatt.sources.power._precision import AMD_COUNTER, AMD_POWER
from tokwatt.sources.power._worker_meter import BoardMeter, wanted_gpus


@dataclass(frozen=True, slots=True)
class AmdsmiOptions:
    """Options of `source: amdsmi`."""

    gpus: tuple[str, ...] = field(
        default=("all",), metadata={"help": "GPUs to read: all, or a list of UUIDs or indices in AMD SMI's order"}
    )
    timeout_seconds: float = field(
        default=2.0, metadata={"help": "longest wait for one pass over the GPUs; the first takes 0.5 s", "unit": "s"}
    )
    sampling_seconds: float = field(
        default=0.1,
        metadata={"help": "power sampling period of GPUs whose accumulator cannot be believed", "unit": "s"},
    )

    def __post_init__(self) -> None:
        if not self.gpus:
            raise ValueError("gpus must be all, or a list of at least one UUID or index")
        above_zero(timeout_seconds=self.timeout_seconds)
        if not 0.05 <= self.sampling_seconds <= 1.0:
            raise ValueError("sampling_seconds must be from 0.05 to 1.0")


class AmdsmiSource(BoardMeter):
    """All AMD GPUs of this host. `binding` replaces the package `amdsmi` and `pause` the sleep, for a test.

    The first read compares counters with power.
    """

    def __init__(
        self,
        options: AmdsmiOptions,
        context: SourceContext,
        binding: AmdsmiBinding | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        load = load_binding if binding is None else lambda: binding
        super().__init__(
            AmdsmiReader(wanted_gpus(options.gpus), context, load, pause),
            context,
            timeout_seconds=options.timeout_seconds,
            sampling_seconds=options.sampling_seconds,
        )


SPEC = PowerSourceSpec(
    name="amdsmi",
    summary="AMD GPU boards: energy accumulator, or power sampled at 10 Hz where it cannot be believed",
    needs="pip install 'tokwatt[amd]' or ROCm's own amdsmi package, libamd_smi.so of the driver's version, and access "
    "to /dev/kfd and /dev/dri (groups video and render)",
    boundaries=(Boundary.GPU,),
    method="counter, if it kept step with the power for 0.5 s at the start; else power integrated",
    resolution="15.3 microjoules on most boards; power 1 W",
    precisions=(("energy accumulator", AMD_COUNTER), ("power", AMD_POWER)),
    options=AmdsmiOptions,
    build=AmdsmiSource,
    detect=True,
    traps=(
        "MI100 and MI200 accumulators may be frozen or off by large factors until a reboot: they are then not used.",
        "An accumulator that goes back and comes back is left out for that read; one that stays low was reset.",
        "Of an MI250 the first die shows the power of both: one device with the detail dies=2.",
        "Compute partitions (CPX, DPX) share one socket's sensor: it is read once, as the first partition.",
        "Virtual machines get no power reading: meter the host.",
        "No figure of the sensor's gain is published: 5 % is assumed.",
    ),
)
