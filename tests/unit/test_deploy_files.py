"""Deployment files agree with each other, with the version and with what lies in the tree; nothing is left open."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from support import deploy
from support.deploy import COMPOSE, DEPLOY, ROOT, SYSTEMD, WORKFLOWS, compose, exec_form, instruction, instructions

import tokwatt
from tokwatt.app.cli import main


def test_every_image_has_the_version_of_the_package() -> None:
    version = tokwatt.__version__
    assert [rest for word, rest in instructions() if word == "ARG" and "VERSION" in rest] == [f"VERSION={version}"]
    assert compose("compose.yaml")["tokwatt"]["image"] == f"tokwatt:{version}"
    named = {
        tag
        for folder in (DEPLOY, ROOT / "docs")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".png"
        for tag in re.findall(r"\btokwatt:(\d+\.\d+\.\d+)", path.read_text())
    }
    assert named == {version}


@pytest.mark.parametrize("path", ["compose/tokwatt.yaml", "systemd/tokwatt.yaml", "kustomize/example/tokwatt.yaml"])
def test_each_sample_configuration_is_one_the_exporter_takes(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(DEPLOY / path)]) == 0, capsys.readouterr().err


# Image


def reaches_the_build(path: str) -> bool:
    """Whether .dockerignore lets a file through: the last pattern that matches it or a folder above it decides."""
    kept = True
    parts = Path(path).parts
    folders = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            anywhere = pattern.startswith("**/")
            names = parts if anywhere else folders
            if any(fnmatch.fnmatch(name, pattern.removeprefix("**/")) for name in names):
                kept = line.startswith("!")
    return kept


def test_the_image_is_built_from_the_sources_and_nothing_else() -> None:
    for path in ("pyproject.toml", "README.md", "LICENSE", "exporter/src/tokwatt/__init__.py"):
        assert reaches_the_build(path)
    for path in (".git/config", ".venv/bin/python", "deploy/compose/secrets/bmc", "tests/conftest.py", "bmc-password"):
        assert not reaches_the_build(path)
    assert not reaches_the_build("exporter/src/tokwatt/__pycache__/units.cpython-313.pyc")


def test_what_the_image_copies_is_enough_to_build_the_whole_wheel(tmp_path: Path) -> None:
    copies = [rest.split() for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    for *sources, target in copies:
        for source in sources:
            assert reaches_the_build(source)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, tmp_path / target)
    script = "from hatchling.build import build_wheel; print(build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = ROOT / "exporter/src"
    files = [file for file in (package / "tokwatt").rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert names == {str(file.relative_to(package)) for file in files}


def test_the_image_runs_as_a_numbered_user_and_without_a_shell() -> None:
    user, _, group = instruction("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert exec_form("ENTRYPOINT") == ["tokwatt"]
    assert exec_form("CMD") == ["run", "--listen=:9844"]
    assert exec_form("HEALTHCHECK")[0] == "python"
    assert instruction("EXPOSE") == "9844"


def test_both_stages_have_the_same_base_and_it_has_a_tag() -> None:
    stages = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert stages == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]
    (base,) = [rest for word, rest in instructions() if word == "ARG" and rest.startswith("PYTHON_IMAGE=")]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.1[1-9]-slim-[a-z]+", base)


# Compose


def test_compose_publishes_on_loopback_only() -> None:
    ports = [port for service in compose("compose.yaml").values() for port in service["ports"]]
    assert len(ports) == 4
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in ports)
    for overlay in ("compose.host.yaml", "compose.gpu.yaml"):
        assert not any("ports" in service or "network_mode" in service for service in compose(overlay).values())


def test_compose_grafana_has_no_password_that_anybody_could_know() -> None:
    environment = compose("compose.yaml")["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert not [key for key in environment if "PASSWORD" in key]


def test_compose_images_have_versions() -> None:
    images = [service["image"] for service in compose("compose.yaml").values()]
    assert all(re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", image) for image in images)


def test_compose_mounts_files_that_exist_read_only() -> None:
    for name in ("compose.yaml", "compose.host.yaml"):
        mounts = [mount for service in compose(name).values() for mount in service.get("volumes", [])]
        binds = [mount.split(":") for mount in mounts if mount.startswith(".")]
        assert binds
        for source, _, mode in binds:
            assert mode == "ro"
            # the chart's copies are made by `make chart` from what deploy/prometheus and dashboards hold
            original = {"rules": DEPLOY / "prometheus", "dashboards": ROOT / "dashboards"}.get(Path(source).name)
            copied = "helm/tokwatt/files" in source and original is not None
            assert (COMPOSE / source).exists() or (copied and not original.exists()), source


def test_compose_prometheus_and_grafana_find_their_files() -> None:
    services = compose("compose.yaml")
    mounts = {
        target: source
        for service in ("prometheus", "grafana")
        for source, target in (mount.split(":")[:2] for mount in services[service]["volumes"])
    }
    prometheus = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    for pattern in prometheus["rule_files"]:
        assert str(Path(pattern).parent) in mounts
    targets = [
        target
        for part in (prometheus["scrape_configs"], prometheus["alerting"]["alertmanagers"])
        for item in part
        for static in item["static_configs"]
        for target in static["targets"]
    ]
    assert {target.split(":")[0] for target in targets} <= set(services)
    (job,) = prometheus["scrape_configs"]
    assert job["job_name"] == "tokwatt"
    (source,) = yaml.safe_load((COMPOSE / "grafana/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((COMPOSE / "grafana/dashboards/tokwatt.yaml").read_text())["providers"]
    assert provider["options"]["path"] in mounts


# systemd


def test_unit_runs_as_nobody_in_particular() -> None:
    assert deploy.unit_setting("DynamicUser") == "yes"
    assert deploy.unit_setting("ProtectSystem") == "strict"
    assert deploy.unit_setting("NoNewPrivileges") == "yes"
    assert deploy.unit_setting("CapabilityBoundingSet") == ""
    assert deploy.unit_setting("ExecReload") == "/bin/kill -HUP $MAINPID"
    assert deploy.unit_setting("RestartPreventExitStatus") == "2"


def test_unit_secrets_lie_where_the_sample_configuration_looks() -> None:
    (credential,) = [value for key, value in deploy.unit_lines(SYSTEMD / "secrets.conf") if key == "LoadCredential"]
    name = credential.split(":")[0]
    assert f"password_file: /run/credentials/tokwatt.service/{name}" in (SYSTEMD / "tokwatt.yaml").read_text()


# Releases


def step(name: str) -> str:
    jobs = yaml.safe_load((WORKFLOWS / "release.yml").read_text())["jobs"]
    (found,) = [item for job in jobs.values() for item in job["steps"] if item.get("name") == name]
    return str(found["run"])


def bash(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_tag_that_is_not_the_version_makes_no_release() -> None:
    script = step("The tag is the version of the package")
    assert bash(script, ROOT, GITHUB_REF_NAME=f"v{tokwatt.__version__}").returncode == 0
    assert bash(script, ROOT, GITHUB_REF_NAME=f"v{tokwatt.__version__}1").returncode != 0


def test_the_released_chart_names_the_released_image(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "helm", tmp_path / "helm")
    for path in ("exporter/src/tokwatt/__init__.py",):
        (tmp_path / path).parent.mkdir(parents=True)
        shutil.copy(ROOT / path, tmp_path / path)
    lines = [line for line in step("Chart, with the name of the pushed image").splitlines() if "helm " not in line]
    script = "\n".join(lines).replace(".venv/bin/python", sys.executable)
    done = bash(script, tmp_path, IMAGE="ghcr.io/someone/tokwatt")
    assert done.returncode == 0, done.stderr
    values = yaml.safe_load((tmp_path / "helm/tokwatt/values.yaml").read_text())
    assert values["image"]["repository"] == "ghcr.io/someone/tokwatt"


def test_no_workflow_has_a_secret_of_its_own() -> None:
    for path in WORKFLOWS.glob("*.yml"):
        assert "secrets." not in path.read_text()
