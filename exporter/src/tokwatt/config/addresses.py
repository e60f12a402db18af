"""Listen addresses and URLs: text to checked values. No I/O, no name lookups."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import SplitResult, urlsplit

from tokwatt.config.mistakes import Rejected, shown

DEFAULT_PORT = 9844
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?")
_WRITE_LISTEN = f"write HOST:PORT, for example 127.0.0.1:{DEFAULT_PORT}, [::1]:{DEFAULT_PORT} or :{DEFAULT_PORT}"
_WRITE_URL = "write for example http://127.0.0.1:8000/metrics"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where the exporter listens. An empty host means every interface; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """Parse HOST:PORT, [IPV6]:PORT or :PORT. Raises Rejected."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port):
        raise Rejected(f"bad listen address {shown(text)}: no port", _WRITE_LISTEN)
    if int(port) > 65535:
        raise Rejected(f"bad listen address {shown(text)}: port above 65535", _WRITE_LISTEN)
    if host.startswith("[") and host.endswith("]") and _is_ipv6(host[1:-1]):
        return ListenAddress(host[1:-1], int(port))
    if host and not _HOST.fullmatch(host):
        raise Rejected(f"bad listen address {shown(text)}: {shown(host)} is no host name or address", _WRITE_LISTEN)
    return ListenAddress(host, int(port))


def parse_url(text: str) -> str:
    """Check an http(s) URL of a metrics page, without changing it. Raises Rejected.

    Messages do not repeat the URL once it may hold a password.
    """
    try:
        parts = urlsplit(text)
        has_user = "@" in parts.netloc
        port = parts.port
    except ValueError:
        raise Rejected("bad URL: the host or port cannot be read", _WRITE_URL) from None
    if parts.scheme not in {"http", "https"}:
        said = f"scheme {shown(parts.scheme)}" if parts.scheme and "//" in text else "no scheme"
        raise Rejected(f"bad URL: {said}, expected http or https", _WRITE_URL)
    if has_user:
        raise Rejected("bad URL: it holds a user name or password", "use bearer_token_file")
    _check_host(parts)
    if port == 0:
        raise Rejected(f"bad URL {shown(text)}: port 0", _WRITE_URL)
    if parts.fragment or re.search(r"\s", text):
        raise Rejected(f"bad URL {shown(text)}: it holds a fragment (#) or a space", _WRITE_URL)
    return text


def _check_host(parts: SplitResult) -> None:
    host = parts.hostname or ""
    if not host:
        raise Rejected("bad URL: no host", _WRITE_URL)
    if not (_is_ipv6(host) if ":" in host else _HOST.fullmatch(host)):
        raise Rejected(f"bad URL: {shown(host)} is no host name or address", _WRITE_URL)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
