"""Deployment files in the programs that judge or use them; the image's commands against the running exporter."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import processes, tools
from support.deploy import (
    COMPOSE,
    COMPOSE_FILES,
    DEPLOY,
    DOCKERFILE,
    SYSTEMD,
    WORKFLOWS,
    compose,
    exec_form,
    unit_setting,
)
from support.helm import EXAMPLE, copy_chart, render
from support.kubernetes import restricted_violations, validate
from support.nvml_double import NvmlDouble
from support.ports import free_port
from support.processes import Child

pytestmark = pytest.mark.e2e


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def passes(*argv: str) -> None:
    done = run(*argv)
    assert done.returncode == 0, done.stdout + done.stderr


# Judges


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    passes(tools.command_of_group("hadolint", "chart"), "--failure-threshold", "style", str(DOCKERFILE))


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_compose_files_follow_the_compose_specification(path: Path) -> None:
    program = tools.command_of_group("check-jsonschema", "chart")
    passes(program, "--builtin-schema", "vendor.compose-spec", str(path))


def test_workflows_follow_their_schema_and_give_nothing_away() -> None:
    paths = [str(path) for path in sorted(WORKFLOWS.glob("*.yml"))]
    program = tools.command_of_group("check-jsonschema", "chart")
    passes(program, "--builtin-schema", "vendor.github-workflows", *paths)
    passes(tools.command_of_group("zizmor", "chart"), "--offline", "--quiet", *paths)


def test_promtool_and_amtool_take_the_configurations_of_compose(tmp_path: Path) -> None:
    tools.need("promtool", "amtool")
    config = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    config["rule_files"] = [
        f"{COMPOSE}/../../helm/tokwatt/files/rules/{Path(name).name}" for name in config["rule_files"]
    ]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    passes(tools.find("promtool"), "check", "config", str(tmp_path / "prometheus.yml"))
    passes(tools.find("amtool"), "check-config", str(COMPOSE / "alertmanager.yml"))


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with its drop-in, its program replaced by one that this machine has."""
    text = (SYSTEMD / "tokwatt.service").read_text().replace("/opt/tokwatt/bin/tokwatt run", "/bin/true run")
    (tmp_path / "tokwatt.service").write_text(text)
    (tmp_path / "tokwatt.service.d").mkdir()
    shutil.copy(SYSTEMD / "secrets.conf", tmp_path / "tokwatt.service.d")
    return tmp_path / "tokwatt.service"


def test_systemd_knows_every_setting_of_the_unit(unit: Path) -> None:
    tools.need("systemd-analyze")
    done = run(tools.find("systemd-analyze"), "verify", "--man=no", str(unit))
    said = [line for line in (done.stdout + done.stderr).splitlines() if "tokwatt" in line]
    assert (done.returncode, said) == (0, [])


def test_systemd_rates_the_unit_as_hardly_exposed(unit: Path) -> None:
    tools.need("systemd-analyze")
    # in tenths, of 100; a unit without any of its settings has 92 to 96
    passes(tools.find("systemd-analyze"), "security", "--offline=yes", "--threshold=18", str(unit))


# The image's commands


@contextlib.contextmanager
def alive(work: Path, argv: Sequence[str], port: int, env: Mapping[str, str] | None = None) -> Iterator[Child]:
    """The exporter, from the first answer of /healthz on."""
    with processes.running("tokwatt", argv, work, env) as child:
        child.wait_for_url(f"http://127.0.0.1:{port}/healthz", 20.0)
        yield child


def test_the_health_check_asks_the_running_exporter(tmp_path: Path) -> None:
    port = free_port()
    _, *command = [word.replace(":9844", f":{port}") for word in exec_form("HEALTHCHECK")]
    assert run(sys.executable, *command).returncode != 0, "nothing runs yet"
    with alive(tmp_path, [sys.executable, "-m", "tokwatt", "demo", f"--listen=127.0.0.1:{port}"], port):
        assert run(sys.executable, *command).returncode == 0


@pytest.mark.parametrize("files", [("compose.yaml",), ("compose.yaml", "compose.host.yaml")])
def test_the_command_of_compose_starts_the_exporter(files: Sequence[str], tmp_path: Path) -> None:
    config = (COMPOSE / "tokwatt.yaml").read_text().replace("host.docker.internal:8000", f"127.0.0.1:{free_port()}")
    (tmp_path / "tokwatt.yaml").write_text(config)
    port = free_port()
    words = [word.replace(":9844", f"127.0.0.1:{port}") for word in compose(*files)["tokwatt"]["command"]]
    words = [word.replace("/etc/tokwatt", str(tmp_path)) for word in words]
    with alive(tmp_path, [sys.executable, "-m", "tokwatt", *words], port) as child:
        assert child.stop(5.0) == 0


def test_the_command_of_the_chart_starts_the_exporter(tmp_path: Path) -> None:
    tools.need_group("helm_python", group="chart")
    chart = copy_chart(tmp_path, samples=False)
    for values in ({"demo": True}, {"config": {"meters": [], "servers": [SILENT_SERVER]}}):
        port = free_port()
        release = render(chart, values)
        for item in release.of("ConfigMap"):
            (tmp_path / "config").mkdir()
            (tmp_path / "config/tokwatt.yaml").write_text(item["data"]["tokwatt.yaml"])
        words = [word.replace("/etc/tokwatt", str(tmp_path)) for word in release.container()["args"]]
        words = [word.replace("--listen=:9844", f"--listen=127.0.0.1:{port}") for word in words]
        with alive(tmp_path, [sys.executable, "-m", "tokwatt", *words], port) as child:
            assert child.stop(5.0) == 0


SILENT_SERVER = {"name": "chat", "url": "http://127.0.0.1:9/metrics"}


def test_sigterm_ends_it_as_pid_1(tmp_path: Path) -> None:
    """As in a container. The kernel drops signals that PID 1 has no handler for."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or run(*unshare, "true").returncode != 0:
        pytest.skip("this machine does not let tests make process namespaces (needs root)")
    port = free_port()
    argv = [*unshare, sys.executable, "-m", "tokwatt", "demo", f"--listen=127.0.0.1:{port}"]
    with alive(tmp_path, argv, port) as child:
        (first,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        assert child.wait(5.0) == 0


# What the unit takes away, as far as it can be taken away without systemd: writable memory that becomes code
# (PR_SET_MDWE, Linux 6.3, which MemoryDenyWriteExecute= uses) and new privileges.
CONFINED = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_MDWE, PR_SET_NO_NEW_PRIVS = 65, 38
if libc.prctl(PR_SET_MDWE, 1, 0, 0, 0):
    sys.exit(77)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_nvml_works_under_the_memory_rules_of_the_unit(tmp_path: Path) -> None:
    tools.need("gcc", "libc-headers")
    assert unit_setting("MemoryDenyWriteExecute") == "yes"
    if run(sys.executable, "-c", CONFINED, "/bin/true").returncode == 77:
        pytest.skip("PR_SET_MDWE needs Linux 6.3")
    double = NvmlDouble(tmp_path, gpus=1, watts=300)
    config = tmp_path / "tokwatt.yaml"
    config.write_text(yaml.safe_dump({"servers": [SILENT_SERVER], "meters": [{"source": "nvml"}], "tick_seconds": 0.2}))
    port = free_port()
    argv = [sys.executable, "-c", CONFINED, sys.executable, "-m", "tokwatt", "run"]
    argv += ["--config", str(config), "--listen", f"127.0.0.1:{port}"]
    with alive(tmp_path, argv, port, double.env()):
        processes.poll(lambda: "tokwatt_gpu_energy_joules_total{" in metrics(port), "GPU energy", 10.0)


def metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError:
        return ""  # no tick yet


# Kustomize


def sidecar_of_chart(tmp_path: Path) -> Mapping[str, Any]:
    host = shutil.copytree(EXAMPLE, tmp_path / "inference")
    copy_chart(host / "charts", samples=False)
    pod = render(host, name="rel").one("Deployment")["spec"]["template"]["spec"]
    return next(container for container in pod["containers"] if container["name"] == "tokwatt")


def test_the_kustomize_sidecar_is_the_sidecar_of_the_chart(tmp_path: Path) -> None:
    tools.need_group("helm_python", group="chart")
    patch = yaml.safe_load((DEPLOY / "kustomize/sidecar/sidecar.yaml").read_text())
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    assert container == sidecar_of_chart(tmp_path)


def test_kustomize_adds_the_sidecar(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl here; Debian has none that is new enough, so `make tools` cannot install it")
    tools.need_group("kubernetes_validate", group="chart")
    shutil.copytree(DEPLOY / "kustomize", tmp_path / "kustomize")
    example = tmp_path / "kustomize/example"
    stateful = (example / "deployment.yaml").read_text().replace("Deployment", "StatefulSet")
    stateful = stateful.replace("name: vllm\nspec:", "name: stateful\nspec:\n  serviceName: vllm", 1)
    (example / "deployment.yaml").write_text(f"{(example / 'deployment.yaml').read_text()}---\n{stateful}")
    done = run(kubectl, "kustomize", str(example))
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    config = next(item for item in objects if item["kind"] == "ConfigMap")
    for kind in ("Deployment", "StatefulSet"):
        workload = next(item for item in objects if item["kind"] == kind)
        validate(workload)
        spec = workload["spec"]["template"]["spec"]
        assert {container["name"] for container in spec["containers"]} == {"vllm", "tokwatt"}
        assert restricted_violations(spec, container="tokwatt") == []
        assert spec["volumes"][0]["configMap"]["name"] == config["metadata"]["name"]
        assert workload["spec"]["template"]["metadata"]["labels"]["tokwatt/sidecar"] == "tokwatt"
