"""What decides how one server is split. When it changes, what was learned no longer holds. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tokwatt.economics.attribution import Attribution
from tokwatt.economics.phases.choose import Offers, choose
from tokwatt.economics.phases.simple import NoSplitter
from tokwatt.economics.phases.split import Splitter
from tokwatt.economics.plan import PhasePlan, Plan, ServerPlan
from tokwatt.ledger.server import ServerLedger
from tokwatt.readings import DeviceInfo, Work
from tokwatt.snapshot import Given

MOST_SERVERS = 64  # fitted without being asked: beyond, the fits would be most of what the exporter computes
SLOWEST_METER_TICKS = 2.5  # a meter that is read less often tells ticks apart no more
LIVE_DECODE = frozenset({Work.LIVE_OUTPUT, Work.FIRST_TOKENS})


@dataclass(frozen=True, slots=True)
class Basis:
    """The energy that a split would be made from."""

    seconds: float | None = None  # between two readings of its slowest meter; None: no meter
    shared: bool = False  # a rule gives it, or nobody can: it is no measurement of this server
    limit_watts: float | None = None  # power limit of all its GPUs together; None: not known


@dataclass(frozen=True, slots=True)
class Case:
    """One server, as far as its split depends on it."""

    role: str
    plan: PhasePlan
    basis: Basis = Basis()
    tick_seconds: float = 1.0
    servers: int = 1  # that this exporter reads
    engine: str = ""
    models: tuple[str, ...] = ()
    restarts: int = 0
    offers: Offers | None = None  # None: it was not read yet


def case_of(plan: Plan, server: ServerPlan, ledger: ServerLedger, owned: Attribution, given: Given | None) -> Case:
    """Describe a server whose split would be made from its energy at the boundary `given`; None: no meter."""
    return Case(
        role=server.role,
        plan=server.phases,
        basis=_basis(plan, server.name, owned, given),
        tick_seconds=plan.tick_seconds,
        servers=len(plan.servers),
        engine=ledger.last_read.engine if ledger.last_read else "",
        models=tuple(sorted(model for model in ledger.account.models if model)),
        restarts=ledger.account.resets,
        offers=_offers(ledger),
    )


def _basis(plan: Plan, name: str, owned: Attribution, given: Given | None) -> Basis:
    meters = [owned.meter_of(key) for key in owned.keys(name, given)] if given else []
    if not meters:
        return Basis()
    slowest = max(plan.pace(info.meter.source).period_seconds for info in meters)
    shared = any(info.meter.device in owned.ownership.shared for info in meters)
    limits = [_power_limit_watts(info) for info in meters]
    known = [watts for watts in limits if watts is not None]
    return Basis(slowest, shared, sum(known) if len(known) == len(meters) else None)


def _power_limit_watts(info: DeviceInfo) -> float | None:
    try:
        return float(dict(info.details)["power_limit_watts"])
    except (KeyError, ValueError):
        return None


def _offers(ledger: ServerLedger) -> Offers | None:
    """What the work counters of a server are enough for; None before its first reading."""
    if ledger.last_read is None:
        return None
    shown = ledger.last_work.keys()
    decode = Work.SEQUENCE_STEPS in shown or shown >= LIVE_DECODE
    return Offers(
        tokens=Work.PREFILLED in shown and decode,
        phase_seconds={Work.PREFILL_SECONDS, Work.DECODE_SECONDS} <= shown,
        steps=Work.STEPS in shown,
    )


def splitter_of(case: Case) -> Splitter:
    """Build the splitter that a case asks for, or one that says why there is none."""
    fitted = case.plan.method in ("auto", "fit", "counters") and case.role == "both"
    if fitted and (why_not := _why_no_fit(case)):
        return NoSplitter(why_not)
    return choose(
        role=case.role,
        method=None if case.plan.method == "auto" else case.plan.method,
        decode_per_prefill=case.plan.decode_to_prefill,
        engine=case.engine,
        limit_watts=case.basis.limit_watts,
        chunk_tokens=case.plan.chunk_tokens,
        offers=case.offers or Offers(tokens=False),
    )


def _why_no_fit(case: Case) -> str:
    seconds = case.basis.seconds
    if case.offers is None:
        return "it was not read yet"
    if seconds is None:
        return "none of its energy is measured"
    if case.basis.shared:
        return "it shares a GPU, so its energy is not measured; set phases: {method: weights}"
    if seconds > SLOWEST_METER_TICKS * case.tick_seconds:
        return (
            f"its energy is measured every {seconds:g} s, too seldom to tell them apart; "
            "add a meter that is read with the tick, or set phases: {method: weights}"
        )
    if len(case.models) > 1:
        return "several models run on it"
    if case.plan.method == "auto" and case.servers > MOST_SERVERS:
        return f"this exporter reads more than {MOST_SERVERS} servers; ask for it with phases: {{method: fit}}"
    return ""
