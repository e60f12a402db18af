"""The error interval of a window's energy: what widens it, by how much, and what leaves it alone."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokwatt.economics.error import (
    HALF_WIDTH_90,
    NO_ERRORS,
    EdgeError,
    EnergySums,
    edge_error,
    edge_sum,
    error_ratio,
    interval_error,
    sum_of,
)
from tokwatt.ledger.energy import EnergyCurve
from tokwatt.readings import Boundary, EnergyCounter, Fidelity, Meter, Method, PowerSample, Precision

METER = Meter("nvml", Boundary.GPU, "GPU-0", Fidelity.HIGHEST, Method.COUNTER)
LATCHED = Precision(0.05, renewed_every_seconds=0.1)


def counted(watts: list[float], period: float = 1.0) -> EnergyCurve:
    """A counter that is read every `period` seconds while the power is as listed."""
    curve = EnergyCurve(EnergyCounter(METER, 0.0, 0.0), 100.0)
    joules = 0.0
    for number, power in enumerate(watts, 1):
        joules += power * period
        curve.add(EnergyCounter(METER, joules, number * period))
    return curve


def gauged(watts: list[float], period: float = 1.0) -> EnergyCurve:
    curve = EnergyCurve(PowerSample(METER, watts[0], 0.0), 100.0)
    for number, power in enumerate(watts[1:], 1):
        curve.add(PowerSample(METER, power, number * period))
    return curve


def test_gain_alone_is_the_gain():
    assert error_ratio(1000.0, EnergySums(gain_joules=50.0), EdgeError(), EdgeError()) == pytest.approx(0.05)


def test_gain_and_timing_add_in_quadrature():
    edge = EdgeError(square_joules=(30.0 / HALF_WIDTH_90) ** 2 / 2)
    assert error_ratio(1000.0, EnergySums(gain_joules=40.0), edge, edge) == pytest.approx(0.05)


def test_the_latch_of_a_counter_is_an_even_distribution_as_wide_as_its_period():
    edge = edge_error(curve := counted([400.0] * 10), curve.line, LATCHED, 5.0)
    assert math.sqrt(edge.variance) == pytest.approx(400 * 0.1 / math.sqrt(12))


def test_twice_the_window_has_half_the_timing_error():
    edge = EdgeError(square_joules=100.0)
    short, long = (error_ratio(joules, NO_ERRORS, edge, edge) for joules in (1000.0, 2000.0))
    assert short == pytest.approx(2 * long)


def test_an_edge_far_from_readings_in_restless_power_is_uncertain_and_in_steady_power_is_not():
    restless, steady = counted([100.0, 700.0] * 5, period=15.0), counted([400.0] * 10, period=15.0)
    middle = edge_error(restless, restless.line, LATCHED, 82.5)
    near = edge_error(restless, restless.line, LATCHED, 75.1)
    calm = edge_error(steady, steady.line, LATCHED, 82.5)
    assert middle.stray_joules > 5 * near.stray_joules > 0
    assert calm.stray_joules == pytest.approx(0.0)


def test_the_newest_edge_expects_as_much_change_as_there_was():
    """What comes after the newest reading is not known yet: steady so far is no proof of it."""
    curve = counted([100.0, 700.0] * 5 + [700.0])
    assert edge_error(curve, curve.line, LATCHED, 10.5).stray_joules > 0


def test_an_uncertain_instant_counts_with_the_power_of_its_edge():
    edge = EdgeError(watts=600.0).with_uncertain_instant(0.1)
    assert math.sqrt(edge.variance) == pytest.approx(600 * 0.1 / math.sqrt(3))


def test_devices_in_step_stray_together_and_their_latches_do_not():
    one = EdgeError(square_joules=100.0, stray_joules=20.0, lag_joules=5.0, watts=300.0)
    both = one.plus(one)
    assert both == EdgeError(square_joules=200.0, stray_joules=40.0, lag_joules=10.0, watts=600.0)


@pytest.mark.parametrize("boards", [1, 2, 4, 8])
def test_boards_collected_in_one_pass_are_equally_old(boards):
    """An exporter's pass reads all boards at one instant, so their errors add up: many are no better than one.

    Each board's counter shows the energy of up to 15 s ago and is placed in the middle of that.
    """
    rng = random.Random(boards)
    watts, renewed = 300.0, 15.0
    errors = [sum([watts * rng.uniform(-renewed / 2, renewed / 2)] * boards) for _ in range(5000)]
    real = math.sqrt(sum(error**2 for error in errors) / len(errors))
    precision = Precision(0.05, renewed_every_seconds=renewed, renewed_together=True)
    curve = counted([watts] * 10, period=30.0)
    edge = edge_sum(("dcgm", edge_error(curve, curve.line, precision, 150.0)) for _ in range(boards))
    assert math.sqrt(edge.variance) == pytest.approx(real, rel=0.03)


def test_each_exporter_s_pass_has_an_instant_of_its_own():
    one = EdgeError(square_joules=1.0, age_joules=100.0, stray_joules=20.0, watts=300.0)
    both = edge_sum([("dcgm-a", one), ("dcgm-b", one), ("dcgm-b", one)])
    assert both == EdgeError(square_joules=3 + 100.0**2 + 200.0**2, stray_joules=60.0, watts=900.0)


def test_a_share_of_boards_collected_in_one_pass_has_that_share_of_their_age():
    one = EdgeError(age_joules=100.0)
    assert edge_sum([("dcgm", one.times(0.25))] * 4).variance == pytest.approx(one.variance)


def test_the_gain_of_many_devices_does_not_average_out():
    part = EnergySums(gain_joules=50.0, square_joules=9.0)
    assert sum_of([part] * 4) == EnergySums(200.0, 36.0)


def test_the_same_delay_at_both_edges_costs_only_a_change_of_power():
    steady = EdgeError(lag_joules=500.0)
    assert error_ratio(1e4, NO_ERRORS, steady, steady) == 0
    assert error_ratio(1e4, NO_ERRORS, steady, EdgeError(lag_joules=900.0)) == pytest.approx(HALF_WIDTH_90 * 400 / 1e4)


def test_a_steady_gauge_misses_nothing():
    curve = gauged([400.0] * 20)
    assert interval_error(curve, curve.line, Precision(0.0), 0.0, 19.0) == EnergySums(0.0, 0.0)


def test_the_scatter_of_a_gauge_tells_what_its_trapezoid_misses():
    """Samples of a power that forgets itself between two: the estimate agrees with the errors that really happen.

    It is a little wider, because it rests on few samples.
    """
    rng = random.Random(4)
    errors, estimates = [], []
    for _ in range(400):
        watts = [400.0 + rng.gauss(0, 100) for _ in range(60)]
        curve = gauged(watts, period=15.0)
        errors.append((curve.line.at(885.0) - curve.line.at(285.0)) - 400.0 * 600)
        estimates.append(interval_error(curve, curve.line, Precision(0.0), 285.0, 885.0).square_joules)
    real = math.sqrt(sum(error**2 for error in errors) / len(errors))
    assert 1.0 < math.sqrt(sum(estimates) / len(estimates)) / real < 1.3


def test_a_server_with_a_share_of_a_meter_has_that_share_of_its_error():
    host, part = counted([800.0, 400.0] * 5), counted([200.0, 100.0] * 5)
    whole = edge_error(host, host.line, LATCHED, 5.3)
    quarter = edge_error(host, part.line, LATCHED, 5.3)
    assert quarter.stray_joules == pytest.approx(whole.stray_joules / 4)
    assert quarter.square_joules == pytest.approx(whole.square_joules / 16)
    assert interval_error(host, part.line, LATCHED, 0.0, 10.0).gain_joules == pytest.approx(0.05 * 1500)


@given(
    st.lists(st.floats(0, 1000), min_size=3, max_size=30),
    st.floats(0, 1),
    st.sampled_from([counted, gauged]),
)
def test_the_interval_is_a_number_and_not_negative(watts, where, make):
    curve = make(watts)
    end = curve.line.end_seconds
    sums = interval_error(curve, curve.line, LATCHED, 0.0, end)
    edges = [edge_error(curve, curve.line, LATCHED, at) for at in (0.0, where * end, end)]
    for edge in edges:
        ratio = error_ratio(max(curve.line.end_value, 1.0), sums, edges[0], edge)
        assert math.isfinite(ratio)
        assert ratio >= 0
