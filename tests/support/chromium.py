"""Headless Chromium: a picture or the final DOM of a page. It can reach loopback only."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support import tools

OPTIONS = (
    "--headless",
    "--no-sandbox",  # it refuses to run as root otherwise
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--force-device-scale-factor=1",
)


def screenshot(url: str, file: Path, *, width: int = 1280, height: int = 900, budget_seconds: float = 3.0) -> Path:
    """Save a PNG of the page after its scripts had `budget_seconds` of page time."""
    _run(url, f"--screenshot={file}", f"--window-size={width},{height}", work=file.parent, budget=budget_seconds)
    assert file.exists(), f"chromium wrote no picture of {url}"
    return file


def dom(url: str, work: Path, *, width: int = 1280, height: int = 900, budget_seconds: float = 3.0) -> str:
    """The page's DOM as HTML after its scripts had `budget_seconds` of page time."""
    return _run(url, "--dump-dom", f"--window-size={width},{height}", work=work, budget=budget_seconds)


def _run(url: str, *options: str, work: Path, budget: float) -> str:
    tools.need("chromium", "fonts")
    work.mkdir(parents=True, exist_ok=True)
    argv = [
        tools.find("chromium"),
        *OPTIONS,
        f"--user-data-dir={work / 'chromium-profile'}",
        f"--virtual-time-budget={int(budget * 1000)}",
        *options,
        url,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"chromium {url} (exit {done.returncode}):\n{done.stderr[-3000:]}"
    return done.stdout
