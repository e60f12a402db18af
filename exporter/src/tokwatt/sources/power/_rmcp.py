"""IPMI over LAN: one RMCP+ session to one BMC, kept open, opened again when it is lost (ADR 2).

Owns the session's life and its sequence numbers. Must not know what the commands mean.
Suite 3 is tested against pyghmi's BMC and ipmi_sim. For suite 17 no real peer is at hand: its codes and keys are tested
against values of openssl, its sessions against pyghmi's BMC with the hash exchanged.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tokwatt.readings import Refused, SourceError, TimedOut
from tokwatt.sources.power import _rmcp_packet as packets
from tokwatt.sources.power._bmc import BmcReply
from tokwatt.sources.power._rmcp_crypto import SUITES, BadPacketError, require_aes
from tokwatt.sources.power._rmcp_link import Link
from tokwatt.sources.power._rmcp_open import Account, Established, SuiteRefusedError, establish

_APP: Final = 0x06
_SET_SESSION_PRIVILEGE: Final = 0x3B
_CLOSE_SESSION: Final = 0x3C
_USER: Final = 2  # what a new session has
_MAX_NAME_BYTES: Final = 16
_MAX_PASSWORD_BYTES: Final = 20
_WINDOW: Final = 32  # sequence numbers remembered behind the newest, and accepted ahead of it


@dataclass(frozen=True, slots=True)
class RmcpSettings:
    """Where a BMC is and how to log in. `cipher_suites` in the order to try."""

    host: str
    port: int
    username: str
    privilege: int
    cipher_suites: tuple[int, ...]
    timeout_seconds: float

    @property
    def where(self) -> str:
        """Name the BMC in an error message."""
        return f"BMC {self.host}:{self.port}"


class RmcpSession:
    """A `BmcSession` over RMCP+. `read_password` is asked at every login, so that a rotated secret is found."""

    def __init__(self, settings: RmcpSettings, read_password: Callable[[], bytes]) -> None:
        self._settings = settings
        self._read_password = read_password
        self._suites = settings.cipher_suites
        self._lock = asyncio.Lock()
        self._open: _OpenSession | None = None

    async def command(self, netfn: int, command: int, data: bytes) -> BmcReply:
        """Send one command, logging in first where needed. See `BmcSession.command`."""
        async with self._lock:
            loop = asyncio.get_running_loop()
            start = loop.time()
            deadline = start + self._settings.timeout_seconds
            if self._open is not None:
                try:
                    # Half of the time: the rest is for a new session, should the BMC have forgotten this one.
                    return await self._open.command(netfn, command, data, (start + deadline) / 2)
                except SourceError:
                    self._drop()
            self._open = await self._log_in(deadline)
            try:
                return await self._open.command(netfn, command, data, deadline)
            except SourceError:
                self._drop()
                raise

    async def aclose(self) -> None:
        """Tell the BMC that the session ends and close the socket. Waits for nothing."""
        if self._open is not None:
            self._open.say_goodbye()
            self._drop()

    def _drop(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    async def _log_in(self, deadline: float) -> _OpenSession:
        require_aes()
        account = self._account()
        link = await Link.connect(self._settings.host, self._settings.port, self._settings.where, deadline)
        try:
            session = _OpenSession(link, await self._establish(link, account, deadline))
            if account.privilege > _USER:
                await self._raise_privilege(session, account.privilege, deadline)
        except BaseException:
            link.close()
            raise
        return session

    async def _establish(self, link: Link, account: Account, deadline: float) -> Established:
        loop = asyncio.get_running_loop()
        refusals = []
        for number in self._suites:
            last = number == self._suites[-1]
            until = deadline if last else (loop.time() + deadline) / 2
            try:
                established = await establish(link, account, SUITES[number], self._suites, until)
            except SuiteRefusedError as error:
                refusals.append(f"{number}: {error}")
            except TimedOut:  # some BMCs ignore a request for a suite that they do not have
                if last:
                    raise
            else:
                chosen = established.cipher.suite.number
                self._suites = (chosen, *(other for other in self._suites if other != chosen))
                return established
        raise Refused(
            "the BMC refuses cipher suite " + ", ".join(refusals),
            where=link.where,
            hint="enable cipher suite 17 or 3 on the BMC, or set `cipher_suite`",
        )

    async def _raise_privilege(self, session: _OpenSession, privilege: int, deadline: float) -> None:
        reply = await session.command(_APP, _SET_SESSION_PRIVILEGE, bytes((privilege,)), deadline)
        if reply.completion_code:
            session.say_goodbye()
            raise Refused(
                f"privilege level {privilege} denied with completion code 0x{reply.completion_code:02x}",
                where=self._settings.where,
                hint="set a lower `privilege`, or grant the account this one on the BMC",
            )

    def _account(self) -> Account:
        username, password = self._settings.username.encode(), self._read_password()
        if len(username) > _MAX_NAME_BYTES or len(password) > _MAX_PASSWORD_BYTES:
            raise Refused(
                f"IPMI allows {_MAX_NAME_BYTES} bytes of user name and {_MAX_PASSWORD_BYTES} of password",
                where=self._settings.where,
                hint="give the BMC account a shorter one",
            )
        return Account(username, password, self._settings.privilege)


class _OpenSession:
    """Sequence numbers and keys of a session that is open."""

    def __init__(self, link: Link, established: Established) -> None:
        self._link = link
        self._established = established
        self._sent = 0
        self._request = 0
        self._received = _SequenceWindow()

    async def command(self, netfn: int, command: int, data: bytes, deadline: float) -> BmcReply:
        self._request = (self._request + 1) % 64
        request = self._request
        message = packets.pack_request(netfn, command, data, request)

        def accept(packet: bytes) -> BmcReply | None:
            answer = self._unseal(packet)
            return packets.unpack_response(answer, netfn, command, request)

        hint = "the BMC may be busy or restarting; the session is opened again at the next read"
        return await self._link.ask(lambda: self._seal(message), accept, deadline, hint=hint)

    def say_goodbye(self) -> None:
        request = packets.pack_request(_APP, _CLOSE_SESSION, self._established.bmc_id, 0)
        self._link.send(self._seal(request))

    def close(self) -> None:
        self._link.close()

    def _seal(self, message: bytes) -> bytes:
        self._sent += 1
        vector = secrets.token_bytes(16)
        session = self._established
        return packets.pack_secured(session.cipher, session.bmc_id, self._sent, message, vector)

    def _unseal(self, data: bytes) -> bytes:
        session = self._established
        packet = packets.unpack(data, session.cipher.suite.code_bytes)
        if packet.session_id != session.console_id:
            raise BadPacketError("packet of another session")
        message = packets.open_secured(packet, session.cipher)
        self._received.accept(packet.sequence)
        return message


class _SequenceWindow:
    """Refuses packets seen before (6.12.11): each number once, none far behind or ahead of the newest."""

    def __init__(self) -> None:
        self._newest = 0
        self._seen: set[int] = set()

    def accept(self, sequence: int) -> None:
        if sequence in self._seen or not self._newest - _WINDOW < sequence <= self._newest + _WINDOW:
            raise BadPacketError("sequence number seen before or out of the window")
        self._newest = max(self._newest, sequence)
        self._seen.add(sequence)
        self._seen = {number for number in self._seen if number > self._newest - _WINDOW}
