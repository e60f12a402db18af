"""A simulated meter that follows what the slots of a real llama.cpp server do, and what prefill and decode truly took.

A request's stream says what its slot does: the server reports when a prompt begins, and its first token ends the
prefill. That is finer than any page of the server, which answers between two steps only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from tokwatt.readings import Clock
from tokwatt.simulate.meters import LiveEnergy

IDLE_WATTS = 30.0
PREFILL_WATTS = 110.0  # of a step that holds prompt tokens, beyond idle: it computes
DECODE_WATTS = 50.0  # of a step that only decodes: it reads the weights
SEQUENCE_WATTS = 8.0  # of each further sequence that decodes
BESIDE_WATTS = 4.0  # of each sequence that decodes beside a prefill
LIMIT_WATTS = 200.0


def watts_of(prefilling: int, decoding: int) -> float:
    """Power of the device, by slots."""
    if prefilling:
        return IDLE_WATTS + PREFILL_WATTS + BESIDE_WATTS * decoding
    return IDLE_WATTS + (DECODE_WATTS + SEQUENCE_WATTS * (decoding - 1) if decoding else 0.0)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch in which no slot began or ended anything."""

    start_seconds: float
    end_seconds: float
    prefilling: int
    decoding: int
    decoded_tokens: int  # by the slots that decode

    @property
    def seconds(self) -> float:
        return self.end_seconds - self.start_seconds

    @property
    def joules(self) -> float:
        return self.seconds * watts_of(self.prefilling, self.decoding)

    def within(self, start_seconds: float, end_seconds: float) -> Piece | None:
        """Its part in another stretch."""
        start, end = max(self.start_seconds, start_seconds), min(self.end_seconds, end_seconds)
        return Piece(start, end, self.prefilling, self.decoding, self.decoded_tokens) if start < end else None


@dataclass(frozen=True, slots=True)
class Truth:
    """Joules by Shapley's convention, and what was idle."""

    prefill: float = 0.0
    decode: float = 0.0
    idle: float = 0.0

    @property
    def share(self) -> float:
        """Prefill's share of busy energy."""
        return self.prefill / (self.prefill + self.decode)


class Slots:
    """What the slots do now and did before. Drives `energy`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.energy = LiveEnergy(IDLE_WATTS, start_seconds=clock())
        self.pieces: list[Piece] = []
        self._since = clock()
        self._prefilling = self._decoding = self._decoded = 0
        self.prompts: Counter[int] = Counter()

    def change(self, prefilling: int = 0, decoding: int = 0) -> None:
        """A slot begins (+1) or ends (-1) a phase."""
        now = self._clock()
        self.pieces.append(Piece(self._since, now, self._prefilling, self._decoding, self._decoded))
        self._prefilling += prefilling
        self._decoding += decoding
        self._since, self._decoded = now, 0
        self.energy.set_watts(now, watts_of(self._prefilling, self._decoding))

    def decoded(self) -> None:
        """A slot made a token."""
        self._decoded += 1

    async def complete(self, session: aiohttp.ClientSession, url: str, prompt: str, tokens: int) -> None:
        """Stream one answer of that many tokens. It must find a free slot. Raises aiohttp.ClientError."""
        body = {
            "prompt": prompt,
            "n_predict": tokens,
            "ignore_eos": True,
            "cache_prompt": False,
            "stream": True,
            "return_progress": True,
        }
        phase = ""
        try:
            async with session.post(f"{url}/completion", json=body) as response:
                response.raise_for_status()
                async for chunk in _chunks(response):
                    if chunk.get("prompt_progress") is not None:
                        if not phase:
                            phase = "prefill"
                            self.change(prefilling=1)
                    elif phase == "prefill":
                        phase = "decode"
                        self.change(prefilling=-1, decoding=1)
                    elif not chunk.get("stop"):
                        self.decoded()
                    else:
                        self.prompts[int(chunk["timings"]["prompt_n"])] += 1
        finally:
            self.change(prefilling=-(phase == "prefill"), decoding=-(phase == "decode"))

    @property
    def prompt_tokens(self) -> int:
        """Computed for all answered requests."""
        return sum(length * times for length, times in self.prompts.items())

    def truth(self, stretches: Sequence[tuple[float, float]]) -> Truth:
        """Joules in some stretches, by the paces of this server over its whole life."""
        paces = _paces(self.pieces, self.prompt_tokens)
        parts = [
            _part(cut, piece, paces)
            for start, end in stretches
            for piece in self.pieces
            if (cut := piece.within(start, end)) is not None
        ]
        return Truth(*(sum(getattr(part, name) for part in parts) for name in ("prefill", "decode", "idle")))


async def _chunks(response: aiohttp.ClientResponse) -> Any:
    async for line in response.content:
        if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
            yield json.loads(line[6:])


@dataclass(frozen=True, slots=True)
class _Paces:
    prefill_token_seconds: float
    decode_step_seconds: dict[int, float]  # by sequences in the step

    def step_seconds(self, sequences: int) -> float:
        return self.decode_step_seconds[min(self.decode_step_seconds, key=lambda known: abs(known - sequences))]


def _paces(pieces: Sequence[Piece], prompt_tokens: int) -> _Paces:
    seconds, steps = Counter[int](), Counter[int]()
    beside, prefill_seconds = 0, 0.0
    for piece in pieces:
        if piece.prefilling:
            prefill_seconds += piece.seconds
            beside += piece.decoded_tokens
        elif piece.decoding:
            seconds[piece.decoding] += piece.seconds
            steps[piece.decoding] += piece.decoded_tokens / piece.decoding
    return _Paces(
        prefill_seconds / max(1, prompt_tokens + beside),
        {sequences: seconds[sequences] / count for sequences, count in steps.items() if count >= 10},
    )


def _part(cut: Piece, whole: Piece, paces: _Paces) -> Truth:
    """Shapley: prefill's energy of a step is half-way between what it adds and what it would cost alone."""
    if not cut.prefilling:
        return Truth(decode=cut.joules) if cut.decoding else Truth(idle=cut.joules)
    if not cut.decoding:
        return Truth(prefill=cut.joules)
    tokens = whole.decoded_tokens * cut.seconds / whole.seconds
    alone_seconds = max(0.0, cut.seconds - tokens * paces.prefill_token_seconds)
    prefill_alone = alone_seconds * watts_of(cut.prefilling, 0)
    steps = tokens / cut.decoding
    decode_alone = min(cut.joules, steps * paces.step_seconds(cut.decoding) * watts_of(0, cut.decoding))
    prefill = (prefill_alone + cut.joules - decode_alone) / 2
    return Truth(prefill, cut.joules - prefill)
