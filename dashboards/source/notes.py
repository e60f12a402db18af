"""The text behind the (i) of a panel: the same five questions for every number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """Answers about one panel. An empty answer is a question that does not apply."""

    what: str
    wrong: str  # what to do when it looks wrong
    per: str = ""  # the denominator
    boundary: str = ""
    window: str = ""

    def markdown(self) -> str:
        """Return Grafana's description."""
        answers = (
            ("", self.what),
            ("**Divided by:** ", self.per),
            ("**Boundary:** ", self.boundary),
            ("**Window:** ", self.window),
            ("**Looks wrong?** ", self.wrong),
        )
        return "\n\n".join(f"{title}{text}" for title, text in answers if text)


# Answers that many panels share.
CHOSEN = (
    "the one chosen at the top (gpu: GPU boards; host: whole machines, GPUs included; facility: outlets, or hosts "
    "times PUE). "
    "They contain each other: never add them."
)
LIVE = "the exporter's live window (`window_seconds`, 60 s unless configured), as it is now."
NOW = "the newest rate interval (four scrapes), as it is now."
POINT = "each point covers one rate interval (at least four scrapes)."
RANGE = "the time range chosen in Grafana."
ABSENT = "Empty means not measured, never zero: see coverage and sources."
UNPRICED = "Empty: no price is configured (`prices:`)."
WIDEST = (
    "energy dollars are taken at the widest measured boundary, times PUE (outlets: outlet_pue), "
    "whatever boundary is chosen."
)
