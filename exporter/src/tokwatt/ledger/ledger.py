"""All curves and server ledgers of one exporter: the single place that readings enter. Pure."""

from __future__ import annotations

from collections.abc import Callable

from tokwatt.ledger.energy import EnergyCurve
from tokwatt.ledger.server import ServerLedger
from tokwatt.readings import Boundary, DeviceInfo, PowerReading, ServerReading

DeviceKey = tuple[Boundary, str]


class Ledger:
    """Energy curves by device and ledgers by server.

    Exactly one source owns each (boundary, device): readings of a second one are refused, lest joules count twice.
    """

    __slots__ = ("curves", "devices", "refused", "servers")

    def __init__(self) -> None:
        self.curves: dict[DeviceKey, EnergyCurve] = {}
        self.devices: dict[DeviceKey, DeviceInfo] = {}
        self.servers: dict[str, ServerLedger] = {}
        self.refused: dict[DeviceKey, str] = {}  # device -> source whose readings of it are ignored

    def add_power(self, reading: PowerReading, max_gap_seconds: float) -> None:
        """Take one pass over a power source."""
        for energy in reading.readings:
            key = (energy.meter.boundary, energy.meter.device)
            curve = self.curves.get(key)
            if curve is None:
                self.curves[key] = EnergyCurve(energy, max_gap_seconds)
            elif curve.meter.source != energy.meter.source and not curve.orphaned:
                self.refused[key] = energy.meter.source
            else:
                curve.max_gap_seconds = max_gap_seconds
                curve.add(energy)
        for info in reading.devices:
            key = (info.meter.boundary, info.meter.device)
            curve = self.curves.get(key)
            if curve is not None and curve.meter.source == info.meter.source:
                self.devices[key] = info

    def add_server(self, reading: ServerReading, max_gap_seconds: float) -> None:
        """Take a reading of an inference server."""
        self.server(reading.server, max_gap_seconds).add(reading)

    def miss_server(self, server: str, at_seconds: float, max_gap_seconds: float) -> None:
        """Record that an inference server did not answer."""
        self.server(server, max_gap_seconds).miss(at_seconds)

    def server(self, name: str, max_gap_seconds: float) -> ServerLedger:
        """Ledger of a server, opened on first use."""
        ledger = self.servers.get(name)
        if ledger is None:
            ledger = self.servers[name] = ServerLedger(max_gap_seconds)
        return ledger

    def release(self, keep_source: Callable[[str], bool]) -> None:
        """After a reload: let other sources take over devices of sources that are gone. Their curves go on."""
        self.refused.clear()
        for curve in self.curves.values():
            if not keep_source(curve.meter.source):
                curve.orphan()
