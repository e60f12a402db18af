"""OpenIPMI's ipmi_sim as a BMC without DCMI: one power sensor in its SDR, which follows a file.

with IpmiSim(tmp_path, watts=412) as bmc:        # 127.0.0.1:bmc.port, accounts root/secret and mon/monpass (user)
    bmc.set_watts(600)                           # taken up within 0.2 s; the sensor resolves 4 W
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

from support.bmc_double import free_udp_port
from support.sensor_record import sensor_record

WATTS_PER_COUNT = 4


def installed() -> bool:
    return shutil.which("ipmi_sim") is not None


class IpmiSim:
    """Writes the simulator's configuration and runs it."""

    def __init__(self, folder: Path, *, watts: int = 412, sensor: str = "Sys Power") -> None:
        self.port = free_udp_port()
        self._watts = folder / "watts.txt"
        self.set_watts(watts)
        lan, emu = folder / "lan.conf", folder / "sim.emu"
        lan.write_text(
            'name "powersim"\nset_working_mc 0x20\n  startlan 1\n'
            f"    addr 127.0.0.1 {self.port}\n    priv_limit admin\n"
            "    allowed_auths_user none md2 md5 straight\n    allowed_auths_operator none md2 md5 straight\n"
            "    allowed_auths_admin none md2 md5 straight\n    guid a123456789abcdefa123456789abcdef\n  endlan\n"
            '  user 2 true "root" "secret" admin 10 none md2 md5 straight\n'
            '  user 3 true "mon" "monpass" user 10 none md2 md5 straight\n'
        )
        record = " ".join(f"0x{byte:02x}" for byte in sensor_record(1, sensor, m=WATTS_PER_COUNT))
        states = " ".join(["000000000000000"] * 4)
        emu.write_text(
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n"
            "sel_enable 0x20 1000 0x0a\n"
            f'sensor_add 0x20 0 1 0x0b 0x01 poll 200 file "{self._watts}" div={WATTS_PER_COUNT}\n'
            f"main_sdr_add 0x20 {record}\n"
            f"sensor_set_event_support 0x20 0 1 enable scanning per-state {states}\nmc_enable 0x20\n"
        )
        state = folder / "state"
        state.mkdir()
        command = ["ipmi_sim", "-c", str(lan), "-f", str(emu), "-s", str(state), "-n"]
        self._log = (folder / "ipmi_sim.log").open("wb")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        self._wait_until_bound(time.monotonic() + 10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc) -> None:
        self.stop()

    def set_watts(self, watts: int) -> None:
        self._watts.write_text(f"{watts}\n")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _wait_until_bound(self, deadline: float) -> None:
        wanted = f":{self.port:04X} "
        while wanted not in Path("/proc/net/udp").read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("ipmi_sim did not start; see ipmi_sim.log")
            time.sleep(0.02)
