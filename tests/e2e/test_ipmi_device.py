"""The in-band meter without a BMC: its structures against <linux/ipmi.h>, and its watts against ipmitool's.

Both programs meet the same stand-in for the kernel, a preloaded library compiled from the kernel's own header; that
ipmitool reads it is what makes it one. Not run: a kernel driver, a BMC, the permissions of a device file.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import tools

from tokwatt.sources.power import _ipmi_device as device

pytestmark = pytest.mark.e2e

LAYOUT = """
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <linux/ipmi.h>
#define AT(kind, field) printf("\\"" #kind "." #field "\\": %zu, ", offsetof(struct kind, field))
int main(void)
{
    printf("{");
    AT(ipmi_msg, netfn); AT(ipmi_msg, cmd); AT(ipmi_msg, data_len); AT(ipmi_msg, data);
    AT(ipmi_req, addr); AT(ipmi_req, addr_len); AT(ipmi_req, msgid); AT(ipmi_req, msg);
    AT(ipmi_recv, recv_type); AT(ipmi_recv, addr); AT(ipmi_recv, addr_len); AT(ipmi_recv, msgid); AT(ipmi_recv, msg);
    AT(ipmi_system_interface_addr, addr_type); AT(ipmi_system_interface_addr, channel);
    AT(ipmi_system_interface_addr, lun);
    printf("\\"send\\": %u, \\"receive\\": %u, ", (unsigned)IPMICTL_SEND_COMMAND, (unsigned)IPMICTL_RECEIVE_MSG_TRUNC);
    printf("\\"type\\": %d, \\"bmc\\": %d}", IPMI_SYSTEM_INTERFACE_ADDR_TYPE, IPMI_BMC_CHANNEL);
    return 0;
}
"""
STRUCTURES = {
    "ipmi_msg": device.IpmiMsg,
    "ipmi_req": device.IpmiReq,
    "ipmi_recv": device.IpmiRecv,
    "ipmi_system_interface_addr": device.SystemInterfaceAddr,
}
READ_ONCE = """
import asyncio, time
from tokwatt.readings import SourceContext
from tokwatt.sources.power.ipmi_local import IpmiLocalOptions, IpmiLocalSource

async def main():
    source = IpmiLocalSource(IpmiLocalOptions(), SourceContext("host", time.monotonic))
    for _ in range(3):
        reading = await source.read()
    print(reading.devices[0].name, reading.readings[0].watts)
    await source.aclose()

asyncio.run(main())
"""


def compile_c(source: Path, target: Path, *arguments: str) -> Path:
    tools.need("gcc", "libc-headers")
    argv = [tools.find("gcc"), "-Wall", "-Wextra", "-Werror", "-O1", *arguments, "-o", str(target), str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_structures_and_numbers_are_those_of_the_kernels_header(tmp_path):
    source = tmp_path / "layout.c"
    source.write_text(LAYOUT)
    printed = subprocess.run(
        [compile_c(source, tmp_path / "layout")], capture_output=True, check=True, timeout=10
    ).stdout
    wanted = json.loads(printed)
    ours = {
        f"{name}.{field[0]}": getattr(kind, field[0]).offset
        for name, kind in STRUCTURES.items()
        for field in kind._fields_
    }
    ours |= {"send": device.SEND_COMMAND, "receive": device.RECEIVE_MSG_TRUNC}
    assert ours | {"type": 0x0C, "bmc": 0x0F} == wanted


@pytest.mark.parametrize("watts", [1, 412, 65535])
def test_watts_through_the_device_equal_those_of_ipmitool(tmp_path, watts):
    tools.need("ipmitool")
    double = Path(__file__).parents[1] / "support/ipmi_device.c"
    library = compile_c(double, tmp_path / "ipmi_device.so", "-shared", "-fPIC")
    file = tmp_path / "watts"
    file.write_text(f"{watts}\n")
    environment = os.environ | {"LD_PRELOAD": str(library), "IPMI_DEVICE_WATTS": str(file)}

    def output(*argv: str) -> str:
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    text = output(tools.find("ipmitool"), "-I", "open", "dcmi", "power", "reading")
    (theirs,) = re.findall(r"Instantaneous power reading:\s+(\d+) Watts", text)
    name, ours = output(sys.executable, "-c", READ_ONCE).rsplit(" ", 1)
    assert float(ours) == float(theirs) == watts
    assert name == "Dell BMC"
