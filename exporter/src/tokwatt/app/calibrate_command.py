"""`tokwatt calibrate SERVER`: from the command line to a report."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

from yarl import URL

from tokwatt.app.build import Workshop
from tokwatt.app.calibrate import CalibrationError, Campaign, Limits, Outcome
from tokwatt.app.calibrate_load import HttpCompletions
from tokwatt.app.calibrate_readings import Readings
from tokwatt.app.calibrate_report import as_json, as_text
from tokwatt.app.detect import detect
from tokwatt.app.plan import plan_of
from tokwatt.app.setup import Setup, setup_of
from tokwatt.config import Config, ServerConfig, TokenOrigin, environment_defaults
from tokwatt.readings import SourceError
from tokwatt.sources._http import Access, parse_url, safe_url

FINE, FAILED = 0, 1
Load = Callable[[Path | None, Workshop], Config]


def add_arguments(parser: argparse.ArgumentParser, load: Load) -> None:
    """Add the command's arguments. `load` reads a configuration file."""
    limits = Limits()
    parser.add_argument("server", metavar="SERVER", help="its name in the configuration, or as detected")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (or TOKWATT_CONFIG)")
    parser.add_argument("--url", metavar="URL", help="address of its API; omit: that of its metrics page")
    parser.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="key of its API; omit: the server's bearer_token_file"
    )
    parser.add_argument("--force", action="store_true", help="go on although others use the server")
    parser.add_argument("--seconds", type=_positive, default=limits.seconds, help="longest time (%(default)g)")
    parser.add_argument("--rounds", type=_count, default=limits.rounds, help="repeats of each load (%(default)d)")
    parser.add_argument(
        "--prompt-tokens", type=_count, default=limits.prompt_tokens, help="longest prompt, about (%(default)d)"
    )
    parser.add_argument(
        "--answer-tokens", type=_count, default=limits.answer_tokens, help="longest answer (%(default)d)"
    )
    parser.add_argument("--at-once", type=_count, default=limits.at_once, help="requests together (%(default)d)")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(command=lambda options: _command(options, load))


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def _command(options: argparse.Namespace, load: Load) -> int:
    limits = Limits(
        seconds=options.seconds,
        prompt_tokens=options.prompt_tokens,
        answer_tokens=options.answer_tokens,
        at_once=options.at_once,
        rounds=options.rounds,
    )
    if limits.rounds < 2:
        raise ValueError("--rounds: an interval needs two repeats at least")
    try:
        outcome = asyncio.run(_calibrate(options, limits, load))
    except (CalibrationError, SourceError) as error:
        print(f"tokwatt calibrate: {error}", file=sys.stderr)
        return FAILED
    except TimeoutError:
        print(
            f"tokwatt calibrate: not done after {limits.seconds:g} s: use more --seconds, or shorter --answer-tokens",
            file=sys.stderr,
        )
        return FAILED
    except KeyboardInterrupt:
        print("tokwatt calibrate: stopped, no result", file=sys.stderr)
        return FAILED
    print(json.dumps(as_json(options.server, outcome), indent=2) if options.json else as_text(options.server, outcome))
    return FINE


async def _calibrate(options: argparse.Namespace, limits: Limits, load: Load) -> Outcome:
    workshop = Workshop()
    try:
        config = load(options.config or environment_defaults(os.environ).config, workshop)
        config, _ = await detect(config, workshop)
        setup = setup_of(config, workshop)
        server = _server(config, options.server)
        base, access = _api(server, options.url, options.api_key_file)
        completions = HttpCompletions(base, workshop.http, access)
        readings = readings_of(setup, server.name, workshop)
        try:
            _say(
                f"calibrating {server.name} at {safe_url(base)}: at most {limits.seconds:g} s, "
                f"{limits.requests:,} requests, {limits.tokens:,} tokens; Ctrl-C stops at once"
            )
            await completions.open()
            campaign = Campaign(
                readings,
                completions,
                limits,
                clock=workshop.clock,
                sleep=asyncio.sleep,
                say=_say,
                rng=random.Random(),  # noqa: S311  prompts nobody has sent before, no secrets
                force=options.force,
            )
            async with asyncio.timeout(limits.seconds):
                return await campaign.run()
        finally:
            await readings.aclose()
    finally:
        await workshop.aclose()


def readings_of(setup: Setup, server: str, workshop: Workshop) -> Readings:
    """Build the sources of one server and of every meter, under the configuration's own rules of ownership."""
    tokens = setup.tokens[server].build()
    power = [entry.build() for entry in setup.power.values()]
    owners = [entry.build() for entry in setup.owners.values()]
    plan = plan_of(setup.config, [tokens], power, owner_sources=owners)
    return Readings(server, tokens, power, plan, workshop.clock, asyncio.sleep, owners)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _server(config: Config, name: str) -> ServerConfig:
    found = next((server for server in config.servers if server.name == name), None)
    if found is None:
        names = ", ".join(server.name for server in config.servers) or "none"
        raise ValueError(f"no server is called {name!r}; servers: {names}")
    if found.tokens is TokenOrigin.NONE:
        raise ValueError(f"{name} counts no tokens (`tokens: none`): calibrate the server that leads it")
    return found


def _api(server: ServerConfig, url: str | None, key_file: Path | None) -> tuple[URL, Access]:
    """Return where requests go and how they are let in. The token of the metrics page goes to its own address only."""
    page = parse_url(server.url)
    base = parse_url(url) if url else page
    same = base.origin() == page.origin()
    key = str(key_file) if key_file else (server.bearer_token_file or "") if same else ""
    return base.with_path("/").with_query(None), Access(key, server.ca_file or "", server.verify_tls)
