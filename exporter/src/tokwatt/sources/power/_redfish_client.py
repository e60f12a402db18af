"""One Redfish service: logging in, getting resources, logging out.

Owns the session: one, long-lived, renewed when it expires, deleted at the end, since BMCs have few. Sends nothing to
another host, and no password anywhere but to the service. Source: DMTF DSP0266 1.21, sections 13.3 and 13.5.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from yarl import URL

from tokwatt.readings import Clock, Malformed, Refused, SourceError, TimedOut, Unavailable
from tokwatt.sources._http import Access, AnyAnswer, Http, safe_url

Document = Mapping[str, Any]
Get = Callable[[str], Awaitable[Document]]

ROOT: Final = "/redfish/v1/"
_SESSIONS: Final = "/redfish/v1/SessionService/Sessions"
_BODY_LIMIT_BYTES: Final = 4 * 1024 * 1024
_LOGIN_SECONDS: Final = 30.0  # slow BMCs take many seconds; a login that is given up may leave a session behind
_LOGOUT_SECONDS: Final = 3.0
_NO_LOGIN_SECONDS: Final = 300.0  # BMCs lock an account after a few wrong passwords
_BASIC_SECONDS: Final = 600.0  # how long a BMC whose session slots are full is spoken to without a session
_QUOTED_CHARS: Final = 160
_REDIRECTS: Final = (301, 302, 307, 308)
_NOT_THERE: Final = (404, 405, 410, 501)


class NoReading(Unavailable):
    """A resource is not there, or has no usable value in it: another resource may."""


@dataclass(frozen=True, slots=True)
class RedfishSettings:
    """How to reach one service."""

    url: URL
    username: str
    timeout_seconds: float
    access: Access


@dataclass(frozen=True, slots=True)
class _Session:
    token: str
    path: str | None  # where to delete it; None: the BMC did not tell


class RedfishClient:
    """Gets resources, one request at a time. `password` is called for each login and may raise SourceError."""

    def __init__(self, settings: RedfishSettings, password: Callable[[], str], clock: Clock) -> None:
        self._settings = settings
        self._read_password = password
        self._clock = clock
        self._http = Http(_BODY_LIMIT_BYTES)
        self._where = safe_url(settings.url)
        self._session: _Session | None = None
        self._basic_until: float | None = None
        self._login: asyncio.Task[None] | None = None
        self._refusal: tuple[str, float, str] | None = None  # password, when, what was said
        self._secrets: tuple[str, ...] = ()

    @property
    def login(self) -> str:
        """How requests are authorised now, for a person."""
        return "session" if self._session else "basic"

    async def get(self, path: str) -> Document:
        """Return one resource.

        Raises:
            SourceError: NoReading (not there), Refused, TimedOut, Malformed, Unavailable.
        """
        answer = await self._get(path, await self._authorization())
        if answer.status == 401:
            answer = await self._get_again(path)
        if answer.status in _REDIRECTS:
            answer = await self._get(answer.headers.get("Location", ""), await self._authorization())
        return self._document(answer, path)

    async def aclose(self) -> None:
        """Delete the session, so that the BMC can give its slot to others, and close the connection."""
        with contextlib.suppress(SourceError, TimeoutError):
            async with asyncio.timeout(_LOGOUT_SECONDS):
                if self._login is not None:  # its session must not be left behind
                    await self._login
                await self._log_out()
        if self._login is not None:
            self._login.cancel()
        await self._http.aclose()

    async def _get(self, path: str, authorization: Mapping[str, str]) -> AnyAnswer:
        return await self._send("GET", path, authorization, self._settings.timeout_seconds)

    async def _get_again(self, path: str) -> AnyAnswer:
        """Get a resource after it answered 401: the session has expired, or the password is wrong."""
        if self._session is None:
            raise self._refuse("the BMC refuses user and password")
        self._session = None
        answer = await self._get(path, await self._authorization())
        if answer.status == 401:
            await self._log_out()  # else each read would leave a session behind
            raise self._refuse("the BMC answers 401 to a new session")
        return answer

    async def _authorization(self) -> Mapping[str, str]:
        """Return the headers that let a request in; logs in where that is needed."""
        if self._session is not None:
            self._login = None
        elif not self._is_basic():
            if self._login is None:
                self._check_refusal()
                self._login = asyncio.create_task(self._log_in())
            login = self._login
            try:
                await asyncio.shield(login)  # a read that runs out of time does not lose the session on its way
            finally:
                if login.done():
                    self._login = None
        if self._session is not None:
            return {"X-Auth-Token": self._session.token}
        password = self._check_refusal()
        pair = base64.b64encode(f"{self._settings.username}:{password}".encode()).decode()
        self._secrets = (password, pair)
        return {"Authorization": f"Basic {pair}"}

    def _is_basic(self) -> bool:
        return self._basic_until is not None and self._clock() < self._basic_until

    async def _log_in(self) -> None:
        password = self._read_password()
        self._secrets = (password,)
        root = await self._send("GET", ROOT, {}, _LOGIN_SECONDS)
        sessions = _SESSIONS
        if root.status != 401:  # DSP0266 leaves the root open to everybody; not all BMCs do
            sessions = link(self._document(root, ROOT), "Links", "Sessions") or _SESSIONS
        body = json.dumps({"UserName": self._settings.username, "Password": password}).encode()
        answer = await self._send("POST", sessions, {"Content-Type": "application/json"}, _LOGIN_SECONDS, body)
        token = answer.headers.get("X-Auth-Token")
        if answer.status in (200, 201) and token:
            self._secrets = (password, token)
            self._session = _Session(token, self._session_path(answer))
            self._refusal = None
            return
        said = answer.body.decode("utf-8", "replace")
        full = "SessionLimitExceeded" in said
        if not full and (answer.status in (401, 403) or (answer.status == 400 and "Unauthorized" in said)):
            raise self._refuse(f"the BMC refuses the login of {self._settings.username} (HTTP {answer.status})")
        never = 200 <= answer.status < 300 or answer.status in _NOT_THERE
        self._basic_until = float("inf") if never else self._clock() + _BASIC_SECONDS

    def _session_path(self, answer: AnyAnswer) -> str | None:
        with contextlib.suppress(SourceError, ValueError):
            if location := answer.headers.get("Location"):
                return self._url(location).raw_path
            return link(_parse(answer.body))
        return None

    async def _log_out(self) -> None:
        session, self._session = self._session, None
        if session is not None and session.path:
            await self._send("DELETE", session.path, {"X-Auth-Token": session.token}, _LOGOUT_SECONDS)

    def _check_refusal(self) -> str:
        """Return the password unless it was refused a short while ago."""
        password = self._read_password()
        if self._refusal is not None:
            refused, at_seconds, what = self._refusal
            if refused == password and self._clock() - at_seconds < _NO_LOGIN_SECONDS:
                raise Refused(what, where=self._where, hint=_refusal_hint())
        return password

    def _refuse(self, what: str) -> Refused:
        with contextlib.suppress(SourceError):
            self._refusal = (self._read_password(), self._clock(), what)
        return Refused(what, where=self._where, hint=_refusal_hint())

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], timeout_seconds: float, body: bytes | None = None
    ) -> AnyAnswer:
        return await self._http.send(
            method,
            self._url(path),
            timeout_seconds=timeout_seconds,
            clock=self._clock,
            access=self._settings.access,
            headers={"Accept": "application/json", "OData-Version": "4.0", **headers},
            body=body,
        )

    def _url(self, path: str) -> URL:
        """Return the whole URL of a link. Raises Malformed for one that leads to another host."""
        base = self._settings.url
        try:
            url = base.join(URL(path)).with_fragment(None)
            same_host = url.origin() == base.origin()
        except ValueError:
            same_host = False
        if not same_host:
            raise Malformed(f"links to another host: {safe_url(path)}", where=self._where, hint="not followed")
        return url

    def _document(self, answer: AnyAnswer, path: str) -> Document:
        where = safe_url(self._url(path))
        if answer.status == 200:
            try:
                return _parse(answer.body)
            except ValueError:
                hint = "is this the address of a BMC with Redfish?"
                raise Malformed("the answer is not a JSON object", where=where, hint=hint) from None
        what = f"HTTP {answer.status}"
        if said := self._message(answer.body):
            what = f"{what}: {said}"
        if answer.status in _NOT_THERE:
            raise NoReading(what, where=where)
        if answer.status in (401, 403):
            raise Refused(
                what, where=where, hint="the account needs the right to read (role ReadOnly, Login privilege)"
            )
        if answer.status in (408, 504):
            raise TimedOut(what, where=where)
        if answer.status == 429 or answer.status >= 500:
            raise Unavailable(what, where=where, hint="the BMC is busy or ill; asked again at the next read")
        raise Malformed(what, where=where)

    def _message(self, body: bytes) -> str:
        """Return the BMC's own words about an error, without what must stay secret."""
        try:
            error = _parse(body).get("error")
        except ValueError:
            return ""
        if not isinstance(error, Mapping):
            return ""
        extended = error.get("@Message.ExtendedInfo")
        first = extended[0] if isinstance(extended, list) and extended else None
        text = str((first if isinstance(first, Mapping) else {}).get("Message") or error.get("message") or "")
        for secret in self._secrets:
            text = text.replace(secret, "***") if secret else text
        return " ".join(text.split())[:_QUOTED_CHARS]


def link(document: Document, *keys: str) -> str | None:
    """Return the @odata.id under `keys` of a document, or None."""
    value: Any = document
    for key in (*keys, "@odata.id"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) and value else None


def _parse(body: bytes) -> Document:
    """Parse a JSON object; numbers keep their decimals, which tell a counter's resolution. Raises ValueError."""
    try:
        value = json.loads(body, parse_float=Decimal, parse_constant=lambda _: None)
    except RecursionError:
        value = None
    if isinstance(value, dict):
        return value
    raise ValueError("not an object")


def _refusal_hint() -> str:
    minutes = _NO_LOGIN_SECONDS / 60
    return (
        f"check username and password; tried again in {minutes:g} min, lest the BMC lock the account, or once changed"
    )
