"""The IPMI meter: DCMI first, a sensor else, and never a number that was not measured."""

import asyncio
import dataclasses
import itertools
import struct
import time

import pytest
from support.bmc_double import BmcDouble
from support.clock import FakeClock
from support.sensor_record import sensor_record

from tokwatt.readings import (
    Boundary,
    Fidelity,
    Malformed,
    Method,
    PowerSample,
    Refused,
    SourceContext,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import specs
from tokwatt.sources.power._bmc import BmcReply
from tokwatt.sources.power.ipmi import IpmiOptions, IpmiSource

DCMI, DEVICE_ID, RESERVE, SDR, SENSOR = (0x2C, 2), (6, 1), (0x0A, 0x22), (0x0A, 0x23), (0x04, 0x2D)


def power_reading(watts: int, *, state: int = 0x40) -> BmcReply:
    return BmcReply(0, b"\xdc" + struct.pack("<HHHHII", watts, 1, 9999, 7777, 0, 1131466123) + bytes((state,)))


class ScriptedBmc:
    """A `BmcSession` that answers from a table and notes what it was asked."""

    def __init__(self, **_):
        self.replies = {DCMI: power_reading(412), DEVICE_ID: BmcReply(0, bytes.fromhex("20010245020fa202000200"))}
        self.asked: list[tuple[int, int, bytes]] = []
        self.closed = False

    async def command(self, netfn, command, data):
        self.asked.append((netfn, command, data))
        reply = self.replies.get((netfn, command), BmcReply(0xC1, b""))
        if callable(reply):
            reply = reply(data)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def aclose(self):
        self.closed = True

    def count(self, which) -> int:
        return sum((netfn, command) == which for netfn, command, _ in self.asked)

    def with_sensors(self, *names: str, raw: int = 100, flags: int = 0xC0):
        records = [sensor_record(number, name, m=4) for number, name in enumerate(names, 1)]

        def record(data):
            index, offset, count = max(0, int.from_bytes(data[2:4], "little") - 1), data[4], data[5]
            following = index + 2 if index + 1 < len(records) else 0xFFFF
            return BmcReply(0, following.to_bytes(2, "little") + records[index][offset : offset + count])

        self.replies |= {
            DCMI: BmcReply(0xC1, b""),
            RESERVE: BmcReply(0, b"\1\0"),
            SDR: record if records else BmcReply(0xCB, b""),
            SENSOR: BmcReply(0, bytes((raw, flags, 0xC0))),
        }
        return self


def options(**changes) -> IpmiOptions:
    return IpmiOptions(**({"host": "127.0.0.1", "username": "root", "password_env": "BMC_PASSWORD"} | changes))


def meter(bmc: ScriptedBmc, *, clock=None, simulated=False, **changes) -> IpmiSource:
    context = SourceContext("bmc1", clock or FakeClock(), simulated=simulated)
    return IpmiSource(options(**changes), context, lambda: bmc)


async def test_dcmi_gives_the_current_watts_of_the_host():
    bmc, clock = ScriptedBmc(), FakeClock(50.0)
    reading = await meter(bmc, clock=clock).read()
    (sample,) = reading.readings
    assert isinstance(sample, PowerSample)
    assert (sample.watts, sample.at_seconds) == (412.0, 50.0)
    assert (sample.meter.device, sample.meter.boundary) == ("bmc1", Boundary.HOST)
    assert (sample.meter.fidelity, sample.meter.method) == (Fidelity.HIGH, Method.INTEGRATED)
    (info,) = reading.devices
    assert (info.name, info.meter) == ("Dell BMC", sample.meter)
    assert dict(info.details) == {
        "address": "127.0.0.1:623",
        "sensor": "dcmi",
        "manufacturer": "Dell",
        "firmware": "2.45",
    }
    assert bmc.asked[0] == (0x2C, 0x02, bytes.fromhex("dc010000"))


async def test_the_sample_is_stamped_in_the_middle_of_the_call():
    clock = FakeClock(10.0)
    bmc = ScriptedBmc()

    def slow(_data):
        clock.advance(2.0)
        return power_reading(300)

    bmc.replies[DCMI] = slow
    assert (await meter(bmc, clock=clock).read()).readings[0].at_seconds == 11.0


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (power_reading(0, state=0x00), Unavailable, "power reading suspended"),
        (power_reading(412, state=0x3F), Unavailable, "power reading suspended"),
        (power_reading(0), Unavailable, "0 W is no measurement"),
        (BmcReply(0xD4, b""), Refused, "privilege: operator"),
        (BmcReply(0xC0, b""), Unavailable, "busy"),
        (BmcReply(0xC3, b""), TimedOut, "0xc3"),
        (BmcReply(0xCC, b""), Unavailable, "0xcc"),
        (BmcReply(0, b""), Malformed, "answered ''"),
        (BmcReply(0, b"\xdc\x9c\x01"), Malformed, "dc9c01"),
        (BmcReply(0, b"\xdd" + bytes(17)), Malformed, "dd00"),
    ],
)
async def test_what_is_not_a_reading_is_never_a_number(reply, kind, words):
    bmc = ScriptedBmc().with_sensors("Sys Power")
    bmc.replies[DCMI] = reply
    with pytest.raises(kind, match=words):
        await meter(bmc).read()
    assert bmc.count(SDR) == 0


@pytest.mark.parametrize("code", [0xC1, 0xC2, 0xD6])
async def test_without_dcmi_the_server_sensor_is_found_once_and_read(code):
    bmc = ScriptedBmc().with_sensors("CPU Power", "Sys Power", raw=103)
    bmc.replies[DCMI] = BmcReply(code, b"")
    source = meter(bmc)
    first = await source.read()
    assert first.readings[0].watts == 412.0
    assert dict(first.devices[0].details)["sensor"] == "Sys Power"
    records = bmc.count(SDR)
    await source.read()
    await source.read()
    assert (bmc.count(DCMI), bmc.count(SDR), bmc.count(SENSOR)) == (1, records, 3)
    assert bmc.asked[-1] == (0x04, 0x2D, b"\x02")


async def test_inputs_of_power_supplies_are_added_where_there_is_no_total():
    bmc = ScriptedBmc().with_sensors("PSU1 Input Power", "PSU2 Input Power", raw=50)
    reading = await meter(bmc).read()
    assert reading.readings[0].watts == 400.0
    assert dict(reading.devices[0].details)["sensor"] == "PSU1 Input Power + PSU2 Input Power"


async def test_named_sensors_are_read_without_asking_for_dcmi():
    bmc = ScriptedBmc().with_sensors("Sys Power", "Odd Name", raw=25)
    source = meter(bmc, sensors=("Odd Name",))
    assert (await source.read()).readings[0].watts == 100.0
    assert bmc.asked[-2][2] == b"\x02"
    assert bmc.count(DCMI) == 0


async def test_a_sensor_without_a_reading_is_unavailable():
    with pytest.raises(Unavailable, match="'Sys Power' has no reading now"):
        await meter(ScriptedBmc().with_sensors("Sys Power", flags=0xE0)).read()


async def test_a_bmc_without_any_power_reading_says_so_and_is_not_searched_again():
    bmc = ScriptedBmc().with_sensors("CPU Power")
    source = meter(bmc)
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"those in watts are CPU Power.*`sensors`"):
            await source.read()
    assert bmc.count(RESERVE) == 1
    bmc.replies[DCMI] = power_reading(200)  # DCMI appears, for example after a firmware update
    assert (await source.read()).readings[0].watts == 200.0


async def test_a_search_longer_than_a_read_goes_on_in_the_next():
    bmc = ScriptedBmc().with_sensors("Fan 1", "Fan 2", "Fan 3", "Sys Power")
    answer, slow = bmc.command, {SDR: 0.012}

    async def command(netfn, command_, data):
        await asyncio.sleep(slow.get((netfn, command_), 0))
        return await answer(netfn, command_, data)

    bmc.command = command
    source = meter(bmc, timeout_seconds=0.06)
    with pytest.raises(TimedOut, match=r"[0-3] sensor records read.*next read goes on"):
        await source.read()
    for _ in range(10):
        try:
            reading = await source.read()
            break
        except TimedOut:
            continue
    assert reading.readings[0].watts == 400.0
    assert bmc.count(RESERVE) == 1


@pytest.mark.parametrize("reply", [BmcReply(0xC1, b""), BmcReply(0, b"\x20"), TimedOut("no answer")])
async def test_a_bmc_that_does_not_tell_who_it_is_is_read_all_the_same(reply):
    bmc = ScriptedBmc()
    bmc.replies[DEVICE_ID] = reply
    source = meter(bmc)
    for _ in range(2):
        reading = await source.read()
    assert reading.devices[0].name == "BMC"
    assert bmc.count(DEVICE_ID) == 1


async def test_a_simulated_meter_says_so_and_closing_closes_the_session():
    bmc = ScriptedBmc()
    source = meter(bmc, simulated=True)
    assert (await source.read()).readings[0].meter.method is Method.SIMULATED
    await source.aclose()
    assert bmc.closed


# --- options and secrets


def test_the_spec_opens_a_source_and_explains_every_option():
    spec = specs()["ipmi"]
    source = spec.open(options(period_seconds=7.0), SourceContext("bmc1", FakeClock()))
    assert (source.name, source.period_seconds, source.timeout_seconds) == ("bmc1", 7.0, 3.0)
    assert not spec.detect
    fields = dataclasses.fields(spec.options)
    assert all(field.metadata["help"] for field in fields)
    assert [field.name for field in fields if field.metadata.get("secret")] == ["password_file", "password_env"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": ""}, "host"),
        ({"port": 0}, "port"),
        ({"password_file": "also"}, "only one of password_file and password_env"),
        ({"cipher_suite": 0}, "17 or 3"),
        ({"period_seconds": 0}, "period_seconds"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
    ],
)
def test_impossible_options_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        options(**changes)


async def test_without_a_password_it_does_not_log_in():
    source = IpmiSource(options(password_env=None), SourceContext("bmc1", FakeClock()))
    with pytest.raises(Refused, match="account root: no password is configured"):
        await source.read()


async def test_the_password_comes_from_a_file_or_the_environment_at_login(tmp_path, monkeypatch):
    secret = tmp_path / "password"
    with BmcDouble(tmp_path) as bmc:
        lan = {"port": bmc.port, "password_env": None, "timeout_seconds": 1.0}
        context = SourceContext("bmc1", time.monotonic)
        source = IpmiSource(options(**lan, password_file=str(secret)), context)
        with pytest.raises(Refused, match="must hold the BMC password"):
            await source.read()
        secret.write_text("secret\n")
        assert (await source.read()).readings[0].watts == 412.0
        await source.aclose()

        source = IpmiSource(options(port=bmc.port), context)
        monkeypatch.delenv("BMC_PASSWORD", raising=False)
        with pytest.raises(Refused, match="environment variable BMC_PASSWORD: not set"):
            await source.read()
        monkeypatch.setenv("BMC_PASSWORD", "secret")
        assert (await source.read()).readings[0].watts == 412.0
        await source.aclose()


async def test_over_the_network_a_changing_load_integrates_to_the_truth(tmp_path, monkeypatch):
    monkeypatch.setenv("BMC_PASSWORD", "secret")
    with BmcDouble(tmp_path, watts=400) as bmc:
        source = IpmiSource(options(port=bmc.port), SourceContext("bmc1", time.monotonic))
        start = time.monotonic()
        bmc.follow([(start + 0.1, 700), (start + 0.2, 500)])
        samples = []
        while time.monotonic() < start + 0.4:
            samples.append((await source.read()).readings[0])
            await asyncio.sleep(0.005)
        await source.aclose()
        joules = sum((b.at_seconds - a.at_seconds) * (a.watts + b.watts) / 2 for a, b in itertools.pairwise(samples))
        assert joules == pytest.approx(bmc.joules(samples[0].at_seconds, samples[-1].at_seconds), rel=0.03)
