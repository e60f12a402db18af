"""Doing something as a user without rights. Root ignores file modes, so a test of them needs another user."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

import pytest

NOBODY = 65534

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")


def as_nobody(run: Callable[[], str]) -> str:
    """Run a function in a child process as the user nobody and return what it says.

    A fork, not a new program: nobody may have no right to start this Python.
    """
    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads: the child uses none of theirs
        child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(into, run().encode())
        except BaseException as error:
            os.write(into, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said
