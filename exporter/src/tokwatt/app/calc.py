"""`tokwatt calc`: amounts from the command line to numbers of the equations, and the steps to text and JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from tokwatt.app.amounts import Amount, Kind, parse
from tokwatt.app.calc_steps import EXPECTED, Numbers, Step, present
from tokwatt.app.numerals import written

OPTIONS: Mapping[str, str] = {
    "generated": "Et: generated tokens per response, reasoning included, input excluded (150tok)",
    "attempts": "A: mean attempts per meaningful response (1.2); 1 where not given",
    "token_price": "Ct: dollars per generated token (0.00015$/tok); otherwise what the other amounts give",
    "token_energy": "joules per generated token (0.3J/tok); otherwise what the other amounts give",
    "support_tokens": "Pt: guardrail and other pre- and post-processing tokens per response (150tok)",
    "support_price": "Cp: dollars per such token (0.000002$/tok)",
    "support_energy": "joules per such token (0.01J/tok)",
    "pue": "facility energy / IT energy; multiplies electricity (1.2)",
}
_COUNTED: Mapping[str, Kind] = {  # what the amount of an option is counted in
    "generated": Kind.TOKENS,
    "attempts": Kind.NUMBER,
    "token_price": Kind.DOLLARS_EACH,
    "token_energy": Kind.JOULES_EACH,
    "support_tokens": Kind.TOKENS,
    "support_price": Kind.DOLLARS_EACH,
    "support_energy": Kind.JOULES_EACH,
    "pue": Kind.NUMBER,
}
# What amounts without a name are, in the order of the equations, where the unit alone does not tell.
_PLACES: Mapping[Kind, tuple[str, ...]] = {
    Kind.RATE: ("rate",),
    Kind.POWER: ("power",),
    Kind.TOKENS: ("tokens",),
    Kind.ENERGY: ("energy",),
    Kind.TIME: ("duration",),
    Kind.DOLLARS: ("dollars",),
    Kind.EFFICIENCY: ("efficiency",),
    Kind.CAPACITY: ("capacity",),
    Kind.ELECTRICITY: ("electricity",),
    Kind.DOLLARS_EACH: ("token_price", "support_price"),
    Kind.JOULES_EACH: ("token_energy", "support_energy"),
    Kind.NUMBER: ("attempts",),
    Kind.TOKENS_PER_DOLLAR: (),
}
_RESPONSE_TOKENS = ("generated", "support_tokens")


def numbers(amounts: Iterable[str], named: Mapping[str, str | None]) -> Numbers:
    """Sort amounts by their units. `named`: options by their names in OPTIONS.

    Raises:
        ValueError: an amount cannot be read, has another unit than its option wants, or is given twice.
    """
    found: dict[str, float] = {}
    for name, text in named.items():
        if text is not None:
            found[name] = _named(name, text)
    read = [parse(text) for text in amounts]
    kinds = [amount.kind for amount in read]
    of_response = bool({Kind.NUMBER, Kind.DOLLARS_EACH, Kind.JOULES_EACH} & set(kinds))
    for amount in read:
        places = _RESPONSE_TOKENS if of_response and amount.kind is Kind.TOKENS else _PLACES[amount.kind]
        free = [place for place in places if place not in found]
        if not free:
            raise ValueError(f"{amount.text!r}: " + _refusal(amount, kinds))
        found[free[0]] = amount.value
    return Numbers(**found)  # type: ignore[arg-type]  # base units of its kind, checked above


def _named(name: str, text: str) -> float:
    amount, wanted = parse(text), _COUNTED[name]
    if amount.kind is not wanted:
        counted = f"in {wanted.value}" if wanted.value else "as a plain number"
        raise ValueError(f"--{name.replace('_', '-')} {text}: expected an amount {counted}")
    return amount.value


def _refusal(amount: Amount, kinds: Sequence[Kind]) -> str:
    if kinds.count(amount.kind) > 1:
        return f"a second amount in {amount.kind.value or 'plain numbers'} has no place; name it by an option"
    return "no equation takes it; " + EXPECTED


def as_text(shown: Sequence[Step]) -> str:
    """Lay the steps out for a terminal."""
    lines = []
    for step in shown:
        lines += [f"{step.name} = {step.formula}", f"    {step.calculation} = {written(step.value)} {step.unit}"]
    return "\n".join(lines)


def as_json(given: Numbers, shown: Sequence[Step]) -> Mapping[str, object]:
    """Given numbers, results by name and steps as JSON values, in base units.

    Numbers are rounded to 12 digits: decimal input times binary fractions leaves noise in the 16th.
    """
    return {
        "given": {name: {"value": _round(value), "unit": _unit(name).value} for name, value in present(given)},
        "results": {step.name: _round(step.value) for step in shown},
        "steps": [{**asdict(step), "value": _round(step.value)} for step in shown],
    }


def _unit(name: str) -> Kind:
    """Base unit of a term."""
    if name in _COUNTED:
        return _COUNTED[name]
    return next(kind for kind, places in _PLACES.items() if name in places)


def _round(value: float) -> float:
    return float(f"{value:.12g}")
