"""Which splitter a server gets. Pure."""

from __future__ import annotations

from tokwatt.economics.phases.none import NoSplit
from tokwatt.economics.phases.split import Splitter
from tokwatt.economics.plan import ServerPlan


def splitter_of(_: ServerPlan) -> Splitter:
    """Build the splitter that a server's role and configured method ask for."""
    return NoSplit()
