"""Checks on files that a configuration names: there, readable, not open to everybody. Never keeps or prints content."""

from __future__ import annotations

import stat
from pathlib import Path

from tokwatt.config.mistakes import Rejected

_CONTROL = "name an existing file that the exporter's user can read"


def check_readable(path: Path) -> None:
    """Make sure that a regular file is there, not empty and readable. Raises Rejected."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise Rejected(f"{path} is a directory", _CONTROL)
        if not stat.S_ISREG(status.st_mode):
            return  # a pipe may be read once only, and not by a check
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise Rejected(f"file {path} does not exist", _CONTROL) from None
    except PermissionError:
        raise Rejected(f"file {path} cannot be read: permission denied", _CONTROL) from None
    except OSError as error:
        raise Rejected(f"file {path} cannot be read: {error.strerror}", _CONTROL) from None
    if status.st_size == 0:
        raise Rejected(f"file {path} is empty", "write the secret into it")


def open_to_everybody(path: Path) -> bool:
    """Tell whether every user of the host may read the file."""
    return bool(path.stat().st_mode & stat.S_IROTH)
