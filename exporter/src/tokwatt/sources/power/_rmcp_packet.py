"""Bytes of RMCP, of the IPMI v2.0 session layer and of IPMI messages. Pure: no I/O, no randomness.

Source: IPMI v2.0 specification, sections 13.6 (session header), 13.8 (messages), 13.28 (integrity), 13.17 to 13.23
(open session, RAKP 1 to 4). Whatever does not parse is a BadPacketError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tokwatt.sources.power._bmc import BmcReply
from tokwatt.sources.power._rmcp_crypto import BadPacketError, CipherSuite, SessionCipher

_RMCP_HEADER: Final = b"\x06\x00\xff\x07"  # version 1.0, no acknowledge, class IPMI
_SESSION_HEADER: Final = struct.Struct("<BB4sIH")  # format, payload type, session id, sequence, payload length
_RMCP_PLUS: Final = 0x06
_ENCRYPTED: Final = 0x80
_AUTHENTICATED: Final = 0x40
_NEXT_HEADER: Final = 0x07
_BMC_ADDRESS: Final = 0x20
_CONSOLE_ADDRESS: Final = 0x81
_MIN_MESSAGE_BYTES: Final = 8


class Payload(IntEnum):
    """Payload types (table 13-16)."""

    IPMI = 0x00
    OPEN_REQUEST = 0x10
    OPEN_RESPONSE = 0x11
    RAKP1 = 0x12
    RAKP2 = 0x13
    RAKP3 = 0x14
    RAKP4 = 0x15


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of the session layer. `signed` is what the integrity code covers, `code` that code."""

    payload_type: int
    session_id: bytes
    sequence: int
    payload: bytes
    encrypted: bool = False
    signed: bytes = b""
    code: bytes = b""


def pack_plain(payload_type: Payload, payload: bytes) -> bytes:
    """Return a packet outside of a session, for opening one."""
    return _RMCP_HEADER + _SESSION_HEADER.pack(_RMCP_PLUS, payload_type, bytes(4), 0, len(payload)) + payload


def pack_secured(cipher: SessionCipher, session_id: bytes, sequence: int, message: bytes, vector: bytes) -> bytes:
    """Return an encrypted and signed packet with one IPMI message."""
    payload = cipher.encrypt(message, vector)
    kind = Payload.IPMI | _ENCRYPTED | _AUTHENTICATED
    body = _SESSION_HEADER.pack(_RMCP_PLUS, kind, session_id, sequence, len(payload)) + payload
    pad = -(len(body) + 2) % 4
    signed = body + b"\xff" * pad + bytes((pad, _NEXT_HEADER))
    return _RMCP_HEADER + signed + cipher.sign(signed)


def unpack(data: bytes, code_bytes: int) -> Packet:
    """Take a packet apart. `code_bytes` is the length of the integrity code of an authenticated one."""
    body = data[len(_RMCP_HEADER) :]
    if data[:2] != _RMCP_HEADER[:2] or data[3:4] != _RMCP_HEADER[3:] or len(body) < _SESSION_HEADER.size:
        raise BadPacketError("not RMCP, or too short for a session header")
    layout, kind, session_id, sequence, length = _SESSION_HEADER.unpack_from(body)
    payload = body[_SESSION_HEADER.size : _SESSION_HEADER.size + length]
    if layout != _RMCP_PLUS or len(payload) != length:
        raise BadPacketError("not IPMI v2.0, or shorter than it says")
    encrypted, payload_type = bool(kind & _ENCRYPTED), kind & 0x3F
    if not kind & _AUTHENTICATED:
        return Packet(payload_type, session_id, sequence, payload, encrypted)
    if len(body) < _SESSION_HEADER.size + length + 2 + code_bytes:
        raise BadPacketError("no room for an integrity code")
    return Packet(payload_type, session_id, sequence, payload, encrypted, body[:-code_bytes], body[-code_bytes:])


def open_secured(packet: Packet, cipher: SessionCipher) -> bytes:
    """Check and decrypt a packet of a session; return the IPMI message in it."""
    if not packet.encrypted or not packet.signed or packet.payload_type != Payload.IPMI:
        raise BadPacketError("not an encrypted and authenticated IPMI message")
    cipher.check(packet.signed, packet.code)
    return cipher.decrypt(packet.payload)


def _checksum(data: bytes) -> int:
    return -sum(data) & 0xFF


def pack_request(netfn: int, command: int, data: bytes, sequence: int) -> bytes:
    """Return an IPMI request to LUN 0 of the BMC. `sequence` is 0 to 63."""
    head = bytes((_BMC_ADDRESS, netfn << 2))
    tail = bytes((_CONSOLE_ADDRESS, sequence << 2, command)) + data
    return head + bytes((_checksum(head),)) + tail + bytes((_checksum(tail),))


def unpack_response(message: bytes, netfn: int, command: int, sequence: int) -> BmcReply | None:
    """Return the reply in `message`, or None where it answers another request."""
    if len(message) < _MIN_MESSAGE_BYTES:
        raise BadPacketError("IPMI message is too short")
    if _checksum(message[:2]) != message[2] or _checksum(message[3:-1]) != message[-1]:
        raise BadPacketError("IPMI checksum does not match")
    if (message[1] >> 2, message[4] >> 2, message[5]) != (netfn | 1, sequence, command):
        return None
    return BmcReply(message[6], message[7:-1])


def pack_open_request(tag: int, privilege: int, console_id: bytes, suite: CipherSuite) -> bytes:
    """Ask for a session with the algorithms of `suite` (13.17)."""
    algorithms = b"".join(bytes((kind, 0, 0, 8, number, 0, 0, 0)) for kind, number in enumerate(suite.algorithms))
    return bytes((tag, privilege, 0, 0)) + console_id + algorithms


@dataclass(frozen=True, slots=True)
class Opened:
    """Answer to an open session request. `algorithms` are what the BMC really chose."""

    status: int
    bmc_id: bytes = b""
    algorithms: tuple[int, int, int] = (0, 0, 0)


def unpack_open_response(payload: bytes, tag: int, console_id: bytes) -> Opened | None:
    """Return the answer (13.18), or None where it answers another request."""
    if not _answers(payload, tag, console_id):
        return None
    if payload[1]:
        return Opened(payload[1])
    if len(payload) < 36:
        raise BadPacketError("open session response is too short")
    return Opened(0, payload[8:12], (payload[16], payload[24], payload[32]))


def pack_rakp1(tag: int, bmc_id: bytes, console_random: bytes, role: int, username: bytes) -> bytes:
    """Name the user (13.20)."""
    return bytes((tag, 0, 0, 0)) + bmc_id + console_random + bytes((role, 0, 0, len(username))) + username


@dataclass(frozen=True, slots=True)
class Rakp2:
    """The BMC's random number, its GUID and its proof of the password."""

    status: int
    bmc_random: bytes = b""
    bmc_guid: bytes = b""
    code: bytes = b""


def unpack_rakp2(payload: bytes, tag: int, console_id: bytes) -> Rakp2 | None:
    """Return the answer (13.21), or None where it answers another request."""
    if not _answers(payload, tag, console_id):
        return None
    if payload[1]:
        return Rakp2(payload[1])
    if len(payload) < 40:
        raise BadPacketError("RAKP message 2 is too short")
    return Rakp2(0, payload[8:24], payload[24:40], payload[40:])


def pack_rakp3(tag: int, status: int, bmc_id: bytes, code: bytes) -> bytes:
    """Prove the password, or tell with `status` why there is no proof (13.22)."""
    return bytes((tag, status, 0, 0)) + bmc_id + code


def unpack_rakp4(payload: bytes, tag: int, console_id: bytes) -> tuple[int, bytes] | None:
    """Return status and integrity code (13.23), or None where it answers another request."""
    return (payload[1], payload[8:]) if _answers(payload, tag, console_id) else None


def _answers(payload: bytes, tag: int, console_id: bytes) -> bool:
    if len(payload) < 2:
        raise BadPacketError("session message is too short")
    # An error may end after the status; only the tag tells then whose it is.
    return payload[0] == tag and payload[4:8] in (console_id, b"", bytes(4))
