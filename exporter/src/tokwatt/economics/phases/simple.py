"""The splits that need no fit: by role, by the user's own ratio, none. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

from tokwatt.economics.phases.split import IDLE, NO_SPLIT, UNSPLIT, Estimate, Shares, Tick

RECENT_SECONDS: Final = 10.0  # prompt tokens are counted when a prefill ends: seconds later than their work


class NoSplitter:
    """Busy energy stays unsplit, for a reason that a person can read."""

    method = NO_SPLIT
    needs_joules = False  # idle is known without
    estimate: Estimate | None = None

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self._settled: list[tuple[Tick, Shares]] = []

    def take(self, tick: Tick) -> None:
        """Settle a tick at once."""
        self._settled.append((tick, IDLE if tick.idle else UNSPLIT))

    def finish(self) -> None:
        """Nothing is held."""

    def settled(self) -> list[tuple[Tick, Shares]]:
        """Ticks since the last call."""
        found, self._settled = self._settled, []
        return found


class RoleSplitter:
    """A server that only prefills, or only decodes: all busy energy is of that phase. Exact, so without an error."""

    method = "role"
    needs_joules = False
    estimate: Estimate | None = None
    reason = ""

    def __init__(self, role: str) -> None:
        if role not in ("prefill", "decode"):
            raise ValueError(f"role {role!r} does both phases; only a prefill or a decode server is split by its role")
        self._busy = Shares(prefill=1.0) if role == "prefill" else Shares(decode=1.0)
        self._settled: list[tuple[Tick, Shares]] = []

    def take(self, tick: Tick) -> None:
        """Settle a tick at once. One whose readings failed stays unsplit: whether it was idle is not known."""
        busy = self._busy if tick.read else UNSPLIT
        self._settled.append((tick, IDLE if tick.idle else busy))

    def finish(self) -> None:
        """Nothing is held."""

    def settled(self) -> list[tuple[Tick, Shares]]:
        """Ticks since the last call."""
        found, self._settled = self._settled, []
        return found


class WeightsSplitter:
    """The user's own ratio of energy per decoded token to energy per computed prompt token.

    Prefill's share of a tick = prompt tokens / (prompt tokens + ratio x decoded tokens), over the 10 s that end with
    it, because a prompt is counted at one instant. How far the ratio is off is the user's to know, so no error is
    stated.
    """

    method = "weights"
    needs_joules = False
    estimate: Estimate | None = None

    def __init__(self, decode_per_prefill: float) -> None:
        if not 0 < decode_per_prefill < float("inf"):
            raise ValueError(f"decode_per_prefill must be a positive number, not {decode_per_prefill}")
        self._ratio = decode_per_prefill
        self._recent: deque[Tick] = deque()
        self._settled: list[tuple[Tick, Shares]] = []
        self.reason = "starting: no token was counted yet"

    def take(self, tick: Tick) -> None:
        """Settle a tick at once, by the tokens of the last seconds."""
        if tick.read and tick.prompt_tokens is not None and tick.decode_tokens is not None:
            self._recent.append(tick)
        while self._recent and tick.end_seconds - self._recent[0].start_seconds > RECENT_SECONDS:
            self._recent.popleft()
        self._settled.append((tick, self._shares(tick)))

    def finish(self) -> None:
        """Nothing is held."""

    def settled(self) -> list[tuple[Tick, Shares]]:
        """Ticks since the last call."""
        found, self._settled = self._settled, []
        return found

    def _shares(self, tick: Tick) -> Shares:
        if tick.idle:
            return IDLE
        if not self._recent or self._recent[-1] is not tick:
            self.reason = "prompt or output tokens are not counted"
            return UNSPLIT
        prompt = sum(recent.prompt_tokens or 0.0 for recent in self._recent)
        decode = self._ratio * sum(recent.decode_tokens or 0.0 for recent in self._recent)
        if prompt + decode <= 0:
            return UNSPLIT
        self.reason = ""
        share = prompt / (prompt + decode)
        return Shares(prefill=share, decode=1.0 - share)
