"""Opening an RMCP+ session: algorithms, then the mutual proof of the password (RAKP 1 to 4).

Owns the order of the messages and what each refusal means for a person. Packets and keys are made elsewhere.
Source: IPMI v2.0 specification, section 13.15 (session activation) and table 13-15 (status codes).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final

from tokwatt.readings import Malformed, Refused, SourceError, Unavailable
from tokwatt.sources.power import _rmcp_packet as packets
from tokwatt.sources.power._rmcp_crypto import SUITES, CipherSuite, Exchange, SessionCipher, same_code
from tokwatt.sources.power._rmcp_link import Link
from tokwatt.sources.power._rmcp_packet import Opened, Packet, Payload, Rakp2

_NAME_ONLY_LOOKUP: Final = 0x10  # find the user by name, whatever privilege is asked for
_BAD_INTEGRITY_CHECK: Final = 0x0F
_RESOURCES: Final = (0x01, 0x0B)
_ALGORITHMS: Final = (0x04, 0x05, 0x06, 0x07, 0x10, 0x11, 0x12)
_STATUS: Final = {
    0x01: "insufficient resources to create a session",
    0x02: "invalid session ID",
    0x04: "invalid authentication algorithm",
    0x05: "invalid integrity algorithm",
    0x06: "no matching authentication payload",
    0x07: "no matching integrity payload",
    0x08: "inactive session ID",
    0x09: "invalid role",
    0x0A: "unauthorized role or privilege level",
    0x0B: "insufficient resources for a session at the requested role",
    0x0C: "invalid name length",
    0x0D: "unauthorized name",
    0x0F: "invalid integrity check value",
    0x10: "invalid confidentiality algorithm",
    0x11: "no matching cipher suite",
    0x12: "illegal or unrecognized parameter",
}
_CREDENTIALS_HINT: Final = "check username, password and the account's IPMI-over-LAN privilege on the BMC"


class SuiteRefusedError(Exception):
    """The BMC does not offer the cipher suite that was asked for; another may do."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to log in as. `privilege` is 2 (user), 3 (operator) or 4 (administrator)."""

    username: bytes
    password: bytes = field(repr=False)
    privilege: int


@dataclass(frozen=True, slots=True)
class Established:
    """Ids and keys of an open session."""

    console_id: bytes
    bmc_id: bytes
    cipher: SessionCipher


async def establish(
    link: Link, account: Account, suite: CipherSuite, allowed: tuple[int, ...], deadline: float
) -> Established:
    """Open one session with `suite`, or with another of `allowed` where the BMC chooses that by itself.

    Raises:
        SuiteRefusedError: the BMC does not offer the suite.
        SourceError: Refused (credentials), TimedOut, Unavailable (no free session), Malformed.
    """
    console_id, tag = secrets.token_bytes(4), secrets.randbelow(250)
    opened = await _open(link, account, suite, console_id, tag, deadline)
    suite = _chosen(link, opened, allowed)
    exchange = await _rakp1(link, account, suite, console_id, opened.bmc_id, tag + 1, deadline)
    await _rakp3(link, exchange, tag + 2, deadline)
    return Established(console_id, opened.bmc_id, exchange.cipher())


async def _open(
    link: Link, account: Account, suite: CipherSuite, console_id: bytes, tag: int, deadline: float
) -> Opened:
    request = packets.pack_plain(
        Payload.OPEN_REQUEST, packets.pack_open_request(tag, account.privilege, console_id, suite)
    )

    def accept(data: bytes) -> Opened | None:
        packet = _plain(data, Payload.OPEN_RESPONSE)
        return packets.unpack_open_response(packet.payload, tag, console_id) if packet else None

    hint = "check `host`, that IPMI over LAN is enabled, and that a firewall lets UDP through"
    opened = await link.ask(lambda: request, accept, deadline, hint=hint)
    if opened.status in _ALGORITHMS:
        raise SuiteRefusedError(_STATUS[opened.status])
    if opened.status:
        raise _refused(link, "open session", opened.status)
    return opened


def _chosen(link: Link, opened: Opened, allowed: tuple[int, ...]) -> CipherSuite:
    for number in allowed:
        if SUITES[number].algorithms == opened.algorithms:
            return SUITES[number]
    raise Refused(
        f"the BMC insists on algorithms {opened.algorithms}, which are not those of cipher suite "
        + " or ".join(str(number) for number in allowed),
        where=link.where,
        hint="enable cipher suite 17 or 3 on the BMC",
    )


async def _rakp1(
    link: Link, account: Account, suite: CipherSuite, console_id: bytes, bmc_id: bytes, tag: int, deadline: float
) -> Exchange:
    console_random = secrets.token_bytes(16)
    role = _NAME_ONLY_LOOKUP | account.privilege
    message = packets.pack_rakp1(tag, bmc_id, console_random, role, account.username)
    request = packets.pack_plain(Payload.RAKP1, message)

    def accept(data: bytes) -> Rakp2 | None:
        packet = _plain(data, Payload.RAKP2)
        return packets.unpack_rakp2(packet.payload, tag, console_id) if packet else None

    hint = f"it answered before the login: some BMCs stay silent on an unknown user; {_CREDENTIALS_HINT}"
    answer = await link.ask(lambda: request, accept, deadline, hint=hint)
    if answer.status:
        raise _refused(link, "login", answer.status)
    exchange = Exchange(
        suite=suite,
        username=account.username,
        password=account.password,
        role=role,
        console_id=console_id,
        bmc_id=bmc_id,
        console_random=console_random,
        bmc_random=answer.bmc_random,
        bmc_guid=answer.bmc_guid,
    )
    if not same_code(exchange.rakp2_code(), answer.code):
        # Tell the BMC, so that it frees the half-open session at once.
        failed = packets.pack_rakp3(tag + 1, _BAD_INTEGRITY_CHECK, bmc_id, b"")
        link.send(packets.pack_plain(Payload.RAKP3, failed))
        raise Refused("wrong password, or a host that does not know it", where=link.where, hint=_CREDENTIALS_HINT)
    return exchange


async def _rakp3(link: Link, exchange: Exchange, tag: int, deadline: float) -> None:
    message = packets.pack_rakp3(tag, 0, exchange.bmc_id, exchange.rakp3_code())
    request = packets.pack_plain(Payload.RAKP3, message)

    def accept(data: bytes) -> tuple[int, bytes] | None:
        packet = _plain(data, Payload.RAKP4)
        return packets.unpack_rakp4(packet.payload, tag, exchange.console_id) if packet else None

    status, code = await link.ask(lambda: request, accept, deadline, hint=_CREDENTIALS_HINT)
    if status:
        raise _refused(link, "login", status)
    if not same_code(exchange.rakp4_code(), code):
        raise Malformed(
            "the BMC's proof of the session key is wrong",
            where=link.where,
            hint="a BMC key (K_G) may be set: tokwatt logs in without one",
        )


def _plain(data: bytes, expected: Payload) -> Packet | None:
    """Return a packet of the expected type; None for a late repetition of an earlier one."""
    packet = packets.unpack(data, 0)
    return packet if packet.payload_type == expected and not packet.encrypted else None


def _refused(link: Link, step: str, status: int) -> SourceError:
    text = f"{step} refused: {_STATUS.get(status, 'unknown status')} (0x{status:02x})"
    if status in _RESOURCES:
        return Unavailable(text, where=link.where, hint="all sessions of the BMC are in use; retried")
    return Refused(text, where=link.where, hint=_CREDENTIALS_HINT)
