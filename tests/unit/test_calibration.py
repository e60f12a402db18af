"""Seconds and joules per token from measured stretches: exact on exact data, honest intervals on noisy data."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokwatt.economics.calibration import Block, Idle, joules, seconds, student_quantile
from tokwatt.snapshot import Given

IDLE_WATTS = 90.0
TRUTH = (1.2, 0.021, 3.0, 0.06)  # joules per request, prefill token, decode step, decode token
TIMES = (0.003, 0.00005, 0.008, 0.0001)
QUIET_SECONDS = 1.0


def block(
    kind: str,
    requests: int,
    prompt: int,
    answer: int,
    batch: float = 1.0,
    *,
    noise: random.Random | None = None,
    sd: float = 0.0,
    truth: tuple[float, ...] = TRUTH,
) -> Block:
    decoded = requests * (answer - 1)
    work = (requests, requests * prompt, decoded / batch, decoded)
    energy = sum(t * w for t, w in zip(truth, work, strict=True))
    busy = sum(t * w for t, w in zip(TIMES, work, strict=True))
    if noise is not None:
        energy *= noise.gauss(1.0, sd)
        busy *= noise.gauss(1.0, sd)
    measured = {Given.GPU: energy + IDLE_WATTS * QUIET_SECONDS}
    return Block(kind, requests, requests * prompt, decoded, batch, busy, QUIET_SECONDS, measured)


def campaign(noise: random.Random | None = None, sd: float = 0.0, **more) -> list[Block]:
    return [
        one
        for _ in range(3)
        for one in (
            block("128 in", 100, 128, 1, noise=noise, sd=sd, **more),
            block("512 in", 60, 512, 1, noise=noise, sd=sd, **more),
            block("1024 in", 40, 1024, 1, noise=noise, sd=sd, **more),
            block("64 out", 6, 16, 64, noise=noise, sd=sd, **more),
            block("256 out", 2, 16, 256, noise=noise, sd=sd, **more),
            block("4 at once", 8, 16, 256, 4, noise=noise, sd=sd, **more),
        )
    ]


def test_exact_data_give_the_truth_and_no_width() -> None:
    rates = joules(campaign(), Given.GPU, Idle(IDLE_WATTS, 0.0))
    assert rates is not None
    assert rates.coefficients == pytest.approx(TRUTH)
    assert rates.per_prefill_token.half_width == pytest.approx(0, abs=1e-9)
    assert rates.decode_token(4).value == pytest.approx(3.0 / 4 + 0.06)
    ratio = rates.decode_to_prefill(4)
    assert ratio is not None
    assert ratio.value == pytest.approx((3.0 / 4 + 0.06) / 0.021)
    times = seconds(campaign())
    assert times is not None
    assert times.coefficients == pytest.approx(TIMES)


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.floats(1e-3, 1e3)] * 4))
def test_any_machine_comes_out_of_exact_data(truth: tuple[float, float, float, float]) -> None:
    rates = joules(campaign(truth=truth), Given.GPU, Idle(IDLE_WATTS, 0.0))
    assert rates is not None
    for index, (request, prompt, step, token) in enumerate([(100, 12_800, 0, 0), (8, 128, 510, 2040)]):
        parts = zip((request, prompt, step, token), truth, strict=True)
        again = sum(w * c for w, c in zip((request, prompt, step, token), rates.coefficients, strict=True))
        assert again == pytest.approx(sum(w * t for w, t in parts), rel=1e-6), index


@pytest.mark.parametrize("sd", [0.005, 0.03])
def test_the_truth_lies_inside_the_interval_as_often_as_it_says(sd: float) -> None:
    rng = random.Random(11)
    inside = {"prefill": 0, "alone": 0, "together": 0, "ratio": 0}
    errors = []
    for _ in range(200):
        rates = joules(campaign(rng, sd), Given.GPU, Idle(IDLE_WATTS, 0.0))
        assert rates is not None
        ratio = rates.decode_to_prefill(4)
        assert ratio is not None
        for name, estimate, truth in (
            ("prefill", rates.per_prefill_token, 0.021),
            ("alone", rates.decode_token(1), 3.06),
            ("together", rates.decode_token(4), 0.81),
            ("ratio", ratio, 0.81 / 0.021),
        ):
            inside[name] += abs(estimate.value - truth) <= estimate.half_width
        errors.append(abs(rates.per_prefill_token.value / 0.021 - 1))
    for name, count in inside.items():
        assert 0.84 <= count / 200 <= 0.96, (name, count)
    assert sorted(errors)[190] < 4 * sd


def test_an_idle_power_that_moved_widens_the_interval() -> None:
    still = joules(campaign(), Given.GPU, Idle(IDLE_WATTS, 0.0))
    moved = joules(campaign(), Given.GPU, Idle(IDLE_WATTS, 20.0))
    assert still is not None
    assert moved is not None
    assert moved.per_prefill_token.value == pytest.approx(still.per_prefill_token.value)
    assert moved.per_prefill_token.half_width > still.per_prefill_token.half_width + 1e-5
    off = joules(campaign(), Given.GPU, Idle(IDLE_WATTS + 20.0, 20.0))
    assert off is not None
    assert abs(off.per_prefill_token.value - 0.021) <= off.per_prefill_token.half_width


def test_without_several_at_once_a_token_has_the_whole_step() -> None:
    rates = joules([one for one in campaign() if one.batch == 1], Given.GPU, Idle(IDLE_WATTS, 0.0))
    assert rates is not None
    assert rates.per_decode_step.value == 0
    assert rates.decode_token(1).value == pytest.approx(3.06)


def test_too_little_says_nothing() -> None:
    assert seconds([]) is None
    assert joules(campaign(), Given.HOST, Idle(IDLE_WATTS, 0.0)) is None
    assert joules(campaign(), Given.GPU, Idle(1e6, 0.0)) is None, "no energy is left above an impossible idle power"


@pytest.mark.parametrize(
    ("freedom", "exact"), [(1, 6.3138), (2, 2.92), (3, 2.3534), (4, 2.1318), (14, 1.7613), (100, 1.6602)]
)
def test_students_quantile(freedom: int, exact: float) -> None:
    assert student_quantile(freedom) == pytest.approx(exact, rel=0.015)
