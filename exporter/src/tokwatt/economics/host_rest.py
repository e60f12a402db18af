"""How much of a host's power is not GPU. Pure: the caller says what time it is."""

from __future__ import annotations

from dataclasses import dataclass

from tokwatt.economics.attribution import Attribution
from tokwatt.ledger.energy import EnergyCurve
from tokwatt.ledger.ledger import Ledger
from tokwatt.quantities import Joules, Seconds, Watts
from tokwatt.readings import Boundary


@dataclass(frozen=True, slots=True)
class HostRest:
    """Mean power of a host less that of the GPUs in it, over one stretch between two readings of the host."""

    watts: Watts | None  # None: not known, or below 0
    note: str = ""  # why it is below 0


def host_rest(
    attribution: Attribution, ledger: Ledger, host: str, window_seconds: float, now_seconds: float, down: frozenset[str]
) -> HostRest:
    """Compare a host with the GPUs in it over the last window for which both are measured."""
    gpus = attribution.gpus_in(host)
    if not gpus:
        return HostRest(None)
    curve = ledger.curves[Boundary.HOST, host]
    inside = [ledger.curves[Boundary.GPU, gpu] for gpu in gpus]
    everything = [curve, *inside]
    end = min(one.line.end_seconds for one in everything)
    start = max([end - window_seconds, *(one.line.start_seconds for one in everything)])
    ends = [at for at in curve.line.points_between(start, end) if at >= start]
    if len(ends) < 2 or any(attribution.overdue(one, one.line.end_seconds, now_seconds, down) for one in everything):
        return HostRest(None)
    start, end = ends[0], ends[-1]
    if not all(one.vouched(start, end) for one in everything):
        return HostRest(None)
    whole = _mean_watts(curve, start, end)
    drawn = sum((_mean_watts(one, start, end) for one in inside), Watts(0))
    if whole < drawn:
        return HostRest(
            None,
            f"host {host} shows {whole:,.0f} W, less than the {drawn:,.0f} W of its GPUs: it does not feed them, or "
            "the GPUs are not in it (`servers[].hosts`), or the two are read at different times",
        )
    return HostRest(whole - drawn)


def _mean_watts(curve: EnergyCurve, start_seconds: float, end_seconds: float) -> Watts:
    measured = Joules(curve.line.at(end_seconds) - curve.line.at(start_seconds))
    return measured / Seconds(end_seconds - start_seconds)
