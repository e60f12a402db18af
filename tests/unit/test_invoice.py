"""A day's books against an invoice that the test writes for itself, from the true power and the words of the contract.

The test integrates power x PUE x price in steps of a second, cut at every instant at which something changes; of the
product it uses nothing but the counters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from support.clock import FakeClock
from support.config_specs import ENGINES, POWER_SPECS
from support.simulated_day import CounterMeter, Power, ScriptedPrice, Server, Span

from tokwatt.app.build import Workshop
from tokwatt.app.exporter import Exporter
from tokwatt.app.price_sources import PriceEntry
from tokwatt.app.setup import PowerEntry, Setup, TokenEntry, setup_of
from tokwatt.config import load_config
from tokwatt.metrics.exposition import Exposition
from tokwatt.readings import Boundary
from tokwatt.snapshot import Aside, Component, Given, ServerSnapshot

KWH, HOUR, TICK = 3.6e6, 3600.0, 20.0
BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")

SERVERS = """
tick_seconds: TICK
window_seconds: 240
servers:
  - name: chat
    url: http://127.0.0.1:1/metrics
    gpus: [0, 1]
    hosts: [bmc1]
  - name: code
    url: http://127.0.0.1:2/metrics
    gpus: [2]
    hosts: [bmc2]
    capacity: {CODE}
  - name: guard
    url: http://127.0.0.1:3/metrics
    gpus: [3]
    hosts: []
    capacity: {GUARD}
meters:
  - {source: ipmi, name: bmc1, host: h1, username: u}
  - {source: ipmi, name: bmc2, host: h2, username: u}
"""
SPOT = "{spot: {file: spot, unit: dollars_per_hour}}"
LEASE = "{dollars_per_hour: 9, includes_electricity: true}"
TARIFF = """
  electricity:
    tariff:
      time_zone: ZONE
      dollars_per_kwh: 0.21
      rules:
        - {hours: [01:30-02:30], dollars_per_kwh: 0.05}
        - {weekdays: [sat], hours: [17:00-20:00], dollars_per_kwh: 0.38}
        - {hours: [22:00-06:00], dollars_per_kwh: 0.14}
"""
OWNED = (
    "{ownership: {purchase_dollars: 320000, years: 5, residual_ratio: 0.1, maintenance_ratio_per_year: 0.05, "
    "interest_ratio_per_year: 0.06, expected_utilisation_ratio: 0.9}}"
)
OWNED_PER_HOUR = 10.937481091614389  # docs/economics.md


def configuration(code: str, guard: str, prices: str) -> str:
    return SERVERS.replace("{CODE}", code).replace("{GUARD}", guard) + "prices:\n" + prices


@dataclass
class Terms:
    """What is charged from an instant on, in the words of an invoice: $/h, $/kWh, g/kWh."""

    since: float
    pue: float
    electricity: Callable[[float], float | None]
    chat: float | None
    code: Callable[[float], float | None]
    guard: float | None
    code_covers_power: bool = False
    grams: float | None = None


class Day:
    """An exporter over one simulated day, its reloads, and the truth beside it."""

    def __init__(self, zone: ZoneInfo, start: datetime, hours: int, tick: float = TICK) -> None:
        self.tick = tick
        self.zone = zone
        self.seconds = hours * HOUR
        self.clock = FakeClock(0.0)
        self.wall_steps: list[tuple[float, float]] = [(0.0, start.timestamp())]  # from when, how far ahead
        quiet: list[Span] = [(3.5 * HOUR, 4.6 * HOUR)]
        power = {
            name: Power(seed, low, high, self.seconds, quiet)
            for seed, (name, low, high) in enumerate(
                [("GPU-0", 80, 700), ("GPU-1", 80, 700), ("GPU-2", 60, 350), ("GPU-3", 60, 350)]
            )
        }
        hosts = {"bmc1": Power(11, 1200, 2600, self.seconds, quiet), "bmc2": Power(12, 500, 1300, self.seconds, quiet)}
        self.power = power | hosts
        self.nvml = CounterMeter(
            "nvml", Boundary.GPU, self.clock, power, tick, silent=((9 * HOUR, 9.4 * HOUR),), resets=(13 * HOUR + 2.0,)
        )
        self.bmcs = {
            "bmc1": CounterMeter(
                "bmc1", Boundary.HOST, self.clock, {"bmc1": hosts["bmc1"]}, 2 * tick, silent=((3.6 * HOUR, 4.5 * HOUR),)
            ),
            "bmc2": CounterMeter(
                "bmc2", Boundary.HOST, self.clock, {"bmc2": hosts["bmc2"]}, 2 * tick, resets=(17 * HOUR + 7.0,)
            ),
        }
        self.servers = {
            "chat": Server("chat", self.clock, down=((6 * HOUR, 6.2 * HOUR),), restarts=(6.2 * HOUR, 20 * HOUR)),
            "code": Server("code", self.clock, restarts=(11 * HOUR,)),
            "guard": Server("guard", self.clock, down=((15 * HOUR, 15.5 * HOUR),)),
        }
        self.spot = ScriptedPrice("servers.code.capacity", self.clock, lambda at: (3 + int(at / 1000) % 4) / HOUR)
        self.market = ScriptedPrice(
            "prices.electricity",
            self.clock,
            lambda at: (0.15 if int(at / 4000) % 3 else -0.04) / KWH,
            fails=((18 * HOUR, 20 * HOUR),),
        )
        self.workshop = Workshop(self.clock, self.wall)
        self.terms: list[Terms] = []
        self.exporter: Exporter | None = None

    def wall(self, at: float | None = None) -> float:
        now = self.clock() if at is None else at
        return now + [ahead for since, ahead in self.wall_steps if since <= now][-1]

    def set_wall_clock(self, by: float) -> None:
        self.wall_steps.append((self.clock(), self.wall_steps[-1][1] + by))

    def setup(self, text: str) -> Setup:
        config, _ = load_config(
            text.replace("TICK", str(self.tick)), "day.yml", power_specs=POWER_SPECS, engines=ENGINES
        )
        made = setup_of(config, self.workshop)
        scripted = {
            source.name: PriceEntry(source.name, "", lambda source=source: source)
            for source in (self.spot, self.market)
        }
        return replace(
            made,
            tokens={name: TokenEntry(name, "", lambda server=server: server) for name, server in self.servers.items()},
            power={
                meter.name: PowerEntry(meter.name, "", lambda meter=meter: meter)
                for meter in (self.nvml, *self.bmcs.values())
            },
            prices={
                name: entry if entry.target.startswith("tariff") else scripted[name]
                for name, entry in made.prices.items()
            },
        )

    async def apply(self, text: str, terms: Terms) -> None:
        self.terms.append(replace(terms, since=self.clock()))
        setup = self.setup(text)
        if self.exporter is None:
            self.exporter = Exporter(setup, self.clock, self.wall, Exposition(with_process=False))
            self.exporter.open()
        else:
            await self.exporter.replace(setup)

    async def run_until(self, at: float) -> None:
        """Tick on time; `at` may lie between two ticks."""
        assert self.exporter is not None
        while (due := self.tick * -(-self.clock.now // self.tick)) < at:
            self.clock.now = due
            await self.exporter.tick()
            self.clock.now = due + 1e-9  # the next tick is a later one
        self.clock.now = at

    def tariff(self, at: float) -> float:
        """Price by the words of the configuration above, at a monotonic instant."""
        local = datetime.fromtimestamp(self.wall(at), self.zone)
        if (1, 30) <= (local.hour, local.minute) < (2, 30):
            return 0.05
        if local.strftime("%a") == "Sat" and 17 <= local.hour < 20:
            return 0.38
        return 0.14 if local.hour >= 22 or local.hour < 6 else 0.21

    # The invoice

    def in_force(self, at: float) -> Terms:
        return [terms for terms in self.terms if terms.since <= at][-1]

    def pieces(self, start: float, end: float, *devices: str) -> list[Span]:
        """Cut a stretch at every second, and wherever power or terms change."""
        edges = {float(second) for second in range(int(start), int(end) + 2)}
        edges |= {terms.since for terms in self.terms} | {at for at, _ in self.wall_steps}
        for device in devices:
            edges |= set(self.power[device].times)
        cut = [start, *sorted(edge for edge in edges if start < edge < end), end]
        return list(pairwise(cut))

    def energy_invoice(self, server: str, device: str, meter: CounterMeter) -> dict[str, float]:
        bill = {"cost": 0.0, "credit": 0.0, "included": 0.0, "grams": 0.0}
        for start, end in meter.counted():
            for a, b in self.pieces(start, end, device):
                terms = self.in_force(a)
                kwh = self.power[device].at(a) * (b - a) / KWH * terms.pue
                bill["grams"] += kwh * (terms.grams or 0.0)
                price = terms.electricity(a)
                if price is None:
                    continue
                if server == "code" and terms.code_covers_power:
                    bill["included"] += kwh * max(0.0, price)
                elif price < 0:
                    bill["credit"] -= kwh * price
                else:
                    bill["cost"] += kwh * price
        return bill

    def capacity_invoice(self, rate: Callable[[Terms, float], float | None]) -> float:
        last = self.terms[-1].since
        return sum((rate(self.in_force(a), a) or 0.0) * (b - a) / HOUR for a, b in self.pieces(0.0, last))

    # The books

    def snapshot_of(self, name: str) -> ServerSnapshot:
        assert self.exporter is not None
        assert self.exporter.face.snapshot is not None
        return next(server for server in self.exporter.face.snapshot.servers if server.name == name)

    def books(self, name: str) -> dict[str, float]:
        rows = self.snapshot_of(name).phases
        return {
            "cost": sum(row.dollars.get(Component.ENERGY, 0.0) for row in rows),
            "credit": sum(row.aside.get(Aside.ENERGY_CREDIT_DOLLARS, 0.0) for row in rows),
            "included": sum(row.aside.get(Aside.INCLUDED_ENERGY_DOLLARS, 0.0) for row in rows),
            "grams": sum(row.aside.get(Aside.CARBON_GRAMS, 0.0) for row in rows),
            "capacity": sum(row.dollars.get(Component.CAPACITY, 0.0) for row in rows),
        }


CENT = 0.005  # half of one: what an invoice shows


@pytest.mark.parametrize(
    ("zone", "start", "hours"),
    [
        (BERLIN, datetime(2026, 10, 24, 16, tzinfo=BERLIN), 25),  # clocks are set back at night
        (NEW_YORK, datetime(2026, 3, 7, 16, tzinfo=NEW_YORK), 24),  # and forward
    ],
    ids=["the long night of Berlin", "the short night of New York"],
)
async def test_a_day_balances_to_the_cent(zone, start, hours):
    day = Day(zone, start, hours)
    tariff = TARIFF.replace("ZONE", str(zone))
    carbon = "  carbon: {grams_per_kwh: 400}\n"

    def per_hour(at: float) -> float | None:
        value = day.spot.at(at)
        return None if value is None else value * HOUR

    def market(at: float) -> float | None:
        value = day.market.at(at)
        return None if value is None else value * KWH

    owned = f"  capacity: {OWNED}\n"
    first = Terms(0, 1.2, day.tariff, OWNED_PER_HOUR, per_hour, 2.0)
    await day.apply(configuration(SPOT, "{dollars_per_gpu_hour: 2}", f"{owned}{tariff}  pue: 1.2\n"), first)
    await day.run_until(5 * HOUR)
    day.set_wall_clock(-40 * 60)  # back over nothing, or over a switch: the invoice follows the clock
    await day.run_until(8 * HOUR + 1.3)  # between two ticks, and between two readings of a host
    second = replace(first, pue=1.35, guard=2.5, grams=400.0)
    await day.apply(configuration(SPOT, "{dollars_per_gpu_hour: 2.5}", f"{owned}{tariff}  pue: 1.35\n{carbon}"), second)
    await day.run_until(10 * HOUR)
    day.set_wall_clock(40 * 60)
    await day.run_until(14 * HOUR + 3.7)
    series = "  electricity: {series: {file: market}}\n"
    third = replace(second, electricity=market)
    await day.apply(configuration(SPOT, "{dollars_per_gpu_hour: 2.5}", f"{owned}{series}  pue: 1.35\n{carbon}"), third)
    await day.run_until(21 * HOUR + 2.2)
    fourth = replace(third, code=lambda at: 9.0, code_covers_power=True)
    await day.apply(
        configuration(LEASE, "{dollars_per_gpu_hour: 2.5}", f"{owned}{series}  pue: 1.35\n{carbon}"), fourth
    )
    await day.run_until(day.seconds)
    # the day is over: nothing is charged any more, and what was still under way is booked
    nothing = Terms(0, 1.35, lambda at: None, None, lambda at: None, None)
    await day.apply(SERVERS.replace("    capacity: {CODE}\n", "").replace("    capacity: {GUARD}\n", ""), nothing)
    await day.run_until(day.seconds + 120)

    assert len(day.market.said) > 1000
    for name, device, meter in (
        ("chat", "bmc1", day.bmcs["bmc1"]),
        ("code", "bmc2", day.bmcs["bmc2"]),
        ("guard", "GPU-3", day.nvml),
    ):
        books, invoice = day.books(name), day.energy_invoice(name, device, meter)
        for item in ("cost", "credit", "included"):
            assert books[item] == pytest.approx(invoice[item], abs=CENT), (name, item)
        assert books["grams"] == pytest.approx(invoice["grams"], rel=1e-9)
    capacity = {
        "chat": day.capacity_invoice(lambda terms, at: terms.chat),
        "code": day.capacity_invoice(lambda terms, at: terms.code(at)),
        "guard": day.capacity_invoice(lambda terms, at: terms.guard),
    }
    for name, dollars in capacity.items():
        assert day.books(name)["capacity"] == pytest.approx(dollars, abs=CENT), name
    assert day.books("code")["included"] > 0.2
    assert day.books("chat")["credit"] > 0.1
    check_joules(day)


def check_joules(day: Day) -> None:
    """Given + unattributed = measured = what the meters' readings tell of the true power."""
    assert day.exporter is not None
    snapshot = day.exporter.face.snapshot
    assert snapshot is not None
    totals = {total.meter.device: total for total in snapshot.meters}
    for meter in (day.nvml, *day.bmcs.values()):
        for device in meter.devices:
            power = day.power[device]
            told = sum(power.joules(b) - power.joules(a) for a, b in meter.counted())
            assert totals[device].joules == pytest.approx(told, rel=1e-9), device
    for boundary in (Given.GPU, Given.HOST):
        given = sum(row.joules.get(boundary, 0.0) for server in snapshot.servers for row in server.phases)
        mine = [total for total in snapshot.meters if total.meter.boundary.value == boundary.value]
        measured = sum(total.joules for total in mine)
        assert given + sum(total.unattributed_joules or 0.0 for total in mine) == pytest.approx(measured, rel=1e-9)


async def test_the_worked_day_of_the_documentation():
    """docs/economics.md: 6 kW at the host for the long day of Berlin."""
    day = Day(BERLIN, datetime(2026, 10, 25, tzinfo=BERLIN), 25, tick=60.0)
    steady = Power(1, 6000.0, 6000.0, 26 * HOUR)
    day.bmcs["bmc1"].devices["bmc1"] = day.power["bmc1"] = steady
    day.bmcs["bmc1"].silent = ()
    prices = (
        "  capacity: {dollars_per_hour: 20}\n  pue: 1.2\n  electricity:\n    tariff:\n      time_zone: Europe/Berlin\n"
        "      dollars_per_kwh: 0.21\n      rules:\n"
        "        - {hours: [22:00-06:00], dollars_per_kwh: 0.14}\n"
        "        - {hours: [17:00-20:00], dollars_per_kwh: 0.38}\n"
    )
    whatever = Terms(0, 1.0, lambda at: None, None, lambda at: None, None)
    other = "{dollars_per_hour: 1}"
    await day.apply(configuration(other, other, prices), whatever)
    await day.run_until(25 * HOUR)
    none = SERVERS.replace("    capacity: {CODE}\n", "").replace("    capacity: {GUARD}\n", "")
    await day.apply(none, whatever)
    await day.run_until(25 * HOUR + 240)
    books = day.books("chat")
    assert (books["capacity"], books["cost"]) == (pytest.approx(500.0, abs=CENT), pytest.approx(36.936, abs=CENT))
