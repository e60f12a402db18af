"""All curves and server ledgers of one exporter: the single place that readings enter. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tokwatt.ledger.counts import CountCurve
from tokwatt.ledger.energy import EnergyCurve
from tokwatt.ledger.server import ServerLedger
from tokwatt.readings import (
    Boundary,
    CountReading,
    DeviceFailure,
    DeviceInfo,
    DuplicateDevice,
    Meter,
    PowerReading,
    ServerReading,
)

DeviceKey = tuple[Boundary, str]


class Ledger:
    """Energy curves by device, ledgers by server, and counts of applications by source.

    Exactly one source owns each (boundary, device): readings of a second one are refused, lest joules count twice.
    """

    __slots__ = ("counts", "curves", "devices", "servers")

    def __init__(self) -> None:
        self.curves: dict[DeviceKey, EnergyCurve] = {}
        self.devices: dict[DeviceKey, DeviceInfo] = {}
        self.servers: dict[str, ServerLedger] = {}
        self.counts: dict[str, CountCurve] = {}

    def add_power(self, reading: PowerReading, max_gap_seconds: float) -> tuple[DeviceFailure, ...]:
        """Take one pass over a power source; returns the devices that were refused because another source owns them."""
        refused = []
        for energy in reading.readings:
            key = (energy.meter.boundary, energy.meter.device)
            curve = self.curves.get(key)
            if curve is None:
                self.curves[key] = EnergyCurve(energy, max_gap_seconds)
            elif curve.meter.source != energy.meter.source and not curve.orphaned:
                refused.append(_refusal(curve.meter, energy.meter))
            else:
                curve.max_gap_seconds = max_gap_seconds
                curve.add(energy)
        for info in reading.devices:
            key = (info.meter.boundary, info.meter.device)
            curve = self.curves.get(key)
            if curve is not None and curve.meter.source == info.meter.source:
                self.devices[key] = info
        return tuple(refused)

    def add_server(self, reading: ServerReading, max_gap_seconds: float) -> None:
        """Take a reading of an inference server."""
        self.server(reading.server, max_gap_seconds).add(reading)

    def miss_server(self, server: str, at_seconds: float, max_gap_seconds: float) -> None:
        """Record that an inference server did not answer."""
        self.server(server, max_gap_seconds).miss(at_seconds)

    def add_count(self, source: str, reading: CountReading, max_gap_seconds: float) -> None:
        """Take a reading of an application's counter."""
        curve = self.counts.get(source)
        if curve is None:
            self.counts[source] = CountCurve(reading, max_gap_seconds)
        else:
            curve.max_gap_seconds = max_gap_seconds
            curve.add(reading)

    def begin_anew(self, sources: Iterable[str]) -> None:
        """After a reload: what these sources count from now on is another counter."""
        for source in sources:
            if source in self.counts:
                self.counts[source].begin_anew()

    def server(self, name: str, max_gap_seconds: float) -> ServerLedger:
        """Ledger of a server, opened on first use."""
        ledger = self.servers.get(name)
        if ledger is None:
            ledger = self.servers[name] = ServerLedger(max_gap_seconds)
        return ledger

    def release(self, keep_source: Callable[[str], bool]) -> None:
        """After a reload: let other sources take over devices of sources that are gone. Their curves go on."""
        for curve in self.curves.values():
            if not keep_source(curve.meter.source):
                curve.orphan()


def _refusal(owner: Meter, second: Meter) -> DeviceFailure:
    return DeviceFailure(
        second.device,
        DuplicateDevice(
            f"its {second.boundary.value} energy is already read by {owner.source}, so these readings are ignored",
            where=second.source,
            hint="remove one of the two meters from the configuration",
        ),
    )
