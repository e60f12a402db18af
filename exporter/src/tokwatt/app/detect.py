"""What runs here: inference servers on this host's usual ports, and every local meter that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tokwatt.app.build import Workshop
from tokwatt.config import Config, GpuSearch, GpuSelection, MeterConfig, ServerConfig
from tokwatt.config.gpus import gpus_of_the_only_server
from tokwatt.readings import OwnerSourceSpec, SourceError
from tokwatt.sources.tokens.discovery import Found, find_servers
from tokwatt.sources.tokens.overlap import counted_again

FIRST_READ_SECONDS = 5.0  # the first NVML call may have to load the driver


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was looked for."""

    what: str  # "tokens" or "power"
    where: str
    found: bool
    reason: str


async def detect(config: Config, workshop: Workshop) -> tuple[Config, tuple[Tried, ...]]:
    """Fill in the servers and meters that a configuration leaves open; tells what was tried and what came of it."""
    tried: list[Tried] = []
    if not config.servers:
        found = await find_servers(workshop.http)
        specs = {item.url: workshop.token_specs[item.engine] for item in found if item.engine}
        again = counted_again(specs)
        tried += [_tried(item, again.get(item.url, ())) for item in found]
        config = replace(
            config, servers=_servers([i for i in found if i.engine and i.url not in again], workshop.owner_specs)
        )
    if config.meters is None:
        names = [name for name, spec in workshop.power_specs.items() if spec.detect]
        results = await asyncio.gather(*(_try_meter(name, workshop) for name in names))
        tried += results
        meters = [MeterConfig(r.where, r.where, workshop.power_specs[r.where].options()) for r in results if r.found]
        config = replace(config, meters=tuple(meters))
        tried += [
            Tried("power", name, found=False, reason="not looked for: it must be named in the configuration")
            for name, spec in workshop.power_specs.items()
            if not spec.detect
        ]
    return config, tuple(tried)


def _tried(item: Found, behind: Sequence[str]) -> Tried:
    if item.engine and behind:
        reason = f"left out: {item.engine} counts again what {' and '.join(behind)} count"
        return Tried("tokens", item.url, found=False, reason=reason)
    return Tried("tokens", item.url, item.engine is not None, item.engine or item.reason)


def _servers(found: list[Found], owner_specs: Mapping[str, OwnerSourceSpec]) -> tuple[ServerConfig, ...]:
    """Name detected servers by engine, with the port where two would have one name.

    Several servers own the GPUs that their processes compute on; a lone one all, as long as nobody else computes there.
    """
    engines = [item.engine for item in found]
    servers = []
    for item in found:
        name = item.engine or ""
        if engines.count(name) > 1:
            name = f"{name}-{item.url.rsplit(':', 1)[-1].split('/', 1)[0]}"
        servers.append(
            ServerConfig(name=name, url=item.url, engine=item.engine, gpus=gpus_of_detected(len(found), owner_specs))
        )
    return tuple(servers)


def gpus_of_detected(servers: int, owner_specs: Mapping[str, OwnerSourceSpec]) -> GpuSelection:
    """How the GPUs of one of so many detected servers are found out."""
    if servers == 1:
        return gpus_of_the_only_server(owner_specs)
    spec = owner_specs["processes"]
    return GpuSelection(search=GpuSearch(spec.name, spec.options()))


async def _try_meter(name: str, workshop: Workshop) -> Tried:
    source = workshop.power_source(MeterConfig(name, name, workshop.power_specs[name].options()))
    try:
        async with asyncio.timeout(FIRST_READ_SECONDS):
            reading = await source.read()
    except SourceError as error:
        return Tried("power", name, found=False, reason=str(error))
    except TimeoutError:
        return Tried("power", name, found=False, reason=f"no answer within {FIRST_READ_SECONDS:g} s")
    finally:
        await source.aclose()
    devices = len(reading.devices)
    return Tried("power", name, found=devices > 0, reason=f"{devices} device{'' if devices == 1 else 's'}")
