"""In-band IPMI: a `BmcSession` over the kernel's device file, by the two ioctl calls of the OpenIPMI driver.

Owns the layout of the structures and what the kernel's errors mean. All calls run on one worker thread.
Source: Linux include/uapi/linux/ipmi.h (ipmi_req, ipmi_recv, ipmi_system_interface_addr, IPMICTL_*).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from tokwatt.readings import Clock, Malformed, Refused, SourceError, TimedOut, Unavailable
from tokwatt.sources._worker import Worker
from tokwatt.sources.power._bmc import BmcReply

DEVICE_FILES: Final = ("/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0")

_SYSTEM_INTERFACE: Final = 0x0C
_BMC_CHANNEL: Final = 0x0F
_RESPONSE: Final = 1  # recv_type of an answer; events and commands of others have no completion code
_MAX_DATA: Final = 272  # IPMI_MAX_MSG_LENGTH of the driver
_MAX_STRANGERS: Final = 16  # answers of earlier requests that came late, before this one's
_ANSWER_SHARE = 0.95  # of the deadline, so that this message comes before the worker's
_MOST_MSGID: Final = 0x7FFF_FFFF
_IOC_WRITE, _IOC_READ = 1, 2


class IpmiMsg(ctypes.Structure):
    """struct ipmi_msg."""

    _fields_ = [
        ("netfn", ctypes.c_ubyte),
        ("cmd", ctypes.c_ubyte),
        ("data_len", ctypes.c_ushort),
        ("data", ctypes.c_void_p),
    ]


class IpmiReq(ctypes.Structure):
    """struct ipmi_req."""

    _fields_ = [
        ("addr", ctypes.c_void_p),
        ("addr_len", ctypes.c_uint),
        ("msgid", ctypes.c_long),
        ("msg", IpmiMsg),
    ]


class IpmiRecv(ctypes.Structure):
    """struct ipmi_recv."""

    _fields_ = [
        ("recv_type", ctypes.c_int),
        ("addr", ctypes.c_void_p),
        ("addr_len", ctypes.c_uint),
        ("msgid", ctypes.c_long),
        ("msg", IpmiMsg),
    ]


class SystemInterfaceAddr(ctypes.Structure):
    """struct ipmi_system_interface_addr."""

    _fields_ = [("addr_type", ctypes.c_int), ("channel", ctypes.c_short), ("lun", ctypes.c_ubyte)]


def _ioctl_number(direction: int, number: int, size: int) -> int:
    """Number an ioctl as asm-generic/ioctl.h does; some old architectures differ."""
    return direction << 30 | size << 16 | ord("i") << 8 | number


# The header calls it _IOR, although the kernel reads the request: the direction bits are part of the number only.
SEND_COMMAND: Final = _ioctl_number(_IOC_READ, 13, ctypes.sizeof(IpmiReq))
RECEIVE_MSG_TRUNC: Final = _ioctl_number(_IOC_READ | _IOC_WRITE, 11, ctypes.sizeof(IpmiRecv))

_LOAD = "load the driver: modprobe ipmi_devintf ipmi_si (or ipmi_ssif); in a container, mount the device file"
_ERRORS: Mapping[int, tuple[type[SourceError], str]] = {
    errno.ENOENT: (Unavailable, _LOAD),
    errno.ENXIO: (Unavailable, "the device file has no driver behind it: modprobe ipmi_devintf ipmi_si"),
    errno.ENODEV: (Unavailable, "the kernel found no BMC: see dmesg for ipmi_si"),
    errno.EACCES: (Refused, "run as root, or give tokwatt's group the device file by a udev rule, mode 0660"),
    errno.EPERM: (Refused, "the container or systemd unit must be allowed this device"),
    errno.EBUSY: (Unavailable, "another program holds the BMC; retried"),
    errno.ENOTTY: (Malformed, "this file is no IPMI device: check `device`"),
}


class Kernel(Protocol):
    """The system calls that are needed; a test brings its own."""

    def open(self, path: str) -> int: ...

    def ioctl(self, fd: int, request: int, argument: ctypes.Structure) -> None: ...

    def wait_readable(self, fd: int, seconds: float) -> bool: ...

    def close(self, fd: int) -> None: ...


class LinuxKernel:
    """The real ones."""

    def open(self, path: str) -> int:
        """Open for reading and writing. Raises OSError."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)

    def ioctl(self, fd: int, request: int, argument: ctypes.Structure) -> None:
        """Call the driver with the structure, which it may change. Raises OSError."""
        import fcntl  # noqa: PLC0415 - not on every system that tokwatt runs on

        fcntl.ioctl(fd, request, argument)

    def wait_readable(self, fd: int, seconds: float) -> bool:
        """Wait for a message."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def close(self, fd: int) -> None:
        """Close the file. Raises OSError."""
        os.close(fd)


class IpmiDevice:
    """A `BmcSession` over a device file. `path` "": the first of the usual ones that exists."""

    def __init__(
        self, path: str, timeout_seconds: float, name: str, clock: Clock, kernel: Kernel | None = None
    ) -> None:
        self._wanted = path
        self._path = path or DEVICE_FILES[0]
        self._timeout_seconds = timeout_seconds
        self._kernel = kernel or LinuxKernel()
        self._worker = Worker(name, clock)
        self._fd: int | None = None
        self._msgid = 0

    async def command(self, netfn: int, command: int, data: bytes) -> BmcReply:
        """Send one request to the BMC and return its reply.

        Raises:
            SourceError: Unavailable (no device, no driver), Refused (permission), TimedOut, Malformed.
        """
        return await self._worker.call(lambda: self._exchange(netfn, command, data), self._timeout_seconds)

    async def aclose(self) -> None:
        """Close the device file, unless a call hangs."""
        if self._fd is not None:
            with contextlib.suppress(SourceError):
                await self._worker.call(self._close, self._timeout_seconds)
        self._worker.close()

    def _exchange(self, netfn: int, command: int, data: bytes) -> BmcReply:
        try:
            if self._fd is None:
                self._path = self._wanted or next((file for file in DEVICE_FILES if Path(file).exists()), self._path)
                self._fd = self._kernel.open(self._path)
            return self._ask(self._fd, netfn, command, data)
        except OSError as error:
            self._close()  # opened anew at the next read: the driver may have been loaded by then
            kind, hint = _ERRORS.get(error.errno or 0, (Unavailable, "see dmesg for messages of the IPMI driver"))
            raise kind(f"{error.strerror or error}", where=self._path, hint=hint) from error

    def _ask(self, fd: int, netfn: int, command: int, data: bytes) -> BmcReply:
        self._msgid = self._msgid % _MOST_MSGID + 1
        address = SystemInterfaceAddr(_SYSTEM_INTERFACE, _BMC_CHANNEL, 0)
        content = ctypes.create_string_buffer(data, max(1, len(data)))
        message = IpmiMsg(netfn, command, len(data), ctypes.addressof(content))
        request = IpmiReq(ctypes.addressof(address), ctypes.sizeof(address), self._msgid, message)
        self._kernel.ioctl(fd, SEND_COMMAND, request)
        until = time.monotonic() + _ANSWER_SHARE * self._timeout_seconds
        for _ in range(_MAX_STRANGERS):
            if not self._kernel.wait_readable(fd, until - time.monotonic()):
                raise TimedOut(
                    f"no answer within {self._timeout_seconds:g} s", where=self._path, hint="the BMC may be restarting"
                )
            answer = self._receive(fd)
            if answer is not None:
                return answer
        raise Malformed(f"{_MAX_STRANGERS} messages, and none was the answer", where=self._path)

    def _receive(self, fd: int) -> BmcReply | None:
        """Take one message off the queue; None if it is not the answer to the last request."""
        address = ctypes.create_string_buffer(64)
        content = ctypes.create_string_buffer(_MAX_DATA)
        message = IpmiMsg(0, 0, _MAX_DATA, ctypes.addressof(content))
        received = IpmiRecv(0, ctypes.addressof(address), ctypes.sizeof(address), 0, message)
        self._kernel.ioctl(fd, RECEIVE_MSG_TRUNC, received)
        if received.recv_type != _RESPONSE or received.msgid != self._msgid:
            return None
        data = content.raw[: min(received.msg.data_len, _MAX_DATA)]
        if not data:
            raise Malformed("an answer without a completion code", where=self._path)
        return BmcReply(data[0], data[1:])

    def _close(self) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):
                self._kernel.close(self._fd)
            self._fd = None
