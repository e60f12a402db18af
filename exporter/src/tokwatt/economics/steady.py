"""The steady state of a run: what is left when its ramps are cut off. Pure.

The rule is the marginal standard error rule, MSER (K. P. White Jr., "An effective truncation heuristic for bias
reduction in simulation output", SIMULATION 69(6), 1997), applied to both ends: of all ways to cut a beginning and an
end off, take the one that leaves the smallest standard error of the mean, sum((x - mean)^2) / m^2 for m values left. It
has no threshold to tune: a value from a ramp is cut as soon as keeping it makes the mean less certain. As White asks,
at least half must be left; where the best cut would leave no more than that, the run never was steady.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

BATCHES = 120  # a long run is looked at in so many equal batches, so that noise from tick to tick does not decide
SHORTEST = 8  # values; less is no state


def steady_part(values: Sequence[float]) -> tuple[int, int] | None:
    """Find the steady state in a load over time.

    Args:
        values: load of consecutive equal stretches of time (tokens/s, or requests that run); 0 where nothing ran.

    Returns:
        (first, end) indices of the steady state, end excluded; None where there is none. Time without load before and
        after the run is not looked at.
    """
    busy = [place for place, value in enumerate(values) if value > 0]
    if len(busy) < SHORTEST:
        return None
    first, end = busy[0], busy[-1] + 1
    size = max(1, (end - first) // BATCHES)
    batches = [
        sum(values[start : start + size]) / len(values[start : start + size]) for start in range(first, end, size)
    ]
    found = _least_error(batches)
    if found is None:
        return None
    return first + found[0] * size, min(end, first + found[1] * size)


def _least_error(values: Sequence[float]) -> tuple[int, int] | None:
    """Return the part whose mean has the smallest standard error, the longest of equals; None if only half is left."""
    count, mean = len(values), sum(values) / len(values)
    scale = mean**2 or 1.0
    centred = [value - mean for value in values]  # so that sums of squares keep their digits
    sums = [0.0, *accumulate(centred)]
    squares = [0.0, *accumulate(value**2 for value in centred)]
    shortest = max(SHORTEST, (count + 1) // 2)
    best: tuple[float, int, int, int] | None = None
    for start in range(count - shortest + 1):
        for end in range(start + shortest, count + 1):
            length = end - start
            spread = squares[end] - squares[start] - (sums[end] - sums[start]) ** 2 / length
            # rounded, so that of two flat parts the longer one wins and not the one with less noise in the last digit
            error = round(max(0.0, spread) / length**2 / scale, 12)
            candidate = (error, -length, start, end)
            best = candidate if best is None or candidate < best else best
    if best is None or -best[1] <= shortest < count:
        return None
    return best[2], best[3]
