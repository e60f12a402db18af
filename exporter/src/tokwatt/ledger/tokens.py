"""Raw counters of one inference server to monotone totals per model. Pure: time arrives in the reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tokwatt.quantities import Tokens
from tokwatt.readings import Quantity, ServerReading

INPUT_COMPUTED = "computed"
INPUT_ALL = "all"


@dataclass(slots=True)
class ModelTokens:
    """Running totals of one model; a quantity is present once its counter was read."""

    counted: dict[Quantity, float] = field(default_factory=dict)
    computed_by_difference: float = 0.0

    @property
    def input_kind(self) -> str:
        """What `input_tokens` holds: "computed", "all" if cached tokens cannot be told apart, "" if not offered."""
        if Quantity.COMPUTED_INPUT in self.counted:
            return INPUT_COMPUTED
        if Quantity.PROMPT not in self.counted:
            return ""
        return INPUT_COMPUTED if Quantity.CACHED_INPUT in self.counted else INPUT_ALL

    @property
    def input_tokens(self) -> Tokens | None:
        """Prompt tokens really computed; all prompt tokens where `input_kind` is "all"."""
        if Quantity.COMPUTED_INPUT in self.counted:
            return Tokens(self.counted[Quantity.COMPUTED_INPUT])
        if Quantity.PROMPT not in self.counted:
            return None
        if Quantity.CACHED_INPUT not in self.counted:
            return Tokens(self.counted[Quantity.PROMPT])
        return Tokens(self.computed_by_difference)

    @property
    def cached_input_tokens(self) -> Tokens | None:
        """Prompt tokens served from a prefix cache."""
        return self._tokens(Quantity.CACHED_INPUT)

    @property
    def output_tokens(self) -> Tokens | None:
        """Generated tokens."""
        return self._tokens(Quantity.OUTPUT)

    def _tokens(self, quantity: Quantity) -> Tokens | None:
        counted = self.counted.get(quantity)
        return None if counted is None else Tokens(counted)


@dataclass(frozen=True, slots=True)
class TokenState:
    """Immutable copy of one model's totals at one reading: what windows subtract."""

    input_tokens: Tokens | None
    output_tokens: Tokens | None
    responses: float | None = None  # requests that ended well


class TokenAccount:
    """Totals of one server since its first reading.

    Resets are found per raw series: a restarted rank must not look like a restart of the sum. A series that falls was
    restarted from zero, so its whole new value is new. The first value of any series is its baseline and adds nothing,
    but for engines that show a series only once it counted: there a series that joins between two reads began at zero.
    """

    __slots__ = ("_last", "models", "resets")

    def __init__(self) -> None:
        self.models: dict[str, ModelTokens] = {}
        self.resets = 0
        self._last: dict[str, float] = {}

    def add(self, reading: ServerReading, *, uninterrupted: bool = False) -> frozenset[Quantity]:
        """Take a reading; returns the quantities that moved. `uninterrupted`: the last reading is a period ago."""
        joins_at_zero = uninterrupted and reading.series_begin_at_zero
        moved: set[Quantity] = set()
        reset = False
        for sample in reading.counters:
            model = self.models.get(sample.model)
            if model is None:
                model = self.models[sample.model] = ModelTokens()
            last = self._last.get(sample.series)
            self._last[sample.series] = sample.value
            if last is None:
                difference = sample.value if joins_at_zero else 0.0
            elif sample.value >= last:
                difference = sample.value - last
            else:
                difference = sample.value
                reset = True
            if difference > 0 or (last is not None and sample.value < last):
                moved.add(sample.quantity)
            model.counted[sample.quantity] = model.counted.get(sample.quantity, 0.0) + difference
        for model in self.models.values():
            # Cached tokens may be counted before the prompt they belong to (vLLM counts hits when it schedules, prompts
            # at the first token), so the difference can dip for a moment; a total must not.
            difference = model.counted.get(Quantity.PROMPT, 0.0) - model.counted.get(Quantity.CACHED_INPUT, 0.0)
            model.computed_by_difference = max(model.computed_by_difference, difference)
        self.resets += reset
        return frozenset(moved)

    def states(self) -> Mapping[str, TokenState]:
        """Copy of the totals by model."""
        return {
            name: TokenState(model.input_tokens, model.output_tokens, model.counted.get(Quantity.REQUESTS_SUCCESS))
            for name, model in self.models.items()
        }
