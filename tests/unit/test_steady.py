"""The steady state of known loads."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokwatt.economics.steady import steady_part


def trapezoid(lead: int, up: int, flat: int, down: int, tail: int, noise: float = 0.0, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    shape = [0.0] * lead
    shape += [100 * (step + 0.5) / up for step in range(up)]
    shape += [100.0] * flat
    shape += [100 * (down - step - 0.5) / down for step in range(down)]
    shape += [0.0] * tail
    return [max(0.0, value * (1 + noise * rng.gauss(0, 1))) for value in shape]


@given(st.integers(0, 30), st.integers(0, 10), st.integers(30, 90), st.integers(0, 10), st.integers(0, 30))
@settings(deadline=None, max_examples=80)
def test_a_flat_load_is_found_to_the_reading(lead, up, flat, down, tail):
    assert steady_part(trapezoid(lead, up, flat, down, tail)) == (lead + up, lead + up + flat)


@pytest.mark.parametrize("seed", range(20))
def test_noise_costs_a_part_of_the_flat_load_but_lets_no_ramp_in(seed):
    lead, up, flat, down, tail = 10, 8, 60, 8, 10
    found = steady_part(trapezoid(lead, up, flat, down, tail, noise=0.1, seed=seed))
    assert found is not None
    start, end = found
    assert lead + up - 2 <= start
    assert end <= lead + up + flat + 2
    assert end - start >= flat / 2


def test_a_long_run_is_looked_at_in_batches():
    found = steady_part(trapezoid(30, 60, 3000, 60, 30, noise=0.3))
    assert found is not None
    assert 75 <= found[0] <= 400
    assert 2700 <= found[1] <= 3110


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0] * 50,
        [100.0] * 7,
        [float(second) for second in range(60)],
        [100.0 - second for second in range(60)],
        [50.0] * 30 + [100.0] * 30,
        trapezoid(5, 40, 10, 0, 5),
    ],
    ids=["nothing", "idle", "short", "rising", "falling", "two levels", "mostly ramp"],
)
def test_what_never_was_steady_has_no_steady_state(values):
    assert steady_part(values) is None
