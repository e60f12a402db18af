"""Conversions there and back, and what mypy makes of quantities that are mixed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokwatt import quantities, units
from tokwatt.quantities import Joules, Seconds, Watts

MIXING = Path(__file__).with_name("quantities_mixed.py")
ROOT = Path(__file__).parents[2]
AMOUNTS = st.floats(min_value=1e-12, max_value=1e15)


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (units.joules_of_kwh, units.kwh_of_joules),
        (units.dollars_per_joule, units.dollars_per_kwh),
        (units.dollars_per_second, units.dollars_per_hour),
        (units.tokens_per_joule, units.tokens_per_kwh),
    ],
    ids=lambda function: function.__name__,
)
@given(AMOUNTS)
def test_there_and_back(there, back, amount):
    assert back(there(amount)) == pytest.approx(amount, rel=1e-15)
    assert there(back(amount)) == pytest.approx(amount, rel=1e-15)


@given(AMOUNTS, AMOUNTS)
def test_watt_seconds_are_joules_and_joules_over_seconds_watts(power, duration):
    assert Watts(power) * Seconds(duration) / Seconds(duration) == pytest.approx(power, rel=1e-15)


@given(AMOUNTS, AMOUNTS)
def test_the_bill_is_the_same_in_kwh_and_in_joules(kwh, dollars_per_kwh):
    in_joules = units.joules_of_kwh(kwh) * units.dollars_per_joule(dollars_per_kwh)
    assert in_joules == pytest.approx(kwh * dollars_per_kwh, rel=1e-15)


def test_a_kilowatt_for_an_hour_is_a_kilowatt_hour():
    assert units.kwh_of_joules(Watts(1000) * Seconds(units.SECONDS_PER_HOUR)) == 1


def test_quantities_cost_nothing_at_run_time():
    assert type(Joules(3)) is float
    names = [name for name in vars(quantities) if name[0].isupper()]
    assert names
    assert all(getattr(quantities, name) is float for name in names)


def test_mypy_knows_the_names_that_the_program_has():
    stub = Path(quantities.__file__).with_suffix(".pyi").read_text()
    assert re.findall(r"^class (\w+)\(_Quantity\)", stub, re.MULTILINE) == [
        name for name in vars(quantities) if name[0].isupper()
    ]


def test_mypy_rejects_mixed_quantities(tmp_path):
    """Each line of the file that ends in `# error` is an error for mypy, and no other line is."""
    wanted = {number for number, line in enumerate(MIXING.read_text().splitlines(), 1) if line.endswith("# error")}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", str(MIXING)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, env={"MYPYPATH": str(ROOT / "exporter/src")}
    )
    found = {int(number) for number in re.findall(rf"{MIXING.name}:(\d+): error", done.stdout)}
    assert found == wanted, done.stdout + done.stderr
    assert len(wanted) > 10
