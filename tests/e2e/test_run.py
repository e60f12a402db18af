"""`tokwatt run` as a person starts it: without a config, with a changed one, behind TLS, on a taken port."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import bcrypt
import pytest
import yaml
from support.faulty_server import running_faulty_server
from support.nvml_double import NvmlDouble
from support.openmetrics import present, total
from support.ports import free_port
from support.processes import poll, running
from support.tokwatt_process import running_tokwatt
from support.tools import need

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
PAGES = HERE.parent / "bench" / "vllm_servers.py"


def test_a_reload_takes_over_servers_and_loses_no_total(tmp_path: Path) -> None:
    double = NvmlDouble(tmp_path, gpus=2, watts=200)
    with running("pages", [sys.executable, str(PAGES), "2"], tmp_path) as pages:
        pages.wait_until(lambda: "]" in pages.log_text(), "ports")
        ports = json.loads(pages.log_text())
        first = {"name": "first", "url": f"http://127.0.0.1:{ports[0]}/metrics", "gpus": [0]}
        second = {"name": "second", "url": f"http://127.0.0.1:{ports[1]}/metrics", "gpus": [1]}
        config = {"servers": [first], "meters": [{"source": "nvml"}]}
        with running_tokwatt(tmp_path / "run", config, env=double.env()) as tokwatt:
            tokwatt.wait_ready()
            poll(lambda: total(tokwatt.samples(), "tokwatt_server_gpu_energy_joules_total") > 400 or None, "energy")
            before = tokwatt.samples()
            tokwatt.config_file.write_text(yaml.safe_dump({**config, "servers": [first, second]}))
            tokwatt.reload()
            poll(lambda: present(tokwatt.samples(), "tokwatt_output_tokens_total", server="second") or None, "second")
            after = tokwatt.samples()
            for name in ("tokwatt_output_tokens_total", "tokwatt_server_gpu_energy_joules_total"):
                assert total(after, name, server="first") >= total(before, name, server="first") > 0
            assert total(after, "tokwatt_gpu_energy_joules_total") >= total(before, "tokwatt_gpu_energy_joules_total")
            assert total(after, "tokwatt_config_last_reload_successful") == 1
            assert tokwatt.terminate() == 0


def test_without_a_config_it_finds_what_runs_here_and_says_so(tmp_path: Path) -> None:
    port = 8080  # llama.cpp's usual one
    with socket.socket() as taken:
        if taken.connect_ex(("127.0.0.1", port)) == 0:
            pytest.skip(f"port {port} of this machine is in use: detection on usual ports cannot be tried")
    double = NvmlDouble(tmp_path, gpus=1, watts=200)
    with running_faulty_server(port=port):
        listen = f"127.0.0.1:{free_port()}"
        argv = [sys.executable, "-m", "tokwatt", "run", "--listen", listen]
        with running("tokwatt", argv, tmp_path, double.env()) as tokwatt:
            tokwatt.wait_for_url(f"http://{listen}/readyz")
            said = tokwatt.log_text()
            assert "not found http://127.0.0.1:8000/metrics: cannot connect" in said or "found     http" in said
            assert f"found     http://127.0.0.1:{port}/metrics: " in said
            assert "found     nvml: 1 device" in said
            assert "not found ipmi: not looked for: it must be named in the configuration" in said
            tokwatt.signal(signal.SIGTERM)
            assert tokwatt.wait(2.0) == 0


def test_a_taken_port_ends_with_a_message(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        config = tmp_path / "tokwatt.yml"
        config.write_text("servers: [{name: a, url: 'http://127.0.0.1:1/metrics'}]\nmeters: []\n")
        argv = [sys.executable, "-m", "tokwatt", "run", "--config", str(config), "--listen", listen]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=15, check=False)
    assert ended.returncode == 1
    assert "address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_tls_and_basic_auth_from_a_web_config(tmp_path: Path) -> None:
    need("openssl")
    openssl = shutil.which("openssl")
    assert openssl is not None
    subprocess.run(
        [
            openssl,
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (tmp_path / "key.pem").chmod(0o600)
    web = {
        "tls_server_config": {"cert_file": "cert.pem", "key_file": "key.pem"},
        "basic_auth_users": {"prom": bcrypt.hashpw(b"s3cret", bcrypt.gensalt(5)).decode()},
    }
    (tmp_path / "web.yml").write_text(yaml.safe_dump(web))
    (tmp_path / "tokwatt.yml").write_text("servers: [{name: a, url: 'http://127.0.0.1:1/metrics'}]\nmeters: []\n")
    listen = f"127.0.0.1:{free_port()}"
    argv = [sys.executable, "-m", "tokwatt", "run", "--config", "tokwatt.yml", "--listen", listen]
    argv = [part if part != "tokwatt.yml" else str(tmp_path / part) for part in argv]
    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))

    def get(path: str, password: str | None) -> int:
        request = urllib.request.Request(f"https://{listen}{path}")
        if password is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"prom:{password}".encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=3, context=trust) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, ConnectionError):
            return 0

    with running("tokwatt", [*argv, "--web.config.file", str(tmp_path / "web.yml")], tmp_path):
        poll(lambda: get("/healthz", None) == 200 or None, "healthz")
        assert get("/metrics", None) == 401
        assert get("/metrics", "wrong") == 401
        poll(lambda: get("/metrics", "s3cret") == 200 or None, "metrics")
        assert get("/", "s3cret") == 200
