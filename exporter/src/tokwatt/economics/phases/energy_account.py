"""Account 2, energy: joules of a second that prefill added, beside joules of decode's steps and tokens. Pure.

Joules beyond idle = watts x T + decode's terms, without a constant and without time among the terms: on a busy server
seconds are a sum of the other terms, and with them in, the split would be arbitrary (docs/phases.md). Idle power is
taken off over the whole tick, so that no one needs to know which part was busy; a phase gets it back for its seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean, pvariance
from typing import Final

from tokwatt.economics.phases.linear import RIDGE, Matrix, Sums, non_negative, solve
from tokwatt.economics.phases.work import Decode

POINTS: Final = 60
HIGHEST_POWER: Final = 3.0  # of the largest power seen; joules per ADDED second may exceed any real power
LOWER_MEAN: Final = 0.06  # how sharply a step with prefill draws at least the mean busy power, in log units
LOWER_PEAK: Final = 0.10  # and at least 0.95 of the 95th centile of 3 s
USUAL: Final = 0.2  # and around 0.8 of the power limit; no bound above: where time is put too low, watts are too high
INFLATION: Final = (0.7, 30.0)
BLOCK: Final = 4  # groups whose residuals are summed to see how far they hang together
PRIOR_SD: Final = 0.4  # of decode's energy
FEWEST_GROUPS: Final = 6
LEAST_VARIATION: Final = 0.003  # of prefill's time that decode's terms must leave unexplained


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring ticks taken together."""

    added_seconds: float  # by prefill
    decode: Decode
    joules: float  # beyond idle power


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known beside the groups, over all ticks with work."""

    added_seconds: float
    decode_seconds: float
    step_seconds: float  # of a decode step, that go with the step and not with its sequences
    steps: float
    mixed_steps: float
    idle_watts: float
    mean_watts: float  # while requests run
    high_watts: float  # 95th centile of power over 3 s
    time_is_sure: bool  # enough ticks without hidden idle time: the time account needs no help from this one
    limit_watts: float | None = None
    bounded: bool = True  # use the soft limits on the power of a step that holds prefill
    guided: bool = True  # hold decode's parts near what its batch suggests


@dataclass(frozen=True, slots=True)
class Posterior:
    """What one fit believes: prefill's share of busy energy by Shapley, with weights that sum to 1."""

    shares: tuple[float, ...]
    weights: tuple[float, ...]
    shared_joules: tuple[float, ...]  # of mixed steps
    added_seconds: tuple[float, ...]
    relative_residual: float

    def mean(self, values: Sequence[float]) -> float:
        """Weighted mean."""
        return sum(a * b for a, b in zip(values, self.weights, strict=True))


def fit_energy(groups: Sequence[Group], setting: Setting) -> Posterior | None:
    """Posterior of prefill's share over a grid of watts per added second. None: nothing to fit."""
    rows, totals = _rows(groups)
    total_joules, total_added = sum(g.joules for g in groups), sum(g.added_seconds for g in groups)
    if len(rows) < FEWEST_GROUPS or total_joules <= 0 or total_added <= 0 or totals[0] <= 0:
        return None
    sums = Sums.of(rows, 6)
    if not _varies(sums):
        return None
    best = non_negative(sums.xx, sums.xy)
    noise = _noise(rows, best)
    highest = min(HIGHEST_POWER * setting.high_watts, total_joules / total_added)
    points = []
    for point in range(POINTS + 1):
        watts = highest * point / POINTS
        decode_joules = total_joules - watts * total_added
        found = _decode(sums, watts, decode_joules, totals, noise if setting.guided else 0.0)
        fits = -sums.residual([watts, *found]) / (2 * noise)
        per_step = found[0] + found[4] * totals[4] / totals[0]  # weights are read once, whoever needs them
        points.append(_point(watts, per_step, fits, decode_joules / totals[0], setting))
    top = max(point[0] for point in points)
    weights = [exp(point[0] - top) for point in points]
    whole = sum(weights)
    return Posterior(
        tuple(point[1] for point in points),
        tuple(w / whole for w in weights),
        tuple(point[2] for point in points),
        tuple(point[3] for point in points),
        _unexplained(sums, best),
    )


def misfit(groups: Sequence[Group]) -> float:
    """Root of the part of the groups' squared joules that the best fit leaves unexplained."""
    rows, _ = _rows(groups)
    if len(rows) < FEWEST_GROUPS:
        return 0.0
    return _unexplained(sums := Sums.of(rows, 6), non_negative(sums.xx, sums.xy))


def _unexplained(sums: Sums, best: Sequence[float]) -> float:
    return sqrt(sums.residual(best) / max(1e-9, sums.yy))


def _varies(sums: Sums) -> bool:
    """Whether prefill's time is more than a fixed multiple of decode's terms: else nothing tells them apart."""
    decode = [line[1:] for line in sums.xx[1:]]
    across = sums.xx[0][1:]
    ridged = [[value * (1 + RIDGE * (i == j)) for j, value in enumerate(line)] for i, line in enumerate(decode)]
    explained = sum(a * b for a, b in zip(solve(ridged, across), across, strict=True))
    return sums.xx[0][0] - explained > LEAST_VARIATION**2 * sums.xx[0][0]


def _point(
    watts: float, per_step: float, fits: float, step_joules: float, setting: Setting
) -> tuple[float, float, float, float]:
    """(log weight, share, shared joules, added seconds) of one value of watts, which are beyond idle."""
    idle = setting.idle_watts
    prefill, decode = watts * setting.added_seconds, max(0.0, step_joules * setting.steps)
    added = setting.added_seconds
    if not setting.time_is_sure and decode > 0:  # as if a second of prefill drew what a second of decode draws
        added = prefill * setting.decode_seconds / decode
    step_seconds = setting.decode_seconds / setting.steps
    whole_step = max(0.0, step_joules) + idle * step_seconds
    shared = min(0.95 * (per_step + idle * setting.step_seconds), whole_step) * setting.mixed_steps
    busy = prefill + decode + idle * (added + setting.decode_seconds)
    share = min(1.0, (prefill + idle * added + shared / 2) / busy) if busy > 0 else 0.0
    if not setting.bounded or not setting.time_is_sure:
        return fits, share, shared, added
    seconds = added + step_seconds * setting.mixed_steps
    held = idle + (prefill + max(0.0, step_joules) * setting.mixed_steps) / seconds
    return fits + _limits(held, setting), share, shared, added


def _rows(groups: Sequence[Group]) -> tuple[list[tuple[list[float], float]], list[float]]:
    """Rows weighted by one over the root of power, and decode's totals."""
    mean = fmean([g.joules for g in groups]) if groups else 0.0
    rows = []
    totals = [0.0] * 5
    for group in groups:
        weight = 1 / sqrt(max(group.joules, 0.1 * mean, 1e-9))
        rows.append(([weight * group.added_seconds, *(weight * v for v in group.decode)], weight * group.joules))
        for at, value in enumerate(group.decode):
            totals[at] += value
    return rows, totals


def _noise(rows: list[tuple[list[float], float]], best: list[float]) -> float:
    """Variance of a row, inflated where neighbouring residuals hang together."""
    left = [y - sum(a * b for a, b in zip(x, best, strict=True)) for x, y in rows]
    variance = sum(v * v for v in left) / max(1, len(left) - 6)
    blocks = [sum(left[at : at + BLOCK]) for at in range(0, len(left) - BLOCK + 1, BLOCK)]
    inflation = pvariance(blocks, 0.0) / (BLOCK * variance) if len(blocks) >= 4 and variance > 0 else 1.5
    scale = sum(y * y for _, y in rows) / len(rows)
    return max(variance, 1e-6 * scale) * min(INFLATION[1], max(INFLATION[0], inflation))


def _decode(sums: Sums, watts: float, joules: float, totals: list[float], noise: float) -> list[float]:
    """Decode's coefficients when prefill's watts are given."""
    xx: Matrix = [line[1:] for line in sums.xx[1:]]
    xy = [sums.xy[i] - watts * sums.xx[i][0] for i in range(1, 6)]
    if noise and joules > 0:
        for at, part in enumerate(_usual_parts(totals)):
            if totals[at]:
                slope = totals[at] / (PRIOR_SD * joules)
                xx[at][at] += noise * slope * slope
                xy[at] += noise * slope * part / PRIOR_SD
    return non_negative(xx, xy)


def _usual_parts(totals: list[float]) -> tuple[float, float, float, float]:
    """Usual parts of decode's energy that go with steps, tokens, context and drafts at the mean batch."""
    batch = totals[1] / totals[0]
    steps = 1 / (1 + batch / 150)
    rest = 1 - steps
    by_token = 0.4 if totals[2] else 1.0
    drafted = 0.5 if totals[3] else 0.0
    return steps, rest * by_token * (1 - drafted), rest * 0.6, rest * by_token * drafted


def _limits(held: float, setting: Setting) -> float:
    """Log prior of the power that steps with prefill draw."""
    if held <= 0 or setting.mean_watts <= 0 or setting.high_watts <= 0:
        return -1e6
    odds = -0.5 * (max(0.0, log(setting.mean_watts / held)) / LOWER_MEAN) ** 2
    odds -= 0.5 * (max(0.0, log(0.95 * setting.high_watts / held)) / LOWER_PEAK) ** 2
    if setting.limit_watts:
        odds -= 0.5 * (log(held / (0.8 * setting.limit_watts)) / USUAL) ** 2
    return odds
