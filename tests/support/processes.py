"""Child processes of tests: start, wait until ready, stop. No orphans; a failure shows the end of the child's log.

Start children from the main thread: the kernel ties a child's life to the thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class ChildFailed(AssertionError):
    """A child died, or was not ready in time."""


class Child:
    """One running program, its output in `log`."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        # A killed test run must not leave children behind: the kernel kills them with their parent.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*guard, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])

    def failed(self, why: str) -> ChildFailed:
        """An error that says why and shows the end of the log."""
        state = "still running" if self.running() else f"exited with {self._process.returncode}"
        return ChildFailed(f"{self.name}: {why} ({state}); end of its log:\n{self.log_tail()}")

    def wait_until(self, ready: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        """Poll until `ready()`. Raises ChildFailed when the child dies or the time is up."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running():
                raise self.failed(f"died before {what}")
            if time.monotonic() > deadline:
                raise self.failed(f"no {what} within {seconds} s")
            time.sleep(0.05)

    def wait_for_url(self, url: str, seconds: float = 30.0) -> None:
        """Wait until a GET answers 200."""
        self.wait_until(lambda: answers(url), f"answer 200 from {url}", seconds)

    def wait_for_log(self, text: str, seconds: float = 30.0) -> None:
        """Wait until the output contains a text."""
        self.wait_until(lambda: text in self.log_text(), f"{text!r} in the log", seconds)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, seconds: float = 10.0) -> int:
        """SIGTERM, then SIGKILL to the whole group when it outlives `seconds`. Returns the exit status."""
        if self.running():
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def wait(self, seconds: float) -> int:
        """Wait for a program that ends by itself. Returns the exit status."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.failed(f"did not end within {seconds} s") from None


@contextlib.contextmanager
def running(name: str, argv: Sequence[str], work: Path, env: Mapping[str, str] | None = None) -> Iterator[Child]:
    """A child that is stopped when the block ends, however it ends."""
    child = Child(name, argv, work / f"{name}.log", env)
    try:
        yield child
    finally:
        child.stop()


def answers(url: str, seconds: float = 2.0) -> bool:
    """True when a GET answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def poll(probe: Callable[[], T | None], what: str, seconds: float = 30.0, every: float = 0.1) -> T:
    """Call `probe` until it gives something that is true. For waits on real programs only."""
    deadline = time.monotonic() + seconds
    while True:
        if found := probe():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {seconds} s; last: {found!r}")
        time.sleep(every)
