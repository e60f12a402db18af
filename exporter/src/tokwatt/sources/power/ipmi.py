"""Whole servers through their BMC over the network: DCMI power reading, else one power sensor.

Owns the options and the spec of `source: ipmi`; what a BMC's answers mean is `_bmc_meter`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tokwatt.readings import Boundary, PowerSourceSpec, SourceContext
from tokwatt.sources.power._bmc import BmcSession
from tokwatt.sources.power._bmc_meter import BmcMeter
from tokwatt.sources.power._password import password_of
from tokwatt.sources.power._precision import DCMI
from tokwatt.sources.power._rmcp import RmcpSession, RmcpSettings

_CIPHER_SUITES: Final = (17, 3)  # best first

_COMMAND_SHARE = 0.9  # of the read's deadline: the message that says most comes first


class Privilege(StrEnum):
    """IPMI privilege levels (IPMI v2.0, section 6.8)."""

    USER = "user"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


_LEVELS: Final = {Privilege.USER: 2, Privilege.OPERATOR: 3, Privilege.ADMINISTRATOR: 4}


@dataclass(frozen=True, slots=True)
class IpmiOptions:
    """Options of `source: ipmi`."""

    host: str = field(metadata={"help": "address or name of the BMC"})
    username: str = field(metadata={"help": "IPMI account, at most 16 bytes; user privilege is enough on most BMCs"})
    password_file: str | None = field(
        default=None, metadata={"help": "file that holds the password, at most 20 bytes", "secret": True}
    )
    password_env: str | None = field(
        default=None, metadata={"help": "environment variable that holds the password", "secret": True}
    )
    port: int = field(default=623, metadata={"help": "UDP port of the BMC", "minimum": 1, "maximum": 65535})
    privilege: Privilege = field(
        default=Privilege.USER, metadata={"help": "privilege to ask for; some BMCs demand more for DCMI"}
    )
    cipher_suite: int | None = field(
        default=None, metadata={"help": "RMCP+ cipher suite, 3 or 17; omit: 17, then 3. Suite 0 is refused"}
    )
    sensors: tuple[str, ...] | None = field(
        default=None,
        metadata={"help": "sensors whose sum is the server's power; omit: DCMI, else the best sensor by name"},
    )
    period_seconds: float = field(default=5.0, metadata={"help": "time between reads", "unit": "s"})
    timeout_seconds: float = field(default=3.0, metadata={"help": "longest wait for one read", "unit": "s"})

    def __post_init__(self) -> None:
        for wrong, message in (
            (not self.host, "host must name the BMC"),
            (not 0 < self.port < 65536, f"port must be from 1 to 65535, not {self.port}"),
            (
                bool(self.password_file and self.password_env),
                "only one of password_file and password_env may be set",
            ),
            (
                self.cipher_suite not in (None, *_CIPHER_SUITES),
                f"cipher_suite must be 17 or 3, not {self.cipher_suite}: others lack authentication or encryption",
            ),
            (self.period_seconds <= 0, "period_seconds must be above 0"),
            (self.timeout_seconds <= 0, "timeout_seconds must be above 0"),
        ):
            if wrong:
                raise ValueError(message)


class IpmiSource(BmcMeter):
    """One server's input power over the network. `connect` replaces RMCP+ over LAN, for a simulation."""

    def __init__(
        self, options: IpmiOptions, context: SourceContext, connect: Callable[[], BmcSession] | None = None
    ) -> None:
        super().__init__(
            connect() if connect is not None else _over_lan(options),
            context,
            options,
            address=f"{options.host}:{options.port}",
            sensors=options.sensors or (),
        )


def _over_lan(options: IpmiOptions) -> RmcpSession:
    suites = _CIPHER_SUITES if options.cipher_suite is None else (options.cipher_suite,)
    settings = RmcpSettings(
        host=options.host,
        port=options.port,
        username=options.username,
        privilege=_LEVELS[options.privilege],
        cipher_suites=suites,
        timeout_seconds=options.timeout_seconds * _COMMAND_SHARE,
    )
    return RmcpSession(settings, lambda: password_of(options))


SPEC = PowerSourceSpec(
    name="ipmi",
    summary="whole servers through their BMC over the network: DCMI power reading, else a power sensor",
    needs="pip install 'tokwatt[ipmi]'; IPMI over LAN enabled on the BMC and an account with user privilege",
    boundaries=(Boundary.HOST,),
    method="power integrated",
    resolution="DCMI 1 W, sensors 4 to 8 W; renewed about once a second or slower by the BMC",
    precisions=(("DCMI", DCMI),),
    options=IpmiOptions,
    build=IpmiSource,
    traps=(
        "The accuracy is the vendor's and rarely stated; DCMI resolves 1 W, a sensor often 4 to 8 W.",
        "A BMC refreshes its reading about once a second or slower: bursts below that are not seen.",
        "Some BMCs demand operator or administrator privilege for DCMI: the read is then refused and says so.",
        "Where only power supply inputs exist they are added; a supply without a reading makes the sum unavailable.",
        "Sensors behind another controller than the BMC are not read.",
    ),
)
