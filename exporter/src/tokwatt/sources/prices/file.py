"""A price in a file that somebody else replaces: one number, in the configured unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokwatt.readings import KeyedSourceSpec, Malformed, PriceReading, Refused, SourceContext, Unavailable
from tokwatt.sources._frame import TimedFrame
from tokwatt.sources._worker import Worker
from tokwatt.sources.prices._held import checked, held

_NUMBER: Final = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_MOST_BYTES: Final = 4096
_QUOTED_CHARS: Final = 80
_HINT: Final = "it must hold one number; lines that begin with # are left out"


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Where a price stands and what its number means."""

    file: str
    factor: float  # of the number, to base units
    may_be_negative: bool
    hold_seconds: float
    period_seconds: float
    timeout_seconds: float


class FilePrice(TimedFrame):
    """One file. It is read on a thread of its own: a file may lie on a network that hangs."""

    def __init__(self, options: FileOptions, context: SourceContext) -> None:
        super().__init__(context.name, options)
        self._options = options
        self._clock = context.clock
        self._worker = Worker(context.name, context.clock)

    def known(self) -> None:
        """Nothing is known before a read."""

    async def read(self) -> PriceReading:
        """Read the file. Raises SourceError subclasses only."""
        text = await self._worker.call(self._text, self.timeout_seconds)
        value = self._options.factor * _number(text, self._options.file)
        checked(value, self._options.file, may_be_negative=self._options.may_be_negative)
        return held(self.name, self._clock(), value, self._options.hold_seconds)

    async def aclose(self) -> None:
        """Let the thread end."""
        self._worker.close()

    def _text(self) -> bytes:
        try:
            with Path(self._options.file).open("rb") as file:
                return file.read(_MOST_BYTES + 1)
        except PermissionError as error:
            raise Refused(f"cannot be read: {error.strerror}", where=self._options.file) from None
        except OSError as error:
            problem = error.strerror or str(error)
            raise Unavailable(f"cannot be read: {problem}", where=self._options.file, hint="who writes it?") from None


def _number(text: bytes, where: str) -> float:
    if len(text) > _MOST_BYTES:
        raise Malformed(f"longer than {_MOST_BYTES} bytes", where=where, hint=_HINT)
    lines = [line.strip() for line in text.decode("utf-8", "backslashreplace").splitlines()]
    words = [line for line in lines if line and not line.startswith("#")]
    if not words:
        raise Malformed("empty", where=where, hint=_HINT)
    if len(words) > 1 or not _NUMBER.fullmatch(words[0]):
        shown = " ".join(words)
        raise Malformed(f"{shown[:_QUOTED_CHARS]!r} is not one number", where=where, hint=_HINT)
    return float(words[0])


SPEC = KeyedSourceSpec(
    name="file",
    summary="a price or an intensity in a file that somebody else replaces: one number, in the unit of its key",
    needs="the right to read the file",
    keys=(
        "prices.electricity.series.file",
        "prices.carbon.series.file",
        "prices.capacity.spot.file",
        "servers[].capacity.spot.file",
    ),
    traps=(
        "While reads fail the last price holds for hold_seconds; then none is known and its dollars are not counted.",
        "Only electricity can have a negative price.",
    ),
)
