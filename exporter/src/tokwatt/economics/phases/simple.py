"""The splits that need no fit: by role, by the user's own ratio, none. Pure."""

from __future__ import annotations

from typing import Final

from tokwatt.economics.phases.split import IDLE, NO_SPLIT, UNSPLIT, Estimate, Shares, Tick

BLOCK_SECONDS: Final = 10.0  # prompt tokens are counted when a prefill ends: seconds later than their work


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

    Prefill's share = prompt tokens / (prompt tokens + ratio x decoded tokens), over blocks of 10 s. How far the
    ratio is off is the user's to know, so no error is stated.
    """

    method = "weights"
    needs_joules = False
    estimate: Estimate | None = None

    def __init__(self, decode_per_prefill: float) -> None:
        if not 0 < decode_per_prefill < float("inf"):
            raise ValueError(f"decode_per_prefill must be a positive number, not {decode_per_prefill}")
        self._ratio = decode_per_prefill
        self._block: list[Tick] = []
        self._settled: list[tuple[Tick, Shares]] = []
        self.reason = "starting: the first block of 10 seconds is not over"

    def take(self, tick: Tick) -> None:
        """Take the next tick; settle the block when it is long enough."""
        self._block.append(tick)
        if tick.end_seconds - self._block[0].start_seconds >= BLOCK_SECONDS:
            self.finish()

    def finish(self) -> None:
        """Settle the block as it is."""
        busy = self._shares()
        self._settled += [(old, self._of(old, busy)) for old in self._block]
        self._block = []

    def settled(self) -> list[tuple[Tick, Shares]]:
        """Ticks of the blocks that ended since the last call."""
        found, self._settled = self._settled, []
        return found

    def _shares(self) -> Shares | None:
        known = [t for t in self._block if t.read and t.prompt_tokens is not None and t.decode_tokens is not None]
        if not known:
            self.reason = "prompt or output tokens are not counted"
            return None
        prompt = sum(tick.prompt_tokens or 0.0 for tick in known)
        decode = self._ratio * sum(tick.decode_tokens or 0.0 for tick in known)
        self.reason = ""
        if prompt + decode <= 0:
            return None
        share = prompt / (prompt + decode)
        return Shares(prefill=share, decode=1.0 - share)

    def _of(self, tick: Tick, busy: Shares | None) -> Shares:
        if tick.idle:
            return IDLE
        known = tick.read and tick.prompt_tokens is not None and tick.decode_tokens is not None
        return busy if known and busy is not None else UNSPLIT
