"""The three equations on given numbers, forward and step by step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from tokwatt.app.numerals import written
from tokwatt.economics import equations
from tokwatt.quantities import (
    Dollars,
    DollarsPerJoule,
    DollarsPerSecond,
    DollarsPerToken,
    Joules,
    JoulesPerToken,
    Seconds,
    Tokens,
    TokensPerDollar,
    TokensPerJoule,
    TokensPerSecond,
    Watts,
)
from tokwatt.units import dollars_per_kwh, tokens_per_kwh


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is given, in base units. None: not given."""

    rate: TokensPerSecond | None = None
    power: Watts | None = None
    tokens: Tokens | None = None
    energy: Joules | None = None
    duration: Seconds | None = None
    dollars: Dollars | None = None
    efficiency: TokensPerJoule | None = None
    capacity: DollarsPerSecond | None = None
    electricity: DollarsPerJoule | None = None
    pue: float | None = None
    generated: Tokens | None = None  # Et
    attempts: float | None = None  # A
    token_price: DollarsPerToken | None = None  # Ct
    token_energy: JoulesPerToken | None = None
    support_tokens: Tokens | None = None  # Pt
    support_price: DollarsPerToken | None = None  # Cp
    support_energy: JoulesPerToken | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One line of arithmetic."""

    name: str
    formula: str
    calculation: str
    value: float
    unit: str


_TERMS: Mapping[str, str] = {
    "rate": "tok/s",
    "power": "W",
    "tokens": "tok",
    "energy": "J",
    "duration": "s",
    "dollars": "$",
    "efficiency": "tok/J",
    "capacity": "$/h of capacity",
    "electricity": "$/kWh",
    "pue": "PUE",
    "generated": "generated tokens",
    "attempts": "attempts",
    "token_price": "$/tok",
    "token_energy": "J/tok",
    "support_tokens": "support tokens",
    "support_price": "$ per support token",
    "support_energy": "J per support token",
}
EXPECTED = (
    "give one of these groups: tok/s and W (or tok and J) for tokens per joule; with $/kWh for its electricity; "
    "tok/s and $/h (or tok and $) for tokens per dollar; tok, attempts and $/tok (or J/tok) for a meaningful response, "
    "with support tokens and their $/tok after them"
)


class _Sheet:
    """Steps so far, and which of the given numbers they used."""

    def __init__(self, given: Numbers) -> None:
        self.given = given
        self.steps: list[Step] = []
        self.used: set[str] = set()

    def use(self, *names: str) -> None:
        self.used.update(names)

    def show(self, name: str, formula: str, calculation: str, value: float, unit: str) -> None:
        self.steps.append(Step(name, formula, calculation, value, unit))


def steps(given: Numbers) -> tuple[Step, ...]:
    """Everything that follows from the numbers, step by step.

    Raises:
        ValueError: nothing follows, or a number is of no use; the message says what is expected.
    """
    sheet = _Sheet(given)
    rate, energy = _from_durations(sheet)
    efficiency = _efficiency(sheet, rate, energy)
    electricity = _electricity(sheet, efficiency)
    per_token = _per_dollar(sheet, rate)
    _response_cost(sheet, *_token_price(given, per_token, electricity))
    _response_energy(sheet, efficiency)
    unused = [name for name, value in present(given) if name not in sheet.used]
    if not sheet.steps or unused:
        without = ", ".join(_TERMS[name] for name in unused)
        what = f"nothing follows from {without} with what else is given; " if unused else ""
        raise ValueError(what + EXPECTED)
    return tuple(sheet.steps)


def present(given: Numbers) -> list[tuple[str, float]]:
    """Names and values of the numbers that are given."""
    values = ((field.name, getattr(given, field.name)) for field in fields(given))
    return [(name, value) for name, value in values if value is not None]


def _from_durations(sheet: _Sheet) -> tuple[TokensPerSecond | None, Joules | None]:
    """Rate and energy; from a duration where they are not given themselves."""
    given, rate, energy = sheet.given, sheet.given.rate, sheet.given.energy
    seconds = given.duration
    if seconds is None or seconds <= 0:
        return rate, energy
    if energy is None and given.power is not None:
        energy = given.power * seconds
        sheet.use("power", "duration")
        sheet.show("joules", "J = W x s", f"{written(given.power)} W x {written(seconds)} s", energy, "J")
    if rate is None and given.tokens is not None:
        rate = given.tokens / seconds
        sheet.use("tokens", "duration")
        sheet.show("tokens_per_second", "tok / s", f"{written(given.tokens)} tok / {written(seconds)} s", rate, "tok/s")
    return rate, energy


def _efficiency(sheet: _Sheet, rate: TokensPerSecond | None, energy: Joules | None) -> TokensPerJoule | None:
    given, efficiency = sheet.given, sheet.given.efficiency
    if efficiency is not None:
        sheet.use("efficiency")
    elif given.tokens is not None and energy is not None:
        efficiency = equations.tokens_per_joule(given.tokens, energy)
        sheet.use("tokens", "energy")
        formula, calculation = "tokens / energy", f"{written(given.tokens)} tok / {written(energy)} J"
    elif rate is not None and given.power is not None:
        efficiency = equations.tokens_per_joule_at(rate, given.power)
        sheet.use("rate", "power")
        formula, calculation = "(tokens/s) / W", f"{written(rate)} tok/s / {written(given.power)} W"
    if efficiency is None:
        return None
    if given.efficiency is None:
        sheet.show("tokens_per_joule", formula, calculation, efficiency, "tok/J")
    per_kwh = tokens_per_kwh(efficiency)
    sheet.show("tokens_per_kwh", "tok/J x 3,600,000 J/kWh", f"{written(efficiency)} x 3,600,000", per_kwh, "tok/kWh")
    if efficiency > 0:
        sheet.show("joules_per_token", "1 / (tok/J)", f"1 / {written(efficiency)}", 1 / efficiency, "J/tok")
    return efficiency


def _electricity(sheet: _Sheet, efficiency: TokensPerJoule | None) -> DollarsPerToken | None:
    """Dollars of electricity per token, where a price of electricity is given."""
    if sheet.given.electricity is None or efficiency is None:
        return None
    price, times_pue = _electricity_price(sheet)
    cost = equations.energy_price_per_token(price, efficiency)
    if cost is not None:
        at = written(dollars_per_kwh(sheet.given.electricity))
        calculation = f"{at} $/kWh / 3,600,000 J/kWh{times_pue} / {written(efficiency)} tok/J"
        sheet.show("energy_dollars_per_token", "$/J / (tok/J)", calculation, cost, "$/tok")
    return cost


def _electricity_price(sheet: _Sheet) -> tuple[DollarsPerJoule, str]:
    """Price of a joule that a server draws: with what the building adds to it."""
    pue = sheet.given.pue
    sheet.use("electricity", "pue")
    price = sheet.given.electricity or DollarsPerJoule(0)
    return (price, "") if pue is None else (price * pue, f" x {written(pue)} PUE")


def _per_dollar(sheet: _Sheet, rate: TokensPerSecond | None) -> DollarsPerToken | None:
    """Tokens per dollar from what compute costs; returns dollars per token."""
    given = sheet.given
    if given.tokens is not None and given.dollars is not None:
        sheet.use("tokens", "dollars")
        calculation = f"{written(given.tokens)} tok / {written(given.dollars)} $"
        return _show_per_dollar(
            sheet, "tokens / $", calculation, equations.tokens_per_dollar(given.tokens, given.dollars)
        )
    if rate is None or given.capacity is None:
        return None
    sheet.use("rate", "capacity")
    price, parts = given.capacity, f"{written(given.capacity)} $/s capacity"
    if given.electricity is not None and given.power is not None:
        electricity, times_pue = _electricity_price(sheet)
        spent = electricity * given.power
        price += spent
        parts += f" + {written(given.power)} W x {written(given.electricity)} $/J{times_pue}"
    sheet.show("compute_dollars_per_second", "capacity + W x $/J", parts, price, "$/s")
    calculation = f"{written(rate)} tok/s / {written(price)} $/s"
    return _show_per_dollar(sheet, "(tokens/s) / ($/s)", calculation, equations.tokens_per_dollar_at(rate, price))


def _show_per_dollar(
    sheet: _Sheet, formula: str, calculation: str, per_dollar: TokensPerDollar | None
) -> DollarsPerToken | None:
    if per_dollar is None:
        return None
    sheet.show("tokens_per_dollar", formula, calculation, per_dollar, "tok/$")
    if per_dollar <= 0:
        return None
    price = DollarsPerToken(1 / per_dollar)
    sheet.show("dollars_per_token", "1 / (tok/$)", f"1 / {written(per_dollar)}", price, "$/tok")
    sheet.show(
        "dollars_per_million_tokens", "$/tok x 1,000,000", f"{written(price)} x 1,000,000", price * 1e6, "$/Mtok"
    )
    return price


def _token_price(
    given: Numbers, of_compute: DollarsPerToken | None, of_energy: DollarsPerToken | None
) -> tuple[DollarsPerToken | None, str]:
    """Dollars per generated token, and what they are made of where they were not given."""
    if given.token_price is not None:
        return given.token_price, ""
    if of_compute is not None:
        return of_compute, ""
    return of_energy, ", Ct of electricity alone" if of_energy is not None else ""


def _response_cost(sheet: _Sheet, price: DollarsPerToken | None, note: str) -> None:
    given = sheet.given
    if given.generated is None or price is None:
        return
    attempts = 1.0 if given.attempts is None else given.attempts
    support, support_price = given.support_tokens or Tokens(0), given.support_price or DollarsPerToken(0)
    sheet.use("generated", "attempts", "token_price")
    calculation = f"{written(given.generated)} tok x {written(attempts)} x {written(price)} $/tok"
    if given.support_price is not None and given.support_tokens is not None:
        sheet.use("support_tokens", "support_price")
        calculation += f" + {written(support)} tok x {written(support_price)} $/tok"
    cost = equations.response_cost(given.generated * attempts, price, support_price * support)
    formula = f"Et x A x Ct + Pt x Cp{note}"
    sheet.show("response_cost_dollars", formula, calculation, cost, "$ per meaningful response")


def _response_energy(sheet: _Sheet, efficiency: TokensPerJoule | None) -> None:
    given, each = sheet.given, sheet.given.token_energy
    if each is None and efficiency:
        each = JoulesPerToken(1 / efficiency)
    if given.generated is None or each is None:
        return
    attempts = 1.0 if given.attempts is None else given.attempts
    support, support_energy = given.support_tokens or Tokens(0), given.support_energy or JoulesPerToken(0)
    sheet.use("generated", "attempts", "token_energy")
    calculation = f"{written(given.generated)} tok x {written(attempts)} x {written(each)} J/tok"
    if given.support_energy is not None and given.support_tokens is not None:
        sheet.use("support_tokens", "support_energy")
        calculation += f" + {written(support)} tok x {written(support_energy)} J/tok"
    energy = equations.response_energy(given.generated * attempts, each, support_energy * support)
    formula = "Et x A x Jt + Pt x Jp"
    sheet.show("response_energy_joules", formula, calculation, energy, "J per meaningful response")
