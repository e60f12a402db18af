"""What a source of readings is, and what a meter's file declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tokwatt.readings.counts import CountReading
from tokwatt.readings.meters import Boundary, Meter, Method, PowerReading, Precision, fidelity_of
from tokwatt.readings.owners import OwnersReading
from tokwatt.readings.prices import PriceReading
from tokwatt.readings.servers import ServerReading

Reading_co = TypeVar("Reading_co", covariant=True)


class Source(Protocol[Reading_co]):
    """What is read again and again."""

    @property
    def name(self) -> str: ...

    @property
    def timeout_seconds(self) -> float: ...

    async def read(self) -> Reading_co:
        """Read once. Raises SourceError subclasses only."""
        ...

    async def aclose(self) -> None: ...


class TokenSource(Source[ServerReading], Protocol):
    """One inference server."""


class PowerSource(Source[PowerReading], Protocol):
    """One meter or a set of meters behind one interface (NVML, a BMC)."""

    @property
    def period_seconds(self) -> float | None:
        """Own timer of a slow source; None for one that is read with the tick."""
        ...


class PriceSource(Source[PriceReading], Protocol):
    """A price that changes while the exporter runs: a tariff, a file, a series."""

    @property
    def period_seconds(self) -> float | None:
        """Own timer; None for one that is asked at each tick because it costs nothing."""
        ...

    def known(self) -> PriceReading | None:
        """What it can say without any I/O; None: it must be read."""
        ...


class OwnerSource(Source[OwnersReading], Protocol):
    """Finds out which GPUs one inference server computes on, again and again: pods move and processes restart."""

    @property
    def server(self) -> str: ...

    @property
    def period_seconds(self) -> float: ...


class CountSource(Source[CountReading], Protocol):
    """One counter of an application."""


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What the composition root lends to a source factory."""

    name: str  # configured name of the source
    clock: Clock
    simulated: bool = False

    def meter(self, boundary: Boundary, device: str, method: Method) -> Meter:
        """Name one meter of this source. A simulated one says so, whatever its `method` is."""
        shown = Method.SIMULATED if self.simulated else method
        return Meter(self.name, boundary, device, fidelity_of(boundary), shown)


class Clock(Protocol):
    """Monotonic seconds. Passed in so that tests can own time."""

    def __call__(self) -> float: ...


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """What the file of a source declares as `SPEC`: read by config, `tokwatt sources` and the docs."""

    name: str  # file name, and value of `source` where the configuration names it
    summary: str  # one line: what it reads or finds, and how
    needs: str  # what must be true for it to work: package, permission, setting
    traps: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class KeyedSourceSpec(SourceSpec):
    """Of a source that the configuration asks for by keys of its own: a price, an application's counter."""

    keys: tuple[str, ...]  # key paths


@dataclass(frozen=True, slots=True)
class PowerSourceSpec(SourceSpec):
    """Of a file in `sources/power/`."""

    boundaries: tuple[Boundary, ...]
    options: type  # frozen dataclass; each field has metadata {"help": ..., "unit": ...}; secrets have {"secret": True}
    build: Callable[[Any, SourceContext], PowerSource]  # from `options`. Must not do I/O: the first `read()` does
    detect: bool = False  # True: tried by `tokwatt run` without a config
    method: str = ""  # how the joules come about, where a source has several ways: which one when
    resolution: str = ""  # smallest step and how often the number is renewed, as far as it is known
    precisions: tuple[tuple[str, Precision], ...] = ()  # (what is read, what is declared of it) where nothing better is

    def open(self, options: object, context: SourceContext) -> PowerSource:
        """Build a source. Raises TypeError for the options of another one."""
        return self.build(_own(options, self.name, self.options), context)


@dataclass(frozen=True, slots=True)
class OwnerContext:
    """What the composition root lends to an owner source."""

    name: str  # of the source
    server: str  # whose GPUs are looked for
    url: str  # where that server answers; "" for one without tokens
    clock: Clock


@dataclass(frozen=True, slots=True)
class OwnerSourceSpec(SourceSpec):
    """Of a file in `sources/owners/`."""

    options: type  # frozen dataclass, as for meters
    build: Callable[[Any, OwnerContext], OwnerSource]  # from `options`. Must not do I/O: the first `read()` does
    configured: bool = True  # False: chosen by tokwatt, never named in a configuration

    def open(self, options: object, context: OwnerContext) -> OwnerSource:
        """Build a source. Raises TypeError for the options of another one."""
        return self.build(_own(options, self.name, self.options), context)


def _own(options: object, name: str, kind: type) -> object:
    if not isinstance(options, kind):
        raise TypeError(f"{name} needs {kind.__name__}, not {type(options).__name__}")
    return options
