"""Divides one device's energy between the servers that share it. Pure.

A GPU of several servers is divided by the rule that the configuration names. Of a host or an outlet, what a server's
GPUs drew goes with them and the rest (CPU, memory, fans, supply loss) by a rule; GPUs that no server owns keep their
part of both. Shares are fixed per interval between two readings of the device, because only there is its energy really
known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tokwatt.economics.plan import RestRule
from tokwatt.ledger.line import Line

FREE = ""  # name of the claimant that stands for GPUs no server owns

Divide = Callable[[float, float, float], Mapping[str, float]]  # start, end, joules -> part of them by claimant


@dataclass(frozen=True, slots=True)
class Share:
    """One claimant of a host in one interval; the free GPUs are a claimant without a name."""

    gpu_joules: float
    gpu_count: float


def shares(host_joules: float, claims: Mapping[str, Share], rule: RestRule = RestRule.GPU_COUNT) -> Mapping[str, float]:
    """Parts of `host_joules` by claimant, each 0 to 1, summing to 1 at most: what no rule gives is missing.

    Where the GPUs drew more than the host meter shows (it does not feed them, or its reading lags a burst), the host's
    energy follows the GPUs' alone. Without any GPU only a single claimant can be given anything.
    """
    if len(claims) == 1 and rule is not RestRule.NONE:
        return dict.fromkeys(claims, 1.0)
    drawn = sum(claim.gpu_joules for claim in claims.values())
    weights = _weights(claims, rule, drawn)
    whole = sum(weights.values())
    if host_joules <= drawn and drawn > 0:
        return {name: claim.gpu_joules / drawn for name, claim in claims.items()}
    if host_joules <= 0:
        return {name: weight / whole if whole else 0.0 for name, weight in weights.items()}
    rest = (host_joules - drawn) / whole if whole else 0.0
    return {name: (claim.gpu_joules + rest * weights[name]) / host_joules for name, claim in claims.items()}


def _weights(claims: Mapping[str, Share], rule: RestRule, drawn: float) -> Mapping[str, float]:
    if rule is RestRule.NONE:
        return dict.fromkeys(claims, 0.0)
    if rule is RestRule.EQUAL:
        return dict.fromkeys(claims, 1.0)
    if rule is RestRule.GPU_ENERGY and drawn > 0:
        return {name: claim.gpu_joules for name, claim in claims.items()}
    return {name: claim.gpu_count for name, claim in claims.items()}


@dataclass(frozen=True, slots=True)
class Claim:
    """What stands behind one claimant of a host or outlet.

    Its draw is what `lines` gained less what `less` gained, over `spread`: the devices it is fed by.
    """

    lines: Sequence[Line]
    gpu_count: float
    less: Sequence[Line] = ()
    spread: int = 1

    def share(self, start_seconds: float, end_seconds: float) -> Share:
        """Draw and GPU count in one interval, for one of the devices that feed the claimant."""
        gained = sum(line.at(end_seconds) - line.at(start_seconds) for line in self.lines)
        gained -= sum(line.at(end_seconds) - line.at(start_seconds) for line in self.less)
        return Share(max(0.0, gained) / self.spread, self.gpu_count / self.spread)


def by_claims(claims: Mapping[str, Claim], rule: RestRule) -> Divide:
    """Divide a host's or outlet's energy by what each claimant drew, and the rest by `rule`."""

    def divide(start_seconds: float, end_seconds: float, joules: float) -> Mapping[str, float]:
        return shares(joules, {name: claim.share(start_seconds, end_seconds) for name, claim in claims.items()}, rule)

    return divide


def by_weights(weights: Mapping[str, float]) -> Divide:
    """Divide by fixed parts, which may sum to less than 1."""
    return lambda _start, _end, _joules: weights


def by_tokens(servers: Iterable[str], processed: Callable[[str, float, float], float]) -> Divide:
    """Divide by the tokens that each server processed in the interval; equally where none did."""
    names = tuple(servers)

    def divide(start_seconds: float, end_seconds: float, _joules: float) -> Mapping[str, float]:
        tokens = {name: processed(name, start_seconds, end_seconds) for name in names}
        total = sum(tokens.values())
        if total <= 0:
            return dict.fromkeys(names, 1 / len(names))
        return {name: count / total for name, count in tokens.items()}

    return divide


class Split:
    """Cumulative joules of one device given to each server, advanced reading by reading."""

    __slots__ = ("_divide", "_whole", "alone", "end_seconds", "lines")

    def __init__(
        self, whole: Line, servers: Iterable[str], divide: Divide, start_seconds: float, *, alone: bool = False
    ) -> None:
        self._whole = whole
        self._divide = divide
        self.alone = alone  # one server is given everything
        self.end_seconds = start_seconds  # shares are known up to here
        self.lines = {name: Line(start_seconds, 0.0) for name in servers}

    def advance(self, until_seconds: float, stop_seconds: float) -> None:
        """Split every whole interval of the device that ends by `until_seconds`; none goes beyond `stop_seconds`.

        `stop_seconds` is where the claims change: the interval that holds it is cut there, once it is known.
        """
        ends = self._whole.points_between(self.end_seconds, min(until_seconds, stop_seconds))
        known = min(until_seconds, self._whole.end_seconds)
        if self.end_seconds < stop_seconds <= known and stop_seconds not in ends:
            ends = [*ends, stop_seconds]
        for end in ends:
            joules = self._whole.at(end) - self._whole.at(self.end_seconds)
            parts = self._divide(self.end_seconds, end, joules)
            for name, line in self.lines.items():
                line.append(end, line.end_value + joules * parts[name])
            self.end_seconds = end
