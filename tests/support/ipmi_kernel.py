"""A fake IPMI driver of the kernel that follows the pointers it is given, for the in-band meter."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

DCMI, DEVICE_ID = (0x2C, 2), (6, 1)


def power_reading(watts: int, state: int = 0x40) -> bytes:
    return b"\0\xdc" + struct.pack("<HHHHII", watts, 1, 9999, 7777, 0, 1000) + bytes((state,))


class FakeKernel:
    """An IPMI driver: reads the request through its pointers, writes the answer through the receiver's."""

    def __init__(self) -> None:
        self.replies = {DCMI: power_reading(412), DEVICE_ID: bytes.fromhex("0020010245020fa202000200")}
        self.requests: list[tuple[int, int, bytes]] = []
        self.addresses: list[tuple[int, int, int]] = []
        self.queue: list[tuple[int, int, bytes]] = []  # recv_type, msgid, data
        self.errors: dict[str, int] = {}
        self.before: list[tuple[int, int, bytes]] = []  # messages that come before the answer; msgid is an offset
        self.silent = False
        self.opened: list[str] = []
        self.closed = 0

    def _fail(self, call: str) -> None:
        if call in self.errors:
            raise OSError(self.errors[call], os.strerror(self.errors[call]))

    def open(self, path: str) -> int:
        self._fail("open")
        self.opened.append(path)
        return 77

    def ioctl(self, fd: int, request: int, argument: ctypes.Structure) -> None:
        assert fd == 77
        raw = ctypes.string_at(ctypes.addressof(argument), ctypes.sizeof(argument))
        if request == 0x8028690D:
            self._fail("send")
            self._send(raw)
        elif request == 0xC030690B:
            self._fail("receive")
            self._receive(raw, ctypes.addressof(argument))
        else:
            raise OSError(errno.ENOTTY, "unknown ioctl")

    def _send(self, raw: bytes) -> None:
        address, address_length, msgid, netfn, command, length, data = struct.unpack("=QI4xqBBH4xQ", raw)
        self.addresses.append(struct.unpack("=ihB", ctypes.string_at(address, 7)))
        assert address_length == 8
        self.requests.append((netfn, command, ctypes.string_at(data, length)))
        self.queue += [(kind, msgid + offset, answer) for kind, offset, answer in self.before]
        reply = self.replies.get((netfn, command), b"\xc1")
        if not self.silent:
            self.queue.append((1, msgid, reply(self.requests[-1][2]) if callable(reply) else reply))

    def _receive(self, raw: bytes, at: int) -> None:
        _, _, _, _, _, _, room, data = struct.unpack("=i4xQI4xqBBH4xQ", raw)
        kind, msgid, answer = self.queue.pop(0)
        ctypes.memmove(data, answer, min(room, len(answer)))
        ctypes.memmove(at, struct.pack("=i", kind), 4)
        ctypes.memmove(at + 24, struct.pack("=q", msgid), 8)
        ctypes.memmove(at + 34, struct.pack("=H", min(room, len(answer))), 2)

    def wait_readable(self, fd: int, seconds: float) -> bool:
        assert seconds > 0
        return bool(self.queue)

    def close(self, fd: int) -> None:
        self.closed += 1
