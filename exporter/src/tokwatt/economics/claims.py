"""Ownership to splits: how each shared GPU, host and outlet is divided from an instant on. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from tokwatt.economics.ownership import Ownership
from tokwatt.economics.plan import GpuRule, RestRule
from tokwatt.economics.split import FREE, Claim, Divide, Split, by_claims, by_tokens, by_weights
from tokwatt.economics.token_lines import TokenLines
from tokwatt.ledger.energy import EnergyCurve
from tokwatt.ledger.ledger import DeviceKey
from tokwatt.ledger.line import Line
from tokwatt.readings import Boundary

Curves = Mapping[DeviceKey, EnergyCurve]
Starts = Mapping[DeviceKey, float]
Splits = Mapping[DeviceKey, Split]
_NOTHING = 1e-9  # of a GPU: what remains of 1 - 1/3 - 1/3 - 1/3


def splits_of_gpus(ownership: Ownership, curves: Curves, starts: Starts, tokens: TokenLines) -> dict[DeviceKey, Split]:
    """Splits of the GPUs that several servers share under a rule."""
    splits: dict[DeviceKey, Split] = {}
    for gpu, shared in ownership.shared.items():
        key = (Boundary.GPU, gpu)
        if shared.rule is None or key not in curves:
            continue
        divide: Divide = by_weights(shared.parts)
        if shared.rule is GpuRule.TOKENS:
            for name in shared.parts:
                tokens.watch(name)
            divide = by_tokens(shared.parts, tokens.between)
        splits[key] = Split(curves[key].line, shared.parts, divide, starts[key])
    return splits


def claims_on_hosts(
    ownership: Ownership, curves: Curves, starts: Starts, gpu_splits: Splits, rule: RestRule
) -> dict[DeviceKey, Split]:
    """Splits of the hosts that servers share."""
    hosts = [device for boundary, device in curves if boundary is Boundary.HOST]
    free = _free(ownership, curves, gpu_splits, len(hosts))
    splits: dict[DeviceKey, Split] = {}
    for host in hosts:
        claims = {
            name: Claim(
                _gpu_lines(name, ownership, curves, gpu_splits),
                ownership.gpu_count(name),
                spread=len(ownership.hosts[name]),
            )
            for name in ownership.claimants(Boundary.HOST, host)
        }
        if claims:
            key = (Boundary.HOST, host)
            splits[key] = _split(curves[key].line, claims, free, rule, starts[key])
    return splits


def claims_on_outlets(
    ownership: Ownership, curves: Curves, starts: Starts, inner: Splits, rule: RestRule
) -> dict[DeviceKey, Split]:
    """Splits of the outlets that feed servers: what a server was given of its hosts goes along, else its GPUs' draw."""
    outlets = [device for boundary, device in curves if boundary is Boundary.OUTLET]
    hosts = [key for key in curves if key[0] is Boundary.HOST]
    free = _free(ownership, curves, inner, len(outlets))
    if hosts:
        given = [line for key in hosts if key in inner for line in inner[key].lines.values()]
        nobodys = Claim([curves[key].line for key in hosts], free.gpu_count if free else 0.0, given, len(outlets))
        whole = all(key in inner and inner[key].alone for key in hosts)
        free = None if whole else nobodys
    splits: dict[DeviceKey, Split] = {}
    for outlet in outlets:
        claims = {}
        for name in ownership.claimants(Boundary.OUTLET, outlet):
            lines = [inner[Boundary.HOST, host].lines[name] for host in ownership.hosts[name]]
            lines = lines or _gpu_lines(name, ownership, curves, inner)
            claims[name] = Claim(lines, ownership.gpu_count(name), spread=len(ownership.outlets[name]))
        if claims:
            key = (Boundary.OUTLET, outlet)
            splits[key] = _split(curves[key].line, claims, free, rule, starts[key])
    return splits


def _split(whole: Line, claims: Mapping[str, Claim], free: Claim | None, rule: RestRule, start_seconds: float) -> Split:
    everybody = {**claims, FREE: free} if free is not None else claims
    alone = len(everybody) == 1 and rule is not RestRule.NONE
    return Split(whole, claims, by_claims(everybody, rule), start_seconds, alone=alone)


def _gpu_lines(name: str, ownership: Ownership, curves: Curves, gpu_splits: Splits) -> list[Line]:
    keys = [(Boundary.GPU, gpu) for gpu in ownership.gpus[name]]
    return [gpu_splits[key].lines[name] if key in gpu_splits else curves[key].line for key in keys]


def _free(ownership: Ownership, curves: Curves, gpu_splits: Splits, spread: int) -> Claim | None:
    """Return the claim of GPUs, and parts of GPUs, that are no server's; None where there are none."""
    lines: list[Line] = []
    less: list[Line] = []
    count = 0.0
    for key in curves:
        if key[0] is not Boundary.GPU:
            continue
        part = sum(ownership.part(name, key[1]) for name in ownership.claimants(*key))
        if part > 1 - _NOTHING:
            continue
        count += 1 - part
        lines.append(curves[key].line)
        less += gpu_splits[key].lines.values() if key in gpu_splits else ()
    return Claim(lines, count, less, spread) if lines else None
