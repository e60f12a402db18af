"""The spec of an inference server: which exposed series count what.

Owns the vocabulary of the spec files and what follows from it. Does no I/O, reads no file, holds no engine's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from tokwatt.readings import Quantity, Work

REQUESTS_RUNNING = "requests_running"
REQUESTS_WAITING = "requests_waiting"
QUANTITIES = (*(quantity.value for quantity in Quantity), REQUESTS_RUNNING, REQUESTS_WAITING)
KV_TOKENS = "kv_tokens"
# The token counters give the other two kinds of work.
WORK = (*(work.value for work in Work if work not in (Work.LIVE_OUTPUT, Work.PREFILLED)), KV_TOKENS)
GENERIC = "generic"  # an engine of which only the config knows the names


class SpecError(ValueError):
    """A spec says something impossible; the message names the key and the nearest valid one."""


class Moves(StrEnum):
    """When a counter advances, in the order of a request's life."""

    AT_ARRIVAL = "at_arrival"  # when a request is accepted or scheduled, before its tokens are computed
    LIVE = "live"  # while the tokens are made
    PREFILL_END = "prefill_end"  # a prompt's tokens at once, when its prefill has ended
    AT_FINISH = "at_finish"  # all of a request's tokens at once, when it ends


class Role(StrEnum):
    """Where a server stands on the way of a request; two of them on one way count the same tokens."""

    ENGINE = "engine"  # computes, and takes requests itself
    WORKER = "worker"  # computes what a frontend hands out
    FRONTEND = "frontend"  # hands requests to workers of its own
    PROXY = "proxy"  # stands in front of any servers


@dataclass(frozen=True, slots=True)
class Candidate:
    """One series set that may carry a quantity. Labels in neither list keep series apart without meaning anything.

    `where` keeps series whose label has one of the values. `sum_over` names labels whose series count different
    things (ranks with requests of their own): they add up. `max_over` names labels whose series count the same
    thing (tensor-parallel ranks): the largest stands for all. `times` names a second metric: each value is multiplied
    by that of the series that agrees in all labels which both have, or by the numbers in its `times_labels`.
    """

    metric: str
    where: tuple[tuple[str, frozenset[str]], ...] = ()
    sum_over: tuple[str, ...] = ()
    max_over: tuple[str, ...] = ()
    moves: Moves = Moves.LIVE
    help_contains: str = ""  # text the HELP line must hold, where a name changed its meaning
    versions: str = ""  # for people: engine versions that offer it
    optional: bool = False  # its absence is normal: it appears when it first counts, or with a setting
    times: str = ""
    times_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JsonField:
    """A string inside a JSON answer of the same server: path and the keys that lead to it."""

    path: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """What is different on one side of prefill/decode disaggregation, so that each token counts once."""

    leave_out: tuple[str, ...] = ()
    quantities: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenSpec:
    """How to read one kind of inference server."""

    engine: str
    title: str
    quantities: Mapping[
        str, tuple[Candidate, ...]
    ]  # by Quantity value or requests_running/_waiting; first offered wins
    role: Role = Role.ENGINE
    summary: str = ""
    versions: str = ""  # for people: versions that this spec is about
    path: str = "/metrics"
    default_ports: tuple[int, ...] = ()
    switch_on: str = ""  # how a person makes the server publish the metrics
    no_tokens: str = ""  # why there are no token counters to read; "" where there are
    instead: str = ""  # what a person can do about `no_tokens`
    recognise: JsonField | None = None  # a server without a metrics page is known by this answer
    detect: tuple[str, ...] = ()  # any of these metrics means this engine; "name_*" is a beginning
    detect_all: tuple[str, ...] = ()  # all of these must be there too
    detect_not: tuple[str, ...] = ()  # none of these may be there
    appears_on_first_request: bool = False  # the series do not exist before the first request
    model_labels: tuple[str, ...] = ()  # the first one a series has names the model
    model_from: JsonField | None = None  # for servers without a model label
    version_from: JsonField | None = None
    work: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)  # by name in WORK; absence is normal
    sides: Mapping[str, Side] = field(default_factory=dict)  # by "prefill" or "decode"
    disaggregated: str = ""  # for people: what the two sides count when prefill and decode are split
    provenance: Mapping[str, str] = field(default_factory=dict)
    traps: tuple[str, ...] = ()

    def metrics(self, quantity: str) -> tuple[str, ...]:
        """Names of the series that may carry `quantity`, in the order they are tried."""
        return tuple(candidate.metric for candidate in self.quantities.get(quantity, ()))

    def on_side(self, side: str) -> TokenSpec:
        """Return the spec for a server that only prefills or only decodes; unchanged where that makes no difference."""
        change = self.sides.get(side)
        if change is None:
            return self
        kept = {name: found for name, found in self.quantities.items() if name not in change.leave_out}
        return replace(self, quantities=MappingProxyType({**kept, **change.quantities}), sides={})


def renamed(spec: TokenSpec, beginnings: Mapping[str, str]) -> TokenSpec:
    """Return a spec of the same series under other names: `beginnings` maps the old start of a name to the new one."""

    def new(name: str) -> str:
        for old, fresh in beginnings.items():
            if name.startswith(old):
                return fresh + name.removeprefix(old)
        return name

    def all_new(quantities: Mapping[str, tuple[Candidate, ...]]) -> Mapping[str, tuple[Candidate, ...]]:
        return MappingProxyType(
            {
                name: tuple(replace(item, metric=new(item.metric), times=new(item.times)) for item in found)
                for name, found in quantities.items()
            }
        )

    return replace(
        spec,
        quantities=all_new(spec.quantities),
        work=all_new(spec.work),
        sides={name: replace(side, quantities=all_new(side.quantities)) for name, side in spec.sides.items()},
        detect=tuple(map(new, spec.detect)),
        detect_all=tuple(map(new, spec.detect_all)),
    )


def check_complete(spec: TokenSpec, where: str) -> None:
    """Require of a spec that ships with tokwatt what detection, `tokwatt sources` and the docs need."""
    needed = ["summary", "versions", "default_ports", "provenance"]
    needed += ["instead"] if spec.no_tokens else ["switch_on", "disaggregated"]
    if spec.recognise is None and not spec.detect_all:
        needed.append("detect")
    for key in needed:
        if not getattr(spec, key):
            raise SpecError(f"{where}.{key}: missing; a built-in spec must have it")
