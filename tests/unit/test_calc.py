"""`tokwatt calc`: the contract's worked examples, units, and what it says of wrong ones."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokwatt.app.amounts import Kind, parse
from tokwatt.app.cli import main


def results(capsys, *arguments: str) -> dict[str, float]:
    assert main(["calc", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)["results"]


def refusal(capsys, *arguments: str) -> str:
    assert main(["calc", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


class TestWorkedExamples:
    def test_three_thousand_tokens_a_second_at_one_kilowatt(self, capsys):
        found = results(capsys, "3000tok/s", "1kW", "0.17$/kWh")
        assert found["tokens_per_joule"] == 3
        assert found["tokens_per_kwh"] == 10_800_000
        assert found["energy_dollars_per_token"] == pytest.approx(1.574e-8, rel=1e-4)

    def test_the_steps_are_shown_with_units_and_formulas(self, capsys):
        assert main(["calc", "3,000 tok/s", "1000W", "0.17$/kWh"]) == 0
        shown = capsys.readouterr().out
        assert "tokens_per_joule = (tokens/s) / W\n    3,000 tok/s / 1,000 W = 3 tok/J\n" in shown
        assert "= 10,800,000 tok/kWh" in shown
        assert "= 1.574e-08 $/tok" in shown

    def test_a_meaningful_response_in_the_order_of_the_equation(self, capsys):
        found = results(capsys, "150tok", "1.2", "0.00015$/tok", "150tok", "0.000002$/tok")
        assert found == {"response_cost_dollars": 0.0273}

    def test_a_meaningful_response_by_names(self, capsys):
        named = {
            "support-price": "2$/Mtok",
            "support-tokens": "150tok",
            "token-price": "0.15$/ktok",
            "attempts": "1.2",
            "generated": "150tok",
        }
        found = results(capsys, *(f"--{name}={text}" for name, text in named.items()))
        assert found == {"response_cost_dollars": 0.0273}

    def test_joules_of_a_meaningful_response(self, capsys):
        # 150 tokens, 1.2 attempts, 0.5 J each, and 150 support tokens at 0.02 J
        found = results(capsys, "150tok", "1.2", "0.5J/tok", "150tok", "0.02J/tok")
        assert found == {"response_energy_joules": 93}

    def test_a_response_of_a_steady_state(self, capsys):
        found = results(capsys, "3000tok/s", "1kW", "3.6$/h", "0.17$/kWh", "--generated=150tok", "--attempts=1.2")
        dollars_per_second = 0.001 + 1000 * 0.17 / 3.6e6
        assert found["tokens_per_dollar"] == pytest.approx(3000 / dollars_per_second)
        assert found["response_cost_dollars"] == pytest.approx(150 * 1.2 * dollars_per_second / 3000)
        assert found["response_energy_joules"] == pytest.approx(60)


class TestOtherWays:
    def test_order_does_not_matter(self, capsys):
        amounts = ("3000tok/s", "1kW", "0.17$/kWh", "2.5$/h")
        assert results(capsys, *amounts) == results(capsys, *reversed(amounts))

    def test_amounts_of_a_run(self, capsys):
        found = results(capsys, "36Mtok", "1h", "1kW", "5$")
        assert found["tokens_per_second"] == 10_000
        assert found["joules"] == 3.6e6
        assert found["tokens_per_joule"] == 10
        assert found["tokens_per_dollar"] == 7.2e6

    def test_pue_multiplies_electricity_only(self, capsys):
        plain = results(capsys, "3000tok/s", "1kW", "0.17$/kWh")
        loaded = results(capsys, "3000tok/s", "1kW", "0.17$/kWh", "--pue=1.5")
        assert loaded["tokens_per_joule"] == plain["tokens_per_joule"]
        assert loaded["energy_dollars_per_token"] == pytest.approx(1.5 * plain["energy_dollars_per_token"])

    def test_zero_tokens_are_zero_per_joule_and_have_no_inverse(self, capsys):
        found = results(capsys, "0tok/s", "1kW", "1$/h")
        assert found["tokens_per_joule"] == 0
        assert found["tokens_per_dollar"] == 0
        assert "joules_per_token" not in found
        assert "dollars_per_token" not in found

    def test_given_numbers_are_repeated_in_base_units(self, capsys):
        assert main(["calc", "--json", "3ktok/s", "1kW"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["given"] == {
            "rate": {"value": 3000, "unit": "tok/s"},
            "power": {"value": 1000, "unit": "W"},
        }


class TestWrongUse:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("3000tok/s", "1kw"), "did you mean kW?"),
            (("3000tok/s", "1kWh"), "tok/s and W (or tok and J)"),
            (("3000tok/s",), "nothing follows from tok/s"),
            ((), "give one of these groups"),
            (("fast", "1kW"), "does not begin with a number"),
            (("3000tok/s", "2tok/s", "1kW"), "a second amount in tok/s has no place"),
            (("3000tok/s", "1kW", "3J/$"), "no equation uses this unit"),
            (("3000tok/s", "-1kW"), "0 or more"),
            (("3000tok/s", "1e400W"), "finite"),
            (("--generated=3J",), "--generated 3J: expected an amount in tok"),
            (("--generated=3tok", "--attempts=1.2s"), "expected an amount as a plain number"),
            (("3000tok/s", "1kW", "90tok"), "nothing follows from tok with"),
            (("3000tok/s", "1kW", "--pue=1.2"), "nothing follows from PUE"),
            (("3000tok/s", "0W"), "give one of these groups"),
        ],
    )
    def test_it_says_what_is_expected(self, arguments, words, capsys):
        if any(argument.startswith("-1") for argument in arguments):
            arguments = ("--", *arguments)
        assert words in refusal(capsys, *arguments)


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("3000tok/s", 3000, Kind.RATE),
        ("1kW", 1000, Kind.POWER),
        ("1 kWh", 3.6e6, Kind.ENERGY),
        ("0.17$/kWh", 0.17 / 3.6e6, Kind.ELECTRICITY),
        ("$0.17/kWh", 0.17 / 3.6e6, Kind.ELECTRICITY),
        ("2.5 USD/h", 2.5 / 3600, Kind.CAPACITY),
        ("10,800,000tok/kWh", 3.0, Kind.EFFICIENCY),
        ("250ms", 0.25, Kind.TIME),
        ("2$/Mtok", 2e-6, Kind.DOLLARS_EACH),
        ("1.2", 1.2, Kind.NUMBER),
        ("1e3tok/$", 1000, Kind.TOKENS_PER_DOLLAR),
        (".5J/tok", 0.5, Kind.JOULES_EACH),
    ],
)
def test_amounts(text, value, kind):
    amount = parse(text)
    assert (amount.value, amount.kind) == (pytest.approx(value, rel=1e-15), kind)


@given(st.text(max_size=20))
def test_any_text_is_an_amount_or_refused(text):
    with contextlib.suppress(ValueError):
        assert parse(text).value >= 0
