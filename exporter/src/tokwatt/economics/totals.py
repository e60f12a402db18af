"""Running totals of what a server was given and what it cost. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tokwatt.quantities import Dollars, Joules
from tokwatt.snapshot import Aside, Component, Given, Phase, PhaseTotals


@dataclass(slots=True)
class PhaseAccount:
    """Joules, dollars and what goes with them of one phase of one model."""

    joules: dict[Given, Joules] = field(default_factory=dict)
    dollars: dict[Component, Dollars] = field(default_factory=dict)
    aside: dict[Aside, float] = field(default_factory=dict)


class ServerTotals:
    """Joules and dollars of one server by model and phase; they only grow."""

    __slots__ = ("_accounts",)

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, Phase], PhaseAccount] = {}

    def _account(self, model: str, phase: Phase) -> PhaseAccount:
        key = (model, phase)
        if key not in self._accounts:
            self._accounts[key] = PhaseAccount()
        return self._accounts[key]

    def open(
        self,
        model: str,
        phases: Iterable[Phase],
        boundaries: Iterable[Given],
        components: Iterable[Component],
        asides: Iterable[Aside] = (),
    ) -> None:
        """Begin the rows of a model at 0, so that a `rate()` over them misses nothing of their first interval."""
        for phase in phases:
            account = self._account(model, phase)
            for boundary in boundaries:
                account.joules.setdefault(boundary, Joules(0))
            for component in components:
                account.dollars.setdefault(component, Dollars(0))
            for aside in asides:
                account.aside.setdefault(aside, 0.0)

    def give(self, boundary: Given, model: str, phase: Phase, joules: Joules) -> None:
        """Add energy of a boundary."""
        account = self._account(model, phase).joules
        account[boundary] = account.get(boundary, Joules(0)) + joules

    def charge(self, component: Component, model: str, phase: Phase, dollars: Dollars) -> None:
        """Add cost of a component."""
        account = self._account(model, phase).dollars
        account[component] = account.get(component, Dollars(0)) + dollars

    def note(self, aside: Aside, model: str, phase: Phase, amount: float) -> None:
        """Add to what is counted beside the cost."""
        account = self._account(model, phase).aside
        account[aside] = account.get(aside, 0.0) + amount

    def rows(self) -> tuple[PhaseTotals, ...]:
        """Return immutable copies, one per model and phase."""
        return tuple(
            PhaseTotals(model, phase, dict(account.joules), dict(account.dollars), dict(account.aside))
            for (model, phase), account in sorted(self._accounts.items())
        )

    def joules(self, boundary: Given) -> Joules:
        """All energy of a boundary given to this server."""
        return sum((account.joules.get(boundary, Joules(0)) for account in self._accounts.values()), Joules(0))
