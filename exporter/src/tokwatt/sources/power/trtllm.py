"""NVIDIA GPUs through trtllm-serve's own `/energy_metrics`: the summed energy counters of the GPUs it computes on.

Owns the options, the spec and the shape of the answer of `source: trtllm`.
Source: NVIDIA/TensorRT-LLM pull request 11855 (tensorrt_llm/serve/openai_server.py).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Final

from tokwatt.quantities import Joules
from tokwatt.readings import (
    Boundary,
    DeviceInfo,
    EnergyCounter,
    Malformed,
    Method,
    PowerReading,
    PowerSourceSpec,
    SourceContext,
    Unavailable,
)
from tokwatt.sources._http import Answer
from tokwatt.sources.power._precision import NVML_COUNTER, declared
from tokwatt.sources.power._web import WebOptions, WebSource

_HINT: Final = "the url must be trtllm-serve's energy page, usually http://HOST:8000/energy_metrics"
_OFF: Final = "start trtllm-serve with enable_energy_metrics: true in its extra LLM API options"
_NOT_ENABLED: Final = "503"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrtllmOptions(WebOptions):
    """Options of `source: trtllm`."""

    url: str = field(default="http://127.0.0.1:8000/energy_metrics", metadata={"help": "trtllm-serve's energy page"})
    device: str | None = field(default=None, metadata={"help": "name of the device; omit: the meter's name"})


class TrtllmSource(WebSource):
    """The GPUs of one trtllm-serve, as one device."""

    def __init__(self, options: TrtllmOptions, context: SourceContext) -> None:
        super().__init__(options, context)
        self._options = options
        self._context = context
        self._meter = context.meter(Boundary.GPU, options.device or context.name, Method.COUNTER)

    async def read(self) -> PowerReading:
        """Read the page once. Raises SourceError subclasses only."""
        try:
            answer, at_seconds = await self._web.get(self._web.url, self.timeout_seconds, switch_on=_OFF)
        except Unavailable as error:
            if _NOT_ENABLED not in error.what:
                raise
            raise Unavailable(error.what, where=error.where, hint=_OFF) from None
        counter = EnergyCounter(self._meter, Joules(self._joules(answer)), at_seconds)
        details = (("address", self._web.where), ("contains", "all GPUs of this server"))
        info = DeviceInfo(
            self._meter, "GPUs of trtllm-serve", details=details, precision=declared(NVML_COUNTER, self._context)
        )
        return PowerReading((counter,), (info,))

    def _joules(self, answer: Answer) -> float:
        try:
            document: Any = json.loads(answer.body)
        except (ValueError, RecursionError):
            raise Malformed("the answer is no JSON", where=self._web.where, hint=_HINT) from None
        value = document.get("total_energy_j") if isinstance(document, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise Malformed(f"total_energy_j is {str(value)[:40]}", where=self._web.where, hint=_HINT)
        if value == 0:
            raise Unavailable("total_energy_j is 0, which is no measurement", where=self._web.where)
        return float(value)


SPEC = PowerSourceSpec(
    name="trtllm",
    summary="the GPUs of a trtllm-serve through its /energy_metrics, where nothing nearer is at hand",
    needs="trtllm-serve (2026-03 or newer) with enable_energy_metrics: true",
    boundaries=(Boundary.GPU,),
    method="counter",
    resolution="1 mJ for each GPU, renewed about every 0.1 s",
    precisions=(("energy counter", NVML_COUNTER),),
    options=TrtllmOptions,
    build=TrtllmSource,
    traps=(
        "One number for all GPUs of the server, without their UUIDs: one device.",
        "Not beside `nvml`, `dcgm` or `triton` on the same GPUs: without a UUID nobody can tell, and it counts twice.",
        "Over several nodes the server scales its own node's energy up: an estimate, not a measurement.",
        "It takes the first visible GPUs of the node: several servers on one node must each see their own GPUs only.",
        "Every frontend process of one server shows the same energy: configure one.",
    ),
)
