"""The exporter as its users run it: `tokwatt run --config FILE` in a process of its own, read over HTTP."""

from __future__ import annotations

import contextlib
import gzip
import json
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from support.openmetrics import Samples, classic_samples, openmetrics_samples
from support.ports import free_port
from support.processes import Child

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CLASSIC = "text/plain; version=0.0.4"


class TokwattProcess:
    """A running exporter."""

    def __init__(self, child: Child, address: str, config_file: Path) -> None:
        self.child = child
        self.config_file = config_file
        self.address = address  # host:port, as a Prometheus target
        self.url = f"http://{address}"

    def get(self, path: str, headers: Mapping[str, str] | None = None, seconds: float = 5.0) -> tuple[bytes, str]:
        """Body (gzip undone) and content type. Raises urllib.error.HTTPError for a status other than 2xx."""
        request = urllib.request.Request(self.url + path, headers=dict(headers or {}))
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            body = answer.read()
            if answer.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            return body, answer.headers["Content-Type"]

    def metrics_text(self, accept: str = CLASSIC) -> str:
        return self.get("/metrics", {"Accept": accept})[0].decode()

    def samples(self) -> Samples:
        """One scrape in the classic format."""
        return classic_samples(self.metrics_text())

    def openmetrics(self) -> Samples:
        """One scrape in OpenMetrics, negotiated and parsed strictly."""
        body, content_type = self.get("/metrics", {"Accept": OPENMETRICS})
        assert content_type.startswith("application/openmetrics-text"), content_type
        return openmetrics_samples(body.decode())

    def snapshot(self) -> Mapping[str, Any]:
        """`/api/v1/snapshot`."""
        return dict(json.loads(self.get("/api/v1/snapshot")[0]))

    def wait_ready(self, seconds: float = 20.0) -> None:
        """Wait until every source was tried and one token source and one meter answered."""
        self.child.wait_for_url(f"{self.url}/readyz", seconds)

    def reload(self) -> None:
        """Ask for a reload the Unix way."""
        self.child.signal(signal.SIGHUP)

    def terminate(self, within_seconds: float = 2.0) -> int:
        """SIGTERM must end it in time. Returns the exit status."""
        started = time.monotonic()
        status = self.child.stop(within_seconds)
        took = time.monotonic() - started
        if took >= within_seconds:
            raise self.child.failed(f"did not stop within {within_seconds} s of SIGTERM")
        return status


@contextlib.contextmanager
def running_tokwatt(
    work: Path, config: Mapping[str, Any] | Path, *, env: Mapping[str, str] | None = None
) -> Iterator[TokwattProcess]:
    """Start the exporter on a free loopback port. Alive (`/healthz`) when the block starts, not yet ready."""
    work.mkdir(parents=True, exist_ok=True)
    file = config if isinstance(config, Path) else work / "tokwatt.yml"
    if not isinstance(config, Path):
        file.write_text(yaml.safe_dump(dict(config), sort_keys=False))
    address = f"127.0.0.1:{free_port()}"
    argv = [sys.executable, "-m", "tokwatt", "run", "--config", str(file), "--listen", address]
    child = Child("tokwatt", argv, work / "tokwatt.log", {"PYTHONUNBUFFERED": "1", **(env or {})})
    try:
        child.wait_for_url(f"http://{address}/healthz", 15.0)
        yield TokwattProcess(child, address, file)
    finally:
        child.stop(5.0)
