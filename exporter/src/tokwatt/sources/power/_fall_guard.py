"""What a fall of an energy counter is: a glitch, a wrap or a reset. Pure."""

from __future__ import annotations

from typing import Final

_MOST_WATTS: Final = 10_000.0  # of one meter whose counter wraps; a fall that would mean more is a reset
_LONGEST_PAUSE_PERIODS: Final = 3.5


class FallGuard:
    """Tells a counter that was reset from one that shows a lower value once and goes on.

    AMD's energy accumulator does the latter (ROCm/amdsmi issue 115). Handed on, the fall would be a reset, and the way
    back up would count energy that was counted before.
    """

    def __init__(self) -> None:
        self._highest = 0.0
        self._fell = False

    def admits(self, joules: float) -> bool:
        """Whether a value may be handed on. The first lower one may not; one that stays low is a reset, and may."""
        if joules < self._highest and not self._fell:
            self._fell = True
            return False
        self._fell = False
        self._highest = joules
        return True


class WrapGuard:
    """Tells a wrap from a reset of counters that wrap: one that fell while its host was restarted did not wrap."""

    def __init__(self, wraps_at_joules: float | None, period_seconds: float) -> None:
        self._wraps_at_joules = wraps_at_joules
        self._period_seconds = period_seconds
        self._longest_pause_seconds = _LONGEST_PAUSE_PERIODS * period_seconds
        self._last: dict[str, tuple[float, float]] = {}

    def modulus(self, device: str, joules: float, at_seconds: float) -> float | None:
        """Return where the counter starts over, or None if a fall to this value cannot be that."""
        last_joules, last_seconds = self._last.get(device, (0.0, at_seconds))
        self._last[device] = (joules, at_seconds)
        if self._wraps_at_joules is None or joules >= last_joules:
            return self._wraps_at_joules
        seconds = at_seconds - last_seconds
        gained = self._wraps_at_joules - last_joules + joules
        if seconds > self._longest_pause_seconds or gained > _MOST_WATTS * max(seconds, self._period_seconds):
            return None
        return self._wraps_at_joules
