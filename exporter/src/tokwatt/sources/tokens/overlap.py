"""Tells when two configured servers would count the same tokens: a frontend and its workers, a proxy and its engines.

Pure: it knows roles only, not who really sends requests to whom. A person may say that two are unrelated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from tokwatt.sources.tokens._spec import Role, TokenSpec

# a server of this role counts again what servers of those roles count
_COUNTS_AGAIN: Mapping[Role, frozenset[Role]] = MappingProxyType(
    {
        Role.FRONTEND: frozenset({Role.WORKER}),
        Role.PROXY: frozenset({Role.ENGINE, Role.WORKER, Role.FRONTEND}),
    }
)


def double_counting(specs_in_use: Mapping[str, TokenSpec], separate: Collection[str] = ()) -> tuple[str, ...]:
    """Return one message for each server that counts again what others count; () is fine.

    `separate` names the servers of which a person says that their requests reach no other server of the configuration.
    """
    messages = []
    for name, spec in specs_in_use.items():
        behind = [
            other
            for other, its in specs_in_use.items()
            if its.role in _COUNTS_AGAIN.get(spec.role, ()) and other not in separate
        ]
        if behind and name not in separate:
            counts, them = ("counts", "that") if len(behind) == 1 else ("count", "those")
            messages.append(
                f"server {name} ({spec.title}) stands in front of others, so it counts again what "
                f"{' and '.join(behind)} {counts}: remove it and keep {them} beside the GPUs, "
                "or say that its requests go elsewhere"
            )
    return tuple(messages)
