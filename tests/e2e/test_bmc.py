"""The IPMI meter next to the tools operators use: the same BMC, the same watts."""

import os
import re
import shutil
import subprocess
import time

import pytest
from support import ipmi_sim
from support.bmc_double import PASSWORD, USER, BmcDouble
from support.ipmi_sim import IpmiSim

from tokwatt.readings import PowerReading, Refused, SourceContext
from tokwatt.sources.power.ipmi import IpmiOptions, IpmiSource, Privilege

pytestmark = pytest.mark.e2e

needs_ipmitool = pytest.mark.skipif(shutil.which("ipmitool") is None, reason="ipmitool is not installed")
needs_ipmi_sim = pytest.mark.skipif(not ipmi_sim.installed(), reason="ipmi_sim (package openipmi) is not installed")


async def read(port: int, tmp_path, **changes) -> PowerReading:
    secret = tmp_path / "password"
    secret.write_text(changes.pop("password", PASSWORD))
    settings = {"host": "127.0.0.1", "port": port, "username": USER, "password_file": str(secret)} | changes
    source = IpmiSource(IpmiOptions(**settings), SourceContext("bmc1", time.monotonic))
    try:
        return await source.read()
    finally:
        await source.aclose()


def ipmitool(port: int, *arguments: str) -> str:
    command = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", str(port), "-U", USER, "-E", *arguments]
    environment = os.environ | {"IPMITOOL_PASSWORD": PASSWORD}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


@needs_ipmitool
@pytest.mark.parametrize("watts", [1, 412, 4321, 65535])
async def test_dcmi_watts_equal_those_of_ipmitool(tmp_path, watts):
    with BmcDouble(tmp_path, watts=watts) as bmc:
        text = ipmitool(bmc.port, "dcmi", "power", "reading")
        (theirs,) = re.findall(r"Instantaneous power reading:\s+(\d+) Watts", text)
        ours = (await read(bmc.port, tmp_path)).readings[0].watts
        assert ours == float(theirs) == watts


@needs_ipmi_sim
async def test_a_bmc_without_dcmi_is_read_through_its_sensor(tmp_path):
    with IpmiSim(tmp_path, watts=412) as bmc:
        reading = await read(bmc.port, tmp_path, privilege=Privilege.ADMINISTRATOR)
        assert reading.readings[0].watts == 412.0
        assert dict(reading.devices[0].details)["sensor"] == "Sys Power"
        bmc.set_watts(600)
        deadline = time.monotonic() + 5
        while (watts := (await read(bmc.port, tmp_path, privilege=Privilege.ADMINISTRATOR)).readings[0].watts) != 600.0:
            assert time.monotonic() < deadline, f"still {watts} W"
        if shutil.which("ipmitool"):
            assert re.search(r"Sys Power\s*\|\s*600 Watts", ipmitool(bmc.port, "sdr", "list", "full"))


@needs_ipmi_sim
async def test_user_privilege_that_does_not_suffice_is_refused_with_the_remedy(tmp_path):
    with IpmiSim(tmp_path) as bmc:
        with pytest.raises(Refused, match="privilege: operator"):
            await read(bmc.port, tmp_path, username="mon", password="monpass")
        with pytest.raises(Refused, match="wrong password"):
            await read(bmc.port, tmp_path, password="wrong")
