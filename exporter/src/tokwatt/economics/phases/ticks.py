"""Two neighbouring cuts of a server's timeline to the tick that a splitter is given. Pure."""

from __future__ import annotations

from tokwatt.economics.phases.split import Tick
from tokwatt.ledger.timeline import Cut


def tick_of(before: Cut, cut: Cut, joules: float | None) -> Tick:
    """Describe the work between two cuts. `joules`: energy of the same instants, None where it is not known."""
    return Tick(
        start_seconds=before.at_seconds,
        end_seconds=cut.at_seconds,
        read=before.read and cut.read,
        idle=cut.idle,
        joules=joules,
    )
