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


def counted_again(
    specs_in_use: Mapping[str, TokenSpec], separate: Collection[str] = ()
) -> Mapping[str, tuple[str, ...]]:
    """Map each server that counts again what others count to those others; empty is fine.

    `separate` names the servers of which a person says that their requests reach no other server of the configuration.
    """
    found = {}
    for name, spec in specs_in_use.items():
        again = _COUNTS_AGAIN.get(spec.role, frozenset())
        behind = tuple(other for other, its in specs_in_use.items() if its.role in again and other not in separate)
        if behind and name not in separate:
            found[name] = behind
    return MappingProxyType(found)


def double_counting(specs_in_use: Mapping[str, TokenSpec], separate: Collection[str] = ()) -> tuple[str, ...]:
    """Say the same in sentences, one for each server that counts again what others count; () is fine."""
    return tuple(
        f"server {name} ({specs_in_use[name].title}) stands in front of others and counts again what "
        f"{' and '.join(behind)} count{'s' if len(behind) == 1 else ''}: their tokens are in two rows"
        for name, behind in counted_again(specs_in_use, separate).items()
    )
