"""The command line. Exit codes: 0 fine, 1 failed, 2 wrong use or configuration."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokwatt import __version__
from tokwatt.app import calibrate_command, sources_page
from tokwatt.app import probe as probing
from tokwatt.app.build import Workshop
from tokwatt.app.run import Runner, RunOptions
from tokwatt.config import Config, ConfigError, ListenAddress, Rejected, environment_defaults, parse_listen, read_config

FINE, FAILED, WRONG_USE = 0, 1, 2
LOG_LEVELS: Mapping[str, int] = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=LOG_LEVELS[options.log_level], format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        code: int = options.command(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return WRONG_USE
    except ValueError as error:
        print(f"tokwatt: {error}", file=sys.stderr)
        return WRONG_USE
    except ModuleNotFoundError as error:
        print(f"tokwatt: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"tokwatt: {error.strerror or error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return FINE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tokwatt", description="Economics of AI inference, measured live.")
    parser.add_argument("--version", action="version", version=f"tokwatt {__version__}")
    parser.add_argument("--log-level", choices=tuple(LOG_LEVELS), default="info")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="the exporter; without a config it detects servers and meters")
    run.add_argument("--config", type=Path, metavar="FILE", help="configuration (or TOKWATT_CONFIG)")
    run.add_argument("--listen", type=_listen, metavar="HOST:PORT", help="address (or TOKWATT_LISTEN)")
    run.add_argument("--web.config.file", dest="web_config", type=Path, metavar="FILE", help="TLS and basic auth")
    run.set_defaults(command=_run)

    demo = commands.add_parser("demo", help="the exporter on built-in simulated servers and meters")
    demo.add_argument("--listen", type=_listen, metavar="HOST:PORT", help="address (or TOKWATT_LISTEN)")
    demo.add_argument("--real", action="store_true", help="a real llama.cpp server with a small model")
    demo.set_defaults(command=_demo)

    probe = commands.add_parser("probe", help="read every source once and say what was found and what not")
    probe.add_argument("--config", type=Path, metavar="FILE", help="configuration (or TOKWATT_CONFIG)")
    probe.add_argument("--json", action="store_true", help="for scripts")
    probe.set_defaults(command=_probe)

    check = commands.add_parser("check", help="validate a configuration")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument("--json", action="store_true", help="for scripts")
    check.set_defaults(command=_check)

    calibrate_command.add_to(commands, _load)

    sources = commands.add_parser("sources", help="list every token and power source and what each needs")
    sources.add_argument("--json", action="store_true", help="for scripts")
    sources.set_defaults(command=_sources)
    return parser


def _listen(text: str) -> ListenAddress:
    try:
        return parse_listen(text)
    except Rejected as error:
        raise argparse.ArgumentTypeError(f"{error.message}; {error.suggestion}") from None


def _run(options: argparse.Namespace) -> int:
    environment = environment_defaults(os.environ)
    run_options = RunOptions(
        options.config or environment.config, options.listen or environment.listen, options.web_config
    )
    asyncio.run(Runner(run_options).run())
    return FINE


def _demo(options: argparse.Namespace) -> int:
    from tokwatt.app.demo import demo, demo_real  # noqa: PLC0415  `tokwatt run` must not load the simulation

    listen = options.listen or environment_defaults(os.environ).listen or Config().listen
    asyncio.run(demo_real(listen) if options.real else demo(listen))
    return FINE


def _load(path: Path | None, workshop: Workshop) -> Config:
    if path is None:
        return Config()
    config, warnings = read_config(
        path,
        power_specs=workshop.power_specs,
        engines=workshop.engines,
        check_spec=workshop.check_spec,
        counted_again=workshop.counted_again,
        owner_specs=workshop.owner_specs,
    )
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return config


def _probe(options: argparse.Namespace) -> int:
    async def report() -> int:
        workshop = Workshop()
        try:
            config = _load(options.config or environment_defaults(os.environ).config, workshop)
            rows, tried = await probing.probe(config, workshop)
        finally:
            await workshop.aclose()
        print(json.dumps(probing.as_json(rows, tried), indent=2) if options.json else probing.as_text(rows, tried))
        return FINE if probing.succeeded(rows) else FAILED

    return asyncio.run(report())


def _check(options: argparse.Namespace) -> int:
    workshop = Workshop()
    try:
        config = _load(options.file, workshop)
    except ConfigError as error:
        if not options.json:
            raise
        mistakes = [
            {"line": m.line, "column": m.column, "key": m.key, "message": m.message, "suggestion": m.suggestion}
            for m in error.mistakes
        ]
        print(json.dumps({"valid": False, "mistakes": mistakes}, indent=2))
        return WRONG_USE
    if options.json:
        print(json.dumps({"valid": True, "mistakes": []}))
        return FINE
    servers = f"{len(config.servers)} servers" if config.servers else "servers detected at start"
    meters = "meters detected at start" if config.meters is None else f"{len(config.meters)} meters"
    print(f"{options.file}: valid: {servers}, {meters}")
    return FINE


def _sources(options: argparse.Namespace) -> int:
    workshop = Workshop()
    print(json.dumps(sources_page.as_json(workshop), indent=2) if options.json else sources_page.as_text(workshop))
    return FINE
