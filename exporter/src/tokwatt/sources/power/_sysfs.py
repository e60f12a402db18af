"""Reading small files of sysfs, with every failure as a SourceError that tells a person what to do.

Owns text and whole numbers. Knows nothing of what a file means; a hint for its owner is handed in.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from tokwatt.readings import DeviceLost, Malformed, Refused, SourceError, Unavailable

JOULES_PER_MICROJOULE: Final = 1e-6
WATTS_PER_MICROWATT: Final = 1e-6
_GONE: Final = (errno.ENOENT, errno.ENODEV, errno.ENXIO)
_QUOTED_CHARS: Final = 40


def read_text(path: Path, permission_hint: str = "") -> str:
    """Return a file's text without the space around it.

    Raises:
        SourceError: Refused (permission), DeviceLost (no such file or device), Unavailable (the driver cannot say).
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise _explain(error, path, permission_hint) from error


def read_number(path: Path, permission_hint: str = "") -> int:
    """Return the whole number in a file. Raises as `read_text`, and Malformed for anything else than a number."""
    text = read_text(path, permission_hint)
    try:
        return int(text)
    except ValueError:
        raise Malformed(f"holds {text[:_QUOTED_CHARS]!r}, not a whole number", where=str(path)) from None


def text_or(path: Path, default: str) -> str:
    """Return a file's text, or `default` where it cannot be read: for names and labels, which may be missing."""
    try:
        return read_text(path)
    except SourceError:
        return default


def number_or_none(path: Path) -> int | None:
    """Return the whole number in a file, or None where there is none."""
    try:
        return read_number(path)
    except SourceError:
        return None


def entries(folder: Path) -> tuple[str, ...]:
    """Return the sorted names in a folder; none where it is missing. Raises Refused, Unavailable."""
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise _explain(error, folder, "tokwatt must be able to list this folder") from error


def exists(path: Path) -> bool:
    """Tell whether a path leads somewhere; False also where it may not be followed."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _explain(error: OSError, path: Path, permission_hint: str) -> SourceError:
    what = error.strerror or str(error)
    if isinstance(error, PermissionError):
        return Refused(what, where=str(path), hint=permission_hint)
    if error.errno in _GONE:
        return DeviceLost(what, where=str(path), hint="the driver took it away; looked for again at the next read")
    return Unavailable(f"the kernel cannot read it now: {what}", where=str(path))
