"""No split: busy energy stays unsplit, for a stated reason."""

from __future__ import annotations

from tokwatt.economics.phases.split import IDLE, NO_SPLIT, UNSPLIT, Estimate, Shares, Tick


class NoSplit:
    """Tells idle from busy and nothing else."""

    __slots__ = ("_reason", "_settled")

    def __init__(self, reason: str = "") -> None:
        self._reason = reason
        self._settled: list[tuple[Tick, Shares]] = []

    @property
    def method(self) -> str:
        """Name on `tokwatt_server_info`."""
        return NO_SPLIT

    @property
    def needs_joules(self) -> bool:
        """No: idle is known without."""
        return False

    @property
    def estimate(self) -> Estimate | None:
        """Nothing is split."""
        return None

    @property
    def reason(self) -> str:
        """Why energy is unsplit."""
        return self._reason

    def take(self, tick: Tick) -> None:
        """Settle the tick at once."""
        self._settled.append((tick, IDLE if tick.idle else UNSPLIT))

    def settled(self) -> list[tuple[Tick, Shares]]:
        """Ticks since the last call."""
        settled, self._settled = self._settled, []
        return settled
