"""Least squares with non-negative coefficients, by the conditions that only its solution meets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokwatt.economics.phases.linear import Sums, non_negative, solve

number = st.floats(-100, 100, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[tuple[list[float], float]], int]:
    width = draw(st.integers(1, 5))
    count = draw(st.integers(width, 25))
    row = st.tuples(st.lists(number, min_size=width, max_size=width), number)
    return draw(st.lists(row, min_size=count, max_size=count)), width


@given(problems())
@settings(max_examples=150)
def test_the_solution_meets_the_karush_kuhn_tucker_conditions(
    problem: tuple[list[tuple[list[float], float]], int],
) -> None:
    rows, width = problem
    sums = Sums.of(rows, width)
    answer = non_negative(sums.xx, sums.xy)
    scale = [max(1e-12, sums.xx[i][i] ** 0.5) for i in range(width)]
    length = max(1.0, sums.yy**0.5)
    for i in range(width):
        gradient = (sum(a * b for a, b in zip(sums.xx[i], answer, strict=True)) - sums.xy[i]) / scale[i] / length
        assert answer[i] >= 0
        assert gradient >= -1e-5, "more of this variable would fit better"
        if answer[i] * scale[i] > 1e-3 * length:
            assert abs(gradient) <= 1e-4, "less or more of this variable would fit better"


@given(problems())
@settings(max_examples=50)
def test_no_nearby_point_fits_better(problem: tuple[list[tuple[list[float], float]], int]) -> None:
    rows, width = problem
    sums = Sums.of(rows, width)
    answer = non_negative(sums.xx, sums.xy)
    best = sums.residual(answer)
    for i in range(width):
        for step in (-0.01, 0.01):
            moved = [max(0.0, a + (step if j == i else 0.0)) for j, a in enumerate(answer)]
            assert sums.residual(moved) >= best - 1e-6 * max(1.0, sums.yy)


def test_a_known_solution() -> None:
    rows = [([1.0, 2.0, 0.0], 8.0), ([2.0, 1.0, 0.0], 7.0), ([1.0, 1.0, 0.0], 5.0)]
    sums = Sums.of(rows, 3)
    assert non_negative(sums.xx, sums.xy) == pytest.approx([2.0, 3.0, 0.0], rel=1e-6)
    assert sums.residual([2.0, 3.0, 0.0]) == pytest.approx(0.0, abs=1e-9)


def test_a_variable_that_would_be_negative_is_zero() -> None:
    rows = [([1.0, 1.0], 1.0), ([1.0, 2.0], 0.5), ([1.0, 3.0], 0.0)]
    sums = Sums.of(rows, 2)
    answer = non_negative(sums.xx, sums.xy)
    assert answer[1] == 0
    assert answer[0] == pytest.approx(0.5, rel=1e-6)


def test_solve_gives_zero_for_a_variable_that_repeats_another() -> None:
    assert sum(solve([[4.0, 4.0], [4.0, 4.0]], [8.0, 8.0])) == pytest.approx(2.0)
