"""A Redfish service as BMCs run one: sessions in few slots, TLS by a certificate of its own, every oddity on demand.

Resources are a table from path to JSON, a status, or a function; set them at any time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

USER, PASSWORD = "monitor", "hunter2"
ROOT = "/redfish/v1/"
SESSIONS = "/redfish/v1/SessionService/Sessions"
CHASSIS = "/redfish/v1/Chassis"


class RedfishDouble:
    """The service. Use `running()`."""

    def __init__(self) -> None:
        self.password = PASSWORD
        self.resources: dict[str, Any] = {}
        self.slots = 4
        self.sessions: dict[str, str] = {}  # token -> path
        self.opened = 0
        self.most_at_once = 0
        self.refused_logins = 0
        self.session_status: int | None = None  # answers logins with this status, and with `session_body`
        self.session_body = "{}"
        self.gives_token = True
        self.location = "{path}"
        self.takes_basic = False
        self.root_needs_login = False
        self.delay_seconds = 0.0
        self.login_delay_seconds = 0.0
        self.hangs = False
        self.resets = False
        self.requests: list[tuple[str, str, str]] = []  # method, path, how it was authorised
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = 0
        self.scheme = "http"
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def add_server(self, name: str = "1", *, kind: str = "RackMount", **parts: Any) -> None:
        """A chassis whose `parts` are its power resources: `Power={...}` becomes a link and a resource.

        A part named with `__` for `/` is only a resource: `Sensors__Total={...}`.
        """
        path = f"{CHASSIS}/{name}"
        document = {"Id": name, "ChassisType": kind, "Manufacturer": "Contoso", "Model": "3500RX"}
        for part, content in parts.items():
            if "__" not in part:
                document[part] = {"@odata.id": f"{path}/{part}"}
            self.resources[f"{path}/{part.replace('__', '/')}"] = content
        self.resources[path] = document
        self.link_chassis()

    def link_chassis(self) -> None:
        names = [path for path in self.resources if path.startswith(f"{CHASSIS}/") and path.count("/") == 4]
        self.resources[CHASSIS] = {"Members": [{"@odata.id": path} for path in names]}
        self.resources[ROOT] = {
            "Chassis": {"@odata.id": CHASSIS},
            "Links": {"Sessions": {"@odata.id": SESSIONS}},
        }

    def expire(self) -> None:
        """End all sessions, as a BMC does after a while or when it restarts."""
        self.sessions.clear()

    def count(self, method: str, path: str) -> int:
        return sum((m, p) == (method, path) for m, p, _ in self.requests)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._handle(request)
        finally:
            self.in_flight -= 1

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        how = self._authorised(request)
        self.requests.append((request.method, request.path, how))
        if self.resets and request.transport is not None:
            request.transport.abort()
        await asyncio.sleep(3600 if self.hangs else self.delay_seconds)
        if request.method == "POST" and request.path == SESSIONS:
            return await self._log_in(request)
        if how == "no" and (request.path != ROOT or self.root_needs_login):
            return error(401, "credentials wanted")
        if request.method == "DELETE":
            token = next((token for token, path in self.sessions.items() if path == request.path), None)
            if token is None:
                return error(404, "no such session")
            del self.sessions[token]
            return web.Response(status=204)
        content = self.resources.get(request.path, 404)
        content = content(request) if callable(content) else content
        if isinstance(content, web.StreamResponse):
            return content
        if isinstance(content, int):
            return error(content, f"status {content}")
        body = content if isinstance(content, str) else json.dumps(content)
        return web.Response(text=body, content_type="application/json")

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        wanted = await request.json()
        await asyncio.sleep(self.login_delay_seconds)
        if self.session_status is not None:
            return web.Response(status=self.session_status, text=self.session_body, content_type="application/json")
        if (wanted["UserName"], wanted["Password"]) != (USER, self.password):
            self.refused_logins += 1
            return error(401, f"wrong password {wanted['Password']}")  # some do repeat it
        if len(self.sessions) >= self.slots:
            return error(503, "no session is free", "Base.1.0.SessionLimitExceeded")
        number = next(self._numbers)
        token, path = f"token-{number}", f"{SESSIONS}/{number}"
        self.sessions[token] = path
        self.opened += 1
        self.most_at_once = max(self.most_at_once, len(self.sessions))
        headers = {"X-Auth-Token": token} if self.gives_token else {}
        if self.location:
            headers["Location"] = self.location.format(path=path, url=self.url)
        return web.json_response({"@odata.id": path}, status=201, headers=headers)

    def _authorised(self, request: web.Request) -> str:
        if request.headers.get("X-Auth-Token") in self.sessions:
            return "session"
        given = request.headers.get("Authorization", "")
        if self.takes_basic and given == basic(USER, self.password):
            return "basic"
        return "no"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def error(status: int, message: str, message_id: str = "Base.1.0.GeneralError") -> web.Response:
    info = [{"MessageId": message_id, "Message": message}]
    return web.json_response({"error": {"code": message_id, "@Message.ExtendedInfo": info}}, status=status)


@contextlib.asynccontextmanager
async def running(certificate: Certificate | None = None) -> AsyncIterator[RedfishDouble]:
    double = RedfishDouble()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", double.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    context = certificate.server_context() if certificate else None
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    double.port = runner.addresses[0][1]
    double.scheme = "https" if certificate else "http"
    try:
        yield double
    finally:
        await runner.cleanup()


class Certificate:
    """A certificate that signs itself, as BMCs ship them, made by the openssl command."""

    def __init__(self, folder: Path, *, name: str = "IP:127.0.0.1") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.key = folder / "bmc.pem", folder / "bmc.key"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-keyout", self.key, "-out", self.file, "-days", "2", "-subj", "/CN=bmc"),
                *("-addext", f"subjectAltName={name}"),
            ],
            check=True,
            capture_output=True,
            timeout=30,
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 in the words of openssl: AB:CD:..."""
        command = ["openssl", "x509", "-in", self.file, "-noout", "-fingerprint", "-sha256"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        return done.stdout.strip().rpartition("=")[2]

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context
