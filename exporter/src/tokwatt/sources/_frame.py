"""What every source has beside its reading: a name, a deadline, and a timer where it is not read with the tick.

Owns no I/O. A source derives from the frame that fits and adds `read()`.
"""

from __future__ import annotations

from typing import Final, Protocol

_OWN_DEADLINE_SHARE: Final = 0.95


class Frame:
    """A source that holds nothing open. `timeout_seconds` is the sampler's deadline of one read."""

    def __init__(self, name: str, timeout_seconds: float) -> None:
        self.name = name
        self.timeout_seconds = timeout_seconds

    @property
    def own_deadline_seconds(self) -> float:
        """Deadline inside of the sampler's: its message, which says more, comes first."""
        return self.timeout_seconds * _OWN_DEADLINE_SHARE

    async def aclose(self) -> None:
        """Nothing to close: what was lent, as the HTTP client, outlives its sources."""


class Timing(Protocol):
    """Options of a source that is read on a timer of its own."""

    @property
    def period_seconds(self) -> float: ...

    @property
    def timeout_seconds(self) -> float: ...


class TimedFrame(Frame):
    """A source that is read on a timer of its own, every `period_seconds`."""

    def __init__(self, name: str, timing: Timing) -> None:
        super().__init__(name, timing.timeout_seconds)
        self.period_seconds = timing.period_seconds


def above_zero(**options: float) -> None:
    """Raise ValueError that names all of `options` where one of them is not above 0."""
    if any(value <= 0 for value in options.values()):
        raise ValueError(f"{' and '.join(options)} must be above 0")
