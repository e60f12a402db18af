"""The public door to the spec of an inference server; what lies behind it is `_spec` and `_spec_form`."""

from tokwatt.sources.tokens._spec import (
    GENERIC,
    Candidate,
    JsonField,
    Moves,
    Role,
    SpecError,
    TokenSpec,
    check_complete,
)
from tokwatt.sources.tokens._spec_form import spec_from_mapping

__all__ = [
    "GENERIC",
    "Candidate",
    "JsonField",
    "Moves",
    "Role",
    "SpecError",
    "TokenSpec",
    "check_complete",
    "spec_from_mapping",
]
