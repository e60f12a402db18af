"""A real Alertmanager on loopback and a webhook receiver that keeps what it is sent."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from support import tools
from support.ports import free_port
from support.processes import poll, running


class WebhookReceiver:
    """Keeps the JSON bodies posted to it, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.payloads: list[Mapping[str, Any]] = []

    def alerts(self) -> list[Mapping[str, Any]]:
        """All alerts of all payloads, in order of arrival."""
        return [alert for payload in list(self.payloads) for alert in payload["alerts"]]

    def wait_for(self, wanted: Callable[[Mapping[str, Any]], bool], what: str, seconds: float = 40.0) -> Any:
        """Wait until an alert that `wanted` accepts has arrived."""
        return poll(lambda: next(filter(wanted, self.alerts()), None), what, seconds)


@contextlib.contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    """A receiver on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.payloads.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = WebhookReceiver(f"http://127.0.0.1:{server.server_port}/")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def running_alertmanager(work: Path, webhook_url: str) -> Iterator[str]:
    """Start Alertmanager that forwards every alert at once, resolved ones too. Yields its host:port."""
    tools.need("alertmanager")
    work.mkdir(parents=True, exist_ok=True)
    file = work / "alertmanager.yml"
    route = {
        "receiver": "hook",
        "group_by": ["alertname"],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1m",
    }
    receiver = {"name": "hook", "webhook_configs": [{"url": webhook_url, "send_resolved": True}]}
    file.write_text(yaml.safe_dump({"route": route, "receivers": [receiver]}))
    address = f"127.0.0.1:{free_port()}"
    argv = [
        tools.find("alertmanager"),
        f"--config.file={file}",
        f"--storage.path={work / 'alertmanager-data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",  # no gossip port
    ]
    with running("alertmanager", argv, work) as child:
        child.wait_for_url(f"http://{address}/-/ready")
        yield address
