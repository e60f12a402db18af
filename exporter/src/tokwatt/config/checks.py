"""Checks across entries: names, owners of devices, references, prices. Reports mistakes; changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from itertools import chain

from tokwatt.config.binder import Binder
from tokwatt.config.meter_checks import check_meters_of_servers
from tokwatt.config.mistakes import nearest, shown
from tokwatt.config.price_checks import check_prices
from tokwatt.config.responses import ResponseConfig
from tokwatt.config.schema import Config, MeterConfig, Role, TokenOrigin
from tokwatt.readings import PowerSourceSpec


def check(config: Config, binder: Binder, power_specs: Mapping[str, PowerSourceSpec], engines: Collection[str]) -> None:
    """Run every check. `config` may hold stand-ins for values whose mistakes are known."""
    _window(config, binder)
    _names(config, binder)
    _urls(config, binder)
    _engines(config, binder, engines)
    _gpu_owners(config, binder)
    _meter_owners(config, binder)
    check_meters_of_servers(config, binder, power_specs)
    check_prices(config, binder)
    _responses(config, binder)
    _same_url(config, binder)


def _window(config: Config, binder: Binder) -> None:
    known = binder.report.has_mistake("window_seconds") or binder.report.has_mistake("tick_seconds")
    if not known and config.window_seconds < 2 * config.tick_seconds:
        binder.report.mistake(
            binder.place("window_seconds", "tick_seconds"),
            "window_seconds",
            f"impossible number {config.window_seconds:g} with tick_seconds {config.tick_seconds:g}",
            f"must be at least two ticks, {2 * config.tick_seconds:g}",
        )


def _names(config: Config, binder: Binder) -> None:
    servers = ((f"servers[{index}]", server.name, "server") for index, server in enumerate(config.servers))
    meters = ((f"meters[{index}]", meter.name, "meter") for index, meter in enumerate(config.meters or ()))
    owners: dict[str, str] = {}
    for path, name, kind in chain(servers, meters):
        if not name:
            continue
        if name in owners:
            implied = kind == "meter" and binder.place(f"{path}.name") is None
            binder.report.mistake(
                binder.place(f"{path}.name", path),
                f"{path}.name",
                f"name {shown(name)} is already taken by a {owners[name]}",
                "give this meter a name" if implied else "names are unique among servers and meters",
            )
        owners.setdefault(name, kind)
    for index, response in enumerate(config.responses):
        if response.counter_name in owners:
            path = f"responses[{index}].meaningful"
            message = f"is read under the name {shown(response.counter_name)}, which a server or meter has"
            binder.report.mistake(binder.place(path), path, message, "give that server or meter another name")


def _urls(config: Config, binder: Binder) -> None:
    for index, server in enumerate(config.servers):
        path = f"servers[{index}].url"
        without = server.tokens is TokenOrigin.NONE
        if without and server.url:
            binder.report.mistake(
                binder.place(path), path, "has no effect with `tokens: none`", "remove one of the two keys"
            )
        a_mapping = bool(server.name)
        if not without and not server.url and a_mapping and not binder.report.has_mistake(path):
            binder.report.mistake(
                binder.place(f"servers[{index}]"),
                path,
                "required key is missing",
                "write the metrics page, or `tokens: none` for a node that counts none",
            )


def _engines(config: Config, binder: Binder, engines: Collection[str]) -> None:
    for index, server in enumerate(config.servers):
        path = f"servers[{index}].engine"
        if server.engine is not None and server.engine not in engines:
            binder.report.mistake(
                binder.place(path), path, f"unknown engine {shown(server.engine)}", nearest(server.engine, engines)
            )


def _gpu_owners(config: Config, binder: Binder) -> None:
    if config.sharing.gpu is not None:
        return  # a rule divides what two servers list
    owner_of_all = ""
    owners: dict[str | int, str] = {}
    for index, server in enumerate(config.servers):
        path, owner = f"servers[{index}].gpus", f"servers[{index}]"
        selected = server.gpus
        if (selected.every or selected.devices) and (owner_of_all or (selected.every and owners)):
            first = owner_of_all or next(iter(owners.values()))
            _two_owners(binder, path, "a GPU" if owner_of_all else "every GPU", first)
        owner_of_all = owner_of_all or (owner if selected.every else "")
        for position, device in enumerate(selected.devices):
            key = device.lower() if isinstance(device, str) else device
            if key in owners:
                _two_owners(binder, f"{path}[{position}]", f"GPU {device}", owners[key])
            owners.setdefault(key, owner)
    kinds = {type(device) for device in owners}
    if len(kinds) > 1 and len(set(owners.values())) > 1:
        binder.report.warn(
            binder.place("servers"),
            "servers",
            "GPUs are named by index and by UUID, so two owners of one GPU cannot be seen here",
            "use UUIDs everywhere",
        )


def _two_owners(binder: Binder, path: str, what: str, owner: str) -> None:
    message = f"{what} is claimed that {owner} already owns"
    binder.report.mistake(
        binder.place(path), path, message, "list each GPU once, or name a rule, `sharing: {gpu: equal}`"
    )


def _meter_owners(config: Config, binder: Binder) -> None:
    earlier: list[tuple[str, MeterConfig]] = []
    for index, meter in enumerate(config.meters or ()):
        path = f"meters[{index}]"
        if meter.options is None or binder.report.has_mistake(path):
            continue
        owner = next((first for first, other in earlier if _share_a_device(meter, other)), None)
        if owner:
            binder.report.mistake(
                binder.place(path),
                path,
                f"reads a device that {owner} already reads: its energy would count twice",
                "list each device once",
            )
        earlier.append((path, meter))


def _share_a_device(one: MeterConfig, other: MeterConfig) -> bool:
    """Compare where two meters read and what they select there; the options belong to the source, so by their shape.

    Lists are selections (`gpus`), with `all` for everything. A source with neither an address nor a list is compared
    whole, without secrets and timing.
    """
    if one.source != other.source:
        return False
    pairs = {
        f.name: (getattr(one.options, f.name), getattr(other.options, f.name))
        for f in fields(one.options)  # type: ignore[arg-type]
        if not f.metadata.get("secret") and not f.name.endswith("_seconds")
    }
    addresses = [pairs[name] for name in ("host", "port", "url") if name in pairs]
    lists = [pair for pair in pairs.values() if isinstance(pair[0], tuple) and isinstance(pair[1], tuple)]
    if not addresses and not lists:
        return all(first == second for first, second in pairs.values())
    return all(first == second for first, second in addresses) and all(_overlap(*pair) for pair in lists)


def _overlap(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    first, second = ({str(item).lower() for item in items} for items in (one, other))
    return "all" in first | second or bool(first & second)


def _responses(config: Config, binder: Binder) -> None:
    names = {server.name for server in config.servers}
    seen: set[str] = set()
    for index, response in enumerate(config.responses):
        path = f"responses[{index}]"
        place = binder.place(f"{path}.server")
        # a server whose own name is a mistake may be the one that is meant
        if response.server and response.server not in names and "" not in names:
            message = f"unknown server {shown(response.server)}"
            binder.report.mistake(place, f"{path}.server", message, nearest(response.server, names, "servers"))
        if response.server and response.server in seen:
            message = f"server {shown(response.server)} already has an entry"
            binder.report.mistake(place, f"{path}.server", message, "one entry per server")
        seen.add(response.server)
        _support(binder, path)
        if response.meaningful is not None and binder.place(f"{path}.attempts"):
            binder.report.mistake(
                binder.place(f"{path}.attempts"),
                f"{path}.attempts",
                "given together with meaningful, which measures them",
                "keep one of the two",
            )
        _support_servers(config, binder, path, response)


def _support_servers(config: Config, binder: Binder, path: str, response: ResponseConfig) -> None:
    roles = {server.name: server.role for server in config.servers if server.name}
    helpers = [name for name, role in roles.items() if role is Role.SUPPORT and name != response.server]
    for position, name in enumerate(response.support):
        key = f"{path}.support[{position}]"
        if not name:
            continue
        if name in response.support[:position]:
            binder.report.mistake(binder.place(key), key, f"server {shown(name)} is listed twice", "list it once")
        elif name == response.server:
            message = "a server does not support itself: its own tokens are in its responses"
            binder.report.mistake(binder.place(key), key, message, nearest(name, helpers, "support servers"))
        elif name not in roles and len(roles) == len(config.servers):
            message = f"unknown server {shown(name)}"
            binder.report.mistake(binder.place(key), key, message, nearest(name, helpers, "support servers"))
        elif name in roles and roles[name] is not Role.SUPPORT:
            message = f"server {shown(name)} has role {roles[name].value}, so its cost counts for its own responses"
            binder.report.mistake(binder.place(key), key, message, f"write `role: support` for {name}")


def _support(binder: Binder, path: str) -> None:
    tokens, price = f"{path}.support_tokens", f"{path}.support_dollars_per_token"
    given = [key for key in (tokens, price) if binder.place(key)]
    if len(given) == 1:
        missing = price if given == [tokens] else tokens
        binder.report.mistake(
            binder.place(given[0]),
            missing,
            "required key is missing",
            f"it goes with {given[0].rpartition('.')[2]}; write 0 if it is nothing",
        )


def _same_url(config: Config, binder: Binder) -> None:
    readers: dict[str, str] = {}
    for index, server in enumerate(config.servers):
        path = f"servers[{index}].url"
        if server.url and server.url in readers:
            binder.report.warn(
                binder.place(path),
                path,
                f"{readers[server.url]} reads the same URL: its tokens count for both servers",
                "give each server its own URL",
            )
        readers.setdefault(server.url, f"servers[{index}]")
