"""`tokwatt probe`: read every source once and say what was found, what each reading is, and what is missing and why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from tokwatt.app.build import Workshop
from tokwatt.app.detect import Tried, detect
from tokwatt.app.plan import plan_of
from tokwatt.app.price_sources import CARBON, ELECTRICITY, PriceEntry
from tokwatt.app.setup import CountEntry, OwnerEntry, PowerEntry, TokenEntry, setup_of
from tokwatt.app.tables import table
from tokwatt.config import OWNER_PREFIX, Config, GpuSelection
from tokwatt.economics.ownership import resolve
from tokwatt.economics.picture import owned_gpus
from tokwatt.readings import (
    Boundary,
    DeviceInfo,
    EnergyCounter,
    EnergyReading,
    PowerReading,
    PriceStep,
    ServerGpus,
    ServerReading,
    SourceError,
)
from tokwatt.snapshot import OwnedGpu
from tokwatt.sources.tokens.overlap import counted_again
from tokwatt.units import JOULES_PER_KWH, SECONDS_PER_HOUR

SECOND_READ_AFTER_SECONDS = 1.0  # an energy counter says nothing of watts until it is read twice

PRICE_UNITS: Mapping[str, tuple[str, float]] = {
    ELECTRICITY: ("$ per kWh", JOULES_PER_KWH),
    CARBON: ("g per kWh", JOULES_PER_KWH),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report."""

    kind: str  # tokens, power, price, responses, owner
    source: str
    target: str
    ok: bool
    items: tuple[str, ...]  # readings, or the reason
    missing: tuple[str, ...] = field(default=())
    engine: str = ""  # of an inference server that was read
    gpus: tuple[OwnedGpu, ...] = ()  # of an inference server, as they would be owned now


async def probe(config: Config, workshop: Workshop) -> tuple[tuple[Row, ...], tuple[Tried, ...]]:
    """Read everything that a configuration names, or that is found where it names nothing."""
    config, tried = await detect(config, workshop)
    setup = setup_of(config, workshop)
    reads = [asyncio.create_task(_probe_server(name, entry)) for name, entry in setup.tokens.items()]
    meters = [asyncio.create_task(_probe_meter(name, entry)) for name, entry in setup.power.items()]
    others = [asyncio.create_task(_probe_price(name, entry)) for name, entry in setup.prices.items()]
    others += [asyncio.create_task(_probe_count(name, entry)) for name, entry in setup.counts.items()]
    owners = [asyncio.create_task(_probe_owner(entry)) for entry in setup.owners.values()]
    servers = _note_double_counting(await asyncio.gather(*reads), config, workshop)
    power = await asyncio.gather(*meters)
    found = {name: gpus for one in await asyncio.gather(*owners) for name, gpus in one.items()}
    devices = [info for _, reading in power for info in (reading.devices if reading else ())]
    rows = (*servers, *(row for row, _ in power), *await asyncio.gather(*others), *_owned(config, devices, found))
    return rows, tuple(item for item in tried if not item.found)


def _note_double_counting(rows: Sequence[Row], config: Config, workshop: Workshop) -> tuple[Row, ...]:
    specs = {row.source: workshop.token_specs[row.engine] for row in rows if row.engine in workshop.token_specs}
    again = counted_again(specs, {server.name for server in config.servers if server.separate})
    return tuple(
        replace(
            row, items=(*row.items, f"COUNTED TWICE: its tokens are those of {' and '.join(again[row.source])} too")
        )
        if row.source in again
        else row
        for row in rows
    )


async def _probe_count(name: str, entry: CountEntry) -> Row:
    source = entry.build()
    try:
        reading = await source.read()
    except SourceError as error:
        return Row("responses", name, entry.target, ok=False, items=(str(error),))
    finally:
        await source.aclose()
    counted = sum(sample.value for sample in reading.samples)
    return Row("responses", name, entry.target, ok=True, items=(f"meaningful responses {counted:,.0f}",))


async def _probe_server(name: str, entry: TokenEntry) -> Row:
    source = entry.build()
    try:
        reading = await source.read()
    except SourceError as error:
        return Row("tokens", name, entry.target, ok=False, items=(str(error),))
    finally:
        await source.aclose()
    return Row(
        "tokens",
        name,
        entry.target,
        ok=True,
        items=_describe_server(reading),
        missing=reading.missing,
        engine=reading.engine,
    )


def _describe_server(reading: ServerReading) -> tuple[str, ...]:
    items = [f"engine {reading.engine} {reading.engine_version}".strip()]
    sums: dict[tuple[str, str], float] = {}
    for sample in reading.counters:
        key = (sample.model, sample.quantity.value)
        sums[key] = sums.get(key, 0.0) + sample.value
    items += [f"{quantity} {value:,.0f}{f' ({model})' if model else ''}" for (model, quantity), value in sums.items()]
    if reading.requests_running is not None:
        items.append(f"running {reading.requests_running:g}")
    if reading.requests_waiting is not None:
        items.append(f"waiting {reading.requests_waiting:g}")
    return tuple(items)


async def _probe_meter(name: str, entry: PowerEntry) -> tuple[Row, PowerReading | None]:
    source = entry.build()
    try:
        first = await source.read()
        await asyncio.sleep(SECOND_READ_AFTER_SECONDS)
        second = await source.read()
    except SourceError as error:
        return Row("power", name, entry.target, ok=False, items=(str(error),)), None
    finally:
        await source.aclose()
    row = Row("power", name, entry.target, ok=bool(second.readings), items=_describe_meter(first, second))
    return row, second


async def _probe_owner(entry: OwnerEntry) -> Mapping[str, ServerGpus]:
    source = entry.build()
    try:
        async with asyncio.timeout(2 * source.timeout_seconds):
            return (await source.read()).servers
    except SourceError as error:
        return {source.server: ServerGpus(None, str(error))}
    except TimeoutError:
        return {source.server: ServerGpus(None, f"no answer within {2 * source.timeout_seconds:g} s")}
    finally:
        await source.aclose()


def _owned(config: Config, devices: Sequence[DeviceInfo], found: Mapping[str, ServerGpus]) -> Iterator[Row]:
    """Tell which GPUs are each server's, and how that was found out."""
    measured = [(info.meter.boundary, info.meter.device) for info in devices]
    ownership = resolve(plan_of(config, (), ()), devices, measured, found)
    names = {info.meter.device: info for info in devices if info.meter.boundary is Boundary.GPU}
    for server in config.servers:
        gpus = owned_gpus(ownership, server.name)
        reasons = (*ownership.unknown[server.name], *ownership.incomplete[server.name])
        how = found[server.name].how if server.name in found else _configured(server.gpus)
        items = (how, *(_describe_gpu(gpu, names[gpu.device]) for gpu in gpus), *dict.fromkeys(reasons))
        yield Row("owner", f"{OWNER_PREFIX}{server.name}", _way(server.gpus), ok=not reasons, items=items, gpus=gpus)


def _way(gpus: GpuSelection) -> str:
    return gpus.search.source if gpus.search else "configured"


def _configured(gpus: GpuSelection) -> str:
    if gpus.every:
        return "all"
    return ", ".join(map(str, gpus.devices)) or "none"


def _describe_gpu(gpu: OwnedGpu, info: DeviceInfo) -> str:
    index = "" if info.index is None else f", index {info.index}"
    share = "" if gpu.part_ratio == 1 else f": {gpu.part_ratio or 0:.0%} by the rule {gpu.rule}"
    if gpu.part_ratio is None:
        share = ": shared, and no rule divides it"
    return f"{gpu.device} ({info.name}{index}){share}"


async def _probe_price(name: str, entry: PriceEntry) -> Row:
    source = entry.build()
    try:
        reading = await source.read()
    except SourceError as error:
        return Row("price", name, entry.target, ok=False, items=(str(error),))
    finally:
        await source.aclose()
    return Row("price", name, entry.target, ok=True, items=(_describe_price(name, reading.steps),))


def _describe_price(name: str, steps: Sequence[PriceStep]) -> str:
    unit, factor = PRICE_UNITS.get(name, ("$ per hour", SECONDS_PER_HOUR))
    text = f"{(steps[0].value or 0.0) * factor:g} {unit}"
    if len(steps) > 1 and steps[1].value is not None:
        after_hours = (steps[1].at_seconds - steps[0].at_seconds) / SECONDS_PER_HOUR
        text += f", in {after_hours:.1f} h {steps[1].value * factor:g}"
    return text


def _describe_meter(first: PowerReading, second: PowerReading) -> tuple[str, ...]:
    names = {info.meter: info.name for info in second.devices}
    details = {info.meter: "".join(f"; {key} {value}" for key, value in info.details) for info in second.devices}
    before = {reading.meter: reading for reading in first.readings}
    latest = {reading.meter: reading for reading in second.readings}  # the last sample of each meter
    items = []
    for meter, reading in latest.items():
        items.append(
            f"{meter.boundary.value} {meter.device} {names.get(meter, '')}: {_watts(before.get(meter), reading)} "
            f"({meter.method.value}, fidelity {meter.fidelity.value}{details.get(meter, '')})"
        )
    items += [f"{failure.device}: {failure.error}" for failure in second.failures]
    items += [f"WARNING: {warning}" for warning in second.warnings]
    return tuple(items)


def _watts(before: EnergyReading | None, now: EnergyReading) -> str:
    if not isinstance(now, EnergyCounter):
        return f"{now.watts:,.1f} W"
    if not isinstance(before, EnergyCounter) or now.at_seconds <= before.at_seconds:
        return f"{now.joules:,.0f} J"
    watts = (now.joules - before.joules) / (now.at_seconds - before.at_seconds)
    return f"{watts:,.1f} W over {now.at_seconds - before.at_seconds:.1f} s, counter at {now.joules:,.0f} J"


def as_text(rows: Sequence[Row], tried: Sequence[Tried]) -> str:
    """Lay the report out for a terminal."""
    lines = []
    for row in rows:
        missing = tuple(f"missing series {name}" for name in row.missing)
        for number, item in enumerate((*row.items, *missing)):
            head = (row.source, row.kind, row.target, "ok" if row.ok else "FAILED") if number == 0 else ("", "", "", "")
            lines.append((*head, item))
    lines += [(absent.where, absent.what, "", "absent", absent.reason) for absent in tried]
    return table(("SOURCE", "KIND", "TARGET", "STATE", "READING OR REASON"), lines)


def as_json(rows: Sequence[Row], tried: Sequence[Tried]) -> Mapping[str, object]:
    """Return the report as JSON values."""
    return {"sources": [asdict(row) for row in rows], "not_found": [asdict(item) for item in tried]}


def succeeded(rows: Sequence[Row]) -> bool:
    """Whether every source answered and there are both tokens and power."""
    return all(row.ok for row in rows) and {row.kind for row in rows} >= {"tokens", "power"}
