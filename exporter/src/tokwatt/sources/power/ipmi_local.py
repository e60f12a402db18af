"""This server through its own BMC, in band: DCMI power reading, else power sensors, without network or password.

Owns the options and the spec of `source: ipmi_local`; what a BMC's answers mean is `_bmc_meter`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tokwatt.readings import Boundary, PowerSourceSpec, SourceContext
from tokwatt.sources._frame import above_zero
from tokwatt.sources.power._bmc_meter import BmcMeter
from tokwatt.sources.power._ipmi_device import DEVICE_FILES, IpmiDevice, Kernel
from tokwatt.sources.power._precision import DCMI

_COMMAND_SHARE = 0.9  # of the read's deadline: the message that says most comes first


@dataclass(frozen=True, slots=True)
class IpmiLocalOptions:
    """Options of `source: ipmi_local`."""

    device: str = field(
        default="", metadata={"help": f"device file of the kernel; omit: the first of {', '.join(DEVICE_FILES)}"}
    )
    sensors: tuple[str, ...] | None = field(
        default=None,
        metadata={"help": "sensors whose sum is the server's power; omit: DCMI, else the best sensor by name"},
    )
    period_seconds: float = field(default=5.0, metadata={"help": "time between reads", "unit": "s"})
    timeout_seconds: float = field(default=3.0, metadata={"help": "longest wait for one read", "unit": "s"})

    def __post_init__(self) -> None:
        above_zero(period_seconds=self.period_seconds, timeout_seconds=self.timeout_seconds)


class IpmiLocalSource(BmcMeter):
    """The input power of the server that this runs on. `kernel` replaces the system calls, for a test."""

    def __init__(self, options: IpmiLocalOptions, context: SourceContext, kernel: Kernel | None = None) -> None:
        device = IpmiDevice(
            options.device, options.timeout_seconds * _COMMAND_SHARE, context.name, context.clock, kernel
        )
        super().__init__(device, context, options, address=options.device or "in-band", sensors=options.sensors or ())


SPEC = PowerSourceSpec(
    name="ipmi_local",
    summary="this server through its own BMC, in band: DCMI power reading, else a power sensor",
    needs="kernel modules ipmi_devintf and ipmi_si (or ipmi_ssif), and read and write access to /dev/ipmi0",
    boundaries=(Boundary.HOST,),
    method="power integrated",
    resolution="DCMI 1 W, sensors 4 to 8 W; renewed about once a second or slower by the BMC",
    precisions=(("DCMI", DCMI),),
    options=IpmiLocalOptions,
    build=IpmiLocalSource,
    detect=True,
    traps=(
        "The device file belongs to root: grant it by a udev rule to tokwatt's group, or mount it into the container.",
        "Whoever may write to it may switch the server off: give it to tokwatt alone.",
        "Configure either this or `ipmi` for one server: by two names it would be counted twice.",
        "The accuracy is the vendor's and rarely stated; DCMI resolves 1 W, a sensor often 4 to 8 W.",
        "A BMC refreshes its reading about once a second or slower: bursts below that are not seen.",
    ),
)
