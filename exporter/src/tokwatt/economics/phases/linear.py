"""Least squares with non-negative coefficients for a handful of variables, from sums of products. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

RIDGE: Final = 1e-9  # of a scaled diagonal of ones: keeps collinear variables solvable without moving the others
TOLERANCE: Final = 1e-10

Matrix = list[list[float]]


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over rows x (variables) and y (what they explain): x'x, x'y, y'y, and how many rows."""

    xx: Matrix
    xy: list[float]
    yy: float
    count: int

    @classmethod
    def of(cls, rows: Iterable[tuple[Sequence[float], float]], width: int) -> Sums:
        """Sums over rows of `width` variables."""
        xx = [[0.0] * width for _ in range(width)]
        xy = [0.0] * width
        yy = 0.0
        count = 0
        for x, y in rows:
            count += 1
            yy += y * y
            for i in range(width):
                value = x[i]
                if value:
                    xy[i] += value * y
                    line = xx[i]
                    for j in range(i + 1):
                        line[j] += value * x[j]
        for i in range(width):
            for j in range(i):
                xx[j][i] = xx[i][j]
        return cls(xx, xy, yy, count)

    def residual(self, coefficients: Sequence[float]) -> float:
        """Sum of squares that the coefficients leave."""
        left = self.yy
        for i, a in enumerate(coefficients):
            if a:
                left += a * (sum(b * c for b, c in zip(coefficients, self.xx[i], strict=True)) - 2 * self.xy[i])
        return max(0.0, left)


def solve(matrix: Matrix, right: Sequence[float]) -> list[float]:
    """Solution of a symmetric positive definite system, by Cholesky. A pivot that vanished gives a 0."""
    size = len(right)
    low = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[i][j] - sum(low[i][k] * low[j][k] for k in range(j))
            if i == j:
                low[i][i] = sqrt(rest) if rest > 0 else 0.0
            elif low[j][j]:
                low[i][j] = rest / low[j][j]
    forward = [0.0] * size
    for i in range(size):
        rest = right[i] - sum(low[i][k] * forward[k] for k in range(i))
        forward[i] = rest / low[i][i] if low[i][i] else 0.0
    answer = [0.0] * size
    for i in reversed(range(size)):
        rest = forward[i] - sum(low[k][i] * answer[k] for k in range(i + 1, size))
        answer[i] = rest / low[i][i] if low[i][i] else 0.0
    return answer


def non_negative(xx: Matrix, xy: Sequence[float]) -> list[float]:
    """The a >= 0 that makes a'(x'x)a - 2 a'(x'y) least.

    Active sets (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23) on the normal equations, with
    every variable scaled to length 1. A variable that is always 0 gets 0.
    """
    size = len(xy)
    scale = [sqrt(xx[i][i]) if xx[i][i] > 0 else 0.0 for i in range(size)]
    live = [i for i in range(size) if scale[i] > 0]
    scaled = [[xx[i][j] / scale[i] / scale[j] + (RIDGE if i == j else 0.0) for j in live] for i in live]
    right = [xy[i] / scale[i] for i in live]
    answer = [0.0] * size
    for at, value in zip(live, _active_set(scaled, right), strict=True):
        answer[at] = value / scale[at]
    return answer


def _active_set(xx: Matrix, xy: list[float]) -> list[float]:
    size = len(xy)
    answer = [0.0] * size
    free: list[int] = []
    floor = TOLERANCE * max((abs(value) for value in xy), default=0.0)
    for _ in range(3 * size + 3):
        gains = [
            (xy[i] - sum(a * b for a, b in zip(xx[i], answer, strict=True)), i) for i in range(size) if i not in free
        ]
        if not gains or max(gains)[0] <= floor:
            return answer
        free.append(max(gains)[1])
        answer = _move(xx, xy, answer, free)
    return answer


def _move(xx: Matrix, xy: list[float], answer: list[float], free: list[int]) -> list[float]:
    """Go to the least point over the free variables; those that would turn negative on the way are set to 0."""
    while free:
        wanted = solve([[xx[i][j] for j in free] for i in free], [xy[i] for i in free])
        if min(wanted) > 0:
            moved = [0.0] * len(xy)
            for i, value in zip(free, wanted, strict=True):
                moved[i] = value
            return moved
        step = min(
            answer[i] / (answer[i] - value) if answer[i] > value else 0.0
            for i, value in zip(free, wanted, strict=True)
            if value <= 0
        )
        answer = list(answer)
        for i, value in zip(free, wanted, strict=True):
            answer[i] += step * (value - answer[i])
        stuck = [i for i, value in zip(free, wanted, strict=True) if value <= 0 and answer[i] <= TOLERANCE]
        for i in stuck or [free[wanted.index(min(wanted))]]:
            answer[i] = 0.0
            free.remove(i)
    return [0.0] * len(xy)
