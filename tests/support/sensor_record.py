"""Sensor data records for stand-in BMCs."""

from __future__ import annotations


def sensor_record(
    number: int,
    name: str,
    *,
    m: int,
    b: int = 0,
    exponents: int = 0,
    unit: int = 6,
    kind: int = 0x0B,
    units1: int = 0,
    accuracy: int = 0,
    accuracy_exponent: int = 0,
) -> bytes:
    """Return a full sensor record (IPMI v2.0, 43.1), the record's id equal to the sensor's number.

    `accuracy` is in 1/100 percent, times ten to the power of `accuracy_exponent`.
    """
    text = name.encode()
    head = bytes((number, 0, 0x51, 0x01, 43 + len(text), 0x20, 0, number, 0x13, 1, 0x67, 0x40, kind, 0x01))
    of_b, of_accuracy = (b >> 8 & 3) << 6 | accuracy & 0x3F, accuracy >> 6 << 4 | accuracy_exponent << 2
    factors = bytes((m & 0xFF, (m >> 8 & 3) << 6, b & 0xFF, of_b, of_accuracy, exponents))
    body = head + bytes(6) + bytes((units1, unit, 0, 0)) + factors
    return body.ljust(47, b"\0") + bytes((0xC0 | len(text),)) + text
