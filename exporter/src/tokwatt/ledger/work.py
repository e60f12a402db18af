"""Raw work counters of one inference server to monotone totals. Pure: time arrives in the reading."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tokwatt.ledger.tokens import INPUT_ALL, ModelTokens
from tokwatt.readings import ServerReading, Work


class WorkAccount:
    """Totals of one server by kind of work since its first reading; a kind is present once it was read.

    Resets are found per raw series, as for tokens: a series that falls was restarted from zero, so its whole new value
    is new. A fall within a sample's rounding is none: the series waits at its highest value.
    """

    __slots__ = ("_last", "totals")

    def __init__(self) -> None:
        self.totals: dict[Work, float] = {}
        self._last: dict[tuple[Work, str], float] = {}

    def add(self, reading: ServerReading, *, uninterrupted: bool = False) -> None:
        """Take a reading. `uninterrupted`: the last reading is a period ago."""
        joins_at_zero = uninterrupted and reading.series_begin_at_zero
        for sample in reading.work:
            key = (sample.work, sample.series)
            last = self._last.get(key)
            if last is None:
                difference = sample.value if joins_at_zero else 0.0
            elif sample.value >= last:
                difference = sample.value - last
            elif last - sample.value <= sample.rounding:
                continue
            else:
                difference = sample.value
            self._last[key] = sample.value
            self.totals[sample.work] = self.totals.get(sample.work, 0.0) + difference

    def states(self, reading: ServerReading, models: Mapping[str, ModelTokens]) -> Mapping[Work, float]:
        """Copy of the totals, with those that the token counters give: `models` are the token totals at `reading`."""
        found = dict(self.totals)
        outputs = [model.output_tokens for model in models.values() if model.output_tokens is not None]
        if outputs and not reading.output_at_finish:
            found[Work.LIVE_OUTPUT] = math.fsum(outputs)
        inputs = [model.input_tokens or 0.0 for model in models.values() if model.input_kind]
        if inputs and reading.input_by_prefill_end and INPUT_ALL not in {model.input_kind for model in models.values()}:
            found[Work.PREFILLED] = math.fsum(inputs)
        return found
