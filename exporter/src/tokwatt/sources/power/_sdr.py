"""Walking a BMC's sensor data repository and reading sensors, over any `BmcSession`.

Owns the walk, which resumes where an earlier read stopped: a real repository takes longer than one read may.
Source: IPMI v2.0 specification, sections 33.11, 33.12 (SDR repository) and 35.14 (Get Sensor Reading).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from tokwatt.readings import Malformed
from tokwatt.sources.power._bmc import RESERVATION_CANCELLED, BmcReply, BmcSession, refusal
from tokwatt.sources.power._sdr_record import FULL_SENSOR, HEADER_BYTES, PowerSensor, available, power_sensor

_SENSOR: Final = 0x04
_GET_SENSOR_READING: Final = 0x2D
_STORAGE: Final = 0x0A
_RESERVE: Final = 0x22
_GET_SDR: Final = 0x23
_LAST_RECORD: Final = 0xFFFF
_MAX_RECORDS: Final = 4096  # more than any server has; ends a walk in circles
_CHUNKS: Final = (22, 16, 8)  # bytes per request; many BMCs cannot return a record whole
# Codes that mean "fewer bytes, please": length invalid, exceeded, out of range, cannot return that many.
_FEWER_BYTES: Final = (0xC7, 0xC8, 0xC9, 0xCA)
_MAX_CANCELLATIONS: Final = 5


class _ReservationLostError(Exception):
    """Another user of the BMC changed or reserved the repository: the record must be read again."""


class SdrWalk:
    """One walk over the repository. Keeps what it found when a read runs out of time."""

    def __init__(self, session: BmcSession, where: str) -> None:
        self._session = session
        self._where = where
        self._next = 0
        self._reservation: bytes | None = None
        self._chunk = 0
        self._visited = 0
        self._found: list[PowerSensor] = []

    @property
    def progress(self) -> str:
        """How far the walk has come, for a person."""
        return f"{self._visited} sensor records read, {len(self._found)} in watts"

    async def run(self) -> tuple[PowerSensor, ...]:
        """Walk to the end and return the sensors in watts. May be cancelled and run again.

        Raises:
            SourceError: the BMC refuses, is silent, or its records make no sense.
        """
        cancellations = 0
        while self._next != _LAST_RECORD:
            try:
                following, record = await self._record(self._next)
            except _ReservationLostError:
                self._reservation = None
                cancellations += 1
                if cancellations > _MAX_CANCELLATIONS:
                    raise Malformed("cancels every reservation of its sensor records", where=self._where) from None
                continue
            sensor = power_sensor(record)
            if sensor is not None:
                self._found.append(sensor)
            self._visited += 1
            self._next = following
            if self._visited > _MAX_RECORDS:
                raise Malformed("its list of sensor records does not end", where=self._where)
        return tuple(self._found)

    async def _record(self, number: int) -> tuple[int, bytes]:
        """Return the next record's id and this record; only its header where it is no full sensor record."""
        following, record = await self._part(number, 0, HEADER_BYTES)
        if len(record) < HEADER_BYTES:
            raise Malformed(f"header of sensor record {number} is {len(record)} bytes long", where=self._where)
        end = HEADER_BYTES + record[4]
        while record[3] == FULL_SENSOR and len(record) < end:
            _, part = await self._part(number, len(record), min(_CHUNKS[self._chunk], end - len(record)))
            if not part:
                raise Malformed(f"sensor record {number} ends early", where=self._where)
            record += part
        return following, record

    async def _part(self, number: int, offset: int, count: int) -> tuple[int, bytes]:
        request = struct.pack("<HBB", number, offset, count)
        reply = await self._session.command(_STORAGE, _GET_SDR, await self._reserved() + request)
        if reply.completion_code == RESERVATION_CANCELLED:
            raise _ReservationLostError
        if reply.completion_code in _FEWER_BYTES and count > _CHUNKS[-1] and self._chunk + 1 < len(_CHUNKS):
            self._chunk += 1
            return await self._part(number, offset, min(count, _CHUNKS[self._chunk]))
        data = _checked(reply, "Get SDR", self._where)
        if len(data) < 2:
            raise Malformed(f"Get SDR answered {data.hex()!r}", where=self._where)
        return int.from_bytes(data[:2], "little"), data[2:]

    async def _reserved(self) -> bytes:
        if self._reservation is None:
            reply = await self._session.command(_STORAGE, _RESERVE, b"")
            self._reservation = _checked(reply, "Reserve SDR Repository", self._where)[:2]
        return self._reservation


async def read_watts(session: BmcSession, sensors: Sequence[PowerSensor], where: str) -> float:
    """Return the sum of the sensors, one after the other.

    Raises:
        SourceError: any of them has no reading: a sum with a part missing would be a wrong number.
    """
    total = 0.0
    for sensor in sensors:
        reply = await session.command(_SENSOR, _GET_SENSOR_READING, bytes((sensor.number,)))
        data = _checked(reply, f"Get Sensor Reading of {sensor.name!r}", where)
        total += sensor.watts(available(data, sensor.name, where))
    return total


def _checked(reply: BmcReply, what: str, where: str) -> bytes:
    if reply.completion_code:
        raise refusal(reply, what, where)
    return reply.data
