"""Books to the economic part of a Snapshot. Pure."""

from __future__ import annotations

from tokwatt.economics.attribution import GIVEN_OF
from tokwatt.economics.books import Books
from tokwatt.economics.live import live_window
from tokwatt.economics.phases.live import phase_live
from tokwatt.economics.plan import ServerPlan
from tokwatt.ledger.tokens import INPUT_ALL, INPUT_COMPUTED, ModelTokens
from tokwatt.readings import Quantity, ServerReading
from tokwatt.snapshot import Given, MeterTotal, PriceSnapshot, ServerSnapshot, TokenTotals

OUTCOME_OF = (
    ("success", Quantity.REQUESTS_SUCCESS),
    ("error", Quantity.REQUESTS_ERROR),
    ("abort", Quantity.REQUESTS_ABORT),
)


def server_snapshots(books: Books, now_seconds: float) -> tuple[ServerSnapshot, ...]:
    """One row per configured server."""
    return tuple(_server(books, server, now_seconds) for server in books.plan.servers)


def meter_totals(books: Books) -> tuple[MeterTotal, ...]:
    """One row per measured device. Given + unattributed = measured, by construction."""
    rows = []
    for key, total in books.attribution.devices.items():
        meter = books.ledger.curves[key].meter
        unattributed = total.unattributed_joules if key[0] in GIVEN_OF else None
        rows.append(MeterTotal(meter, total.joules, unattributed))
    return tuple(rows)


def price_snapshot(books: Books) -> PriceSnapshot:
    """Prices in force."""
    prices = books.plan.prices
    return PriceSnapshot(prices.electricity_dollars_per_joule, prices.pue)


def _server(books: Books, server: ServerPlan, now_seconds: float) -> ServerSnapshot:
    ledger = books.ledger.servers.get(server.name)
    reading = ledger.last_read if ledger else None
    answered = reading is not None and ledger is not None and ledger.timeline.end_seconds == reading.at_seconds
    models = ledger.account.models if ledger else {}
    return ServerSnapshot(
        name=server.name,
        engine=reading.engine if reading else "",
        engine_version=reading.engine_version if reading else "",
        role=server.role,
        input_kind=_input_kind(list(models.values())),
        output_kind=_output_kind(reading),
        labels=dict(server.labels),
        simulated=server.simulated,
        tokens=tuple(_tokens(name, model) for name, model in sorted(models.items())),
        phases=books.accounts[server.name].totals.rows(),
        window=live_window(books, server.name, now_seconds),
        requests_running=reading.requests_running if reading and answered else None,
        requests_waiting=reading.requests_waiting if reading and answered else None,
        capacity_dollars_per_second=books.capacity_dollars_per_second(server.name),
        capacity_includes_electricity=bool(server.capacity and server.capacity.includes_electricity),
        phase_method=books.accounts[server.name].phases.splitter.method,
        phase_live=phase_live(books, server.name, now_seconds),
        notes=_notes(books, server),
        load=books.accounts[server.name].load.totals if books.plan.load_distribution else None,
    )


def _input_kind(models: list[ModelTokens]) -> str:
    kinds = {model.input_kind for model in models} - {""}
    if not kinds:
        return ""
    return INPUT_ALL if INPUT_ALL in kinds else INPUT_COMPUTED


def _output_kind(reading: ServerReading | None) -> str:
    if reading is None:
        return ""
    return "at_finish" if reading.output_at_finish else "live"


def _tokens(name: str, model: ModelTokens) -> TokenTotals:
    requests = {outcome: model.counted[quantity] for outcome, quantity in OUTCOME_OF if quantity in model.counted}
    return TokenTotals(name, model.input_tokens, model.cached_input_tokens, model.output_tokens, requests)


def _notes(books: Books, server: ServerPlan) -> tuple[str, ...]:
    """Explain what is absent, and what to configure."""
    notes = [
        f"{name} is configured but no meter shows it"
        for name in books.attribution.ownership.unknown.get(server.name, ())
    ]
    gpus = books.attribution.keys(server.name, Given.GPU)
    hosts = books.attribution.keys(server.name, Given.HOST)
    if not gpus and not hosts:
        notes.append("no measured energy: it owns no GPU and shares no host meter, so tokens per joule are absent")
    if not gpus and len(hosts) == 1 and len(books.attribution.ownership.claimants(*hosts[0])) > 1:
        notes.append("it shares a host with other servers but owns no GPU, so no rule gives it host energy: set `gpus`")
    unsplit = books.accounts[server.name].phases.splitter.reason
    if unsplit:
        notes.append(f"energy is not split between prefill and decode: {unsplit}")
    if server.capacity is None and books.plan.prices.electricity_dollars_per_joule is None:
        notes.append("no price is configured, so tokens per dollar are absent: set `prices`")
    elif server.capacity is None:
        notes.append("no capacity price is configured: dollars are electricity alone")
    return tuple(notes)
