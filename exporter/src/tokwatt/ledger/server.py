"""Books of one inference server: its totals and its timeline. Pure: time arrives in the reading."""

from __future__ import annotations

from collections.abc import Mapping

from tokwatt.ledger.timeline import Cut, Timeline
from tokwatt.ledger.tokens import TokenAccount
from tokwatt.ledger.work import WorkAccount
from tokwatt.readings import Quantity, ServerReading, Work


class ServerLedger:
    """Turns readings and missed readings of one server into totals and cuts."""

    __slots__ = (
        "account",
        "gap_seconds",
        "last_model",
        "last_read",
        "last_work",
        "max_gap_seconds",
        "timeline",
        "work",
    )

    def __init__(self, max_gap_seconds: float) -> None:
        self.max_gap_seconds = max_gap_seconds
        self.account = TokenAccount()
        self.work = WorkAccount()
        self.timeline = Timeline()
        self.last_read: ServerReading | None = None
        self.last_work: Mapping[Work, float] = {}  # totals at the last reading
        self.last_model = ""
        self.gap_seconds = 0.0

    def add(self, reading: ServerReading) -> bool:
        """Take a successful reading. False if it was ignored because it is not newer than the last cut."""
        end = self.timeline.end_seconds
        if end is not None and reading.at_seconds <= end:
            return False
        previous = self.last_read
        missed_between = previous is not None and end is not None and end > previous.at_seconds
        gap = previous is not None and reading.at_seconds - previous.at_seconds > self.max_gap_seconds
        uninterrupted = previous is not None and not missed_between and not gap
        moved = self.account.add(reading, uninterrupted=uninterrupted)
        self.work.add(reading, uninterrupted=uninterrupted)
        models = {sample.model for sample in reading.counters}
        self.last_model = models.pop() if len(models) == 1 else ""
        self.last_work = self.work.states(reading, self.account.models)
        at_rest = _at_rest(reading)
        idle = previous is not None and not moved and not missed_between and _at_rest(previous) and at_rest
        if previous is not None and gap:
            self.gap_seconds += reading.at_seconds - previous.at_seconds
            idle = False
        self.timeline.append(
            Cut(
                at_seconds=reading.at_seconds,
                read=True,
                idle=idle,
                model=self.last_model,
                tokens=self.account.states(),
                uncertainty_seconds=reading.uncertainty_seconds,
                edge=not reading.output_at_finish or at_rest or Quantity.OUTPUT in moved,
                in_flight=(reading.requests_running or 0.0) if reading.output_at_finish else None,
                work=self.last_work,
                kv_tokens=reading.kv_tokens,
                running=reading.requests_running,
                waiting=reading.requests_waiting,
            )
        )
        self.last_read = reading
        return True

    def miss(self, at_seconds: float) -> None:
        """Record that the server did not answer: time goes on and its energy still counts."""
        self.timeline.append(Cut(at_seconds=at_seconds, read=False, idle=False, model=self.last_model, tokens={}))


def _at_rest(reading: ServerReading) -> bool:
    """No request runs or waits; a server that does not say how many run is never known to be at rest."""
    return reading.requests_running == 0 and reading.requests_waiting in (0, None)
