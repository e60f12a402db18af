"""Which method splits a server. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from tokwatt.economics.phases.fit import FitSplitter
from tokwatt.economics.phases.model import Engine
from tokwatt.economics.phases.simple import NoSplitter, RoleSplitter, WeightsSplitter
from tokwatt.economics.phases.split import Splitter

SLOTS_UNKNOWN: Final = 0.4  # by recordings of a real server: docs/phases.md
STEPS_UNKNOWN: Final = 0.3  # where steps are inferred on an engine that mixes: on simulated machines, docs/phases.md
METHODS: Final = ("counters", "fit", "weights", "none")

# What an engine does whatever its configuration; the rest mixes prompts and decoding, and counts prompts at the end.
ENGINES: Final[Mapping[str, Engine]] = MappingProxyType(
    {
        **dict.fromkeys(("sglang", "dynamo_sglang", "ray_sglang"), Engine(mixes=False, live_prompts=True)),
        "tgi": Engine(mixes=False),
        # Prompts are counted batch by batch and shown with the next output of any slot; slots that prefill count as
        # decoding, and a step's time hangs on the kernel that its batch size picks.
        "llamacpp": Engine(live_prompts=True, unknown=SLOTS_UNKNOWN),
    }
)


@dataclass(frozen=True, slots=True)
class Offers:
    """What a server's ticks hold."""

    tokens: bool  # prompt and decoded tokens, both live or nearly so
    phase_seconds: bool = False  # Tick.prefill_seconds and decode_seconds
    steps: bool = True  # counted by the engine, not inferred from the requests that run


def choose(
    *,
    role: str = "both",
    method: str | None = None,
    decode_per_prefill: float | None = None,
    engine: str = "",
    limit_watts: float | None = None,
    chunk_tokens: float | None = None,
    offers: Offers,
) -> Splitter:
    """The splitter of one server.

    Args:
        role: of the server: both, prefill, decode, support.
        method: configured one of METHODS; None: the best that the server offers.
        decode_per_prefill: the user's ratio of energy per token, for `weights`.
        engine: name of its spec; tells whether it mixes prompts and decoding in a step.
        limit_watts: power limit of its GPUs together, where known.
        chunk_tokens: prompt tokens of one step, where configured.
        offers: what its ticks hold.

    Raises:
        ValueError: `weights` without a ratio, or a method of another name.
    """
    if role in ("prefill", "decode"):
        return RoleSplitter(role)
    if role == "support":
        return NoSplitter("support servers (guardrails, embeddings) are not split into phases")
    if method == "none":
        return NoSplitter("the configuration asks for no split")
    if method == "weights":
        if decode_per_prefill is None:
            raise ValueError("the method `weights` needs the ratio of decode to prefill energy per token")
        return WeightsSplitter(decode_per_prefill)
    if method not in (None, *METHODS):
        raise ValueError(f"unknown phase method {method!r}; known are {', '.join(METHODS)}")
    return _fitted(method, engine, limit_watts, chunk_tokens, offers)


def _fitted(
    method: str | None, engine: str, limit_watts: float | None, chunk_tokens: float | None, offers: Offers
) -> Splitter:
    if not offers.tokens:
        return NoSplitter("this server does not count prompt and output tokens while it runs")
    if method == "counters" and not offers.phase_seconds:
        return NoSplitter("this server does not count the seconds of each phase; use the method `fit`")
    known = ENGINES.get(engine, Engine())
    counted = offers.phase_seconds and method != "fit"
    guessed = known.mixes and not offers.steps and not counted
    unknown = max(known.unknown, STEPS_UNKNOWN) if guessed else known.unknown
    chunk = chunk_tokens or known.chunk
    return FitSplitter(replace(known, chunk=chunk, limit_watts=limit_watts, counted=counted, unknown=unknown))
