"""The HTTP face of the exporter. Every answer comes from the latest Snapshot: no handler does I/O to a source."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources

from aiohttp import BasicAuth, hdrs, web
from aiohttp.typedefs import Middleware

from tokwatt.app.snapshot_json import to_json
from tokwatt.metrics.exposition import Exposition
from tokwatt.readings import Clock
from tokwatt.sampler import POWER_KIND, TOKENS_KIND
from tokwatt.snapshot import Snapshot

log = logging.getLogger("tokwatt.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Verify = Callable[[str, str], Awaitable[bool]]

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
PAGE_FILES: Mapping[str, str] = {
    "/": "index.html",
    "/page.js": "page.js",
    "/page.css": "page.css",
}
STUCK_TICKS, STUCK_SECONDS = 10, 5  # without a new Snapshot for this long, it is better restarted
CONTENT_TYPES: Mapping[str, str] = {"html": "text/html", "js": "text/javascript", "css": "text/css"}


@dataclass(slots=True)
class Face:
    """Latest Snapshot in every form that is asked for."""

    exposition: Exposition = field(default_factory=Exposition)
    snapshot: Snapshot | None = None
    _json: bytes | None = None

    def publish(self, snapshot: Snapshot) -> None:
        """Replace the Snapshot whole."""
        self.snapshot = snapshot
        self._json = None
        self.exposition.update(snapshot)

    def snapshot_json(self) -> bytes | None:
        """Return the Snapshot as JSON, rendered once; None before the first one."""
        if self._json is None and self.snapshot is not None:
            self._json = json.dumps(to_json(self.snapshot), separators=(",", ":")).encode()
        return self._json


def unready_reasons(snapshot: Snapshot | None) -> list[str]:
    """Say why the exporter is not ready: every source tried, and a token source and a meter answering. Empty: ready."""
    if snapshot is None:
        return ["no tick yet"]
    reasons = [f"{health.source}: not tried yet" for health in snapshot.sources if health.up is None]
    for kind, name in ((TOKENS_KIND, "inference server"), (POWER_KIND, "meter")):
        if not any(health.up for health in snapshot.sources if health.kind == kind):
            reasons.append(f"no {name} answers")
            reasons += [f"{h.source}: {h.message}" for h in snapshot.sources if h.kind == kind and h.up is False]
    return reasons


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method per path."""

    face: Face
    clock: Clock
    reload: Callable[[], Awaitable[bool]] | None  # None: POST /-/reload is off

    async def metrics(self, request: web.Request) -> web.Response:
        """Exposition by content negotiation."""
        gzipped = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
        body = self.face.exposition.body(request.headers.get(hdrs.ACCEPT, ""), gzipped=gzipped)
        if body is None:
            return web.Response(status=503, text="no tick yet\n")
        headers = {hdrs.CONTENT_TYPE: body.content_type, hdrs.VARY: "Accept, Accept-Encoding"}
        if body.gzipped:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=body.content, headers=headers)

    async def snapshot(self, _: web.Request) -> web.Response:
        """Return the Snapshot as JSON."""
        body = self.face.snapshot_json()
        if body is None:
            return web.Response(status=503, text="no tick yet\n")
        return web.Response(body=body, content_type="application/json", headers=SECURITY_HEADERS)

    async def healthz(self, _: web.Request) -> web.Response:
        """Alive: answering, and still making Snapshots once it made one."""
        snapshot = self.face.snapshot
        if snapshot is not None:
            age_seconds = self.clock() - snapshot.at_seconds
            if age_seconds > STUCK_TICKS * snapshot.tick_seconds + STUCK_SECONDS:
                return web.Response(status=503, text=f"no Snapshot for {age_seconds:.0f} s: see the log, restart\n")
        return web.Response(text="ok\n")

    async def readyz(self, _: web.Request) -> web.Response:
        """Ready, or the reasons why not."""
        reasons = unready_reasons(self.face.snapshot)
        return web.Response(status=503 if reasons else 200, text="\n".join(reasons or ["ready"]) + "\n")

    async def reload_now(self, _: web.Request) -> web.Response:
        """Load the configuration again."""
        if self.reload is None:
            text = "off: set `reload_endpoint: true` in the configuration, or send SIGHUP\n"
            return web.Response(status=403, text=text)
        if await self.reload():
            return web.Response(text="reloaded\n")
        return web.Response(status=500, text="the new configuration was refused, the old one runs on; see the log\n")


def application(
    face: Face,
    clock: Clock,
    reload: Callable[[], Awaitable[bool]] | None = None,
    verify: Verify | None = None,
) -> web.Application:
    """Build the web application. `reload` None: POST /-/reload is off. `verify` None: no authentication."""
    handlers = Handlers(face, clock, reload)
    app = web.Application(middlewares=[_basic_auth(verify)] if verify else [])
    app.router.add_get("/metrics", handlers.metrics)
    app.router.add_get("/api/v1/snapshot", handlers.snapshot)
    app.router.add_get("/healthz", handlers.healthz)
    app.router.add_get("/readyz", handlers.readyz)
    app.router.add_post("/-/reload", handlers.reload_now)
    for path, name in PAGE_FILES.items():
        app.router.add_get(path, _page_file(name))
    return app


def page_bytes(name: str) -> bytes:
    """Return a file of the live page as it is sent: without indentation and lines that are nothing but a comment."""
    lines = resources.files("tokwatt.app").joinpath("page", name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line.strip() for line in lines if not line.lstrip().startswith("//")).encode()


def _page_file(name: str) -> Handler:
    content = page_bytes(name)
    content_type = CONTENT_TYPES[name.rsplit(".", 1)[-1]]

    async def page_file(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=content_type, charset="utf-8", headers=SECURITY_HEADERS)

    return page_file


def _basic_auth(verify: Verify) -> Middleware:
    """Ask for a password everywhere but on /healthz, which probes call without one and which tells nothing."""
    challenge = {hdrs.WWW_AUTHENTICATE: 'Basic realm="tokwatt"'}

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/healthz":
            return await handler(request)
        try:
            given = BasicAuth.decode(request.headers.get(hdrs.AUTHORIZATION, ""), encoding="utf-8")
        except ValueError:
            return web.Response(status=401, headers=challenge, text="a user name and password are needed\n")
        if not await verify(given.login, given.password):
            return web.Response(status=401, headers=challenge, text="wrong user name or password\n")
        return await handler(request)

    return authenticate
