"""The password of a BMC account, from a file or the environment. Read anew for each login: passwords rotate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from tokwatt.readings import Refused


class Account(Protocol):
    """Options that name an account and where its password is."""

    @property
    def username(self) -> str: ...
    @property
    def password_file(self) -> str | None: ...
    @property
    def password_env(self) -> str | None: ...


def password_of(account: Account) -> bytes:
    """Return the password without the line end of its file. Raises Refused, never naming what is in it."""
    if account.password_env:
        secret = os.environ.get(account.password_env)
        if secret is None:
            raise Refused("not set", where=f"environment variable {account.password_env}", hint="set the BMC password")
        return os.fsencode(secret)
    if not account.password_file:
        hint = "set password_file, or password_env"
        raise Refused("no password is configured", where=f"account {account.username}", hint=hint)
    try:
        return Path(account.password_file).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise refused_file(account, error.strerror or str(error)) from None


def refused_file(account: Account, problem: str) -> Refused:
    """Return the error for a password file that cannot be used."""
    hint = "it must hold the BMC password and be readable by tokwatt"
    return Refused(problem, where=account.password_file or account.password_env or "", hint=hint)
