"""One row per metric family: name, type, labels, help, and where its samples come from in a Snapshot.

Docs, dashboards checks and the exposition are made from these rows. Names and meanings are API (docs/metrics.md).
"""

from __future__ import annotations

from typing import Final

from tokwatt.metrics.catalogue_counted import COUNTED
from tokwatt.metrics.catalogue_live import LIVE
from tokwatt.metrics.catalogue_load import LOAD
from tokwatt.metrics.catalogue_state import STATE
from tokwatt.metrics.family import Family

CATALOGUE: Final[tuple[Family, ...]] = (*COUNTED, *LOAD, *LIVE, *STATE)
