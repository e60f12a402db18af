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
from tokwatt.app import probe as probing
from tokwatt.app import sources_page
from tokwatt.app.build import Workshop
from tokwatt.app.run import Runner, RunOptions
from tokwatt.config import Config, ConfigError, ListenAddress, Rejected, environment_defaults, parse_listen, read_config

FINE, FAILED, WRONG_USE = 0, 1, 2
LOG_LEVELS: Mapping[str, int] = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    named = next((word for word in given if word in ("calc", "calibrate")), "")
    options = _parser(named).parse_args(given)
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


def _parser(named: str) -> argparse.ArgumentParser:
    """Know every command; the arguments of calc and calibrate only if named, which `tokwatt run` need not load."""
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

    calc = commands.add_parser("calc", help="the equations on numbers given, with every step; no server needed")
    if named == "calc":
        _add_calc(calc)
    _add_measure(commands.add_parser("measure", help="run a benchmark command under measurement"))
    calibrate = commands.add_parser(
        "calibrate", help="seconds and joules per prefill and per decode token of a live, idle server"
    )
    if named == "calibrate":
        from tokwatt.app import calibrate_command  # noqa: PLC0415

        calibrate_command.add_arguments(calibrate, _load)

    sources = commands.add_parser("sources", help="list every kind of source and what each needs")
    sources.add_argument("--json", action="store_true", help="for scripts")
    sources.set_defaults(command=_sources)
    return parser


def _add_calc(parser: argparse.ArgumentParser) -> None:
    from tokwatt.app import calc  # noqa: PLC0415
    from tokwatt.app.amounts import EXAMPLES  # noqa: PLC0415

    parser.description = f"Amounts have units: {EXAMPLES}. Their order matters only where two have the same unit."
    parser.add_argument("amounts", nargs="*", metavar="AMOUNT", help="for example: 3000tok/s 1kW 0.17$/kWh 2.5$/h")
    for name, text in calc.OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="AMOUNT", help=text)
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(command=_calc)


def _add_measure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs COMMAND and says what the servers generated, what it took and what it cost, over the whole run and in "
        "its steady state. Exit code 1 where the command failed; its report is saved all the same."
    )
    parser.usage = (
        "tokwatt measure [options] -- COMMAND ...\n       tokwatt measure --compare FILE.csv [--report FILE.html]"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (or TOKWATT_CONFIG)")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="name this run; repeat it")
    parser.add_argument("--json", dest="json_file", type=Path, metavar="FILE", help="save the run, with its course")
    parser.add_argument("--csv", dest="csv_file", type=Path, metavar="FILE", help="append the run to a file of many")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="save a page with plots")
    parser.add_argument("--compare", type=Path, metavar="FILE.csv", help="show the runs of a file side by side")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="COMMAND", help="after --")
    parser.set_defaults(command=_measure)


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


def _calc(options: argparse.Namespace) -> int:
    from tokwatt.app import calc, calc_steps  # noqa: PLC0415

    given = calc.numbers(options.amounts, {name: getattr(options, name) for name in calc.OPTIONS})
    steps = calc_steps.steps(given)
    print(json.dumps(calc.as_json(given, steps), indent=2) if options.json else calc.as_text(steps))
    return FINE


def _measure(options: argparse.Namespace) -> int:
    from tokwatt.app import measure_command  # noqa: PLC0415  `tokwatt run` need not carry it
    from tokwatt.app.measure import NothingToMeasureError  # noqa: PLC0415

    argv = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    wanted = measure_command.Wanted(
        command=tuple(argv),
        labels=measure_command.labels_of(options.label),
        json_file=options.json_file,
        csv_file=options.csv_file,
        page=options.report,
    )
    if options.compare is not None:
        measure_command.compare(options.compare, wanted)
        return FINE
    wanted.check()

    async def measured() -> bool:
        workshop = Workshop()
        try:
            config = _load(options.config or environment_defaults(os.environ).config, workshop)
            return await measure_command.measure(config, workshop, wanted)
        finally:
            await workshop.aclose()

    try:
        return FINE if asyncio.run(measured()) else FAILED
    except NothingToMeasureError as error:
        print(f"tokwatt: {error}", file=sys.stderr)
        return FAILED


def _sources(options: argparse.Namespace) -> int:
    workshop = Workshop()
    print(json.dumps(sources_page.as_json(workshop), indent=2) if options.json else sources_page.as_text(workshop))
    return FINE
