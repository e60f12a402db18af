"""Every price over time, and what energy and hardware cost by them. Pure: instants arrive with the prices.

Money is an integral over monotonic time with the price in force at each instant, cut exactly where a price changes.
What lies before a change is never priced anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tokwatt.economics.plan import Fed, Plan, ServerPlan
from tokwatt.economics.price_line import BEGINNING, PriceLine, pieces
from tokwatt.ledger.line import Stretch
from tokwatt.quantities import Dollars, DollarsPerJoule, DollarsPerSecond, Joules, Seconds
from tokwatt.readings import PriceReading
from tokwatt.snapshot import Aside, Given

JoulesBetween = Callable[[float, float], Joules | None]


@dataclass(frozen=True, slots=True)
class EnergyBill:
    """What the energy of a stretch of time comes to. None: no price, or no carbon intensity, was in force."""

    cost_dollars: Dollars | None = None  # what is paid for it
    credit_dollars: Dollars | None = None  # what is got for it while electricity has a negative price
    included_dollars: Dollars | None = None  # its worth while a lease covers it: nothing is paid on top
    carbon_grams: float | None = None

    def asides(self) -> list[tuple[Aside, float]]:
        """Name what is counted beside the cost, as far as it is known."""
        named = (
            (Aside.ENERGY_CREDIT_DOLLARS, self.credit_dollars),
            (Aside.INCLUDED_ENERGY_DOLLARS, self.included_dollars),
            (Aside.CARBON_GRAMS, self.carbon_grams),
        )
        return [(aside, amount) for aside, amount in named if amount is not None]


@dataclass(slots=True)
class FedLine:
    """A price over time and what feeds it: a price source, or the configuration ("")."""

    line: PriceLine = field(default_factory=PriceLine)
    source: str = ""


@dataclass(slots=True)
class ServerPrices:
    """What one server's hardware costs over time."""

    capacity: FedLine = field(default_factory=FedLine)  # dollars per second of one unit
    units: PriceLine = field(default_factory=PriceLine)  # how many are paid: its GPUs, or 1
    covers_energy: PriceLine = field(default_factory=PriceLine)  # 1 while a lease covers electricity


class PriceBook:
    """Prices by what they are of, and by server."""

    def __init__(self, plan: Plan) -> None:
        self._electricity = FedLine()
        self._carbon = FedLine()
        self._pue = PriceLine()
        self._outlet_pue = PriceLine()
        self._servers: dict[str, ServerPrices] = {}
        self._latest: dict[str, PriceReading] = {}
        self.change(plan, BEGINNING)

    # Changes

    def change(self, plan: Plan, at_seconds: float) -> None:
        """Take over the prices of a new plan from an instant on."""
        self._point(self._electricity, plan.prices.electricity_dollars_per_joule, at_seconds)
        self._point(self._carbon, plan.prices.carbon_grams_per_joule, at_seconds)
        self._pue.set_from(at_seconds, plan.prices.pue)
        self._outlet_pue.set_from(at_seconds, plan.prices.outlet_pue)
        configured = {server.name: server for server in plan.servers}
        for name in self._servers.keys() | configured.keys():
            prices = self._servers.setdefault(name, ServerPrices())
            server = configured.get(name)
            capacity = server.capacity if server else None
            self._point(prices.capacity, capacity.dollars_per_second if capacity else None, at_seconds)
            prices.covers_energy.set_from(at_seconds, 1.0 if capacity and capacity.includes_electricity else 0.0)
            if capacity is None:
                prices.units.set_from(at_seconds, None)
            elif not capacity.per_gpu:
                prices.units.set_from(at_seconds, 1.0)

    def _point(self, fed: FedLine, price: float | Fed | None, at_seconds: float) -> None:
        """Let a line be fed by another source. While the same source goes on, so does its line."""
        source = price.source if isinstance(price, Fed) else ""
        if isinstance(price, Fed):
            if source == fed.source:
                return
            known = self._latest.get(source)
            fed.line.set_from(at_seconds, None)
            if known is not None:
                fed.line.follow([(max(at_seconds, step.at_seconds), step.value) for step in known.steps])
        else:
            fed.line.set_from(at_seconds, price)
        fed.source = source

    def own_gpus(self, server: ServerPlan, count: float, at_seconds: float, first_at_seconds: float) -> None:
        """Note how many GPUs a server has: so many it pays for, where its price is by GPU.

        They count from `at_seconds` on; the first ones from `first_at_seconds`, because nothing was charged yet.
        """
        if server.capacity and server.capacity.per_gpu:
            units = self._servers[server.name].units
            number = count or None
            before = units.at(at_seconds)
            if before != number:
                units.set_from(at_seconds if before is not None else first_at_seconds, number)

    def take(self, reading: PriceReading) -> None:
        """Take over what a price source says. It holds from the first of its instants on, never before."""
        self._latest[reading.source] = reading
        steps = [(step.at_seconds, step.value) for step in reading.steps]
        for fed in self._fed_lines():
            if fed.source == reading.source:
                fed.line.follow(steps)

    def forget_source(self, source: str) -> None:
        """A source is gone: what it said does not hold for one of the same name that may come later."""
        self._latest.pop(source, None)

    def forget_before(self, at_seconds: float) -> None:
        """Drop prices that nothing can be booked by any more."""
        for fed in self._fed_lines():
            fed.line.forget_before(at_seconds)
        self._pue.forget_before(at_seconds)
        self._outlet_pue.forget_before(at_seconds)
        for server in self._servers.values():
            server.units.forget_before(at_seconds)
            server.covers_energy.forget_before(at_seconds)

    def _fed_lines(self) -> tuple[FedLine, ...]:
        return (self._electricity, self._carbon, *(server.capacity for server in self._servers.values()))

    # Prices in force

    def electricity_dollars_per_joule(self, at_seconds: float) -> DollarsPerJoule | None:
        """Electricity price in force."""
        price = self._electricity.line.at(at_seconds)
        return None if price is None else DollarsPerJoule(price)

    def carbon_grams_per_joule(self, at_seconds: float) -> float | None:
        """Carbon intensity of the grid in force."""
        return self._carbon.line.at(at_seconds)

    def pue(self, basis: Given, at_seconds: float) -> float:
        """Facility energy / energy at a basis, in force. FACILITY stands for what outlets measure."""
        return self._pue_of(basis).at(at_seconds) or 1.0

    def _pue_of(self, basis: Given) -> PriceLine:
        # an outlet already holds what PUE stands for inside of the room
        return self._outlet_pue if basis is Given.FACILITY else self._pue

    def capacity_dollars_per_second(self, server: str, at_seconds: float) -> DollarsPerSecond | None:
        """Price in force of all the hardware of a server."""
        prices = self._servers[server]
        price, units = prices.capacity.line.at(at_seconds), prices.units.at(at_seconds)
        return None if price is None or units is None else DollarsPerSecond(price * units)

    def covers_energy(self, server: str, at_seconds: float) -> bool:
        """Whether a lease covers the electricity of a server."""
        return bool(self._servers[server].covers_energy.at(at_seconds))

    # Amounts

    def facility_joules(self, basis: Given, stretch: Stretch) -> Joules:
        """Energy of a host, or of outlets, times their PUE."""
        line, start, end = self._pue_of(basis), stretch.start_seconds, stretch.end_seconds
        return sum((stretch.joules(a, b) * (pue or 1.0) for a, b, (pue,) in pieces([line], start, end)), Joules(0))

    def facility_joules_between(
        self, basis: Given, start_seconds: float, end_seconds: float, joules_between: JoulesBetween
    ) -> Joules | None:
        """Return the same for energy that may not be known; None where a part of it is not."""
        joules = Joules(0)
        for start, end, (pue,) in pieces([self._pue_of(basis)], start_seconds, end_seconds):
            part = joules_between(start, end)
            if part is None:
                return None
            joules += part * (pue or 1.0)
        return joules

    def energy_bill(self, server: str, basis: Given, stretch: Stretch) -> EnergyBill:
        """Price the energy of a stretch: joules x PUE x price, piece by piece."""
        lines = (self._electricity.line, self._pue_of(basis), self._carbon.line, self._servers[server].covers_energy)
        cost: Dollars | None = None
        credit: Dollars | None = None
        included: Dollars | None = None
        grams: float | None = None
        for start, end, (price, pue, carbon, covered) in pieces(lines, stretch.start_seconds, stretch.end_seconds):
            joules = stretch.joules(start, end) * (pue or 1.0)
            if carbon is not None:
                grams = (grams or 0.0) + joules * carbon
            if price is None:
                continue
            dollars = DollarsPerJoule(price) * joules
            if covered:
                included = (included or Dollars(0)) + max(Dollars(0), dollars)
            elif price < 0:
                credit = (credit or Dollars(0)) - dollars
            else:
                cost = (cost or Dollars(0)) + dollars
        return EnergyBill(cost, credit, included, grams)

    def capacity_dollars(self, server: str, start_seconds: float, end_seconds: float) -> tuple[Dollars | None, bool]:
        """Price the hardware of a server over a stretch of time: dollars, and whether a price was in force throughout.

        None: at no instant of it.
        """
        prices = self._servers[server]
        dollars: Dollars | None = None
        whole = True
        for start, end, (price, units) in pieces([prices.capacity.line, prices.units], start_seconds, end_seconds):
            if price is None or units is None:
                whole = False
            else:
                dollars = (dollars or Dollars(0)) + DollarsPerSecond(price * units) * Seconds(end - start)
        return dollars, whole

    def net_energy_dollars(
        self, server: str, basis: Given, start_seconds: float, end_seconds: float, joules_between: JoulesBetween
    ) -> Dollars | None:
        """Price the energy that is paid on top of capacity; negative where it earns money.

        None where a part of it has no price or is not measured. Energy that a lease covers need not be.
        """
        lines = (self._electricity.line, self._pue_of(basis), self._servers[server].covers_energy)
        dollars = Dollars(0)
        for start, end, (price, pue, covered) in pieces(lines, start_seconds, end_seconds):
            if covered:
                continue
            joules = joules_between(start, end)
            if price is None or joules is None:
                return None
            dollars += DollarsPerJoule(price) * (joules * (pue or 1.0))
        return dollars
