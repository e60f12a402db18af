"""Reading one server's power from its BMC over any `BmcSession`: DCMI power reading, else power sensors.

Owns the choice between the two and what a BMC's answers mean. Never publishes a suspended reading.
Source: DCMI 1.5 specification, section 6.6.1 (Get Power Reading); IPMI v2.0, section 20.1 (Get Device ID).
"""

from __future__ import annotations

import contextlib
import struct
from typing import Final

from tokwatt.quantities import Watts
from tokwatt.readings import (
    DeviceInfo,
    Malformed,
    PowerReading,
    PowerSample,
    Precision,
    SourceContext,
    SourceError,
    Unavailable,
)
from tokwatt.sources._frame import Timing
from tokwatt.sources.power._bmc import NOT_IMPLEMENTED, BmcReply, BmcSession, refusal
from tokwatt.sources.power._precision import DCMI, UNSTATED_GAIN_RATIO, declared
from tokwatt.sources.power._sdr import SdrWalk, read_watts
from tokwatt.sources.power._sdr_record import PowerSensor, choose
from tokwatt.sources.power._server_meter import ServerMeter

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


class BmcMeter(ServerMeter):
    """One server's input power. A source is made of this by options that say how to reach the BMC.

    `address` is what people call the BMC's place; `sensors` are read instead of DCMI where there are any.
    """

    def __init__(
        self,
        session: BmcSession,
        context: SourceContext,
        timing: Timing,
        *,
        address: str,
        sensors: tuple[str, ...],
    ) -> None:
        super().__init__(context, timing, f"BMC {address}")
        self._session = session
        self._address = address
        self._wanted = sensors
        self._walk: SdrWalk | None = None
        self._sensors: tuple[PowerSensor, ...] = ()
        self._no_sensors: SourceError | None = None
        self._identity: tuple[str, tuple[tuple[str, str], ...]] | None = None

    async def aclose(self) -> None:
        """Close the BMC session."""
        await self._session.aclose()

    async def _read(self) -> PowerReading:
        return PowerReading((await self._sample(),), (await self._describe(),))

    def _progress(self) -> str:
        return f" ({self._walk.progress}; the next read goes on there)" if self._walk else ""

    async def _sample(self) -> PowerSample:
        if self._wanted and not self._sensors:
            await self._find_sensors()
        clock = self._context.clock
        before = clock()
        watts = await self._watts()
        return PowerSample(self._meter, Watts(watts), (before + clock()) / 2)

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
            self._sensors = choose(found, self._wanted, self._where)
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
        details = (("address", self._address), ("sensor", sensor), *details)
        return DeviceInfo(self._meter, name, details=details, precision=self._precision())

    def _precision(self) -> Precision:
        if not self._sensors:
            return declared(DCMI, self._context)
        stated = max(sensor.accuracy_ratio for sensor in self._sensors)
        return declared(
            DCMI,
            self._context,
            gain_ratio=stated or UNSTATED_GAIN_RATIO,
            resolution_watts=sum(sensor.step_watts for sensor in self._sensors),
        )


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
