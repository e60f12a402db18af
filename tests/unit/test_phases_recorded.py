"""The fit on ticks that were recorded on a real llama.cpp server, with other work on its machine and without."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.record_slots import FOLDER, read

from tokwatt.economics.phases.choose import ENGINES
from tokwatt.economics.phases.fit import FitSplitter
from tokwatt.economics.phases.split import Shares, Tick

WINDOW_TICKS, EVERY_TICKS = 40, 10
RECORDED = sorted(FOLDER.glob("*.csv"))
BUSY_MACHINE = ("three-users-answers-prompts", "three-users-mixed")  # its pace is anyone's guess


class Window(NamedTuple):
    """Prefill's share of busy energy over some ticks that were all split."""

    published: float
    truth: float
    half_width: float

    @property
    def inside(self) -> bool:
        return abs(self.published - self.truth) <= self.half_width


def windows(path: Path) -> Iterator[Window]:
    splitter = FitSplitter(ENGINES["llamacpp"])
    held: deque[tuple[Tick, Shares, tuple[float, float, float]]] = deque(maxlen=WINDOW_TICKS)
    for number, (tick, truth) in enumerate(read(path)):
        splitter.take(tick)
        held.extend((settled, shares, truth) for settled, shares in splitter.settled())
        estimate = splitter.estimate
        whole = len(held) == WINDOW_TICKS and not any(shares.unsplit for _, shares, _ in held)
        if number % EVERY_TICKS or not whole or estimate is None:
            continue
        prefill, decode = (sum(true[at] for *_, true in held) for at in (0, 1))
        given = [
            sum(getattr(shares, part) * (t.joules or 0.0) for t, shares, _ in held) for part in ("prefill", "decode")
        ]
        yield Window(given[0] / sum(given), prefill / (prefill + decode), estimate.half_width)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_no_window_is_far_outside_its_interval(path: Path) -> None:
    for window in windows(path):
        assert abs(window.published - window.truth) <= window.half_width + 0.05, window


def test_most_windows_are_inside_their_interval() -> None:
    found = [window for path in RECORDED for window in windows(path)]
    assert len(found) >= 12
    assert sum(window.inside for window in found) >= 0.8 * len(found)


@pytest.mark.parametrize("name", BUSY_MACHINE)
def test_a_machine_with_other_work_is_left_unsplit(name: str) -> None:
    assert not list(windows(FOLDER / f"{name}.csv"))
