"""What a source of readings is, and what a meter's file declares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from tokwatt.readings.counts import CountReading
from tokwatt.readings.meters import Boundary, PowerReading, Precision
from tokwatt.readings.owners import OwnersReading
from tokwatt.readings.prices import PriceReading
from tokwatt.readings.servers import ServerReading


class TokenSource(Protocol):
    """One inference server."""

    @property
    def name(self) -> str: ...

    @property
    def timeout_seconds(self) -> float: ...

    async def read(self) -> ServerReading:
        """Read once. Raises SourceError subclasses only."""
        ...

    async def aclose(self) -> None: ...


class PowerSource(Protocol):
    """One meter or a set of meters behind one interface (NVML, a BMC)."""

    @property
    def name(self) -> str: ...

    @property
    def period_seconds(self) -> float | None:
        """Own timer of a slow source; None for one that is read with the tick."""
        ...

    @property
    def timeout_seconds(self) -> float: ...

    async def read(self) -> PowerReading:
        """Read once. Raises SourceError subclasses only."""
        ...

    async def aclose(self) -> None: ...


class PriceSource(Protocol):
    """A price that changes while the exporter runs: a tariff, a file, a series."""

    @property
    def name(self) -> str: ...

    @property
    def period_seconds(self) -> float | None:
        """Own timer; None for one that is asked at each tick because it costs nothing."""
        ...

    @property
    def timeout_seconds(self) -> float: ...

    def known(self) -> PriceReading | None:
        """What it can say without any I/O; None: it must be read."""
        ...

    async def read(self) -> PriceReading:
        """Read once. Raises SourceError subclasses only."""
        ...

    async def aclose(self) -> None: ...


class OwnerSource(Protocol):
    """Finds out which GPUs one inference server computes on, again and again: pods move and processes restart."""

    @property
    def name(self) -> str: ...

    @property
    def server(self) -> str: ...

    @property
    def period_seconds(self) -> float: ...

    @property
    def timeout_seconds(self) -> float: ...

    async def read(self) -> OwnersReading:
        """Look once. Raises SourceError subclasses only."""
        ...

    async def aclose(self) -> None: ...


class CountSource(Protocol):
    """One counter of an application."""

    @property
    def name(self) -> str: ...

    @property
    def timeout_seconds(self) -> float: ...

    async def read(self) -> CountReading:
        """Read once. Raises SourceError subclasses only."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What the composition root lends to a source factory."""

    name: str  # configured name of the source
    clock: Clock
    simulated: bool = False


class Clock(Protocol):
    """Monotonic seconds. Passed in so that tests can own time."""

    def __call__(self) -> float: ...


@dataclass(frozen=True, slots=True)
class PowerSourceSpec:
    """What a file in `sources/power/` declares as `SPEC`: read by config, `tokwatt sources` and the docs."""

    name: str  # value of `source:` in the config = file name
    summary: str  # one line: what it reads
    needs: str  # what must be true for it to work: package, permission, setting
    boundaries: tuple[Boundary, ...]
    options: type  # frozen dataclass; each field has metadata {"help": ..., "unit": ...}; secrets have {"secret": True}
    open: OpenPowerSource
    detect: bool = False  # True: tried by `tokwatt run` without a config
    traps: tuple[str, ...] = field(default=())
    method: str = ""  # how the joules come about, where a source has several ways: which one when
    resolution: str = ""  # smallest step and how often the number is renewed, as far as it is known
    precisions: tuple[tuple[str, Precision], ...] = ()  # (what is read, what is declared of it) where nothing better is


class OpenPowerSource(Protocol):
    """Build a source from its options. Must not do I/O: the first `read()` does."""

    def __call__(self, options: object, context: SourceContext) -> PowerSource: ...


@dataclass(frozen=True, slots=True)
class OwnerContext:
    """What the composition root lends to an owner source."""

    name: str  # of the source
    server: str  # whose GPUs are looked for
    url: str  # where that server answers; "" for one without tokens
    clock: Clock


@dataclass(frozen=True, slots=True)
class OwnerSourceSpec:
    """What a file in `sources/owners/` declares as `SPEC`."""

    name: str  # value of `gpus.source` in the config = file name
    summary: str  # one line: how it finds the GPUs of a server
    needs: str  # what must be true for it to work
    options: type  # frozen dataclass, as for meters
    open: OpenOwnerSource
    traps: tuple[str, ...] = ()
    configured: bool = True  # False: chosen by tokwatt, never named in a configuration


class OpenOwnerSource(Protocol):
    """Build an owner source from its options. Must not do I/O: the first `read()` does."""

    def __call__(self, options: object, context: OwnerContext) -> OwnerSource: ...
