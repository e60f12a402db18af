"""`make tools`: install the external programs of the tests with apt-get, or say which are missing.

Exit 1 only in CI. Starts no service: Debian packages would otherwise start a daemon each.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import tools

POLICY = Path("/usr/sbin/policy-rc.d")


def main() -> int:
    missing = tools.missing()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        install(sorted({tools.TOOLS[name].package for name in missing}))
        missing = tools.missing()
    if not missing:
        return 0
    print(f"\n*** {tools.ToolMissing(missing)}", file=sys.stderr)
    if tools.in_ci():
        return 1
    print("*** Until then the tests that need them are skipped.\n", file=sys.stderr)
    return 0


def install(packages: list[str]) -> None:
    """One apt-get for all; where that fails, one by one, so that one unknown package costs only itself."""
    print(f"Installing with apt-get: {' '.join(packages)}", flush=True)
    with no_services_started():
        apt("update")
        if not apt("install", *packages):
            for package in packages:
                apt("install", package)


def apt(command: str, *packages: str) -> bool:
    argv = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", command]
    if packages:
        argv += ["-y", "--no-install-recommends", *packages]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{' '.join(argv)} failed:\n{done.stderr.strip()[-2000:]}", file=sys.stderr)
    return done.returncode == 0


@contextlib.contextmanager
def no_services_started() -> Iterator[None]:
    """Forbid starting daemons through Debian's own switch, policy-rc.d, for as long as packages are installed."""
    if POLICY.exists():
        yield  # the machine has its own policy (containers do): leave it alone
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
