"""An energy counter held against the power beside it: agreement, lies, pauses, resets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokwatt.sources.power._counter_check import CounterCheck


def run(check: CounterCheck, seconds: int, *, watts=300.0, share=1.0, start=0.0, joules=0.0) -> float:
    for second in range(seconds + 1):
        check.add(joules + share * watts * second, watts, start + second)
    return joules + share * watts * seconds


@given(st.lists(st.floats(50, 700), min_size=130, max_size=200), st.floats(0.3, 3.0))
def test_means_of_each_second_give_exactly_the_share_that_the_counter_counts(powers, share):
    check, joules = CounterCheck(averaged_over_seconds=1.0), 0.0
    for second, watts in enumerate(powers):
        joules += share * watts
        check.add(joules, watts, float(second))
    assert check.ratio == pytest.approx(share, rel=1e-6)


def test_a_long_pause_and_a_fall_are_left_out():
    check = CounterCheck(averaged_over_seconds=1.0)
    joules = run(check, 40)
    check.add(joules + 1e9, 300, 5000)  # nobody knows what the power was in between
    run(check, 70, start=5001.0)  # the driver was loaded again
    assert check.ratio == pytest.approx(1.0)


def test_of_a_gauge_that_sees_a_sample_only_a_gross_difference_is_told():
    """A board that works every other time it is looked at: the gauge is right about that, and wrong by a third."""
    check, joules = CounterCheck(averaged_over_seconds=1.0), 0.0
    for look in range(400):
        check.add(joules, 600.0 if look % 2 else 80.0, look * 5.0)
        joules += 5 * 445
    assert check.ratio == pytest.approx(445 / 340, rel=0.01)
    assert not check.problem
    check = CounterCheck()
    run(check, 299, share=3.0)
    assert check.ratio is None
    run(check, 301, share=3.0, start=1000)
    assert "3.00 times" in check.problem


def test_a_power_that_could_not_be_read_is_no_zero():
    check = CounterCheck(averaged_over_seconds=1.0)
    joules = 0.0
    for second in range(200):
        if second % 3 == 2:
            check.miss()
        else:
            check.add(joules, 300, float(second))
        joules += 300
    assert check.ratio == pytest.approx(1.0)


def test_the_ratio_follows_a_counter_that_heals():
    check = CounterCheck(averaged_over_seconds=1.0)
    joules = run(check, 70, share=0.0)
    assert check.is_frozen
    run(check, 130, start=71.0, joules=joules)
    assert check.ratio == pytest.approx(1.0)
    assert not check.is_frozen
    assert not check.problem
