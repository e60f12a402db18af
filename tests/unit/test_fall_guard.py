"""A fall of a counter: a glitch, a wrap or a reset."""

import pytest

from tokwatt.sources.power._fall_guard import FallGuard, WrapGuard

RANGE = 262_143.0


def test_the_first_lower_value_is_kept_back_and_the_second_is_a_reset():
    guard = FallGuard()
    assert [guard.admits(joules) for joules in (100, 200, 90, 210, 300)] == [True, True, False, True, True]
    assert [guard.admits(joules) for joules in (10, 20, 30)] == [False, True, True]


@pytest.mark.parametrize(
    ("last", "joules", "seconds", "is_wrap"),
    [
        (RANGE - 600, 900, 5, True),
        (RANGE - 600, 900, 15, True),
        (RANGE - 600, 900, 20, False),  # the host may have been restarted in the meantime
        (RANGE / 2, 10, 5, False),  # 131 kJ in 5 s
        (RANGE - 600, 400, 0.01, True),  # read twice in no time
    ],
)
def test_a_fall_is_a_wrap_only_where_it_can_be_one(last, joules, seconds, is_wrap):
    guard = WrapGuard(RANGE, 5.0)
    assert guard.modulus("cpu", last, 100.0) == RANGE
    assert guard.modulus("cpu", joules, 100.0 + seconds) == (RANGE if is_wrap else None)
    assert guard.modulus("cpu", joules + 1, 105.0 + seconds) == RANGE


def test_a_counter_that_is_not_said_to_wrap_never_does():
    guard = WrapGuard(None, 5.0)
    assert guard.modulus("cpu", 500, 0.0) is None
    assert guard.modulus("cpu", 10, 5.0) is None
