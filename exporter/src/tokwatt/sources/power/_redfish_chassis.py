"""Which chassis of a Redfish service is the server, and how it shows its power.

Owns the choice. Never adds chassis: those that report power often contain each other. Asks nothing but `get`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokwatt.readings import SourceError, Unavailable
from tokwatt.sources.power._redfish_client import ROOT, Document, Get, NoReading, link
from tokwatt.sources.power._redfish_power import Way, find_way, members

_SERVER_TYPES: Final = ("RackMount", "StandAlone")
_POWER_LINKS: Final = ("EnvironmentMetrics", "PowerSubsystem", "Power")


@dataclass(frozen=True, slots=True)
class Chassis:
    """A chassis and the way to read it."""

    name: str
    title: str  # maker and model, for a person
    kind: str
    document: Document
    path: str


async def find_chassis(get: Get, wanted: str | None, where: str) -> tuple[Chassis, Way]:
    """Find the server's chassis and the way it shows power.

    Raises:
        SourceError: Unavailable telling what to set where several or none show power; what `get` raises else.
    """
    collection = link(await get(ROOT), "Chassis")
    if collection is None:
        raise NoReading("the service lists no chassis", where=where)
    found = [await _chassis(get, path) for path in await _paths(get, collection, wanted)]
    if wanted is not None:
        chassis = next((chassis for chassis in found if wanted in (chassis.name, _last(chassis.path))), None)
        if chassis is None:
            seen = ", ".join(chassis.name for chassis in found) or "none"
            raise Unavailable(f"no chassis {wanted!r}", where=where, hint=f"set `chassis` to one of: {seen}")
        return chassis, await find_way(get, chassis.document, chassis.name)
    return await _choose(get, found, where)


async def _paths(get: Get, collection: str, wanted: str | None) -> Sequence[str]:
    paths = await members(get, collection)
    return [path for path in paths if _last(path) == wanted] or paths


async def _choose(get: Get, found: Sequence[Chassis], where: str) -> tuple[Chassis, Way]:
    able = [chassis for chassis in found if any(link(chassis.document, name) for name in _POWER_LINKS)]
    likely = [chassis for chassis in able if chassis.kind in _SERVER_TYPES] or able
    likely = _outermost(likely)
    answers: list[tuple[Chassis, Way]] = []
    problems: list[SourceError] = []
    for chassis in likely:
        try:
            answers.append((chassis, await find_way(get, chassis.document, chassis.name)))
        except NoReading as error:
            problems.append(error)
    if len(answers) == 1:
        return answers[0]
    if answers:
        seen = ", ".join(f"{chassis.name} ({chassis.kind or 'no type'})" for chassis, _ in answers)
        hint = "set `chassis` to the one that is the whole server; they are not added, since they may overlap"
        raise Unavailable(f"several chassis show power: {seen}", where=where, hint=hint)
    told = "; ".join(str(problem) for problem in problems)
    others = ", ".join(chassis.name for chassis in able if chassis not in likely)
    if not told:
        seen = ", ".join(chassis.name for chassis in found) or "none"
        told = f"no chassis links to its power (chassis: {seen})"
    raise NoReading(told, where=where, hint=f"`chassis` may be set to another one: {others}" if others else "")


def _outermost(candidates: Sequence[Chassis]) -> list[Chassis]:
    """Leave out chassis that another candidate contains."""
    inside = {path for chassis in candidates for path in _links(chassis.document, "Contains")}
    paths = {chassis.path for chassis in candidates}
    outer = [
        chassis
        for chassis in candidates
        if chassis.path not in inside and not paths & set(_links(chassis.document, "ContainedBy"))
    ]
    return outer or list(candidates)


def _links(document: Document, name: str) -> list[str]:
    links = document.get("Links")
    value: Any = links.get(name) if isinstance(links, dict) else None
    entries = value if isinstance(value, list) else [value]
    return [path.rstrip("/") for entry in entries if isinstance(entry, dict) and (path := link(entry))]


async def _chassis(get: Get, path: str) -> Chassis:
    try:
        document = await get(path)
    except NoReading:  # listed and not there: seen on BMCs after hardware was taken out
        document = {}
    maker_and_model = (str(document.get(key) or "").strip() for key in ("Manufacturer", "Model"))
    title = " ".join(part for part in maker_and_model if part)
    name = str(document.get("Id") or _last(path))
    return Chassis(name, title or "server", str(document.get("ChassisType") or ""), document, path.rstrip("/"))


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
