"""The file of `--web.config.file`: TLS and basic auth in the format of prometheus/exporter-toolkit, read strictly.

Owns parsing, the TLS context and password checks. Serves nothing. Hashes and passwords never reach a message.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from tokwatt.config.binder import Binder
from tokwatt.config.load import read_text
from tokwatt.config.mistakes import ConfigError, ConfigWarning, Mistake, Rejected, Report
from tokwatt.config.scalars import is_null
from tokwatt.config.tree import parse

BCRYPT_MAX_BYTES = 72  # bcrypt reads no more of a password; two longer ones could not be told apart
_BCRYPT_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_CLIENT_CHECKS: Mapping[str, ssl.VerifyMode] = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def _parse_user(name: str, password_hash: str) -> str:
    if not name or ":" in name:
        raise Rejected("a user name is not empty and holds no colon")
    if not _BCRYPT_HASH.fullmatch(password_hash):
        raise Rejected("not a bcrypt hash", "make one with `htpasswd -nBC 10 USER`; never write the password itself")
    return password_hash


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """`tls_server_config`. Python's TLS cannot ask for a client certificate without verifying it."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "cert", "key", "client_ca", "client_allowed_sans", "max_version", "cipher_suites", "curve_preferences",
            "prefer_server_cipher_suites",
        }
    )  # fmt: skip

    cert_file: str = field(metadata={"help": "certificate chain of the exporter, PEM", "file": True})
    key_file: str = field(metadata={"help": "its private key, PEM, without a passphrase", "file": True, "secret": True})
    client_auth_type: Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"] = field(
        default="NoClientCert", metadata={"help": "whether clients show a certificate"}
    )
    client_ca_file: str | None = field(
        default=None, metadata={"help": "CA certificates that clients are checked against, PEM", "file": True}
    )
    min_version: Literal["TLS12", "TLS13"] = field(default="TLS12", metadata={"help": "lowest TLS version accepted"})


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The whole file. No TLS section: plain HTTP. No users: no authentication."""

    LATER: ClassVar[frozenset[str]] = frozenset({"http_server_config", "rate_limit"})

    tls_server_config: TlsConfig | None = field(default=None, metadata={"help": "serve HTTPS"})
    basic_auth_users: Mapping[str, str] = field(
        default_factory=dict,
        repr=False,
        metadata={"help": "user name: bcrypt hash of the password", "secret": True, "parse_item": _parse_user},
    )


def read_web_config(path: Path) -> tuple[WebConfig, tuple[ConfigWarning, ...]]:
    """Read the file and check all of it. Relative paths are relative to its directory. Raises ConfigError."""
    report = Report(str(path))
    binder = Binder(report, directory=path.parent.absolute(), environ={}, custom={})
    root = parse(read_text(path), report)
    config = WebConfig()
    if root is not None and not is_null(root):
        config = binder.record(WebConfig, root, "")
        _check_client_ca(config, binder)
    report.raise_mistakes()
    return config, tuple(report.warnings)


def _check_client_ca(config: WebConfig, binder: Binder) -> None:
    tls = config.tls_server_config
    key = "tls_server_config.client_ca_file"
    if tls is None or binder.report.has_mistake("tls_server_config"):
        return
    if tls.client_auth_type == "NoClientCert" and tls.client_ca_file:
        binder.report.mistake(
            binder.place(key), key, "has no effect with client_auth_type NoClientCert", "use RequireAndVerifyClientCert"
        )
    if tls.client_auth_type != "NoClientCert" and not tls.client_ca_file:
        place = binder.place("tls_server_config.client_auth_type")
        binder.report.mistake(place, key, "required key is missing", f"{tls.client_auth_type} needs it")


def build_ssl_context(config: WebConfig, filename: str) -> ssl.SSLContext | None:
    """Load the certificates of a web config; None without a TLS section. Raises ConfigError naming the file."""
    tls = config.tls_server_config
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if tls.min_version == "TLS12" else ssl.TLSVersion.TLSv1_3
    try:
        # an empty passphrase makes an encrypted key fail here instead of asking on the terminal
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except (OSError, ValueError) as error:
        message = f"{tls.cert_file} and {tls.key_file} cannot be used: {_reason(error)}"
        suggestion = "give a PEM certificate and its own PEM key without a passphrase"
        raise _tls_error(filename, "cert_file", message, suggestion) from None
    if tls.client_ca_file:
        try:
            context.load_verify_locations(cafile=tls.client_ca_file)
        except (OSError, ValueError) as error:
            message = f"{tls.client_ca_file} cannot be used: {_reason(error)}"
            raise _tls_error(filename, "client_ca_file", message, "give PEM certificates") from None
    context.verify_mode = _CLIENT_CHECKS[tls.client_auth_type]
    return context


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)


def _tls_error(filename: str, key: str, message: str, suggestion: str) -> ConfigError:
    return ConfigError([Mistake(filename, None, None, f"tls_server_config.{key}", message, suggestion)])


class BasicAuth:
    """Checks user names and passwords against bcrypt hashes, one at a time and off the event loop.

    bcrypt costs tens of milliseconds and Prometheus sends the same password with every scrape, so a good result is
    remembered as a hash keyed with a secret of this process.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        """Take users and bcrypt hashes. Raises ModuleNotFoundError saying what to install."""
        try:
            import bcrypt  # noqa: PLC0415  an extra: only needed with basic auth
        except ModuleNotFoundError:
            raise ModuleNotFoundError("basic auth needs bcrypt: pip install 'tokwatt[web]'", name="bcrypt") from None
        self._check = bcrypt.checkpw
        self._users = {name: password_hash.encode() for name, password_hash in users.items()}
        # of nobody's password, at the highest cost in use: an unknown user takes no less time than a known one
        cost = max((int(password_hash[4:6]) for password_hash in users.values()), default=10)
        self._nobody = bcrypt.gensalt(cost) + b"." * 31
        self._key = secrets.token_bytes(32)
        self._good: dict[str, bytes] = {}
        self._turn = asyncio.Semaphore(1)  # a flood of guesses must not take every core

    async def verify(self, user: str, password: str) -> bool:
        """Tell whether the password is the user's."""
        try:
            name, word = user.encode(), password.encode()
        except UnicodeEncodeError:
            return False
        if len(word) > BCRYPT_MAX_BYTES or b"\0" in word:
            return False
        seen = hmac.digest(self._key, len(name).to_bytes(8, "big") + name + word, hashlib.sha256)
        if hmac.compare_digest(self._good.get(user, b""), seen):
            return True
        known = self._users.get(user, self._nobody)
        async with self._turn:
            good = await asyncio.to_thread(self._check, word, known)
        if not good or user not in self._users:
            return False
        self._good[user] = seen
        return True
