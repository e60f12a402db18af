"""Gives each device's measured energy to servers. Pure: the caller says what time it is.

Measured = given + unattributed holds at every instant, because a device's published total advances only as far as every
server that it is given to is known: to the device's *frontier*.

Owners that are found out at run time change at an instant. Energy before it is given by the owners of then, also where
it is settled later: each stretch of time between two changes is an *epoch* with its own claims.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tokwatt.economics.claims import claims_on_hosts, claims_on_outlets, splits_of_gpus
from tokwatt.economics.error import EdgeError, EnergySums, edge_error, edge_sum, interval_error, sum_of
from tokwatt.economics.ownership import Ownership, resolve
from tokwatt.economics.phases.segments import Segment, Segments
from tokwatt.economics.plan import Plan
from tokwatt.economics.split import Split
from tokwatt.economics.token_lines import TokenLines
from tokwatt.ledger.energy import EnergyCurve
from tokwatt.ledger.ledger import DeviceKey, Ledger
from tokwatt.ledger.line import Line, Stretch
from tokwatt.quantities import Joules
from tokwatt.readings import Boundary, DeviceInfo, OwnersReading, Precision, ServerGpus
from tokwatt.snapshot import Given

GIVEN_OF: Mapping[Boundary, Given] = {
    Boundary.GPU: Given.GPU,
    Boundary.HOST: Given.HOST,
    Boundary.OUTLET: Given.FACILITY,
}
MOST_EPOCHS = 32  # a device that is not read for long must not keep every change of owner since

# server, boundary, the segment that holds the piece, its joules, and where in time they lie
Deliver = Callable[[str, Given, Segment, Joules, Stretch], None]
Keys = Mapping[str, tuple[DeviceKey, ...]]  # devices by server
SegmentsOf = Callable[[str], Segments]  # of a server: how its time is classified, as far as that is known


@dataclass(slots=True)
class DeviceTotal:
    """Published total of one device, complete up to its frontier."""

    frontier_seconds: float
    joules: Joules = Joules(0)
    unattributed_joules: Joules = Joules(0)


@dataclass(slots=True)
class Epoch:
    """A stretch of time with one set of claims."""

    from_seconds: float
    ownership: Ownership
    splits: dict[DeviceKey, Split] = field(default_factory=dict)  # of devices that are divided; others are whole
    until_seconds: float = math.inf


class Attribution:
    """Ownership of devices, and the part of each device's curve that is each server's."""

    def __init__(self, plan: Plan, ledger: Ledger, segments_of: SegmentsOf) -> None:
        self._plan = plan
        self._ledger = ledger
        self._segments_of = segments_of
        self._found: dict[str, ServerGpus] = {}
        self._tokens = TokenLines()
        self._since: dict[tuple[str, DeviceKey], float] = {}  # since when a server has owned a whole device
        self._epochs = [Epoch(-math.inf, Ownership())]
        self._gpu_keys: Keys = {}  # asked for many times a tick
        self._host_keys: Keys = {}
        self._outlet_keys: Keys = {}
        self.devices: dict[DeviceKey, DeviceTotal] = {}
        self.claim(plan)

    @property
    def ownership(self) -> Ownership:
        """Who owns what at present."""
        return self._epochs[-1].ownership

    def found(self, server: str) -> ServerGpus | None:
        """What was last found out about the GPUs of a server that does not name them."""
        return self._found.get(server)

    # Claims

    def claim(self, plan: Plan) -> None:
        """Resolve who owns what under a new plan. What is not settled yet goes by the new claims."""
        self._plan = plan
        wanted = {server.name for server in plan.servers if server.found_gpus}
        self._found = {name: found for name, found in self._found.items() if name in wanted}
        self._epochs = [Epoch(-math.inf, Ownership())]
        self._since = {}
        self._tokens = TokenLines()
        self._resolve_last()

    def take_owners(self, reading: OwnersReading) -> None:
        """Take over what an owner source found. It holds from the instant of the reading on, never before."""
        self._found |= {name: found for name, found in reading.servers.items() if self._looks_for(name)}
        ownership = self._resolved()
        if ownership.gives_like(self.ownership):
            self._epochs[-1].ownership = ownership
            return
        start = max(reading.at_seconds, self._epochs[-1].from_seconds)
        self._epochs[-1].until_seconds = start
        self._epochs.append(Epoch(start, Ownership()))
        self._resolve_last()
        if len(self._epochs) > MOST_EPOCHS:
            del self._epochs[0]
            self._epochs[0].from_seconds = -math.inf

    def _looks_for(self, name: str) -> bool:
        return any(server.name == name and server.found_gpus for server in self._plan.servers)

    def _resolved(self) -> Ownership:
        return resolve(self._plan, self._ledger.devices.values(), self._ledger.curves.keys(), self._found)

    def _resolve_last(self) -> None:
        """Resolve the present claims anew: under a new plan, new owners, or with a device that joined."""
        for key, curve in self._ledger.curves.items():
            if key not in self.devices:
                self.devices[key] = DeviceTotal(curve.line.start_seconds)
        epoch = self._epochs[-1]
        epoch.ownership = self._resolved()
        self._gpu_keys = _keys(Boundary.GPU, epoch.ownership.gpus)
        self._host_keys = _keys(Boundary.HOST, epoch.ownership.hosts)
        self._outlet_keys = _keys(Boundary.OUTLET, epoch.ownership.outlets)
        starts = {key: max(epoch.from_seconds, total.frontier_seconds) for key, total in self.devices.items()}
        self._remember_since(epoch)
        curves, rest = self._ledger.curves, self._plan.sharing.rest
        epoch.splits = splits_of_gpus(epoch.ownership, curves, starts, self._tokens)
        epoch.splits |= claims_on_hosts(epoch.ownership, curves, starts, epoch.splits, rest)
        epoch.splits |= claims_on_outlets(epoch.ownership, curves, starts, epoch.splits, rest)

    def _remember_since(self, epoch: Epoch) -> None:
        before = self._since
        self._since = {
            (server, (Boundary.GPU, gpu)): before.get((server, (Boundary.GPU, gpu)), epoch.from_seconds)
            for server, gpus in epoch.ownership.gpus.items()
            for gpu in gpus
        }

    def keys(self, server: str, boundary: Given) -> tuple[DeviceKey, ...]:
        """Devices whose energy a server is given at a boundary."""
        if boundary is Given.GPU:
            return self._gpu_keys.get(server, ())
        return (self._host_keys if boundary is Given.HOST else self._outlet_keys).get(server, ())

    def gpus_in(self, host: str) -> tuple[str, ...]:
        """GPUs inside a host: all of them where there is one host meter.

        With several, those of the servers that name this host alone; none where it is not known of every GPU.
        """
        gpus = [device for boundary, device in self._ledger.curves if boundary is Boundary.GPU]
        if sum(boundary is Boundary.HOST for boundary, _ in self._ledger.curves) == 1:
            return tuple(gpus)
        homes = {
            gpu: {self.ownership.hosts[name] for name in self.ownership.claimants(Boundary.GPU, gpu)} for gpu in gpus
        }
        if any(len(home) != 1 or len(next(iter(home))) != 1 for home in homes.values()):
            return ()
        return tuple(gpu for gpu, home in homes.items() if home == {(host,)})

    def by_rule(self, server: str, boundary: Given) -> bool:
        """Whether a rule, not a measurement, says how much of a shared GPU is in a server's energy of a boundary."""
        epoch = self._epochs[-1]
        if not any(gpu in epoch.ownership.shared for gpu in epoch.ownership.gpus.get(server, ())):
            return False
        return boundary is Given.GPU or not all(epoch.splits[key].alone for key in self.keys(server, boundary))

    # Progress

    def divide(self, now_seconds: float, down: frozenset[str]) -> None:
        """Take in new devices and divide hosts between servers as far as readings allow."""
        if len(self.devices) != len(self._ledger.curves):
            self._resolve_last()
        self._tokens.follow(self._ledger.servers)
        for epoch in self._epochs:
            for key, split in epoch.splits.items():
                split.advance(self._ready_until(key, epoch, now_seconds, down), epoch.until_seconds)

    def settle(self, deliver: Deliver) -> None:
        """Advance every frontier as far as readings and phases are known, delivering energy piece by piece."""
        for epoch in self._epochs:
            for key, curve in self._ledger.curves.items():
                if epoch.from_seconds <= self.devices[key].frontier_seconds < epoch.until_seconds:
                    self._settle_device(key, curve, epoch, deliver)
        while len(self._epochs) > 1 and all(
            total.frontier_seconds >= self._epochs[0].until_seconds for total in self.devices.values()
        ):
            del self._epochs[0]

    def _settle_device(self, key: DeviceKey, curve: EnergyCurve, epoch: Epoch, deliver: Deliver) -> None:
        total = self.devices[key]
        start = total.frontier_seconds
        claimants = epoch.ownership.claimants(*key)
        ends = [self._known_until(name, key, epoch, start) for name in claimants]
        end = min([curve.line.end_seconds, epoch.until_seconds, *ends])
        if end <= start:
            return
        measured = Joules(curve.line.at(end) - curve.line.at(start))
        given = sum((self._give(name, key, epoch, (start, end), deliver) for name in claimants), Joules(0))
        total.frontier_seconds = end
        total.joules += measured
        if measured - given > 1e-12 * measured:  # less is rounding: pieces need not sum to the whole bit by bit
            total.unattributed_joules += measured - given

    def _known_until(self, name: str, key: DeviceKey, epoch: Epoch, otherwise: float) -> float:
        classified = self._segments_of(name).end_seconds
        return otherwise if classified is None else min(classified, self._line(name, key, epoch).end_seconds)

    def _give(self, name: str, key: DeviceKey, epoch: Epoch, span: tuple[float, float], deliver: Deliver) -> Joules:
        start, end = span
        line = self._line(name, key, epoch)
        given = Joules(0)
        value = line.at(start)
        since = start
        for segment in self._segments_of(name).between(start, end):
            until = min(segment.end_seconds, end)
            joules = Joules(line.at(until) - value)
            value += joules
            given += joules
            deliver(name, GIVEN_OF[key[0]], segment, joules, Stretch(line, since, until))
            since = until
        return given

    def _line(self, server: str, key: DeviceKey, epoch: Epoch) -> Line:
        """Cumulative joules of a device that are a server's."""
        split = epoch.splits.get(key)
        return split.lines[server] if split is not None else self._ledger.curves[key].line

    def _ready_until(self, key: DeviceKey, epoch: Epoch, now_seconds: float, down: frozenset[str]) -> float:
        """Instant up to which a device can be divided: what it contains must have been read, and divided, beyond it.

        What should have been read by now and was not is not waited for.
        """
        if key[0] is Boundary.GPU:
            return min(self._tokens.end_seconds(name) for name in epoch.splits[key].lines)
        if epoch.splits[key].alone:
            return now_seconds
        ready = now_seconds
        inner = (Boundary.GPU,) if key[0] is Boundary.HOST else (Boundary.GPU, Boundary.HOST)
        for other, curve in self._ledger.curves.items():
            if other[0] in inner and not self.overdue(curve, curve.line.end_seconds, now_seconds, down):
                split = epoch.splits.get(other)
                ready = min(ready, split.end_seconds if split is not None else curve.line.end_seconds)
        return ready

    def overdue(self, curve: EnergyCurve, at_seconds: float, now_seconds: float, down: frozenset[str]) -> bool:
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
            known_until = self._line(server, key, self._epochs[-1]).end_seconds
            if known_until < at_seconds and not self.overdue(curve, at_seconds, now_seconds, down):
                return False
        return True

    def began(self, server: str, keys: Iterable[DeviceKey], at_seconds: float) -> bool:
        """Whether all devices were being measured, and the server's, at an instant."""
        return all(
            self._ledger.curves[key].line.start_seconds <= at_seconds
            and self._since.get((server, key), -math.inf) <= at_seconds
            for key in keys
        )

    def given_joules(self, server: str, boundary: Given, start_seconds: float, end_seconds: float) -> Joules | None:
        """Energy given in (start, end].

        None unless readings vouch for every second of it on every device, and all of it is known to be the server's.
        """
        epoch = self._epochs[-1]
        keys = self.keys(server, boundary)
        divided = any(key in epoch.splits and not epoch.splits[key].alone for key in keys)
        if epoch.ownership.incomplete.get(server) and (boundary is Given.GPU or divided):
            return None
        joules = Joules(0)
        for key in keys:
            line = self._line(server, key, epoch)
            since = max(line.start_seconds, self._since.get((server, key), -math.inf))
            known = since <= start_seconds and end_seconds <= line.end_seconds
            if not known or not self._ledger.curves[key].vouched(start_seconds, end_seconds):
                return None
            joules += Joules(line.at(end_seconds) - line.at(start_seconds))
        return joules

    def interval_errors(self, server: str, boundary: Given, start_seconds: float, end_seconds: float) -> EnergySums:
        """Return what the meters declare of the energy given in (start, end]; call it where `given_joules` knows it."""
        return sum_of(
            interval_error(
                self._ledger.curves[key],
                self._line(server, key, self._epochs[-1]),
                self._precision(key),
                start_seconds,
                end_seconds,
            )
            for key in self.keys(server, boundary)
        )

    def edge_errors(self, server: str, boundary: Given, at_seconds: float) -> EdgeError:
        """Return how wrong the energy given up to an instant may be because of when and how meters were read."""
        curves, epoch = self._ledger.curves, self._epochs[-1]
        return edge_sum(
            (
                curves[key].meter.source,
                edge_error(curves[key], self._line(server, key, epoch), self._precision(key), at_seconds),
            )
            for key in self.keys(server, boundary)
        )

    def meter_of(self, key: DeviceKey) -> DeviceInfo:
        """What is known of a device and its meter."""
        return self._ledger.devices.get(key) or DeviceInfo(self._ledger.curves[key].meter, key[1])

    def _precision(self, key: DeviceKey) -> Precision:
        return self.meter_of(key).precision

    def forget_before(self, at_seconds: float) -> None:
        """Drop history that no frontier and no window needs any more."""
        for key, curve in self._ledger.curves.items():
            upto = min(at_seconds, self.devices[key].frontier_seconds)
            curve.forget_before(upto)
            for epoch in self._epochs:
                split = epoch.splits.get(key)
                for line in split.lines.values() if split else ():
                    line.forget_before(upto)
        self._tokens.forget_before(min([at_seconds, *(total.frontier_seconds for total in self.devices.values())]))


def _keys(boundary: Boundary, owned: Mapping[str, tuple[str, ...]]) -> Keys:
    return {server: tuple((boundary, device) for device in devices) for server, devices in owned.items()}
