"""The vocabulary of the phase split: what a splitter is given tick by tick, and what it answers.

The convention is Shapley's: of a step that holds prompt tokens and decoding sequences, prefill's energy is
(J(prefill alone) + J(as it ran) - J(decode alone)) / 2. Energy while no request runs belongs to no phase: it is idle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class Tick:
    """One interval between two neighbouring readings of a server, with its energy over the same instants.

    None: the engine does not offer it. Counts are differences over the interval, in tokens, steps and requests.
    """

    start_seconds: float  # monotonic
    end_seconds: float
    read: bool = True  # False: one of the two readings failed, so nothing is known of the work in between
    idle: bool = False  # no request ran at either edge and no token moved
    joules: float | None = None  # given to the server; None: not measured over the whole interval
    steps: float | None = None  # engine steps
    decode_tokens: float | None = None  # tokens decoded, without those that a prefill sampled: sequence-steps of decode
    prompt_tokens: float | None = None  # computed prompt tokens, cached ones excluded
    first_tokens: float | None = None  # requests whose prefill ended
    kv_token_steps: float | None = None  # tokens of context in the KV cache x steps
    draft_tokens: float | None = None  # speculative tokens proposed
    preempted: float | None = None  # requests that were thrown out of a full KV cache and are prefilled again
    kv_tokens: float | None = None  # context in the KV cache at the end
    prefill_seconds: float | None = None  # time of the phase as the engine itself counts it
    decode_seconds: float | None = None
    running_before: float | None = None  # requests running at the two edges
    running_after: float | None = None
    waiting_before: float | None = None
    waiting_after: float | None = None

    @property
    def seconds(self) -> float:
        """Length of the interval."""
        return self.end_seconds - self.start_seconds


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of one interval's energy by phase, each 0 to 1, summing to 1."""

    prefill: float = 0.0
    decode: float = 0.0
    idle: float = 0.0
    unsplit: float = 0.0


IDLE: Final = Shares(idle=1.0)
UNSPLIT: Final = Shares(unsplit=1.0)
NO_SPLIT: Final = "none"  # the method that leaves all busy energy unsplit


@dataclass(frozen=True, slots=True)
class Estimate:
    """How well the split is known. `half_width` is of the 90 % interval, in shares of busy energy (0.05: 5 points)."""

    prefill_share: float  # of busy energy
    half_width: float


class Splitter(Protocol):
    """One server's split. Ticks arrive in order; shares of a tick are final once it is settled, never revised."""

    @property
    def method(self) -> str:
        """Label on `tokwatt_server_info`: role, counters, fit, weights, none."""
        ...

    @property
    def needs_joules(self) -> bool:
        """Whether a tick is to wait until its energy is known."""
        ...

    @property
    def estimate(self) -> Estimate | None:
        """The error of the split at present; None while nothing is split, or the split is exact."""
        ...

    @property
    def reason(self) -> str:
        """Why energy is unsplit at present, for a person; "" while it is split."""
        ...

    def take(self, tick: Tick) -> None:
        """Take the next tick."""
        ...

    def finish(self) -> None:
        """Settle every tick that was taken: no other will come."""
        ...

    def settled(self) -> list[tuple[Tick, Shares]]:
        """Ticks whose shares became final since the last call, oldest first, without gaps."""
        ...
