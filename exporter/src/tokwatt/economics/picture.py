"""Books to the economic part of a Snapshot. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tokwatt.economics.attribution import GIVEN_OF
from tokwatt.economics.books import Books
from tokwatt.economics.host_rest import HostRest, host_rest
from tokwatt.economics.live import live_window
from tokwatt.economics.ownership import Ownership
from tokwatt.economics.phases.live import phase_live
from tokwatt.economics.plan import GpuRule, ServerPlan
from tokwatt.economics.response_notes import response_notes
from tokwatt.ledger.ledger import DeviceKey
from tokwatt.ledger.tokens import INPUT_ALL, INPUT_COMPUTED, ModelTokens
from tokwatt.readings import Boundary, Meter, Method, Quantity, ServerReading
from tokwatt.snapshot import Given, MeterTotal, OwnedGpu, PriceSnapshot, ServerSnapshot, TokenTotals

OUTCOME_OF = (
    ("success", Quantity.REQUESTS_SUCCESS),
    ("error", Quantity.REQUESTS_ERROR),
    ("abort", Quantity.REQUESTS_ABORT),
)


def server_snapshots(
    books: Books, now_seconds: float, down: frozenset[str] = frozenset()
) -> tuple[ServerSnapshot, ...]:
    """One row per configured server. `down`: power sources that do not answer at present."""
    rests = _host_rests(books, now_seconds, down)
    return tuple(_server(books, server, now_seconds, rests) for server in books.plan.servers)


def meter_totals(books: Books, now_seconds: float = 0.0, down: frozenset[str] = frozenset()) -> tuple[MeterTotal, ...]:
    """One row per measured device. Given + unattributed = measured, by construction."""
    rests = _host_rests(books, now_seconds, down)
    rows = []
    for key, total in books.attribution.devices.items():
        unattributed = total.unattributed_joules if key[0] in GIVEN_OF else None
        rest = rests[key[1]].watts if key[0] is Boundary.HOST else None
        rows.append(MeterTotal(_meter(books, key), total.joules, unattributed, rest))
    return tuple(rows)


def _meter(books: Books, key: DeviceKey) -> Meter:
    """How a device's energy comes about: by a rule where a rule divides a GPU."""
    meter = books.ledger.curves[key].meter
    shared = books.attribution.ownership.shared.get(key[1]) if key[0] is Boundary.GPU else None
    by_rule = shared is not None and shared.rule is not None and meter.method is not Method.SIMULATED
    return replace(meter, method=Method.ATTRIBUTED) if by_rule else meter


def _host_rests(books: Books, now_seconds: float, down: frozenset[str]) -> dict[str, HostRest]:
    window = books.plan.window_seconds
    return {
        device: host_rest(books.attribution, books.ledger, device, window, now_seconds, down)
        for boundary, device in books.attribution.devices
        if boundary is Boundary.HOST
    }


def price_snapshot(books: Books, now_seconds: float) -> PriceSnapshot:
    """Prices in force."""
    prices = books.prices
    return PriceSnapshot(
        electricity_dollars_per_joule=prices.electricity_dollars_per_joule(now_seconds),
        pue_ratio=prices.pue(Given.HOST, now_seconds),
        carbon_grams_per_joule=prices.carbon_grams_per_joule(now_seconds),
        electricity_configured=books.plan.prices.electricity_dollars_per_joule is not None,
        outlet_pue_ratio=prices.pue(Given.FACILITY, now_seconds),
    )


def _server(books: Books, server: ServerPlan, now_seconds: float, rests: Mapping[str, HostRest]) -> ServerSnapshot:
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
        capacity_dollars_per_second=books.prices.capacity_dollars_per_second(server.name, now_seconds),
        capacity_includes_electricity=books.prices.covers_energy(server.name, now_seconds),
        gpus=owned_gpus(books.attribution.ownership, server.name),
        gpus_found_by=_found_by(books, server),
        energy_basis=books.energy_basis(server.name),
        phase_method=books.accounts[server.name].phases.splitter.method,
        phase_live=phase_live(books, server.name, now_seconds),
        meaningful_responses=_meaningful(books, server),
        notes=(*_notes(books, server, rests), *response_notes(books, server)),
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


def owned_gpus(ownership: Ownership, name: str) -> tuple[OwnedGpu, ...]:
    """GPUs that a server computes on, those last that no rule divides."""
    owned = []
    for gpu in ownership.gpus.get(name, ()):
        shared = ownership.shared.get(gpu)
        rule = shared.rule.value if shared is not None and shared.rule is not None else ""
        owned.append(OwnedGpu(gpu, ownership.part(name, gpu), rule))
    undivided = (gpu for gpu, shared in ownership.shared.items() if shared.rule is None and name in shared.holders)
    return (*owned, *(OwnedGpu(gpu, None) for gpu in undivided))


def _found_by(books: Books, server: ServerPlan) -> str:
    found = books.attribution.found(server.name) if server.found_gpus else None
    return found.how if found is not None else ""


def _meaningful(books: Books, server: ServerPlan) -> float | None:
    curve = books.ledger.counts.get(server.response.meaningful) if server.response else None
    return curve.total if curve else None


def _notes(books: Books, server: ServerPlan, rests: Mapping[str, HostRest]) -> tuple[str, ...]:
    """Explain what is absent, and what to configure."""
    ownership = books.attribution.ownership
    hosts = books.attribution.keys(server.name, Given.HOST)
    notes = [f"{name} is configured but no meter shows it" for name in ownership.unknown.get(server.name, ())]
    notes += ownership.incomplete.get(server.name, ())
    notes += _notes_on_sharing(books, server.name)
    notes += [rests[host].note for _, host in hosts if rests[host].note]
    notes += _notes_on_energy(books, server.name)
    unsplit = books.accounts[server.name].phases.splitter.reason
    if unsplit:
        notes.append(f"energy is not split between prefill and decode: {unsplit}")
    if server.capacity is None and books.plan.prices.electricity_dollars_per_joule is None:
        notes.append("no price is configured, so tokens per dollar are absent: set `prices`")
    elif server.capacity is None:
        notes.append("no capacity price is configured: dollars are electricity alone")
    return tuple(notes)


def _notes_on_sharing(books: Books, name: str) -> list[str]:
    """Name the GPUs whose energy is given by a rule and not by a measurement."""
    notes = []
    for gpu in books.attribution.ownership.gpus.get(name, ()):
        shared = books.attribution.ownership.shared.get(gpu)
        if shared is None or shared.rule is None:
            continue
        notes.append(f"GPU {gpu} is shared: its energy is attributed by the rule `{shared.rule}`, not measured")
        late = [one for one in shared.holders if shared.rule is GpuRule.TOKENS and _counts_at_finish(books, one)]
        if late:
            notes.append(
                f"the rule `tokens` divides GPU {gpu} in fits and starts: {', '.join(late)} counts output tokens only "
                "when a request ends"
            )
    return notes


def _counts_at_finish(books: Books, name: str) -> bool:
    ledger = books.ledger.servers.get(name)
    return ledger is not None and ledger.last_read is not None and ledger.last_read.output_at_finish


def _notes_on_energy(books: Books, name: str) -> list[str]:
    """Say which boundary is the widest, and what makes its energy wrong or absent."""
    attribution, prices = books.attribution, books.plan.prices
    gpus, hosts = attribution.keys(name, Given.GPU), attribution.keys(name, Given.HOST)
    outlets = attribution.keys(name, Given.FACILITY)
    notes = []
    if not gpus and not hosts and not outlets:
        notes.append("no measured energy: it owns no GPU and shares no host meter, so tokens per joule are absent")
    if (
        not gpus
        and len(hosts) == 1
        and not attribution.ownership.incomplete.get(name)
        and len(attribution.ownership.claimants(*hosts[0])) > 1
    ):
        notes.append("it shares a host with other servers but owns no GPU, so no rule gives it host energy: set `gpus`")
    if outlets:
        beyond = f", times outlet_pue {prices.outlet_pue:g}" if prices.outlet_pue != 1 else ""
        notes.append(f"facility energy is that of its outlets{beyond}; PUE is not applied to it")
    return notes
