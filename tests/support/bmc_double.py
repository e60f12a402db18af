"""A stand-in BMC in a child process: pyghmi's BMC with DCMI and sensor records, controlled while it runs.

    with BmcDouble(tmp_path, watts=412) as bmc:      # 127.0.0.1:bmc.port, account root/secret
        bmc.set_watts(500)                           # takes effect at the next request
        bmc.follow([(time.monotonic() + 5, 800)])    # or a schedule of steps: (time.monotonic() instant, watts)
        bmc.joules(start, end)                       # the truth: exact integral of those steps
        bmc.set(dcmi_code=0xC1)                      # see DEFAULTS for everything that can be set
        bmc.restart()                                # forgets its sessions
        bmc.stop()                                   # nothing listens any more

`suites` is what it answers to an open session request: "3" and "17" offer that suite and refuse the other by status;
"stubborn" answers suite 3 whatever was asked (stock pyghmi); "mute" ignores a request for suite 17.
Suite 17 is pyghmi's server with the hash exchanged: independent packets and cryptography, but no real BMC.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Self

USER, PASSWORD = "root", "secret"
_TESTS = Path(__file__).parent.parent

DEFAULTS = {
    "accounts": {USER: PASSWORD},  # taken up at a start
    "schedule": [[0.0, 412.0]],  # steps: [time.monotonic(), watts]
    "dcmi_code": 0,  # completion code of Get Power Reading
    "dcmi_data": None,  # hex of a reply instead of the real one
    "active": True,  # state bit: clear means the reading is suspended
    "delay_seconds": 0.0,  # before each reply to a command in a session
    "silent": False,  # send nothing at all
    "send": "",  # hex to send instead of every packet
    "corrupt": False,  # spoil the last byte of every packet
    "unknown_user_status": None,  # RAKP status for an unknown user; None: silence, as stock pyghmi
    "open_status": 0,  # status of every open session request, for example 1: no free session
    "privilege_code": 0,  # completion code of Set Session Privilege Level
    "max_read": 32,  # bytes of an SDR per request
    "cancellations": 0,  # how many Get SDR requests find their reservation cancelled
    "device_id_code": 0,
    "sensors": [  # M: watts per count; share: of the schedule's watts
        {"name": "Inlet Temp", "m": 1, "raw": 42, "unit": 1, "type": 1},
        {"name": "PSU1 Input Power", "m": 4, "share": 0.5},
        {"name": "PSU2 Input Power", "m": 4, "share": 0.5},
        {"name": "Sys Power", "m": 4, "share": 1.0},
    ],
}


class BmcDouble:
    """Starts the stand-in and controls it through a file that it reads at every request."""

    def __init__(self, folder: Path, *, watts: float = 412.0, suites: str = "3", port: int = 0, **settings) -> None:
        self.port = port or free_udp_port()
        self._suites = suites
        self._control = folder.absolute() / f"bmc-{self.port}.json"
        self._settings = DEFAULTS | {"schedule": [[0.0, watts]]} | settings
        self._write()
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc) -> None:
        self.stop()

    def start(self) -> None:
        arguments = [sys.executable, "-m", "support.bmc_server", str(self.port), str(self._control), self._suites]
        self._process = subprocess.Popen(arguments, cwd=_TESTS, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the BMC double did not start; see its messages above")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def set(self, **settings) -> None:
        unknown = set(settings) - set(DEFAULTS)
        assert not unknown, f"unknown settings {unknown}"
        self._settings |= settings
        self._write()

    def set_watts(self, watts: float) -> None:
        self.follow([(time.monotonic(), watts)])

    def follow(self, steps: list[tuple[float, float]]) -> None:
        """Add steps to the schedule: from each instant of time.monotonic() on, that many watts."""
        self.set(schedule=[*self._settings["schedule"], *map(list, steps)])

    def joules(self, start: float, end: float) -> float:
        """Return the energy the host really used between two instants of time.monotonic()."""
        steps = [*self._settings["schedule"], [max(end, self._settings["schedule"][-1][0]), 0.0]]
        return sum(
            watts * max(0.0, min(until, end) - max(since, start)) for (since, watts), (until, _) in pairwise(steps)
        )

    def _write(self) -> None:
        fresh = self._control.with_suffix(".new")
        fresh.write_text(json.dumps(self._settings))
        fresh.replace(self._control)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
