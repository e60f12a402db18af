"""Sensor records: conversion, choice of the server's power, and the walk over a repository that resists."""

import asyncio

import pytest
from support.sensor_record import sensor_record

from tokwatt.readings import Malformed, Unavailable
from tokwatt.sources.power._bmc import BmcReply
from tokwatt.sources.power._sdr import SdrWalk, read_watts
from tokwatt.sources.power._sdr_record import PowerSensor, choose, power_sensor


def sensor(name: str, number: int = 1) -> PowerSensor:
    found = power_sensor(sensor_record(number, name, m=4))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("factors", "raw", "watts"),
    [
        ({"m": 4}, 103, 412.0),
        ({"m": 4}, 255, 1020.0),
        ({"m": 1, "b": 100}, 5, 105.0),
        ({"m": 2, "b": -10}, 5, 0.0),
        ({"m": 15, "exponents": 0xF0}, 100, 150.0),  # result exponent -1
        ({"m": 1, "b": 3, "exponents": 0x12}, 7, 3070.0),  # (7 + 3 * 10^2) * 10^1
        ({"m": 500}, 2, 1000.0),  # 10-bit factor
        ({"m": -2}, 5, -10.0),
        ({"m": 1, "units1": 0x80}, 0xFE, -2.0),  # two's complement
        ({"m": 1, "units1": 0x40}, 0xFE, -1.0),  # one's complement
    ],
)
def test_raw_readings_convert_as_the_specification_says(factors, raw, watts):
    found = power_sensor(sensor_record(9, "Sys Power", **factors))
    assert found is not None
    assert (found.number, found.name, found.watts(raw)) == (9, "Sys Power", watts)


@pytest.mark.parametrize(
    "change",
    [
        {"unit": 1},  # degrees
        {"units1": 0xC0},  # no analogue reading
        {"units1": 0x01},  # percentage
    ],
)
def test_sensors_that_do_not_measure_watts_are_left_out(change):
    assert power_sensor(sensor_record(1, "Sys Power", m=1, **change)) is None


@pytest.mark.parametrize(("position", "value"), [(3, 0x02), (5, 0x2C), (6, 0x01), (23, 0x01)])
def test_records_of_other_kinds_owners_or_curves_are_left_out(position, value):
    record = bytearray(sensor_record(1, "Sys Power", m=1))
    record[position] = value
    assert power_sensor(bytes(record)) is None


def test_a_six_bit_name_is_unpacked():
    record = bytearray(sensor_record(1, "xxx", m=1))
    record[47] = 0x80 | 3
    record[48:51] = bytes.fromhex("29dca6")  # "IPMI", the example of section 43.15
    found = power_sensor(bytes(record))
    assert found is not None
    assert found.name == "IPMI"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["PS1 Input Power", "PS2 Input Power", "Pwr Consumption"], ["Pwr Consumption"]),
        (["CPU Power", "Sys Fan Power", "Power Meter", "PSU1 Power Out"], ["Power Meter"]),
        (["Power Meter", "Total_Power"], ["Total_Power"]),
        (["Avg Power", "Sys Power", "CPU Total Power"], ["Sys Power"]),
        (["GPU Total Power", "HSC Input Power"], ["HSC Input Power"]),
        (["PSU1_PIN", "PSU1_POUT", "PSU2_PIN", "PSU2_POUT"], ["PSU1_PIN", "PSU2_PIN"]),
        (
            ["Power Supply 1 Input Power", "Power Supply 2 Input Power"],
            ["Power Supply 1 Input Power", "Power Supply 2 Input Power"],
        ),
    ],
)
def test_one_total_is_preferred_and_never_added_to_its_parts(names, chosen):
    sensors = [sensor(name, number) for number, name in enumerate(names, 1)]
    assert [found.name for found in choose(sensors, (), "BMC")] == chosen


@pytest.mark.parametrize("names", [[], ["CPU Power"], ["PSU1 Power", "PSU2 Power"], ["System Power Limit"]])
def test_without_a_clear_total_the_choice_is_left_to_a_person(names):
    with pytest.raises(Unavailable, match="no sensor is the server's power") as caught:
        choose([sensor(name) for name in names], (), "BMC bmc1:623")
    assert (names[0] if names else "none") in str(caught.value)


def test_named_sensors_are_taken_as_named():
    sensors = [sensor("PSU1 Power", 1), sensor("PSU2 Power", 2), sensor("Sys Power", 3)]
    assert [found.number for found in choose(sensors, ("psu1 power", "PSU2 Power"), "BMC")] == [1, 2]
    with pytest.raises(Unavailable, match=r"'PSU3 Power'.*those in watts are PSU1 Power"):
        choose(sensors, ("PSU3 Power",), "BMC")


class Repository:
    """A BMC with an SDR repository that returns at most `max_read` bytes and cancels some reservations."""

    def __init__(self, records, *, max_read=255, cancellations=0, readings=None):
        self.records, self.max_read, self.cancellations = records, max_read, cancellations
        self.readings = readings or {}
        self.requests: list[tuple[int, int]] = []
        self.block_at: int | None = None
        self.reservation = 0

    async def command(self, netfn, command, data):
        self.requests.append((netfn, command))
        if len(self.requests) == self.block_at:
            await asyncio.Event().wait()
        if (netfn, command) == (0x0A, 0x22):
            self.reservation += 1
            return BmcReply(0, self.reservation.to_bytes(2, "little"))
        if (netfn, command) == (0x04, 0x2D):
            return self.readings[data[0]]
        assert (netfn, command) == (0x0A, 0x23)
        return self._record(data)

    def _record(self, data):
        if self.cancellations or int.from_bytes(data[:2], "little") != self.reservation:
            self.cancellations -= 1
            return BmcReply(0xC5, b"")
        index, offset, count = int.from_bytes(data[2:4], "little"), data[4], data[5]
        if count > self.max_read:
            return BmcReply(0xCA, b"")
        following = index + 1 if index + 1 < len(self.records) else 0xFFFF
        return BmcReply(0, following.to_bytes(2, "little") + self.records[index][offset : offset + count])

    async def aclose(self): ...


RECORDS = [
    sensor_record(1, "Inlet Temp", m=1, unit=1),
    bytes((2, 0, 0x51, 0x11, 3)) + b"fru",
    sensor_record(3, "Sys Power", m=4),
    sensor_record(4, "A sensor of 16 B", m=4),
]


@pytest.mark.parametrize("max_read", [255, 22, 16, 8])
async def test_the_walk_finds_the_sensors_however_few_bytes_a_read_may_have(max_read):
    found = await SdrWalk(Repository(RECORDS, max_read=max_read), "BMC").run()
    assert [sensor.name for sensor in found] == ["Sys Power", "A sensor of 16 B"]


async def test_a_cancelled_reservation_is_made_again_but_not_for_ever():
    found = await SdrWalk(Repository(RECORDS, cancellations=3), "BMC").run()
    assert len(found) == 2
    with pytest.raises(Malformed, match="cancels every reservation"):
        await SdrWalk(Repository(RECORDS, cancellations=100), "BMC").run()


async def test_a_cancelled_walk_goes_on_where_it_stopped():
    repository = Repository(RECORDS)
    walk = SdrWalk(repository, "BMC")
    repository.block_at = 6
    task = asyncio.create_task(walk.run())
    while len(repository.requests) < 6:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    before = len(repository.requests)
    assert "records read" in walk.progress
    assert len(await walk.run()) == 2
    whole = Repository(RECORDS)
    await SdrWalk(whole, "BMC").run()
    assert len(repository.requests) - before < len(whole.requests)


async def test_a_list_that_goes_in_circles_ends():
    class Circle(Repository):
        def _record(self, data):
            reply = super()._record(data)
            return BmcReply(0, b"\x01\x00" + reply.data[2:])

    with pytest.raises(Malformed, match="does not end"):
        await SdrWalk(Circle(RECORDS), "BMC").run()


async def test_readings_are_added_and_one_missing_makes_the_sum_unavailable():
    sensors = (sensor("PSU1 PIN", 1), sensor("PSU2 PIN", 2))
    good, off = BmcReply(0, bytes((50, 0xC0, 0xC0))), BmcReply(0, bytes((50, 0xE0, 0xC0)))
    assert await read_watts(Repository([], readings={1: good, 2: good}), sensors, "BMC") == 400.0
    with pytest.raises(Unavailable, match="'PSU2 PIN' has no reading now"):
        await read_watts(Repository([], readings={1: good, 2: off}), sensors, "BMC")
    with pytest.raises(Unavailable, match="0xcb"):
        await read_watts(Repository([], readings={1: BmcReply(0xCB, b""), 2: good}), sensors, "BMC")
    with pytest.raises(Malformed):
        await read_watts(Repository([], readings={1: BmcReply(0, b""), 2: good}), sensors, "BMC")
