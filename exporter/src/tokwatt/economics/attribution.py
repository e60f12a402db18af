"""Gives each device's measured energy to servers. Pure: the caller says what time it is.

Measured = given + unattributed holds at every instant, because a device's published total advances only as far as every
server that it is given to is known: to the device's *frontier*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tokwatt.economics.error import EdgeError, EnergySums, edge_error, interval_error, sum_of
from tokwatt.economics.host_split import FREE, Claim, HostSplit
from tokwatt.economics.ownership import Ownership, resolve
from tokwatt.economics.phases.segments import Segment, Segments
from tokwatt.economics.plan import Plan
from tokwatt.ledger.energy import EnergyCurve
from tokwatt.ledger.ledger import DeviceKey, Ledger
from tokwatt.ledger.line import Line, Stretch
from tokwatt.readings import Boundary, Precision
from tokwatt.snapshot import Given

GIVEN_OF: Mapping[Boundary, Given] = {Boundary.GPU: Given.GPU, Boundary.HOST: Given.HOST}
BOUNDARY_OF: Mapping[Given, Boundary] = {Given.GPU: Boundary.GPU, Given.HOST: Boundary.HOST}

# server, boundary, the segment that holds the piece, its joules, and where in time they lie
Deliver = Callable[[str, Given, Segment, float, Stretch], None]
SegmentsOf = Callable[[str], Segments]  # of a server: how its time is classified, as far as that is known


@dataclass(slots=True)
class DeviceTotal:
    """Published total of one device, complete up to its frontier."""

    frontier_seconds: float
    joules: float = 0.0
    unattributed_joules: float = 0.0


class Attribution:
    """Ownership of devices, and the part of each device's curve that is each server's."""

    def __init__(self, plan: Plan, ledger: Ledger, segments_of: SegmentsOf) -> None:
        self._plan = plan
        self._ledger = ledger
        self._segments_of = segments_of
        self._splits: dict[str, HostSplit] = {}
        self.devices: dict[DeviceKey, DeviceTotal] = {}
        self.ownership = Ownership({}, {}, {}, ())
        self.claim(plan)

    def claim(self, plan: Plan) -> None:
        """Resolve who owns what among the devices measured so far. What is not settled yet goes by the new claims."""
        self._plan = plan
        for key, curve in self._ledger.curves.items():
            if key not in self.devices:
                self.devices[key] = DeviceTotal(curve.line.start_seconds)
        self.ownership = resolve(plan, self._ledger.devices.values(), self._ledger.curves.keys())
        self._splits = {
            device: HostSplit(
                self._ledger.curves[boundary, device].line,
                self._claims_on_host(claimants),
                self.devices[boundary, device].frontier_seconds,
            )
            for boundary, device in self._ledger.curves
            if boundary is Boundary.HOST and (claimants := self.ownership.claimants(boundary, device))
        }

    def _claims_on_host(self, claimants: tuple[str, ...]) -> Mapping[str, Claim]:
        claims = {
            name: Claim(self._gpu_lines(self.ownership.gpus[name]), len(self.ownership.hosts[name]))
            for name in claimants
        }
        if self.ownership.free_gpus:
            hosts = sum(1 for boundary, _ in self._ledger.curves if boundary is Boundary.HOST)
            claims[FREE] = Claim(self._gpu_lines(self.ownership.free_gpus), hosts)
        return claims

    def _gpu_lines(self, devices: tuple[str, ...]) -> tuple[Line, ...]:
        return tuple(self._ledger.curves[Boundary.GPU, device].line for device in devices)

    def keys(self, server: str, boundary: Given) -> tuple[DeviceKey, ...]:
        """Devices whose energy a server is given at a boundary."""
        owned = self.ownership.gpus if boundary is Given.GPU else self.ownership.hosts
        return tuple((BOUNDARY_OF[boundary], device) for device in owned.get(server, ()))

    # Progress

    def divide(self, now_seconds: float, down: frozenset[str]) -> None:
        """Take in new devices and divide hosts between servers as far as readings allow."""
        if len(self.devices) != len(self._ledger.curves):
            self.claim(self._plan)
        for device, split in self._splits.items():
            split.advance(self._host_ready_until(device, now_seconds, down))

    def settle(self, deliver: Deliver) -> None:
        """Advance every frontier as far as readings and phases are known, delivering energy piece by piece."""
        for key, curve in self._ledger.curves.items():
            self._settle_device(key, curve, deliver)

    def _settle_device(self, key: DeviceKey, curve: EnergyCurve, deliver: Deliver) -> None:
        total = self.devices[key]
        start = total.frontier_seconds
        claimants = self.ownership.claimants(*key) if key[0] in GIVEN_OF else ()
        end = min([curve.line.end_seconds, *(self._known_until(name, key, start) for name in claimants)])
        if end <= start:
            return
        measured = curve.line.at(end) - curve.line.at(start)
        given = sum(self._give(name, key, start, end, deliver) for name in claimants)
        total.frontier_seconds = end
        total.joules += measured
        if measured - given > 1e-12 * measured:  # less is rounding: pieces need not sum to the whole bit by bit
            total.unattributed_joules += measured - given

    def _known_until(self, name: str, key: DeviceKey, otherwise: float) -> float:
        classified = self._segments_of(name).end_seconds
        return otherwise if classified is None else min(classified, self._line(name, key).end_seconds)

    def _give(self, name: str, key: DeviceKey, start: float, end: float, deliver: Deliver) -> float:
        line = self._line(name, key)
        given = 0.0
        value = line.at(start)
        since = start
        for segment in self._segments_of(name).between(start, end):
            until = min(segment.end_seconds, end)
            joules = line.at(until) - value
            value += joules
            given += joules
            deliver(name, GIVEN_OF[key[0]], segment, joules, Stretch(line, since, until))
            since = until
        return given

    def _line(self, server: str, key: DeviceKey) -> Line:
        """Cumulative joules of a device that are a server's."""
        boundary, device = key
        return self._ledger.curves[key].line if boundary is Boundary.GPU else self._splits[device].lines[server]

    def _host_ready_until(self, device: str, now_seconds: float, down: frozenset[str]) -> float:
        """Instant up to which a host can be split: GPUs that still answer must have been read beyond it."""
        ready = now_seconds
        if len(self._splits[device].lines) == 1 and not self.ownership.free_gpus:
            return ready
        for (boundary, _), curve in self._ledger.curves.items():
            end = curve.line.end_seconds
            if boundary is Boundary.GPU and not self._overdue(curve, end, now_seconds, down):
                ready = min(ready, end)
        return ready

    def _overdue(self, curve: EnergyCurve, at_seconds: float, now_seconds: float, down: frozenset[str]) -> bool:
        """Whether a reading beyond `at_seconds` should have come by now: waiting on would only delay the others."""
        patience = self.patience_seconds(curve) + self._plan.tick_seconds
        on_timer = self._plan.pace(curve.meter.source).period_seconds > self._plan.tick_seconds
        if curve.meter.source in down and not on_timer:  # one failed read of many seconds may still be made good
            patience = min(patience, 3.5 * self._plan.tick_seconds)
        return now_seconds - at_seconds > patience

    def patience_seconds(self, curve: EnergyCurve) -> float:
        """How long after an instant a meter's reading beyond it usually comes, at the latest.

        What is read on a timer through an exporter's or a Prometheus server's memory may pause for longer than the
        timer, and arrive up to one and a half more periods old.
        """
        pace = self._plan.pace(curve.meter.source)
        if pace.period_seconds <= self._plan.tick_seconds:
            return pace.period_seconds + pace.timeout_seconds
        return max(pace.period_seconds, curve.pause_seconds) + 1.5 * pace.period_seconds + pace.timeout_seconds

    # Windows

    def ready(self, server: str, boundary: Given, at_seconds: float, now_seconds: float, down: frozenset[str]) -> bool:
        """False while a meter's reading beyond `at_seconds` can still be expected."""
        for key in self.keys(server, boundary):
            curve = self._ledger.curves[key]
            known_until = self._line(server, key).end_seconds
            if known_until < at_seconds and not self._overdue(curve, at_seconds, now_seconds, down):
                return False
        return True

    def began(self, keys: Iterable[DeviceKey], at_seconds: float) -> bool:
        """Whether all devices were being measured at an instant."""
        return all(self._ledger.curves[key].line.start_seconds <= at_seconds for key in keys)

    def given_joules(self, server: str, boundary: Given, start_seconds: float, end_seconds: float) -> float | None:
        """Energy given in (start, end]; None unless readings vouch for every second of it on every device."""
        joules = 0.0
        for key in self.keys(server, boundary):
            line = self._line(server, key)
            known = line.start_seconds <= start_seconds and end_seconds <= line.end_seconds
            if not known or not self._ledger.curves[key].vouched(start_seconds, end_seconds):
                return None
            joules += line.at(end_seconds) - line.at(start_seconds)
        return joules

    def interval_errors(self, server: str, boundary: Given, start_seconds: float, end_seconds: float) -> EnergySums:
        """Return what the meters declare of the energy given in (start, end]; call it where `given_joules` knows it."""
        return sum_of(
            interval_error(
                self._ledger.curves[key], self._line(server, key), self._precision(key), start_seconds, end_seconds
            )
            for key in self.keys(server, boundary)
        )

    def edge_errors(self, server: str, boundary: Given, at_seconds: float) -> EdgeError:
        """Return how wrong the energy given up to an instant may be because of when and how meters were read."""
        error = EdgeError()
        for key in self.keys(server, boundary):
            error = error.plus(
                edge_error(self._ledger.curves[key], self._line(server, key), self._precision(key), at_seconds)
            )
        return error

    def _precision(self, key: DeviceKey) -> Precision:
        info = self._ledger.devices.get(key)
        return info.precision if info is not None else Precision(gain_ratio=0.05)

    def forget_before(self, at_seconds: float) -> None:
        """Drop history that no frontier and no window needs any more."""
        for key, curve in self._ledger.curves.items():
            upto = min(at_seconds, self.devices[key].frontier_seconds)
            curve.forget_before(upto)
            split = self._splits.get(key[1]) if key[0] is Boundary.HOST else None
            for line in split.lines.values() if split else ():
                line.forget_before(upto)
