"""Tokens per joule against the truth over random scenarios, and the interval that says how wrong they may be.

A small part of `make accuracy`, with seeds of its own; the whole is `tests/e2e/test_accuracy.py`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.accuracy_meters import COUNTER, DCGM
from support.accuracy_report import PARTS, Outcome, Part, play, rows, timing_half_width
from support.accuracy_run import run
from support.accuracy_world import Lag, scenario

from tokwatt.economics.error import HALF_WIDTH_90
from tokwatt.simulate.machines import LLAMA_8B_ON_H100, LLAMA_70B_ON_4_H100, Machine

SEEDS = range(500, 512)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    parts = [replace(part, methods=(COUNTER,)) for part in PARTS[:2]]
    total = Outcome()
    for seed in SEEDS:
        total.add(play(seed, parts))
    return total


@pytest.mark.parametrize(("window", "p95", "worst"), [(10.0, 0.01, 0.025), (60.0, 0.002, 0.004)])
def test_a_counter_at_one_second_ticks(outcome: Outcome, window: float, p95: float, worst: float) -> None:
    row = next(row for row in rows(outcome) if row.window_seconds == window and row.coverage is not None)
    print(row)
    assert row.windows > 200
    assert row.p95 < p95
    assert row.worst < worst


def test_a_naive_loop_is_worse_by_far_where_servers_are_late(outcome: Outcome) -> None:
    for window in (10.0, 60.0):
        naive = next(r for r in rows(outcome) if r.window_seconds == window and r.title.startswith("the same"))
        ours = next(r for r in rows(outcome) if r.window_seconds == window and r.title.startswith("of these"))
        print(window, ours.p95, naive.p95)
        assert ours.p95 < 0.7 * naive.p95
        assert ours.worst < 0.7 * naive.worst


def test_the_timing_part_of_the_interval_is_neither_too_narrow_nor_idle(outcome: Outcome) -> None:
    inside = [abs(one.timing_error) <= timing_half_width(one) for one in outcome.seen]
    assert 0.85 < sum(inside) / len(inside) < 0.97


def test_published_windows_state_an_interval_that_holds_the_sensors_gain(outcome: Outcome) -> None:
    assert all(one.half_width > 0.05 for one in outcome.seen)


def test_meters_behind_an_exporter_have_live_gauges_at_default_settings() -> None:
    """dcgm-exporter renews every 30 s and is read every 15 s: its readings arrive when their time is long past."""
    drawn = replace(scenario(500, 420.0), outage=None, meter_outage=None, meter_misses=0.0, server_misses=0.0)
    one = run(drawn, (DCGM,), 120.0, 420)
    assert len(one.seen) > 200
    assert max(abs(seen.timing_error) for seen in one.seen) < 0.15


@pytest.mark.parametrize("machine", [LLAMA_8B_ON_H100, LLAMA_70B_ON_4_H100], ids=["one board", "four boards"])
def test_boards_behind_one_exporter_are_equally_old(machine: Machine) -> None:
    """Its pass renews all boards at one instant, unknown to 15 s: a share of the window, whatever their number."""
    calm = replace(scenario(500, 420.0), machine=machine, load="users", outage=None, meter_outage=None)
    one = run(replace(calm, meter_misses=0.0, server_misses=0.0), (DCGM,), 120.0, 420)
    expected = HALF_WIDTH_90 * 15.0 / math.sqrt(6) / 120.0
    widths = [timing_half_width(seen) for seen in one.seen]
    assert len(widths) > 200
    assert sum(widths) / len(widths) == pytest.approx(expected, rel=0.15)


def test_servers_late_after_they_read_their_counters_are_off_by_no_more_than_the_wait() -> None:
    """No software sees this wait (ADR 3); edges at the quickest answers keep most of it out."""
    drawn = replace(scenario(501, 150.0), lag=Lag(after=0.3), outage=None, meter_outage=None)
    one = run(drawn, (COUNTER,), 60.0, 150)
    assert max(abs(seen.timing_error) for seen in one.seen) < 0.3 / 60.0 * 3


def test_truth_is_the_simulation_s_own(outcome: Outcome) -> None:
    """Without the gain taken out, windows are off by the gain that was drawn: errors are not measured against ours."""
    for seed in SEEDS:
        gain = scenario(seed, 60.0).gain(COUNTER.name)
        seen = [one for one in outcome.seen if one.seed == seed]
        mean = sum(one.energy_error for one in seen) / len(seen) if seen else gain - 1
        assert mean == pytest.approx(gain - 1, abs=0.005)


def test_parts_share_their_scenarios_by_seed() -> None:
    part = Part(10.0, 40, (COUNTER,))
    first, second = play(503, [part]), play(503, [part])
    assert [one.timing_error for one in first.seen] == [one.timing_error for one in second.seen]
