"""What can go wrong while a source is read. Each message tells a person what to do."""

from __future__ import annotations


class SourceError(Exception):
    """A source could not be read. Subclasses fix `reason`, the label of `tokwatt_source_errors_total`.

    Message parts, so that a person knows what to do: what failed, `where` (URL, device, file), `hint` (next step).
    """

    reason = "error"

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.hint})" if self.hint else text


class Unavailable(SourceError):
    """Not on this host or nothing listens there."""

    reason = "unavailable"


class Refused(SourceError):
    """Permission or credentials."""

    reason = "refused"


class TimedOut(SourceError):
    """No answer within the deadline."""

    reason = "timeout"


class Malformed(SourceError):
    """An answer that cannot be what the source promises; keeps the offending text in `what`."""

    reason = "malformed"


class DeviceLost(SourceError):
    """The device was there and is gone (GPU off the bus, sensor removed)."""

    reason = "lost"


class DuplicateDevice(SourceError):
    """Another source already owns this device at this boundary."""

    reason = "duplicate_device"
