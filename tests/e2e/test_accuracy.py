"""Tokens per joule of the NVML counter over 200 random scenarios; `make accuracy` prints every method.

No program but ours runs here: it is in this folder because it takes a minute of processor time.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import pytest
from support.accuracy_meters import COUNTER
from support.accuracy_report import PARTS, Outcome, play_all, rows, table

pytestmark = pytest.mark.e2e
SCENARIOS = range(200)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    parts = [replace(part, methods=(COUNTER,)) for part in PARTS[:2]]
    return play_all(SCENARIOS, multiprocessing.cpu_count(), parts)


def test_two_hundred_scenarios(outcome: Outcome) -> None:
    print(table(outcome))
    found = {row.window_seconds: row for row in rows(outcome) if row.coverage is not None}
    assert found[10.0].p95 < 0.01
    assert found[60.0].p95 < 0.002
    assert found[60.0].p99 < 0.003
    for row in found.values():
        assert 0.87 <= row.coverage <= 0.93
        assert 0.87 <= row.timing_coverage <= 0.93


def test_the_naive_loop_on_the_same_scenarios(outcome: Outcome) -> None:
    for window in (10.0, 60.0):
        by_title = {row.title: row for row in rows(outcome) if row.window_seconds == window}
        naive, ours = by_title["the same, servers 50 to 300 ms late"], by_title["of these: servers 50 to 300 ms late"]
        assert ours.p95 < 0.6 * naive.p95
