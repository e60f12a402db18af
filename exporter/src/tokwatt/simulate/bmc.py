"""A simulated BMC at the level of IPMI commands: DCMI power reading and, as a fallback, one power sensor (SDR).

Owns what a BMC does to the truth: whole watts, refreshed once a second. No network, no session.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Awaitable, Callable

from tokwatt.readings import Clock, TimedOut
from tokwatt.simulate.meters import JoulesAt
from tokwatt.sources.power._bmc import BmcReply

NETFN_SENSOR, NETFN_APP, NETFN_STORAGE, NETFN_GROUP = 0x04, 0x06, 0x0A, 0x2C
OK = 0x00
INVALID_COMMAND = 0xC1
NOT_PRESENT = 0xCB
INVALID_DATA = 0xCC
DCMI_GROUP = 0xDC
MEASURING = 0x40  # bit 6 of the power reading's state: measurement active
SENSOR_NUMBER = 0x77
SENSOR_NAME = b"Pwr Consumption"
SENSOR_WATTS_PER_COUNT = 40  # 8 bits for a server of 8 GPUs: what such a sensor resolves
UNIT_WATTS = 0x06
ANSWER_TIMEOUT_SECONDS = 2.0


class SimulatedBmc:
    """A BMC whose reading is the mean of the last full refresh period, in whole watts.

    `silent`: commands get no answer. `measuring` False: it answers 0 W with the state bit clear.
    `without_dcmi`: DCMI commands are unknown to it, the sensor remains.
    """

    def __init__(
        self,
        name: str,
        joules_at: JoulesAt,
        clock: Clock,
        *,
        unix_clock: Callable[[], float],
        watts_at_start: float,
        refresh_seconds: float = 1.0,
        without_dcmi: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self.silent = False
        self.measuring = True
        self._joules_at = joules_at
        self._clock = clock
        self._unix_clock = unix_clock
        self._refresh_seconds = refresh_seconds
        self._sleep = sleep
        self._start_seconds = clock()
        self._watts = self._lowest_watts = self._highest_watts = round(watts_at_start)
        self._refreshed_periods = 0
        self._handlers: dict[tuple[int, int], Callable[[bytes], BmcReply]] = {
            (NETFN_APP, 0x01): self._device_id,
            (NETFN_SENSOR, 0x2D): self._sensor_reading,
            (NETFN_STORAGE, 0x20): self._repository_info,
            (NETFN_STORAGE, 0x22): self._reserve_repository,
            (NETFN_STORAGE, 0x23): self._sensor_record,
        }
        if not without_dcmi:
            self._handlers |= {(NETFN_GROUP, 0x01): self._capabilities, (NETFN_GROUP, 0x02): self._power_reading}

    async def command(self, netfn: int, command: int, data: bytes = b"") -> BmcReply:
        """Answer one command.

        Raises:
            TimedOut: the BMC is silent.
        """
        if self.silent:
            await self._sleep(ANSWER_TIMEOUT_SECONDS)
            raise TimedOut("the BMC does not answer", where=self.name, hint="simulated fault; it comes back by itself")
        handler = self._handlers.get((netfn, command))
        return handler(data) if handler else BmcReply(INVALID_COMMAND)

    async def aclose(self) -> None:
        """Do nothing: there is no session."""

    def watts(self) -> int:
        """Return what the BMC shows now."""
        since_start = self._clock() - self._start_seconds
        # A clock that stands exactly on a refresh must not fall below it by a rounding error.
        periods = math.floor(since_start / self._refresh_seconds + 1e-9)
        if periods > self._refreshed_periods:
            end_seconds = self._start_seconds + periods * self._refresh_seconds
            joules = self._joules_at(end_seconds) - self._joules_at(end_seconds - self._refresh_seconds)
            self._watts = min(round(joules / self._refresh_seconds), 0xFFFF)
            self._refreshed_periods = periods
            self._lowest_watts = min(self._lowest_watts, self._watts)
            self._highest_watts = max(self._highest_watts, self._watts)
        return self._watts

    def _mean_watts(self) -> int:
        seconds = self._clock() - self._start_seconds
        return round(self._joules_at(self._clock()) / seconds) if seconds > 0.0 else self._watts

    def _device_id(self, data: bytes) -> BmcReply:  # noqa: ARG002 - no parameters
        # Device 0x20, revision 1, firmware 1.00, IPMI 2.0, sensors and SDR; manufacturer and product 0.
        return BmcReply(OK, bytes([0x20, 0x01, 0x01, 0x00, 0x02, 0x03, 0, 0, 0, 0, 0]))

    def _capabilities(self, data: bytes) -> BmcReply:
        if len(data) != 2 or data[0] != DCMI_GROUP:
            return BmcReply(INVALID_DATA)
        # DCMI 1.5, parameter revision 2; power management is offered.
        return BmcReply(OK, bytes([DCMI_GROUP, 0x01, 0x05, 0x02, 0x00, 0x01, 0x00]))

    def _power_reading(self, data: bytes) -> BmcReply:
        if len(data) != 4 or data[0] != DCMI_GROUP or data[1] != 0x01:
            return BmcReply(INVALID_DATA)
        watts = self.watts()
        shown = (watts, self._lowest_watts, self._highest_watts, self._mean_watts()) if self.measuring else (0, 0, 0, 0)
        period_milliseconds = round((self._clock() - self._start_seconds) * 1e3) & 0xFFFFFFFF
        state = MEASURING if self.measuring else 0x00
        unix_seconds = int(self._unix_clock()) & 0xFFFFFFFF
        body = struct.pack("<B4HIIB", DCMI_GROUP, *shown, unix_seconds, period_milliseconds, state)
        return BmcReply(OK, body)

    def _sensor_reading(self, data: bytes) -> BmcReply:
        if data[:1] != bytes([SENSOR_NUMBER]):
            return BmcReply(NOT_PRESENT)
        count = min(round(self.watts() / SENSOR_WATTS_PER_COUNT), 0xFF)
        # Scanning on; bit 5 says that there is no reading yet.
        return BmcReply(OK, bytes([count if self.measuring else 0, 0x40 if self.measuring else 0x60, 0xC0]))

    def _repository_info(self, data: bytes) -> BmcReply:  # noqa: ARG002 - no parameters
        # SDR version 1.5, one record, no free space, never changed; reserving is supported.
        return BmcReply(OK, struct.pack("<BHHIIB", 0x51, 1, 0, 0, 0, 0x02))

    def _reserve_repository(self, data: bytes) -> BmcReply:  # noqa: ARG002 - no parameters
        return BmcReply(OK, b"\x01\x00")

    def _sensor_record(self, data: bytes) -> BmcReply:
        if len(data) != 6:
            return BmcReply(INVALID_DATA)
        record_id, offset, count = struct.unpack("<2xHBB", data)
        if record_id not in (0x0000, 0x0001):
            return BmcReply(NOT_PRESENT)
        # 0xFFFF: this record is the last one.
        return BmcReply(OK, b"\xff\xff" + power_sensor_record()[offset : offset + count])


def power_sensor_record() -> bytes:
    """Return the sensor's full record (IPMI 2.0, table 43-1): unsigned watts, value = count x 40."""
    body = bytearray(43)
    body[0:9] = bytes([0x20, 0x00, SENSOR_NUMBER, 0x13, 0x01, 0x7F, 0x68, 0x0B, 0x01])  # a threshold sensor of watts
    body[16] = UNIT_WATTS
    body[19] = SENSOR_WATTS_PER_COUNT  # M; B, accuracy and both exponents stay 0
    body[29] = 0xFF  # largest count
    body[42] = 0xC0 | len(SENSOR_NAME)
    record = bytes(body) + SENSOR_NAME
    return struct.pack("<HBBB", 1, 0x51, 0x01, len(record)) + record
