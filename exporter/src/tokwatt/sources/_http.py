"""One shared HTTP client for sources: keep-alive, deadlines, a body limit, and failures that tell a person what to do.

Knows HTTP only. Never follows redirects, never puts credentials into a message, reads no environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from yarl import URL

from tokwatt import __version__
from tokwatt.readings import Clock, Malformed, Refused, SourceError, TimedOut, Unavailable

DEFAULT_BODY_LIMIT_BYTES = 8 * 1024 * 1024
_ERROR_BODY_LIMIT_BYTES = 4096
_KEEPALIVE_SECONDS = 75.0
_QUOTED_CHARS = 200
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_SECRET_PARAMETERS = ("token", "key", "secret", "password", "auth", "sig")
_HEADERS: Mapping[str, str] = {
    "User-Agent": f"tokwatt/{__version__}",
    "Accept": "text/plain;version=0.0.4,*/*;q=0.5",
    "Accept-Encoding": "gzip",
}


@dataclass(frozen=True, slots=True)
class Access:
    """How to be let in: a file with a bearer token (read each time: tokens rotate), a CA file, or no verification.

    `fingerprint`, the SHA-256 of the server's certificate in hexadecimal, takes the place of any other verification.
    """

    bearer_token_file: str = ""
    ca_file: str = ""
    verify_tls: bool = True
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer with status 200. Both instants are of the clock handed to `get()`."""

    body: bytes
    content_type: str
    sent_seconds: float
    answered_seconds: float  # the answer's head arrived
    framed: bool  # the server said where the body ends; without it, a cut body looks like a whole one


@dataclass(frozen=True, slots=True)
class AnyAnswer:
    """A complete answer with any status. Headers and body may hold secrets: neither belongs into a message."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    sent_seconds: float
    answered_seconds: float


def safe_url(url: str | URL) -> str:
    """Write a URL without user, password and secret parameters, for messages."""
    try:
        parsed = URL(url) if isinstance(url, str) else url
        query = [
            (key, "***" if any(secret in key.lower() for secret in _SECRET_PARAMETERS) else value)
            for key, value in parsed.query.items()
        ]
        return str(parsed.with_user(None).with_query(query).with_fragment(None))
    except (ValueError, TypeError):
        return "(not a URL)"


def parse_url(url: str) -> URL:
    """Check and parse an http(s) URL. Raises ValueError without repeating a password."""
    try:
        parsed = URL(url)
    except ValueError as error:
        raise ValueError("not a URL; expected for example http://127.0.0.1:8000/metrics") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{safe_url(parsed)}: expected http://HOST:PORT/PATH or https://HOST:PORT/PATH")
    return parsed


class Http:
    """GET with everything that can go wrong mapped to SourceError. One per process; sessions open on first use."""

    def __init__(self, body_limit_bytes: int = DEFAULT_BODY_LIMIT_BYTES) -> None:
        self._limit = body_limit_bytes
        self._session: aiohttp.ClientSession | None = None
        self._tls: dict[Access, ssl.SSLContext] = {}

    async def get(
        self,
        url: URL,
        *,
        timeout_seconds: float,
        clock: Clock = time.monotonic,
        access: Access | None = None,
        switch_on: str = "",
    ) -> Answer:
        """Fetch `url`; `switch_on` tells a person how to make the server offer it. Raises SourceError only."""
        where = safe_url(url)
        access = access or Access()
        headers = authorization(access, where)
        tls = self._tls_of(access, where)
        with _explained(where, timeout_seconds):
            async with asyncio.timeout(timeout_seconds):
                sent = clock()
                async with self._open().get(url, headers=headers, ssl=tls, allow_redirects=False) as response:
                    return await self._complete(response, where, sent, clock(), switch_on)

    async def send(
        self,
        method: str,
        url: URL,
        *,
        timeout_seconds: float,
        clock: Clock = time.monotonic,
        access: Access | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> AnyAnswer:
        """Send one request and return its answer, whatever the status. Raises SourceError where there is none."""
        where = safe_url(url)
        tls = self._tls_of(access or Access(), where)
        with _explained(where, timeout_seconds):
            async with asyncio.timeout(timeout_seconds):
                sent, open_ = clock(), self._open()
                async with open_.request(
                    method, url, headers=headers, data=body, ssl=tls, allow_redirects=False
                ) as response:
                    answered = clock()
                    content = await self._body(response, where, self._limit)
                    return AnyAnswer(response.status, response.headers, content, sent, answered)

    async def aclose(self) -> None:
        """Close all connections. The object can be used again afterwards."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _complete(
        self, response: aiohttp.ClientResponse, where: str, sent: float, answered: float, switch_on: str
    ) -> Answer:
        whole = False
        try:
            if response.status != 200:
                text = await self._body(response, where, _ERROR_BODY_LIMIT_BYTES, cut=True)
                raise _explain_status(response, text, where, switch_on)
            body = await self._body(response, where, self._limit)
            whole = True
        finally:
            if not whole:
                response.close()  # what is left of the body must not be read to reuse the connection
        framed = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        return Answer(body, response.headers.get("Content-Type", ""), sent, answered, framed)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the deadline of get() covers all
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # unpacked here, where a bomb can be stopped
                headers=_HEADERS,
            )
        return self._session

    def _tls_of(self, access: Access, where: str) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
        if access.fingerprint:
            return aiohttp.Fingerprint(bytes.fromhex(access.fingerprint))
        if not access.verify_tls:
            return False
        if not access.ca_file:
            return True
        if access not in self._tls:
            try:
                self._tls[access] = ssl.create_default_context(cafile=access.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise Unavailable(f"cannot use the CA file {access.ca_file}: {error}", where=where) from error
        return self._tls[access]

    async def _body(self, response: aiohttp.ClientResponse, where: str, limit: int, *, cut: bool = False) -> bytes:
        unpack = _unpacker(response.headers.get("Content-Encoding", "identity"), where)
        parts: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            part = unpack.decompress(chunk, limit + 1 - size) if unpack else chunk
            parts.append(part)
            size += len(part)
            if size > limit:
                if cut:
                    break
                raise Malformed(f"answer larger than {limit} bytes", where=where, hint="is this a metrics page?")
        if unpack and not unpack.eof and not cut:
            raise Malformed("gzip answer cut short", where=where)
        return b"".join(parts) if len(parts) != 1 else parts[0]


@contextlib.contextmanager
def _explained(where: str, timeout_seconds: float) -> Iterator[None]:
    """Turn every way in which an exchange can fail into a SourceError."""
    try:
        yield
    except TimeoutError as error:
        raise TimedOut(f"no complete answer within {timeout_seconds:g} s", where=where) from error
    except aiohttp.ClientError as error:
        raise _explain_client_error(error, where) from error
    except zlib.error as error:
        raise Malformed("cannot unpack the gzip answer", where=where) from error
    except (OSError, ValueError) as error:
        raise Unavailable(f"cannot connect: {type(error).__name__}", where=where) from error


def _unpacker(encoding: str, where: str) -> zlib._Decompress | None:
    if encoding in ("identity", ""):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(_GZIP_OR_ZLIB)
    raise Malformed(f"answer in the unknown Content-Encoding {encoding[:40]!r}", where=where)


def authorization(access: Access, where: str) -> dict[str, str]:
    """Headers that let a request in; empty without a token. Raises Refused where the token cannot be read."""
    if not access.bearer_token_file:
        return {}
    try:
        token = Path(access.bearer_token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "not text"
        raise Refused(f"cannot read the token file {access.bearer_token_file}: {problem}", where=where) from error
    return {"Authorization": f"Bearer {token}"}


def _explain_client_error(error: aiohttp.ClientError, where: str) -> SourceError:
    # aiohttp's own texts repeat the URL, with its password: only texts of the system are quoted
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Unavailable("the host name is not known", where=where, hint="check the name and the resolver")
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        what = f"its certificate has the SHA-256 fingerprint {error.got.hex()}, not the one configured"
        return Refused(what, where=where, hint="nothing was sent; a new certificate, or somebody in between?")
    if isinstance(error, aiohttp.ClientSSLError):
        return Unavailable(f"TLS failed: {error.os_error}", where=where, hint="http or https? right CA file?")
    if isinstance(error, aiohttp.ClientConnectorError):
        hint = "is the server running, and is this its port?"
        return Unavailable(f"cannot connect: {error.os_error.strerror or error.os_error}", where=where, hint=hint)
    if isinstance(error, aiohttp.ClientPayloadError):
        return Malformed("answer cut short", where=where)
    if isinstance(error, aiohttp.ClientResponseError):
        return Malformed(f"not an HTTP answer: {error.message[:_QUOTED_CHARS]}", where=where, hint="right port?")
    if isinstance(error, aiohttp.ClientConnectionError):
        return Unavailable("the server closed the connection without an answer", where=where)
    return Malformed(f"the request failed ({type(error).__name__})", where=where)


def _explain_status(response: aiohttp.ClientResponse, body: bytes, where: str, switch_on: str) -> SourceError:
    status = response.status
    said = _server_message(body)
    what = f"HTTP {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        target = safe_url(response.url.join(URL(response.headers.get("Location", ""))))
        return Malformed(f"{what}, redirected to {target}", where=where, hint="redirects aren't followed: use that URL")
    if status in (401, 403):
        return Refused(what, where=where, hint="give a bearer_token_file, or open the metrics path")
    if status in (404, 405, 501):
        return Unavailable(f"{what}: no metrics at this path", where=where, hint=switch_on or "check the path")
    if status == 503 and "loading" in said.lower():
        return Unavailable(f"the model is loading ({what})", where=where, hint="will be read once it has loaded")
    if status in (429, 502, 503, 504):
        return Unavailable(what, where=where)
    return Malformed(what, where=where)


def _server_message(body: bytes) -> str:
    """The server's own words about an error, short: the message of a JSON error, or the first line of a text."""
    text = body.decode("utf-8", "replace").strip()
    if text.startswith("<"):
        return ""
    try:
        found = json.loads(text)
        while isinstance(found, dict):
            found = next((found[key] for key in ("error", "message", "detail") if key in found), "")
        text = str(found)
    except ValueError:
        pass
    return " ".join(text.split())[:_QUOTED_CHARS]


def explain_page(answer: Answer, where: str, hint: str) -> Malformed | None:
    """Say why an answer cannot be a metrics page: HTML, JSON, cut short. None if it may be one."""
    body = answer.body
    first = body[:64].lstrip()[:1]
    if first == b"<":
        return Malformed("answered a web page (HTML), not metrics", where=where, hint=hint)
    if first == b"[" or (first == b"{" and ("json" in answer.content_type or body.rstrip()[-1:] == b"}")):
        return Malformed(f"answered JSON, not metrics: {_server_message(body[:400])!r}", where=where, hint=hint)
    if "openmetrics" in answer.content_type and body.rstrip()[-5:] != b"# EOF":
        return Malformed('answer cut short: no "# EOF" at its end', where=where)
    if not answer.framed and body and not body.endswith(b"\n"):
        return Malformed("answer cut short: its last line has no end", where=where)
    return None
