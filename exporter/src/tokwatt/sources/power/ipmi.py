"""Whole servers through their BMC: DCMI power reading, else one power sensor of the sensor data repository.

Owns the options and the spec of `source: ipmi` and the choice between the two. Never publishes a suspended reading.
Source: DCMI 1.5 specification, section 6.6.1 (Get Power Reading); IPMI v2.0, section 20.1 (Get Device ID).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from tokwatt.readings import (
    Boundary,
    DeviceInfo,
    Fidelity,
    Malformed,
    Meter,
    Method,
    PowerReading,
    PowerSample,
    PowerSourceSpec,
    Refused,
    SourceContext,
    SourceError,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power._bmc import NOT_IMPLEMENTED, BmcReply, BmcSession, refusal
from tokwatt.sources.power._rmcp import RmcpSession, RmcpSettings
from tokwatt.sources.power._sdr import SdrWalk, read_watts
from tokwatt.sources.power._sdr_record import PowerSensor, choose

_CIPHER_SUITES: Final = (17, 3)  # best first

_GROUP_EXTENSION: Final = 0x2C
_GET_POWER_READING: Final = 0x02
_DCMI: Final = 0xDC
_SYSTEM_POWER: Final = bytes((_DCMI, 0x01, 0x00, 0x00))
_POWER_READING_BYTES: Final = 18
_MEASUREMENT_ACTIVE: Final = 0x40

_APP: Final = 0x06
_GET_DEVICE_ID: Final = 0x01
# IANA enterprise numbers of BMC makers, for people; others are shown as a number.
_MANUFACTURERS: Final = {
    2: "IBM",
    11: "HP",
    343: "Intel",
    674: "Dell",
    5703: "NVIDIA",
    7244: "Quanta",
    10876: "Supermicro",
    15370: "GIGABYTE",
    19046: "Lenovo",
    47196: "HPE",
}

# The inner deadlines come first, so that the message that says most wins over the sampler's.
_READ_SHARE = 0.95
_COMMAND_SHARE = 0.9


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


class IpmiSource:
    """One server's input power. `connect` replaces RMCP+ over LAN, for a simulation."""

    def __init__(
        self, options: IpmiOptions, context: SourceContext, connect: Callable[[], BmcSession] | None = None
    ) -> None:
        self._options = options
        self._context = context
        self._where = f"BMC {options.host}:{options.port}"
        self._session = connect() if connect is not None else _over_lan(options)
        self._walk: SdrWalk | None = None
        self._sensors: tuple[PowerSensor, ...] = ()
        self._no_sensors: SourceError | None = None
        self._identity: tuple[str, tuple[tuple[str, str], ...]] | None = None
        self._meter = Meter(
            source=context.name,
            boundary=Boundary.HOST,
            device=context.name,
            fidelity=Fidelity.HIGH,
            method=Method.SIMULATED if context.simulated else Method.INTEGRATED,
        )

    @property
    def name(self) -> str:
        """The configured name; also the meter's device."""
        return self._context.name

    @property
    def period_seconds(self) -> float | None:
        """Own timer: a BMC refreshes its reading about once a second, and answers slowly."""
        return self._options.period_seconds

    @property
    def timeout_seconds(self) -> float:
        """Longest time a read may take."""
        return self._options.timeout_seconds

    async def read(self) -> PowerReading:
        """Read the server's power once. Raises SourceError subclasses only."""
        try:
            async with asyncio.timeout(self._options.timeout_seconds * _READ_SHARE):
                sample = await self._sample()
                info = await self._describe()
        except TimeoutError:
            progress = f" ({self._walk.progress}; the next read goes on there)" if self._walk else ""
            raise TimedOut(
                f"no complete answer within {self._options.timeout_seconds:g} s{progress}",
                where=self._where,
                hint="a slow BMC may need a higher timeout_seconds",
            ) from None
        return PowerReading((sample,), (info,))

    async def aclose(self) -> None:
        """Close the BMC session."""
        await self._session.aclose()

    async def _sample(self) -> PowerSample:
        if self._options.sensors and not self._sensors:
            await self._find_sensors()
        clock = self._context.clock
        before = clock()
        watts = await self._watts()
        return PowerSample(self._meter, watts, (before + clock()) / 2)

    async def _watts(self) -> float:
        if not self._sensors:
            reply = await self._session.command(_GROUP_EXTENSION, _GET_POWER_READING, _SYSTEM_POWER)
            if reply.completion_code not in NOT_IMPLEMENTED:
                return dcmi_watts(reply, self._where)
            await self._find_sensors()
        return _plausible(await read_watts(self._session, self._sensors, self._where), self._where)

    async def _find_sensors(self) -> None:
        """Look once for power sensors. That there are none is remembered: the repository is not walked again."""
        if self._no_sensors is not None:
            raise self._no_sensors.with_traceback(None)
        self._walk = self._walk or SdrWalk(self._session, self._where)
        found = await self._walk.run()
        self._walk = None
        try:
            self._sensors = choose(found, self._options.sensors or (), self._where)
        except Unavailable as error:
            self._no_sensors = error
            raise

    async def _describe(self) -> DeviceInfo:
        if self._identity is None:
            self._identity = ("BMC", ())  # not asked again where the BMC does not tell
            with contextlib.suppress(SourceError):
                reply = await self._session.command(_APP, _GET_DEVICE_ID, b"")
                if not reply.completion_code:
                    self._identity = device_identity(reply.data)
        name, details = self._identity
        sensor = " + ".join(sensor.name for sensor in self._sensors) or "dcmi"
        address = f"{self._options.host}:{self._options.port}"
        return DeviceInfo(self._meter, name, details=(("address", address), ("sensor", sensor), *details))


def dcmi_watts(reply: BmcReply, where: str) -> float:
    """Return the current power of a Get Power Reading answer, in watts.

    Minimum, maximum and average are not used: they cover a period of the BMC's choice, which may be days.

    Raises:
        SourceError: Refused (privilege), Unavailable (suspended, or no reading), Malformed.
    """
    if reply.completion_code:
        raise refusal(reply, "DCMI Get Power Reading", where)
    data = reply.data
    if len(data) < _POWER_READING_BYTES or data[0] != _DCMI:
        raise Malformed(f"DCMI Get Power Reading answered {data.hex()!r}", where=where)
    (watts,) = struct.unpack_from("<H", data, 1)
    if not data[17] & _MEASUREMENT_ACTIVE:
        hint = "activate power measurement on the BMC, or let the host boot"
        raise Unavailable("power reading suspended", where=where, hint=hint)
    return _plausible(float(watts), where)


def _plausible(watts: float, where: str) -> float:
    if watts <= 0:  # the BMC that says so draws power from the same supply
        raise Unavailable(f"a power reading of {watts:g} W is no measurement", where=where, hint="the host may be off")
    return watts


def device_identity(data: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return a name and details from a Get Device ID answer; what is missing in it is left out."""
    if len(data) < 9:
        return "BMC", ()
    firmware = ("firmware", f"{data[2] & 0x7F}.{data[3]:02x}")  # the minor version is BCD
    number = int.from_bytes(data[6:9], "little") & 0xFFFFF
    if number == 0:  # unspecified
        return "BMC", (firmware,)
    maker = _MANUFACTURERS.get(number, f"IANA enterprise {number}")
    return f"{maker} BMC", (("manufacturer", maker), firmware)


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
    return RmcpSession(settings, lambda: _password(options))


def _password(options: IpmiOptions) -> bytes:
    if options.password_env:
        secret = os.environ.get(options.password_env)
        if secret is None:
            raise Refused("not set", where=f"environment variable {options.password_env}", hint="set the BMC password")
        return secret.encode()
    if not options.password_file:
        hint = "set password_file, or password_env"
        raise Refused("no password is configured", where=f"account {options.username}", hint=hint)
    try:
        return Path(options.password_file).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        hint = "it must hold the BMC password and be readable by tokwatt"
        raise Refused(error.strerror or str(error), where=options.password_file, hint=hint) from error


def _open(options: object, context: SourceContext) -> IpmiSource:
    if not isinstance(options, IpmiOptions):
        raise TypeError(f"ipmi needs IpmiOptions, not {type(options).__name__}")
    return IpmiSource(options, context)


SPEC = PowerSourceSpec(
    name="ipmi",
    summary="whole servers through their BMC over the network: DCMI power reading, else a power sensor",
    needs="pip install 'tokwatt[ipmi]'; IPMI over LAN enabled on the BMC and an account with user privilege",
    boundaries=(Boundary.HOST,),
    options=IpmiOptions,
    open=_open,
    traps=(
        "The accuracy is the vendor's and rarely stated; DCMI resolves 1 W, a sensor often 4 to 8 W.",
        "A BMC refreshes its reading about once a second or slower: bursts below that are not seen.",
        "Some BMCs demand operator or administrator privilege for DCMI: the read is then refused and says so.",
        "Where only power supply inputs exist they are added; a supply without a reading makes the sum unavailable.",
        "Sensors behind another controller than the BMC are not read.",
    ),
)
