"""A clock that the test owns."""

from __future__ import annotations


class FakeClock:
    """Monotonic seconds that only `advance` moves."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
