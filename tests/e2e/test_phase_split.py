"""The phase split over many machines and loads at once: a part of the table that `make phases` prints.

No program is started, but it takes longer than a fast test should.
"""

from __future__ import annotations

from functools import cache

import pytest
from support.phase_world import naive
from support.phase_world.judge import Verdict, engine_of, play, quantile
from support.phase_world.loads import LOADS
from support.phase_world.machines import (
    DENSE_8B,
    DENSE_70B,
    LLAMACPP_1B,
    MOE_30B,
    SGLANG_8B,
    SPECULATIVE_8B,
    UNSEEN_ROUGH_14B,
)
from support.phase_world.world import Observed, World

from tokwatt.economics.phases.fit import FitSplitter

pytestmark = pytest.mark.e2e

MACHINES = (DENSE_8B, DENSE_70B, MOE_30B, SPECULATIVE_8B, SGLANG_8B, LLAMACPP_1B, UNSEEN_ROUGH_14B)
NAMES = ("steady chat", "varying rate", "near idle", "saturation")
SECONDS = 300


@cache
def runs() -> list[tuple[str, list[Observed], Verdict]]:
    found = []
    for machine in MACHINES:
        for load in (load for load in LOADS if load.name in NAMES):
            observed = World(machine, load, seed=21, seconds=SECONDS).run()
            found.append((machine.group, observed, play(observed, FitSplitter(engine_of(machine)))))
    return found


def errors(group: str | None = None) -> list[float]:
    verdicts = [verdict for name, _, verdict in runs() if group in (None, name)]
    return [100 * abs(window.error) for verdict in verdicts for window in verdict.windows]


def test_published_splits_are_near_the_truth() -> None:
    assert len(errors()) > 70
    assert quantile(errors(), 0.95) <= 5
    assert max(errors()) < 15
    assert quantile(errors("dense vLLM"), 0.95) <= 3


def test_the_truth_is_inside_the_stated_interval() -> None:
    windows = [window for _, _, verdict in runs() for window in verdict.windows]
    assert sum(window.inside for window in windows) / len(windows) >= 0.86


def test_most_servers_are_split_within_a_minute_and_stay_so() -> None:
    verdicts = [verdict for _, _, verdict in runs()]
    early = [v for v in verdicts if v.first_split_seconds is not None and v.first_split_seconds <= 60]
    assert len(early) >= 0.75 * len(verdicts)
    busy = sum(verdict.busy_seconds for verdict in verdicts)
    assert sum(verdict.unsplit_seconds_after_first for verdict in verdicts) <= 0.1 * busy


def test_regressions_on_tokens_and_time_are_much_worse() -> None:
    for name, (columns, idle_first) in naive.REGRESSIONS.items():
        found = [
            100 * abs(error)
            for _, observed, _ in runs()
            for error in naive.regression_errors(observed, columns, idle_first=idle_first)
        ]
        assert quantile(found, 0.95) > 1.3 * quantile(errors(), 0.95), name
