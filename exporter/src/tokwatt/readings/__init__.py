"""What a source hands over: readings in base units with the monotonic instant they hold for.

Owns the vocabulary between `sources/` and the rest. Does no I/O and reads no clock.
`None` means "this source does not offer it"; an absent item means "not read"; 0 is always a measurement.
"""

from __future__ import annotations

from tokwatt.readings.counts import (
    CountReading,
    CountSample,
)
from tokwatt.readings.errors import (
    DeviceLost,
    DuplicateDevice,
    Malformed,
    Refused,
    SourceError,
    TimedOut,
    Unavailable,
)
from tokwatt.readings.meters import (
    Boundary,
    DeviceFailure,
    DeviceInfo,
    EnergyCounter,
    EnergyReading,
    Fidelity,
    Meter,
    Method,
    PowerReading,
    PowerSample,
    Precision,
    fidelity_of,
)
from tokwatt.readings.owners import (
    GpuHold,
    OwnersReading,
    ServerGpus,
)
from tokwatt.readings.prices import (
    PriceReading,
    PriceStep,
)
from tokwatt.readings.servers import (
    CounterSample,
    Quantity,
    ServerReading,
    Work,
    WorkSample,
)
from tokwatt.readings.sources import (
    Clock,
    CountSource,
    KeyedSourceSpec,
    OwnerContext,
    OwnerSource,
    OwnerSourceSpec,
    PowerSource,
    PowerSourceSpec,
    PriceSource,
    Source,
    SourceContext,
    SourceSpec,
    TokenSource,
)

__all__ = [
    "Boundary",
    "Clock",
    "CountReading",
    "CountSample",
    "CountSource",
    "CounterSample",
    "DeviceFailure",
    "DeviceInfo",
    "DeviceLost",
    "DuplicateDevice",
    "EnergyCounter",
    "EnergyReading",
    "Fidelity",
    "GpuHold",
    "KeyedSourceSpec",
    "Malformed",
    "Meter",
    "Method",
    "OwnerContext",
    "OwnerSource",
    "OwnerSourceSpec",
    "OwnersReading",
    "PowerReading",
    "PowerSample",
    "PowerSource",
    "PowerSourceSpec",
    "Precision",
    "PriceReading",
    "PriceSource",
    "PriceStep",
    "Quantity",
    "Refused",
    "ServerGpus",
    "ServerReading",
    "Source",
    "SourceContext",
    "SourceError",
    "SourceSpec",
    "TimedOut",
    "TokenSource",
    "Unavailable",
    "Work",
    "WorkSample",
    "fidelity_of",
]
