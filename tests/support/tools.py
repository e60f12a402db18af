"""The external programs that tests start: where they are, and which Debian package brings them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest


@dataclass(frozen=True, slots=True)
class Tool:
    """One program. `commands`: names it goes by, first found wins. `files`: for what is no command."""

    package: str
    commands: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def find(self) -> str | None:
        for command in self.commands:
            if path := shutil.which(command):
                return path
        return next((file for file in self.files if Path(file).exists()), None)


TOOLS: Mapping[str, Tool] = MappingProxyType(
    {
        "prometheus": Tool("prometheus", ("prometheus",)),
        "promtool": Tool("prometheus", ("promtool",)),
        "alertmanager": Tool("prometheus-alertmanager", ("prometheus-alertmanager", "alertmanager")),
        "node-exporter": Tool("prometheus-node-exporter", ("prometheus-node-exporter", "node_exporter")),
        "ipmi-exporter": Tool("prometheus-ipmi-exporter", ("prometheus-ipmi-exporter", "ipmi_exporter")),
        "ipmi-dcmi": Tool("freeipmi-tools", ("ipmi-dcmi",), ("/usr/sbin/ipmi-dcmi",)),
        "ipmi_sim": Tool("openipmi", ("ipmi_sim",)),
        "ipmitool": Tool("ipmitool", ("ipmitool",)),
        "gcc": Tool("gcc", ("gcc",)),
        "libc-headers": Tool("libc6-dev", files=("/usr/include/stdio.h",)),
        "chromium": Tool("chromium", ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")),
        "fonts": Tool("fonts-dejavu-core", files=("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",)),
        "openssl": Tool("openssl", ("openssl",)),
        "wrk": Tool("wrk", ("wrk",)),
        "amtool": Tool("prometheus-alertmanager", ("amtool",)),
        "systemd-analyze": Tool("systemd", ("systemd-analyze",)),
    }
)


class ToolMissing(Exception):
    """A program that a test needs is not on this machine."""

    def __init__(self, names: Iterable[str]) -> None:
        packages = sorted({TOOLS[name].package for name in names})
        super().__init__(f"{', '.join(names)} not found; install with: sudo apt-get install {' '.join(packages)}")


def missing() -> list[str]:
    """Names of the tools that this machine lacks."""
    return [name for name, tool in TOOLS.items() if tool.find() is None]


def find(name: str) -> str:
    """Path of a tool. Raises ToolMissing."""
    if path := TOOLS[name].find():
        return path
    raise ToolMissing([name])


def in_ci() -> bool:
    """True where a missing tool must fail the run instead of skipping a test."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def _lack(message: str) -> None:
    """Skip the running test, loudly; fail it in CI."""
    if in_ci():
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def need(*names: str) -> None:
    """Skip the running test, loudly, when a tool is missing; fail it in CI."""
    if lost := [name for name in names if TOOLS[name].find() is None]:
        _lack(str(ToolMissing(lost)))


def need_module(*modules: str, extra: str) -> None:
    """The same as `need` for Python packages of an optional extra of the product."""
    if lost := [name for name in modules if importlib.util.find_spec(name) is None]:
        _lack(f"{', '.join(lost)} not installed; run: pip install 'tokwatt[{extra}]'")


def need_group(*modules: str, group: str) -> None:
    """The same for Python packages that only the tests use, of a dependency group of pyproject.toml."""
    if lost := [name for name in modules if importlib.util.find_spec(name) is None]:
        _lack(f"{', '.join(lost)} not installed; run: pip install --group {group}")


def command_of_group(command: str, group: str) -> str:
    """Path of a program that a dependency group brings into the environment of the running Python."""
    path = shutil.which(command, path=str(Path(sys.executable).parent))
    if path is None:
        _lack(f"{command} not installed; run: pip install --group {group}")
    return str(path)
