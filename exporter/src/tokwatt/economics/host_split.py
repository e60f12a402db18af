"""Divides one host meter's energy between the servers on that host. Pure.

The rule: what a server's GPUs drew goes with them; the rest (CPU, memory, fans, supply loss) goes by GPU count, and
GPUs that no server owns keep their part of both. Shares are fixed per interval between two host readings, because only
there is the host's energy really known. A single server on a host without free GPUs gets all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokwatt.ledger.line import Line


@dataclass(frozen=True, slots=True)
class Share:
    """One claimant of a host in one interval; the free GPUs are a claimant without a name."""

    gpu_joules: float
    gpu_count: float


def shares(host_joules: float, claims: Mapping[str, Share]) -> Mapping[str, float]:
    """Parts of `host_joules` by claimant, each 0 to 1, summing to 1 (or 0 where no rule applies).

    Where the GPUs drew more than the host meter shows (it does not feed them, or its reading lags a burst), the host's
    energy follows the GPUs' alone. Without any GPU only a single claimant can be given anything.
    """
    if len(claims) == 1:
        return dict.fromkeys(claims, 1.0)
    counts = sum(claim.gpu_count for claim in claims.values())
    gpu_joules = sum(claim.gpu_joules for claim in claims.values())
    if counts == 0:
        return dict.fromkeys(claims, 0.0)
    if host_joules <= gpu_joules:
        if gpu_joules == 0:
            return {name: claim.gpu_count / counts for name, claim in claims.items()}
        return {name: claim.gpu_joules / gpu_joules for name, claim in claims.items()}
    rest = host_joules - gpu_joules
    return {name: (claim.gpu_joules + rest * claim.gpu_count / counts) / host_joules for name, claim in claims.items()}


@dataclass(frozen=True, slots=True)
class Claim:
    """Lines of the GPUs behind one claimant of a host, and on how many hosts that claimant spreads."""

    gpu_lines: Sequence[Line]
    hosts: int = 1


FREE = ""  # name of the claimant that stands for GPUs no server owns


class HostSplit:
    """Cumulative joules of one host given to each claimant, advanced host reading by host reading."""

    __slots__ = ("_claims", "_host", "lines")

    def __init__(self, host: Line, claims: Mapping[str, Claim], start_seconds: float) -> None:
        self._host = host
        self._claims = claims
        self.lines = {name: Line(start_seconds, 0.0) for name in claims if name != FREE}

    @property
    def end_seconds(self) -> float:
        """Instant up to which shares are known."""
        return min(line.end_seconds for line in self.lines.values())

    def advance(self, until_seconds: float) -> None:
        """Split every whole host interval that ends at or before `until_seconds`."""
        start = self.end_seconds
        for end in self._host.points_between(start, until_seconds):
            joules = self._host.at(end) - self._host.at(start)
            parts = shares(joules, {name: _share(claim, start, end) for name, claim in self._claims.items()})
            for name, line in self.lines.items():
                line.append(end, line.end_value + joules * parts[name])
            start = end


def _share(claim: Claim, start_seconds: float, end_seconds: float) -> Share:
    joules = sum(line.at(end_seconds) - line.at(start_seconds) for line in claim.gpu_lines)
    return Share(joules / claim.hosts, len(claim.gpu_lines) / claim.hosts)
