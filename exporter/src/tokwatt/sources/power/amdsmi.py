"""AMD GPUs through AMD SMI: the board's energy accumulator where it can be believed, else integrated power.

Owns the options and the spec of `source: amdsmi`. All calls run on one worker thread.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tokwatt.readings import Boundary, PowerReading, PowerSourceSpec, SourceContext, SourceError
from tokwatt.sources._worker import Worker
from tokwatt.sources.power._amdsmi_binding import AmdsmiBinding, load_binding
from tokwatt.sources.power._amdsmi_reader import AmdsmiReader
from tokwatt.sources.power._precision import AMD_COUNTER, AMD_POWER

_OWN_DEADLINE_SHARE = 0.95  # the message of the inner deadline says more than the sampler's
_SHUTDOWN_SECONDS = 0.5


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
        if self.timeout_seconds <= 0:
            raise ValueError("timeout_seconds must be above 0")
        if not 0.05 <= self.sampling_seconds <= 1.0:
            raise ValueError("sampling_seconds must be from 0.05 to 1.0")


class AmdsmiSource:
    """All AMD GPUs of this host. `binding` replaces the package `amdsmi` and `pause` the sleep, for a test."""

    def __init__(
        self,
        options: AmdsmiOptions,
        context: SourceContext,
        binding: AmdsmiBinding | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = options
        self._name = context.name
        wanted = (options.gpus,) if isinstance(options.gpus, str) else tuple(str(gpu) for gpu in options.gpus)
        self._reader = AmdsmiReader(wanted, context, load_binding if binding is None else lambda: binding, pause)
        self._worker = Worker(context.name, context.clock)

    @property
    def name(self) -> str:
        """The configured name."""
        return self._name

    @property
    def period_seconds(self) -> float | None:
        """None: read with the tick."""
        return None

    @property
    def timeout_seconds(self) -> float:
        """Longest time a read may take."""
        return self._options.timeout_seconds

    async def read(self) -> PowerReading:
        """Read all GPUs once. Raises SourceError subclasses only. The first read compares counters with power."""
        return await self._worker.call(self._read, self._options.timeout_seconds * _OWN_DEADLINE_SHARE)

    async def aclose(self) -> None:
        """Shut AMD SMI down, unless a call hangs."""
        with contextlib.suppress(SourceError):
            await self._worker.call(self._shut_down, _SHUTDOWN_SECONDS)
        self._worker.close()

    def _read(self) -> PowerReading:
        reading = self._reader.read()
        if self._reader.is_sampled:
            self._worker.run_between_calls(self._options.sampling_seconds, self._reader.sample)
        else:
            self._worker.stop_between_calls()
        return reading

    def _shut_down(self) -> None:
        self._worker.stop_between_calls()
        self._reader.shut_down()


def _open(options: object, context: SourceContext) -> AmdsmiSource:
    if not isinstance(options, AmdsmiOptions):
        raise TypeError(f"amdsmi needs AmdsmiOptions, not {type(options).__name__}")
    return AmdsmiSource(options, context)


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
    open=_open,
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
