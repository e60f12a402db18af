"""The deployment files, read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "docker/Dockerfile"
COMPOSE = DEPLOY / "compose"
COMPOSE_FILES = sorted(COMPOSE.glob("compose*.yaml"))
SYSTEMD = DEPLOY / "systemd"
WORKFLOWS = ROOT / ".github/workflows"


def instructions() -> Sequence[tuple[str, str]]:
    """Instructions of the Dockerfile in order, continuation lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def instruction(name: str) -> str:
    """The last instruction of this name, the one that the final image has."""
    return [rest for word, rest in instructions() if word == name][-1]


def exec_form(name: str) -> list[str]:
    """The command of ENTRYPOINT, CMD or HEALTHCHECK, which must be in exec form: without a shell."""
    text = instruction(name)
    command = json.loads(text[text.index("[") :])
    assert all(isinstance(word, str) for word in command)
    return list(command)


def compose(*names: str) -> Mapping[str, Any]:
    """Services of compose files, later files over earlier ones as Compose merges them (mappings only)."""
    services: dict[str, dict[str, Any]] = {}
    for name in names:
        for service, content in yaml.safe_load((COMPOSE / name).read_text())["services"].items():
            services.setdefault(service, {}).update(content)
    return services


def unit_lines(path: Path) -> Sequence[tuple[str, str]]:
    """Settings of a systemd unit in order."""
    lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith(("#", "["))]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def unit_setting(name: str) -> str:
    """The only value of a setting of tokwatt.service."""
    (value,) = [value for key, value in unit_lines(SYSTEMD / "tokwatt.service") if key == name]
    return value
