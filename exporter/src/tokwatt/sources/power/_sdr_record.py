"""Sensor data records: which sensors measure watts, what their raw bytes mean, which one is the whole server.

Pure. Source: IPMI v2.0 specification, sections 36.3 (conversion) and 43.1 (full sensor record).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tokwatt.readings import Malformed, Unavailable

HEADER_BYTES: Final = 5
FULL_SENSOR: Final = 0x01

_MIN_FULL_BYTES: Final = 48
_BMC_ADDRESS: Final = 0x20
_UNIT_WATTS: Final = 6
_LINEAR: Final = 0
_ANALOG_FORMATS: Final = 3  # 0 unsigned, 1 one's complement, 2 two's complement; 3 means no analogue reading
_SCANNING_ENABLED: Final = 0x40
_READING_UNAVAILABLE: Final = 0x20

_PART = re.compile(
    r"\b(cpu|proc(essor)?|soc|mem(ory)?|dimms?|ddr|gpu|acc(elerator)?|fans?|hdd|ssd|disks?|drives?|nvme|pcie?|riser|"
    r"out(put)?|pout|dc|limit|cap|max(imum)?|min(imum)?|peak|budget|avail(able)?|headroom|status|redundancy)\d*\b"
)
_PSU = re.compile(r"\b(psu?|power supply|pwr supply)\s*\d+\b")
_INPUT = re.compile(r"\b(in|input|pin|ac)\b")
_POWER = r"(power|pwr|watts?|consumption)"
# Best first: a name that says "whole server", then names that vendors give to the one power sensor.
_WHOLE_SERVER = (
    re.compile(
        rf"\b(sys|system|server|node|host|chassis|total|platform)\b.*\b{_POWER}\b|\b{_POWER}\b.*\b(sys|total)\b"
    ),
    re.compile(r"\b(power|pwr|pw) (consumption|meter)\b|\b(avg|input|ac) (power|pwr)\b|\b(power|pwr) in(put)?\b"),
)


@dataclass(frozen=True, slots=True)
class PowerSensor:
    """An analogue sensor in watts: watts = (m * raw + b * 10^b_exponent) * 10^exponent."""

    name: str
    number: int
    data_format: int
    m: int
    b: int
    b_exponent: int
    exponent: int
    accuracy_ratio: float = 0.0  # as the record states it; 0 is what BMCs write that do not say

    @property
    def step_watts(self) -> float:
        """Smallest difference between two readings."""
        return abs(_scaled(self.m, self.exponent))

    def watts(self, raw: int) -> float:
        """Convert a raw reading."""
        value = _signed(raw, 8, ones_complement=self.data_format == 1) if self.data_format else raw
        # Dividing by a power of ten keeps whole watts exact; multiplying by 0.1 would not.
        return _scaled(self.m * value + _scaled(self.b, self.b_exponent), self.exponent)


def power_sensor(record: bytes) -> PowerSensor | None:
    """Return the sensor of a full sensor record if it measures watts on the BMC itself in a linear way, else None."""
    if len(record) < _MIN_FULL_BYTES or record[3] != FULL_SENSOR:
        return None
    data_format, modifiers = record[20] >> 6, record[20] & 0x3F  # rate, modifier unit, percentage
    if data_format == _ANALOG_FORMATS or modifiers or record[21] != _UNIT_WATTS or record[23] & 0x7F != _LINEAR:
        return None
    if record[5] != _BMC_ADDRESS or record[6] & 0x03:  # behind another controller, which LUN 0 does not reach
        return None
    return PowerSensor(
        name=_name(record),
        number=record[7],
        data_format=data_format,
        m=_signed(record[24] | (record[25] & 0xC0) << 2, 10),
        b=_signed(record[26] | (record[27] & 0xC0) << 2, 10),
        b_exponent=_signed(record[29] & 0x0F, 4),
        exponent=_signed(record[29] >> 4, 4),
        accuracy_ratio=_accuracy_ratio(record),
    )


def choose(sensors: Sequence[PowerSensor], wanted: Sequence[str], where: str) -> tuple[PowerSensor, ...]:
    """Return the sensors whose sum is the server's power: one total, else all PSU inputs, else those `wanted`.

    A total and its parts are never added.

    Raises:
        Unavailable: no sensor can be taken for the server's power.
    """
    if wanted:
        return _named(sensors, wanted, where)
    candidates = [(_plain(sensor.name), sensor) for sensor in sensors]
    for pattern in _WHOLE_SERVER:
        for name, sensor in candidates:
            if pattern.search(name) and not _PART.search(name) and not _PSU.search(name):
                return (sensor,)
    inputs = tuple(sensor for name, sensor in candidates if _PSU.search(name) and _INPUT.search(name))
    if inputs:
        return inputs
    raise Unavailable(
        f"no sensor is the server's power; those in watts are {_names(sensors)}",
        where=where,
        hint="name those that add up to the server's input power in `sensors`, or meter the outlet",
    )


def available(reading: bytes, name: str, where: str) -> int:
    """Return the raw value of a Get Sensor Reading answer (35.14).

    Raises:
        Malformed: the answer is too short.
        Unavailable: the sensor has no reading now.
    """
    if len(reading) < 2:
        raise Malformed(f"reading of sensor {name!r} is {len(reading)} bytes long", where=where)
    if reading[1] & _READING_UNAVAILABLE or not reading[1] & _SCANNING_ENABLED:
        raise Unavailable(f"sensor {name!r} has no reading now", where=where, hint="the host may be off")
    return reading[0]


def _accuracy_ratio(record: bytes) -> float:
    """Return the stated accuracy: 10 bits in 1/100 percent, times a power of ten (43.1, bytes 28 and 29)."""
    basic = record[27] & 0x3F | (record[28] & 0xF0) << 2
    return _scaled(basic, record[28] >> 2 & 0x03) / 10_000


def _named(sensors: Sequence[PowerSensor], wanted: Sequence[str], where: str) -> tuple[PowerSensor, ...]:
    by_name = {sensor.name.casefold(): sensor for sensor in sensors}
    missing = [name for name in wanted if name.casefold() not in by_name]
    if missing:
        raise Unavailable(
            f"no sensor in watts is called {' or '.join(map(repr, missing))}",
            where=where,
            hint=f"those in watts are {_names(sensors)}",
        )
    return tuple(by_name[name.casefold()] for name in wanted)


def _names(sensors: Sequence[PowerSensor]) -> str:
    return ", ".join(sensor.name for sensor in sensors) or "none"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", name.casefold()).strip()


def _name(record: bytes) -> str:
    kind, length = record[47] >> 6, record[47] & 0x1F
    text = record[48 : 48 + length]
    if kind == 3:
        return text.decode("latin-1").strip("\0 ")
    if kind == 2:  # 6-bit ASCII, packed from the low bits up (43.15)
        bits = int.from_bytes(text, "little")
        return "".join(chr(0x20 + (bits >> 6 * i & 0x3F)) for i in range(len(text) * 8 // 6)).strip()
    return f"sensor 0x{record[7]:02x}"


def _signed(value: int, bits: int, *, ones_complement: bool = False) -> int:
    if value < 1 << (bits - 1):
        return value
    return value - (1 << bits) + (1 if ones_complement else 0)


def _scaled(value: float, exponent: int) -> float:
    return value * 10.0**exponent if exponent >= 0 else value / 10.0**-exponent
