"""How wrong the energy of a window may be: the half-width of its 90 % interval. Pure.

Two kinds of error, added in quadrature:
- gain: the sensor reads a fixed share too much or too little. It is taken to be the same for all devices of a server
  (boards of one model err alike, arXiv 2312.02741), so that more devices do not make it smaller;
- timing: at each edge of the window the meter's number was of some age, and between two samples of a power gauge, or
  two renewals of a counter, nobody saw what the power did. Errors of different instants are independent. Boards that
  renew their own counters are of independent ages; those that an exporter collects in one pass are of the same age.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from tokwatt.ledger.energy import EnergyCurve
from tokwatt.ledger.line import Line
from tokwatt.readings import EnergyCounter, Precision

HALF_WIDTH_90: Final = 1.645  # of a normal distribution, in standard deviations
_UNIFORM: Final = 1 / 12  # variance of an even distribution of width 1


@dataclass(frozen=True, slots=True)
class EdgeError:
    """Error of a boundary's cumulative energy at one instant. Standard deviations are in joules, variances in J^2."""

    square_joules: float = 0.0  # variance of what is independent from device to device
    age_joules: float = 0.0  # deviation of the age that devices of one source have in common: they are renewed together
    stray_joules: float = 0.0  # deviation of what devices that work together have in common
    lag_joules: float = 0.0  # power x delay of gauges: the same delay at both edges, so only a change of power counts
    watts: float = 0.0  # power at this instant

    @property
    def variance(self) -> float:
        """Variance of what is independent from edge to edge."""
        return self.square_joules + self.age_joules**2 + self.stray_joules**2

    def plus(self, other: EdgeError) -> EdgeError:
        """Return the error of two devices of one source together."""
        return EdgeError(
            self.square_joules + other.square_joules,
            self.age_joules + other.age_joules,
            self.stray_joules + other.stray_joules,
            self.lag_joules + other.lag_joules,
            self.watts + other.watts,
        )

    def beside_other_sources(self) -> EdgeError:
        """Return it as a part of what several sources measure: each renews its devices at instants of its own."""
        return replace(self, square_joules=self.square_joules + self.age_joules**2, age_joules=0.0)

    def times(self, factor: float) -> EdgeError:
        """Return the error of energy that is this energy times a factor."""
        return EdgeError(
            factor**2 * self.square_joules,
            factor * self.age_joules,
            factor * self.stray_joules,
            factor * self.lag_joules,
            factor * self.watts,
        )

    def with_uncertain_instant(self, uncertainty_seconds: float) -> EdgeError:
        """Return it with the instant itself known to `uncertainty_seconds` (half-width of an even distribution)."""
        moved = (self.watts * uncertainty_seconds) ** 2 / 3
        return replace(self, square_joules=self.square_joules + moved)


def edge_error(curve: EnergyCurve, given: Line, precision: Precision, at_seconds: float) -> EdgeError:
    """Error of what one meter gives to a server, at an instant between two of its readings."""
    piece = curve.line.piece(at_seconds)
    seconds = piece.end_seconds - piece.start_seconds
    if seconds <= 0:
        return EdgeError()
    share = _ratio(given.piece(at_seconds).slope, piece.slope)
    part = min(1.0, max(0.0, (at_seconds - piece.start_seconds) / seconds))
    watts = share * piece.slope_near(part)
    age = precision.renewed_every_seconds
    after = math.sqrt(curve.scatter.change) if piece.slope_after is None else abs(piece.slope_after - piece.slope)
    change = share * max(after, abs(piece.slope - piece.slope_before))
    stray = curve.scatter.stray_joules(part, seconds, change)
    if isinstance(curve.last, EnergyCounter):
        # whole, also in the middle between two readings: their ages are alike where two timers drift past each other
        aged = math.sqrt(_UNIFORM) * watts * age
        step = _UNIFORM * (share * precision.resolution_joules) ** 2
        if precision.renewed_together:
            return EdgeError(square_joules=step, age_joules=aged, stray_joules=stray, watts=watts)
        return EdgeError(square_joules=step + aged**2, stray_joules=stray, watts=watts)
    return EdgeError(stray_joules=stray, lag_joules=watts * age, watts=watts)


def edge_sum(parts: Iterable[tuple[str, EdgeError]]) -> EdgeError:
    """Return the error of several devices together, each given with the name of its source."""
    by_source: dict[str, EdgeError] = {}
    for source, part in parts:
        by_source[source] = by_source.get(source, EdgeError()).plus(part)
    total = EdgeError()
    for one in by_source.values():
        total = total.plus(one.beside_other_sources())
    return total


@dataclass(frozen=True, slots=True)
class EnergySums:
    """What the meters behind some energy declare of it."""

    gain_joules: float = 0.0  # 90 % half-width: what the sensors' gain may add or take
    square_joules: float = 0.0  # variance of what power gauges missed between their samples

    def times(self, factor: float) -> EnergySums:
        """Return the errors of this energy times a factor."""
        return EnergySums(factor * self.gain_joules, factor**2 * self.square_joules)

    def minus(self, earlier: EnergySums) -> EnergySums:
        """Return the errors of the intervals between two points."""
        return EnergySums(
            max(0.0, self.gain_joules - earlier.gain_joules), max(0.0, self.square_joules - earlier.square_joules)
        )


NO_ERRORS: Final = EnergySums()


def interval_error(
    curve: EnergyCurve, given: Line, precision: Precision, start_seconds: float, end_seconds: float
) -> EnergySums:
    """Error of what one meter gave to a server in an interval, apart from its edges."""
    measured = curve.line.at(end_seconds) - curve.line.at(start_seconds)
    joules = given.at(end_seconds) - given.at(start_seconds)
    missed = curve.missed.at(end_seconds) - curve.missed.at(start_seconds)
    return EnergySums(precision.gain_ratio * joules, _ratio(joules, measured) ** 2 * missed)


def sum_of(parts: Iterable[EnergySums]) -> EnergySums:
    """Return the errors of several meters together: gains alike, the rest independent."""
    gain_joules = square_joules = 0.0
    for part in parts:
        gain_joules += part.gain_joules
        square_joules += part.square_joules
    return EnergySums(gain_joules, square_joules)


def error_ratio(joules: float, sums: EnergySums, start: EdgeError, end: EdgeError) -> float:
    """Half-width of the 90 % interval of a window's energy (above 0), as a share of it."""
    timing = sums.square_joules + start.variance + end.variance + (end.lag_joules - start.lag_joules) ** 2
    return math.hypot(sums.gain_joules, HALF_WIDTH_90 * math.sqrt(timing)) / joules


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
