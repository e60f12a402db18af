"""The in-band meter: structures as the kernel lays them out, the BMC's answers, and errors that say what to do.

The kernel here is a fake that follows the pointers it is given. That the layout is Linux's own is checked by a C
compiler, and against ipmitool, in tests/e2e/test_ipmi_device.py. No real BMC was read.
"""

import ctypes
import errno
import os

import pytest
from support.clock import FakeClock
from support.ipmi_kernel import DCMI, FakeKernel, power_reading
from support.sensor_record import sensor_record

from tokwatt.readings import Boundary, Fidelity, Malformed, Method, Refused, SourceContext, TimedOut, Unavailable
from tokwatt.sources.power import _ipmi_device as device
from tokwatt.sources.power import specs
from tokwatt.sources.power.ipmi_local import IpmiLocalOptions, IpmiLocalSource


@pytest.fixture
async def meter():
    kernel = FakeKernel()
    source = IpmiLocalSource(IpmiLocalOptions(device="/dev/ipmi7"), SourceContext("host", FakeClock()), kernel)
    yield kernel, source
    await source.aclose()


def test_the_layout_on_64_bits_is_the_kernels():
    assert (device.SEND_COMMAND, device.RECEIVE_MSG_TRUNC) == (0x8028690D, 0xC030690B)
    sizes = [ctypes.sizeof(kind) for kind in (device.IpmiMsg, device.IpmiReq, device.IpmiRecv)]
    assert [*sizes, ctypes.sizeof(device.SystemInterfaceAddr)] == [16, 40, 48, 8]


async def test_dcmi_watts_come_through_the_device(meter):
    kernel, source = meter
    reading = await source.read()
    (one,) = reading.readings
    assert (one.watts, one.meter.device, one.meter.boundary) == (412.0, "host", Boundary.HOST)
    assert (one.meter.fidelity, one.meter.method) == (Fidelity.HIGH, Method.INTEGRATED)
    assert reading.devices[0].name == "Dell BMC"
    assert dict(reading.devices[0].details)["address"] == "/dev/ipmi7"
    assert kernel.requests == [(0x2C, 2, bytes.fromhex("dc010000")), (6, 1, b"")]
    assert kernel.addresses[0] == (0x0C, 0x0F, 0)
    await source.read()
    assert kernel.opened == ["/dev/ipmi7"]
    await source.aclose()
    assert kernel.closed == 1


async def test_without_dcmi_the_server_sensor_is_read(meter):
    kernel, source = meter
    record = sensor_record(3, "Sys Power", m=4)
    kernel.replies = {
        (0x0A, 0x22): b"\0\1\0",
        (0x0A, 0x23): lambda data: b"\0\xff\xff" + record[data[4] : data[4] + data[5]],
        (0x04, 0x2D): b"\0" + bytes((103, 0xC0, 0xC0)),
    }
    reading = await source.read()
    assert reading.readings[0].watts == 412.0
    assert dict(reading.devices[0].details)["sensor"] == "Sys Power"


async def test_late_answers_events_and_commands_of_others_are_passed_over(meter):
    kernel, source = meter
    kernel.before = [(1, -1, power_reading(999)), (2, 0, bytes(16)), (3, 0, power_reading(888))]
    assert (await source.read()).readings[0].watts == 412.0


async def test_only_messages_of_others_end_in_an_error(meter):
    kernel, source = meter
    kernel.before = [(2, 0, bytes(16))] * 40
    with pytest.raises(Malformed, match="none was the answer"):
        await source.read()


async def test_a_silent_bmc_times_out_and_is_read_again(meter):
    kernel, source = meter
    kernel.silent = True
    with pytest.raises(TimedOut, match="no answer within"):
        await source.read()
    kernel.silent = False
    assert (await source.read()).readings[0].watts == 412.0


@pytest.mark.parametrize(
    ("call", "code", "kind", "words"),
    [
        ("open", errno.ENOENT, Unavailable, "modprobe ipmi_devintf ipmi_si .* mount the device file"),
        ("open", errno.EACCES, Refused, "run as root, or give tokwatt's group the device file"),
        ("open", errno.EPERM, Refused, "container"),
        ("open", errno.ENXIO, Unavailable, "no driver behind it"),
        ("open", errno.ENODEV, Unavailable, "no BMC"),
        ("send", errno.ENOTTY, Malformed, "no IPMI device"),
        ("send", errno.EIO, Unavailable, "dmesg"),
        ("receive", errno.EAGAIN, Unavailable, "dmesg"),
    ],
)
async def test_errors_of_the_kernel_say_what_to_do_and_the_device_is_opened_anew(meter, call, code, kind, words):
    kernel, source = meter
    kernel.errors = {call: code}
    with pytest.raises(kind, match=rf"(?s)^/dev/ipmi7: .*{words}"):
        await source.read()
    kernel.errors, kernel.queue = {}, []
    assert (await source.read()).readings[0].watts == 412.0
    assert (len(kernel.opened), kernel.closed) == ((1, 0) if call == "open" else (2, 1))


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (b"", Malformed, "without a completion code"),
        (power_reading(412, state=0), Unavailable, "suspended"),
        (b"\xc3", TimedOut, "0xc3"),
    ],
)
async def test_what_is_no_reading_is_never_a_number(meter, reply, kind, words):
    kernel, source = meter
    kernel.replies[DCMI] = reply
    with pytest.raises(kind, match=words):
        await source.read()


async def test_where_there_is_no_device_the_real_kernel_says_so(tmp_path):
    for path, kind, words in (
        (tmp_path / "ipmi0", Unavailable, "No such file.*modprobe"),
        (os.devnull, Malformed, "no IPMI device"),
    ):
        source = IpmiLocalSource(IpmiLocalOptions(device=str(path)), SourceContext("host", FakeClock()))
        with pytest.raises(kind, match=words):
            await source.read()
        await source.aclose()


def test_the_spec_is_detected_and_opens_without_touching_the_device():
    spec = specs()["ipmi_local"]
    assert spec.detect
    source = spec.open(spec.options(), SourceContext("ipmi_local", FakeClock()))
    assert (source.name, source.period_seconds, source.timeout_seconds) == ("ipmi_local", 5.0, 3.0)
    with pytest.raises(ValueError, match="above 0"):
        IpmiLocalOptions(period_seconds=0)
