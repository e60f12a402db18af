"""Drives the power of meter doubles along a curve, from a thread. The doubles know the energy that comes of it.

The curve is a pulse: quiet, a ramp up, a wave for as long as it runs, a ramp down, quiet. All energy that matters
lies inside, so two observers whose edges differ by a tick still agree on it.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

STEP_SECONDS = 0.05
RAMP_SECONDS = 2.0


@dataclass(slots=True)
class PowerCurve:
    """`set_watts` receives whole watts: a BMC can say no less."""

    set_watts: Callable[[float], None]
    quiet_watts: float
    busy_watts: float
    wave_watts: float
    wave_seconds: float
    _watts: float = -1.0
    _begun: float = math.inf
    _ended: float = math.inf

    def begin(self) -> None:
        """Start the ramp up."""
        self._begun = time.monotonic()

    def end(self) -> None:
        """Start the ramp down."""
        self._ended = time.monotonic()

    def step(self) -> None:
        """Set the power for this instant."""
        now = time.monotonic()
        up = min(1.0, max(0.0, now - self._begun) / RAMP_SECONDS)
        down = min(1.0, max(0.0, now - self._ended) / RAMP_SECONDS)
        height = up * (1.0 - down)
        wave = 0.0 if math.isinf(self._begun) else math.sin(2 * math.pi * (now - self._begun) / self.wave_seconds)
        above_quiet = self.busy_watts - self.quiet_watts + self.wave_watts * wave
        watts = float(round(self.quiet_watts + height * above_quiet))
        if watts != self._watts:
            self.set_watts(watts)
            self._watts = watts


@contextlib.contextmanager
def driven(*curves: PowerCurve) -> Iterator[None]:
    """Keep the doubles on their curves while the block runs."""
    stopped = threading.Event()

    def drive() -> None:
        while not stopped.wait(STEP_SECONDS):
            for curve in curves:
                curve.step()

    for curve in curves:
        curve.step()
    thread = threading.Thread(target=drive, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
