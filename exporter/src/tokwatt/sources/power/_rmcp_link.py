"""UDP to one BMC: send, send again while there is no answer, hand over the first packet that is one.

Owns the socket. Knows nothing of sessions or keys: the caller says what an answer is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from tokwatt.readings import Malformed, SourceError, TimedOut, Unavailable
from tokwatt.sources.power._rmcp_crypto import BadPacketError

T = TypeVar("T")

_FIRST_WAIT_SECONDS = 0.5  # before the first repetition; doubles after each
_QUEUE_LIMIT = 64  # packets nobody asked for are dropped beyond this


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes | OSError] = asyncio.Queue(_QUEUE_LIMIT)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002 - the socket is connected
        self._put(data)

    def error_received(self, exc: Exception) -> None:
        self._put(exc if isinstance(exc, OSError) else OSError(str(exc)))

    def _put(self, item: bytes | OSError) -> None:
        if not self.arrived.full():
            self.arrived.put_nowait(item)


class Link:
    """A connected UDP socket. Deadlines are instants of the running loop's clock."""

    def __init__(self, transport: asyncio.DatagramTransport, receiver: _Receiver, where: str) -> None:
        self._transport = transport
        self._arrived = receiver.arrived
        self.where = where

    @classmethod
    async def connect(cls, host: str, port: int, where: str, deadline: float) -> Link:
        """Resolve the name and open a socket. Sends nothing.

        Raises:
            Unavailable: the name is unknown or the network unreachable.
            TimedOut: the name was not resolved in time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                transport, receiver = await loop.create_datagram_endpoint(_Receiver, remote_addr=(host, port))
        except TimeoutError as error:
            raise TimedOut("the host name was not resolved in time", where=where) from error
        except OSError as error:
            raise Unavailable(str(error), where=where, hint="check `host`, DNS and the route to the BMC") from error
        return cls(transport, receiver, where)

    def send(self, packet: bytes) -> None:
        """Send one packet and expect no answer."""
        self._transport.sendto(packet)

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()

    async def ask(
        self, make: Callable[[], bytes], accept: Callable[[bytes], T | None], deadline: float, *, hint: str
    ) -> T:
        """Send what `make` returns, again with growing pauses, until `accept` returns something for a packet.

        Args:
            make: called for every transmission: a repeated packet of a session needs a fresh sequence number.
            accept: returns None for a packet that is not the answer; BadPacketError for one that is no packet at all.
            deadline: when to give up.
            hint: next step for a person, if nothing answers.

        Raises:
            Unavailable: the network says that nothing listens there.
            TimedOut: nothing arrived.
            Malformed: only packets arrived that are no packets of this session.
        """
        loop = asyncio.get_running_loop()
        pause, bad = _FIRST_WAIT_SECONDS, ""
        while True:
            self.send(make())
            repeat_at = min(deadline, loop.time() + pause)
            while (packet := await self._receive(repeat_at)) is not None:
                try:
                    answer = accept(packet)
                except BadPacketError as error:
                    bad = f"{error}: {packet[:24].hex()}"
                    continue
                if answer is not None:
                    return answer
            if loop.time() >= deadline:
                raise self._silence(bad, hint)
            pause *= 2

    def _silence(self, bad: str, hint: str) -> SourceError:
        if bad:
            return Malformed(f"answered only with packets that cannot be used, the last: {bad}", where=self.where)
        return TimedOut("no answer", where=self.where, hint=hint)

    async def _receive(self, until: float) -> bytes | None:
        try:
            async with asyncio.timeout_at(until):
                item = await self._arrived.get()
        except TimeoutError:
            return None
        if isinstance(item, OSError):
            raise Unavailable(
                f"nothing listens there ({item.strerror or item})",
                where=self.where,
                hint="check `host` and `port`, and that IPMI over LAN is enabled on the BMC",
            ) from item
        return item
