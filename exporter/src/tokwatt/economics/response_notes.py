"""Why cost or energy per response is absent, and what to configure. Pure."""

from __future__ import annotations

from tokwatt.economics.books import Books
from tokwatt.economics.plan import ServerPlan
from tokwatt.readings import Quantity
from tokwatt.snapshot import Given


def response_notes(books: Books, server: ServerPlan) -> tuple[str, ...]:
    """Explain what a server's response figures lack; nothing where no entry asks for them."""
    response = server.response
    if response is None:
        return ()
    notes: list[str] = []
    if not response.meaningful and _counts_no_responses(books, server.name):
        notes.append(
            "it counts no finished requests, so cost and energy per response are absent: "
            "name the application's own counter in `responses[].meaningful`"
        )
    shared = any(
        other.response is not None and not {*response.support}.isdisjoint(other.response.support)
        for other in books.plan.servers
        if other.name != server.name
    )
    if shared and response.meaningful and _counts_no_responses(books, server.name):
        notes.append("it counts no finished requests, so the work of a shared support server cannot be divided")
    for helper in response.support:
        notes += _lacking(books, server, helper)
    return tuple(notes)


def _counts_no_responses(books: Books, name: str) -> bool:
    """Whether a server was read and offers no counter of requests that ended well."""
    ledger = books.ledger.servers.get(name)
    if ledger is None or ledger.last_read is None:
        return False
    return not any(Quantity.REQUESTS_SUCCESS in model.counted for model in ledger.account.models.values())


def _lacking(books: Books, server: ServerPlan, helper: str) -> list[str]:
    if helper not in books.accounts:
        return []
    priced = books.plan.prices.electricity_dollars_per_joule is not None and books.energy_basis(helper) is not None
    notes = []
    if not priced and books.accounts[helper].plan.capacity is None:
        notes.append(f"support server {helper} has no price, so cost per response is absent: set its `capacity`")
    notes += [
        f"support server {helper} has no measured {boundary} energy, so joules per response are absent at that boundary"
        for boundary in (Given.GPU, Given.HOST)
        if books.attribution.keys(server.name, boundary) and not books.attribution.keys(helper, boundary)
    ]
    return notes
