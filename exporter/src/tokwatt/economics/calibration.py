"""Seconds and joules per prefill token and per decode token, from measured stretches of known work. Pure.

A stretch of N requests with P computed prompt tokens, S decode steps and G decoded tokens takes

    y = a_N N + a_P P + a_S S + a_G G

seconds, or joules beyond those of the idle machine in its quiet moments. The four are found by non-negative least
squares on relative errors: there are few of them, so every choice of those that are zero is tried. An interval is
Student's, from what repeats of one load differ by and from what the straight line leaves unexplained; how far the idle
power moved while it was measured is added in quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from tokwatt.snapshot import Given

CONFIDENCE = 0.9
NORMAL_QUANTILE = 1.6448536  # 95 %, one side: 90 % between two sides

Vector = tuple[float, ...]
Matrix = tuple[Vector, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """One measured stretch of one kind of load, with quiet moments at both of its ends."""

    kind: str
    requests: float
    prefill_tokens: float  # computed prompt tokens
    decode_tokens: float  # generated tokens but the first of each request, which its prefill makes
    batch: float  # sequences in a decode step, on average
    busy_seconds: float  # at least one request was running
    quiet_seconds: float  # none was
    joules: Mapping[Given, float]  # of the whole stretch, by boundary

    @property
    def work(self) -> Vector:
        """Requests, prefill tokens, decode steps, decode tokens."""
        return (self.requests, self.prefill_tokens, self.decode_tokens / max(1.0, self.batch), self.decode_tokens)


@dataclass(frozen=True, slots=True)
class Idle:
    """Power without any request: its mean and how far it may be off."""

    watts: float
    half_width_watts: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the half-width of its 90 % interval."""

    value: float
    half_width: float

    @property
    def error_ratio(self) -> float | None:
        """Half-width as a share of the value; None for a value of 0."""
        return self.half_width / self.value if self.value > 0 else None


@dataclass(frozen=True, slots=True)
class Rates:
    """What each unit of work takes, in seconds or in joules. `covariance` is scaled so that 1 is one half-width."""

    coefficients: Vector
    covariance: Matrix
    residual_ratio: float  # root mean square of what the straight line leaves, as a share of a stretch
    blocks: int

    @property
    def per_request(self) -> Estimate:
        """Beside its tokens: one weight stream, scheduling, the answer's way back."""
        return self._along((1.0, 0.0, 0.0, 0.0))

    @property
    def per_prefill_token(self) -> Estimate:
        """One more computed prompt token."""
        return self._along((0.0, 1.0, 0.0, 0.0))

    @property
    def per_decode_step(self) -> Estimate:
        """A decode step beside its tokens; 0 where every stretch had one sequence, which cannot tell the two apart."""
        return self._along((0.0, 0.0, 1.0, 0.0))

    def decode_token(self, batch: float) -> Estimate:
        """One decoded token when so many sequences share a step."""
        return self._along((0.0, 0.0, 1.0 / batch, 1.0))

    def decode_to_prefill(self, batch: float) -> Estimate | None:
        """What a decoded token takes for each prefill token's worth; None where a prefill token takes nothing."""
        prefill, decode = self.per_prefill_token.value, self.decode_token(batch).value
        if prefill <= 0:
            return None
        ratio = decode / prefill
        width = self._along((0.0, -ratio / prefill, 1.0 / (batch * prefill), 1.0 / prefill)).half_width
        return Estimate(ratio, width)

    def _along(self, direction: Vector) -> Estimate:
        value = sum(a * c for a, c in zip(direction, self.coefficients, strict=True))
        variance = sum(
            a * b * self.covariance[i][j] for i, a in enumerate(direction) for j, b in enumerate(direction) if a and b
        )
        return Estimate(value, math.sqrt(max(0.0, variance)))


def seconds(blocks: Sequence[Block]) -> Rates | None:
    """Seconds by unit of work; None where the stretches do not tell them apart."""
    return _rates([block.work for block in blocks], [block.busy_seconds for block in blocks])


def joules(blocks: Sequence[Block], boundary: Given, idle: Idle) -> Rates | None:
    """Joules by unit of work; None where the stretches do not tell them apart, or too few were metered.

    What is split is the energy of busy time, as in the live books: idle power goes off for quiet moments only.
    """
    metered = [block for block in blocks if boundary in block.joules]
    found = _energy(metered, boundary, idle.watts)
    moved = _energy(metered, boundary, idle.watts + idle.half_width_watts)
    if found is None or moved is None:
        return None
    shift = [after - before for after, before in zip(moved.coefficients, found.coefficients, strict=True)]
    covariance = tuple(
        tuple(entry + shift[i] * shift[j] for j, entry in enumerate(row)) for i, row in enumerate(found.covariance)
    )
    return replace(found, covariance=covariance)


def _energy(blocks: Sequence[Block], boundary: Given, idle_watts: float) -> Rates | None:
    busy = [block.joules[boundary] - idle_watts * block.quiet_seconds for block in blocks]
    return _rates([block.work for block in blocks], busy)


def _rates(work: Sequence[Vector], amounts: Sequence[float]) -> Rates | None:
    if not amounts or min(amounts) <= 0:
        return None
    rows = [tuple(item / amount for item in row) for row, amount in zip(work, amounts, strict=True)]
    usable = [column for column in range(4) if any(row[column] > 0 for row in rows)]
    if all(math.isclose(row[2], row[3], rel_tol=0.1) for row in rows):
        usable = [column for column in usable if column != 2]  # one sequence a step everywhere: the token has it all
    fits = [
        fit
        for size in range(1, len(usable) + 1)
        for columns in combinations(usable, size)
        if (fit := _least_squares(rows, columns)) is not None
    ]
    return min(fits, key=lambda fit: fit.residual_ratio, default=None)


def _least_squares(rows: Sequence[Vector], columns: Sequence[int]) -> Rates | None:
    """Fit 1 by chosen columns of relative work; None for negative values, or columns that cannot be told apart."""
    freedom = len(rows) - len(columns)
    if freedom < 1:
        return None
    scales = [math.sqrt(sum(row[column] ** 2 for row in rows)) for column in columns]
    if min(scales) <= 0:
        return None
    scaled = [[row[column] / scale for column, scale in zip(columns, scales, strict=True)] for row in rows]
    size = range(len(columns))
    normal = [[sum(row[i] * row[j] for row in scaled) for j in size] for i in size]
    inverse = _inverse(normal)
    if inverse is None:
        return None
    right = [sum(row[i] for row in scaled) for i in size]
    solution = [sum(inverse[i][j] * right[j] for j in size) for i in size]
    if min(solution) < 0:
        return None
    left = [1.0 - sum(row[i] * solution[i] for i in size) for row in scaled]
    variance = sum(error**2 for error in left) / freedom
    width = student_quantile(freedom) ** 2 * variance
    coefficients, covariance = [0.0] * 4, [[0.0] * 4 for _ in range(4)]
    for i, column in enumerate(columns):
        coefficients[column] = solution[i] / scales[i]
        for j, other in enumerate(columns):
            covariance[column][other] = width * inverse[i][j] / (scales[i] * scales[j])
    rms = math.sqrt(sum(error**2 for error in left) / len(left))
    return Rates(tuple(coefficients), tuple(map(tuple, covariance)), rms, len(rows))


def _inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]] | None:
    """Invert a small symmetric matrix with 1 on its diagonal; None where it is nearly singular."""
    size = len(matrix)
    rows = [[*row, *(1.0 if i == j else 0.0 for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        if abs(rows[pivot][column]) < 1e-9:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        head = rows[column][column]
        rows[column] = [value / head for value in rows[column]]
        for i in range(size):
            if i != column and rows[i][column]:
                factor = rows[i][column]
                rows[i] = [value - factor * top for value, top in zip(rows[i], rows[column], strict=True)]
    return [row[size:] for row in rows]


def student_quantile(freedom: int) -> float:
    """95 % quantile of Student's t: Cornish and Fisher's expansion around the normal one.

    Source: Abramowitz and Stegun, 26.7.5. Within 1.5 % from 3 degrees of freedom on; below, the expansion is too small
    and the exact values stand.
    """
    if freedom <= 2:
        return {1: 6.3138, 2: 2.9200}[freedom]
    z, n = NORMAL_QUANTILE, float(freedom)
    terms = (
        (z**3 + z) / (4 * n),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3),
    )
    return z + sum(terms)
