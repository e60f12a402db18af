"""What the IPMI meter needs from a connection to a BMC, whatever carries it: RMCP+ over LAN, or a simulation.

Owns the request/reply types and what a completion code means for a person. Does no I/O.
Source: IPMI v2.0 specification, table 5-2 (completion codes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from tokwatt.readings import Refused, SourceError, TimedOut, Unavailable

NODE_BUSY: Final = 0xC0
INVALID_COMMAND: Final = 0xC1
INVALID_FOR_LUN: Final = 0xC2
COMMAND_TIMEOUT: Final = 0xC3
RESERVATION_CANCELLED: Final = 0xC5
INSUFFICIENT_PRIVILEGE: Final = 0xD4
SUBFUNCTION_DISABLED: Final = 0xD6

# Codes by which a BMC says that it does not implement a command at all.
NOT_IMPLEMENTED: Final = (INVALID_COMMAND, INVALID_FOR_LUN, SUBFUNCTION_DISABLED)


@dataclass(frozen=True, slots=True)
class BmcReply:
    """Answer to one IPMI command. `data` is what follows the completion code."""

    completion_code: int
    data: bytes = b""


class BmcSession(Protocol):
    """A connection to one BMC that carries one command at a time and connects by itself when it must."""

    async def command(self, netfn: int, command: int, data: bytes) -> BmcReply:
        """Send one request to LUN 0 of the BMC and return its reply, whatever its completion code.

        Raises SourceError where there is no reply: Unavailable, Refused, TimedOut, Malformed.
        """
        ...

    async def aclose(self) -> None:
        """Close the session, so that the BMC can give its slot to others."""
        ...


def refusal(reply: BmcReply, what: str, where: str) -> SourceError:
    """Return the error for a completion code other than 0. `what` names the command."""
    code = reply.completion_code
    text = f"{what} answered with completion code 0x{code:02x}"
    if code == INSUFFICIENT_PRIVILEGE:
        hint = "the account lacks the privilege: set `privilege: operator` (or administrator) and grant it on the BMC"
        return Refused(text, where=where, hint=hint)
    if code == COMMAND_TIMEOUT:
        return TimedOut(text, where=where, hint="the BMC timed out on its own hardware")
    if code == NODE_BUSY:
        return Unavailable(text, where=where, hint="the BMC is busy; retried")
    return Unavailable(text, where=where, hint="see table 5-2 of the IPMI v2.0 specification")
