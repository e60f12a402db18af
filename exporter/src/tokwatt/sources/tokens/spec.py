"""The public door to the spec of an inference server; what lies behind it is `_spec`."""

from tokwatt.sources.tokens._spec import (
    GENERIC,
    Candidate,
    JsonField,
    Moves,
    SpecError,
    TokenSpec,
    check_complete,
    spec_from_mapping,
)

__all__ = [
    "GENERIC",
    "Candidate",
    "JsonField",
    "Moves",
    "SpecError",
    "TokenSpec",
    "check_complete",
    "spec_from_mapping",
]
