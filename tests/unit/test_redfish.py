"""The Redfish meter against a service that speaks the protocol, with the oddities of real BMCs."""

import asyncio
import contextlib
import dataclasses
import shutil
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from support.clock import FakeClock
from support.redfish_double import CHASSIS, PASSWORD, ROOT, SESSIONS, USER, Certificate, RedfishDouble, running

from tokwatt.readings import (
    Boundary,
    EnergyCounter,
    Fidelity,
    Malformed,
    Method,
    PowerReading,
    PowerSample,
    Refused,
    SourceContext,
    SourceError,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import specs
from tokwatt.sources.power.redfish import RedfishOptions, RedfishSource

LEGACY = {"PowerControl": [{"PowerConsumedWatts": 344, "PowerMetrics": {"AverageConsumedWatts": 319}}]}
ENVIRONMENT = {"PowerWatts": {"Reading": 374}}


def options(url: str, **changes) -> RedfishOptions:
    return RedfishOptions(**({"url": url, "username": USER, "password_env": "BMC_PASSWORD"} | changes))


def meter(bmc: RedfishDouble, clock=None, *, simulated=False, **changes) -> RedfishSource:
    context = SourceContext("bmc1", clock or time.monotonic, simulated=simulated)
    return RedfishSource(options(bmc.url, **changes), context)


@contextlib.asynccontextmanager
async def metered(bmc: RedfishDouble, clock=None, **changes) -> AsyncIterator[RedfishSource]:
    source = meter(bmc, clock, **changes)
    try:
        yield source
    finally:
        await source.aclose()


async def read(bmc: RedfishDouble, **changes) -> PowerReading:
    async with metered(bmc, **changes) as source:
        return await source.read()


async def fails(bmc: RedfishDouble, **changes) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await read(bmc, **changes)
    assert PASSWORD not in str(caught.value)
    assert "token-" not in str(caught.value)
    return caught.value


def watts(reading: PowerReading) -> float:
    (sample,) = reading.readings
    assert isinstance(sample, PowerSample)
    return sample.watts


def details(reading: PowerReading) -> dict[str, str]:
    return dict(reading.devices[0].details)


@pytest.fixture(autouse=True)
def _password(monkeypatch):
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)


@pytest.fixture
async def bmc() -> AsyncIterator[RedfishDouble]:
    async with running() as double:
        yield double
        assert double.most_in_flight <= 1  # BMCs are weak: one request at a time


# --- what is read


async def test_the_power_of_the_environment_goes_before_that_of_the_legacy_resource(bmc):
    bmc.add_server(EnvironmentMetrics=ENVIRONMENT, Power=LEGACY)
    before = time.monotonic()
    reading = await read(bmc)
    assert watts(reading) == 374
    (sample,) = reading.readings
    assert before < sample.at_seconds < time.monotonic()
    assert (sample.meter.boundary, sample.meter.device) == (Boundary.HOST, "bmc1")
    assert (sample.meter.fidelity, sample.meter.method) == (Fidelity.HIGH, Method.INTEGRATED)
    assert reading.devices[0].name == "Contoso 3500RX"
    assert details(reading) == {
        "address": "127.0.0.1",
        "chassis": "1",
        "reading": "EnvironmentMetrics PowerWatts",
        "resolution": "1 W",
        "login": "session",
    }


@pytest.mark.parametrize(
    "environment",
    [
        *(404, 403, 501, "not json", "[1]", {}, {"PowerWatts": None}, {"PowerWatts": {"Reading": None}}),
        *({"PowerWatts": {"Reading": 0}}, {"PowerWatts": {"Reading": "n/a"}}, {"PowerWatts": {"Reading": True}}),
        *('{"PowerWatts": {"Reading": NaN}}', {"PowerWatts": {"Reading": -5}}, '{"PowerWatts": {"Reading": 1e999}}'),
    ],
)
async def test_where_the_environment_shows_no_power_the_legacy_resource_does(bmc, environment):
    bmc.add_server(EnvironmentMetrics=environment, Power=LEGACY)
    reading = await read(bmc)
    assert watts(reading) == 344
    assert details(reading)["reading"] == "Power PowerConsumedWatts"


@pytest.mark.parametrize(("written", "value"), [("344.5", 344.5), (" 344 ", 344.0), (344.5, 344.5)])
async def test_a_number_written_as_text_is_a_number(bmc, written, value):
    bmc.add_server(Power={"PowerControl": [{"PowerConsumedWatts": written}]})
    assert watts(await read(bmc)) == value


def supplies(*inputs: object, state: str = "Enabled") -> dict[str, object]:
    path = f"{CHASSIS}/1/PowerSubsystem/PowerSupplies"
    parts: dict[str, object] = {"PowerSubsystem": {"PowerSupplies": {"@odata.id": path}}}
    parts["PowerSubsystem__PowerSupplies"] = {"Members": [{"@odata.id": f"{path}/{n}"} for n in range(len(inputs))]}
    for n, value in enumerate(inputs):
        bay = {"Status": {"State": "Absent" if value == "absent" else "Enabled"}}
        if value != "absent":
            bay["Metrics"] = {"@odata.id": f"{path}/{n}/Metrics"}
        parts[f"PowerSubsystem__PowerSupplies__{n}"] = bay
        metrics = {"InputPowerWatts": {"Reading": value}, "OutputPowerWatts": {"Reading": 1}}
        parts[f"PowerSubsystem__PowerSupplies__{n}__Metrics"] = metrics
    return parts


async def test_the_inputs_of_power_supplies_are_added(bmc):
    bmc.add_server(**supplies(200.5, 0, "absent", 210), Power=LEGACY)
    reading = await read(bmc)
    assert watts(reading) == 410.5
    assert details(reading)["reading"] == "PowerSupplies InputPowerWatts"


@pytest.mark.parametrize("inputs", [(200, None), (), (0, 0), ("absent",), (200, "x"), (200, -1)])
async def test_a_sum_of_supplies_with_a_part_missing_is_no_sum(bmc, inputs):
    bmc.add_server(**supplies(*inputs), Power=LEGACY)
    assert watts(await read(bmc)) == 344


async def test_a_supply_that_is_pulled_and_one_that_is_added(bmc):
    bmc.add_server(**supplies(200, 210))
    members = bmc.resources[f"{CHASSIS}/1/PowerSubsystem/PowerSupplies"]["Members"]
    async with metered(bmc) as source:
        assert watts(await source.read()) == 410
        gone = members.pop()
        assert watts(await source.read()) == 200
        members.append(gone)
        assert watts(await source.read()) == 410


async def test_what_answered_is_remembered_and_asked_alone(bmc):
    bmc.add_server(EnvironmentMetrics=404, Power=LEGACY)
    async with metered(bmc) as source:
        await source.read()
        asked = len(bmc.requests)
        for _ in range(3):
            await source.read()
        assert bmc.requests[asked:] == [("GET", f"{CHASSIS}/1/Power", "session")] * 3


async def test_minimum_maximum_and_average_are_not_read(bmc):
    bmc.add_server(
        Power={"PowerControl": [{"PowerConsumedWatts": None, "PowerMetrics": {"AverageConsumedWatts": 319}}]}
    )
    error = await fails(bmc)
    assert isinstance(error, Unavailable)
    assert "PowerControl[0].PowerConsumedWatts is missing" in str(error)
    assert "the host may be off" in str(error)


@pytest.mark.parametrize(
    "power",
    [
        {},
        {"PowerControl": []},
        {"PowerControl": None},
        {"PowerControl": ["x"]},
        {"PowerSupplies": [{"PowerInputWatts": 900}]},
    ],
)
async def test_members_without_power_are_absent_and_not_0(bmc, power):
    bmc.add_server(Power=power)
    assert "chassis 1 shows no power now" in str(await fails(bmc))


# --- which chassis


async def test_chassis_without_power_are_left_out(bmc):
    bmc.add_server("Enclosure", kind="Enclosure")
    bmc.add_server("Self", kind="Other", Power=LEGACY)
    assert details(await read(bmc))["chassis"] == "Self"


async def test_of_several_the_rack_server_is_taken(bmc):
    bmc.add_server("GpuTray", kind="Module", EnvironmentMetrics={"PowerWatts": {"Reading": 3000}})
    bmc.add_server("System", EnvironmentMetrics=ENVIRONMENT)
    bmc.add_server("Drives", kind="StorageEnclosure", Power=LEGACY)
    assert details(await read(bmc))["chassis"] == "System"


@pytest.mark.parametrize("direction", ["Contains", "ContainedBy"])
async def test_of_two_that_contain_each_other_the_outer_one_is_taken_and_never_the_sum(bmc, direction):
    bmc.add_server("Inner", EnvironmentMetrics={"PowerWatts": {"Reading": 300}})
    bmc.add_server("Outer", EnvironmentMetrics=ENVIRONMENT)
    if direction == "Contains":
        bmc.resources[f"{CHASSIS}/Outer"]["Links"] = {"Contains": [{"@odata.id": f"{CHASSIS}/Inner"}]}
    else:
        bmc.resources[f"{CHASSIS}/Inner"]["Links"] = {"ContainedBy": {"@odata.id": f"{CHASSIS}/Outer"}}
    assert watts(await read(bmc)) == 374


async def test_one_of_two_that_links_to_power_and_shows_none_is_left_out(bmc):
    bmc.add_server("Board", Power={"PowerControl": []})
    bmc.add_server("System", Power=LEGACY)
    assert details(await read(bmc))["chassis"] == "System"


async def test_several_that_may_be_meant_are_named_and_one_can_be_set(bmc):
    bmc.add_server("Node1", Power=LEGACY)
    bmc.add_server("Node2", Power={"PowerControl": [{"PowerConsumedWatts": 500}]})
    error = await fails(bmc)
    assert "several chassis show power: Node1 (RackMount), Node2 (RackMount)" in str(error)
    assert "set `chassis`" in str(error)
    asked = len(bmc.requests)
    assert watts(await read(bmc, chassis="Node2")) == 500
    assert f"{CHASSIS}/Node1" not in [path for _, path, _ in bmc.requests[asked:]]
    assert "set `chassis` to one of: Node1, Node2" in str(await fails(bmc, chassis="Node3"))


async def test_a_list_of_chassis_in_pages_and_one_that_does_not_end(bmc):
    bmc.add_server("1", Power=LEGACY)
    first, second = {"Members": []}, bmc.resources[CHASSIS]
    bmc.resources |= {CHASSIS: first | {"Members@odata.nextLink": f"{CHASSIS}/page2"}, f"{CHASSIS}/page2": second}
    assert watts(await read(bmc)) == 344
    bmc.resources[f"{CHASSIS}/page2"] = first | {"Members@odata.nextLink": CHASSIS}
    assert isinstance(await fails(bmc), Malformed)


@pytest.mark.parametrize("root", [{}, {"Chassis": None}, {"Chassis": "x"}])
async def test_a_service_without_chassis(bmc, root):
    bmc.resources[ROOT] = root
    assert "lists no chassis" in str(await fails(bmc))


async def test_a_chassis_without_power_now_is_looked_for_again_after_a_minute(bmc):
    clock = FakeClock()
    bmc.add_server(Power={"PowerControl": [{"PowerConsumedWatts": 0}]})
    async with metered(bmc, clock) as source:
        for _ in range(3):
            with pytest.raises(Unavailable, match="is 0, no measurement"):
                await source.read()
        assert bmc.count("GET", f"{CHASSIS}/1") == 1
        bmc.resources[f"{CHASSIS}/1/Power"] = LEGACY
        clock.advance(61)
        assert watts(await source.read()) == 344


async def test_a_resource_that_vanishes_is_searched_elsewhere_after_a_minute(bmc):
    clock = FakeClock()
    bmc.add_server(EnvironmentMetrics=ENVIRONMENT, Power=LEGACY)
    async with metered(bmc, clock) as source:
        assert watts(await source.read()) == 374
        bmc.resources[f"{CHASSIS}/1/EnvironmentMetrics"] = 404  # after a firmware update
        for _ in range(2):
            with pytest.raises(Unavailable, match="HTTP 404"):
                await source.read()
            clock.advance(61)
        assert watts(await source.read()) == 344


# --- energy counter


def energy(kwh: str, power: float = 400) -> str:
    return f'{{"PowerWatts": {{"Reading": {power}}}, "EnergykWh": {{"Reading": {kwh}}}}}'


@pytest.mark.parametrize("kwh", ["7855", "7855.1", "7855.1234", "null", "0.000000", '"x"'])
async def test_an_energy_counter_in_coarse_steps_is_not_used(bmc, kwh):
    bmc.add_server(EnvironmentMetrics=energy(kwh))
    assert watts(await read(bmc)) == 400


async def test_a_fine_energy_counter_is_used_while_it_keeps_step_with_the_power(bmc):
    clock = FakeClock()
    environment = f"{CHASSIS}/1/EnvironmentMetrics"
    bmc.add_server(EnvironmentMetrics=energy("7855.123456"))
    async with metered(bmc, clock) as source:
        for second in range(0, 60, 5):
            bmc.resources[environment] = energy(f"{7855.123456 + 400 * second / 3.6e6:.6f}")
            reading = await source.read()
            (counter,) = reading.readings
            assert isinstance(counter, EnergyCounter)
            assert counter.joules == pytest.approx(7855.123456 * 3.6e6 + 400 * second, abs=2)
            clock.advance(5)
        assert (counter.meter.method, counter.wraps_at_joules) == (Method.COUNTER, None)
        assert details(reading)["reading"] == "EnvironmentMetrics energy counter"
        bmc.resources[environment] = energy("0.000123")  # reset by an operator: still a counter
        assert isinstance((await source.read()).readings[0], EnergyCounter)


async def test_energy_in_joules_is_a_counter_too(bmc):
    bmc.add_server(EnvironmentMetrics=ENVIRONMENT | {"EnergyJoules": {"Reading": 123456789}})
    assert (await read(bmc)).readings[0].joules == 123456789


@pytest.mark.parametrize("leap_kwh", [0.0, 0.1])
async def test_a_counter_that_stands_or_leaps_in_hidden_steps_gives_way_to_the_power_for_good(bmc, leap_kwh):
    clock = FakeClock()
    environment = f"{CHASSIS}/1/EnvironmentMetrics"
    bmc.add_server(EnvironmentMetrics=energy("7855.100000000001"))
    async with metered(bmc, clock) as source:
        assert isinstance((await source.read()).readings[0], EnergyCounter)
        for step in (1, 2):
            clock.advance(5)
            bmc.resources[environment] = energy(f"{7855.100000000001 + step * leap_kwh:.12f}")
            reading = await source.read()
            assert watts(reading) == 400
            assert reading.readings[0].meter.method is Method.INTEGRATED


async def test_what_happened_in_a_gap_does_not_speak_against_a_counter(bmc):
    clock = FakeClock()
    bmc.add_server(EnvironmentMetrics=energy("7855.123456"))
    async with metered(bmc, clock) as source:
        await source.read()
        clock.advance(600)
        bmc.resources[f"{CHASSIS}/1/EnvironmentMetrics"] = energy("7855.123999")
        assert isinstance((await source.read()).readings[0], EnergyCounter)


async def test_a_fast_timer_does_not_mistake_a_step_for_standing_still(bmc):
    clock = FakeClock()
    bmc.add_server(EnvironmentMetrics=energy("10.00000", 50))
    async with metered(bmc, clock, period_seconds=0.5) as source:
        for half_second in range(60):
            kwh = 10 + 50 * half_second / 2 / 3.6e6
            bmc.resources[f"{CHASSIS}/1/EnvironmentMetrics"] = energy(f"{kwh:.5f}", 50)
            assert isinstance((await source.read()).readings[0], EnergyCounter)
            clock.advance(0.5)


# --- sensors that tell when they measured


def sensor(value: float, at: str) -> dict[str, object]:
    return {"Reading": value, "ReadingTime": at, "Accuracy": 0.2}


async def test_a_sensor_whose_time_stands_is_stale_until_it_moves_again(bmc):
    clock = FakeClock()
    total = f"{CHASSIS}/1/Sensors/Total"
    environment = {"PowerWatts": {"Reading": 374, "DataSourceUri": total}}
    bmc.add_server(EnvironmentMetrics=environment, Sensors__Total=sensor(375, "1970-01-01T00:00:00Z"))
    async with metered(bmc, clock) as source:
        reading = await source.read()
        assert watts(reading) == 375
        assert details(reading)["reading"] == "Sensor Reading"
        assert details(reading)["accuracy"] == "0.2 %"
        clock.advance(29)
        assert watts(await source.read()) == 375
        for _ in range(2):
            clock.advance(5)
            with pytest.raises(Unavailable, match=r"ReadingTime has stood at 1970-01-01T00:00:00Z for 3[0-9] s"):
                await source.read()
        bmc.resources[total] = sensor(380, "1970-01-01T00:01:00Z")
        assert watts(await source.read()) == 380


@pytest.mark.parametrize("content", [404, {"Reading": 375}, {"Reading": None, "ReadingTime": "now"}, "x"])
async def test_a_sensor_that_tells_no_time_or_no_value_is_not_needed(bmc, content):
    source = {"PowerWatts": {"Reading": 374, "DataSourceUri": f"{CHASSIS}/1/Sensors/Total"}}
    bmc.add_server(EnvironmentMetrics=source, Sensors__Total=content)
    assert watts(await read(bmc)) == 374


# --- sessions


async def test_one_session_serves_all_reads_and_is_deleted_at_the_end(bmc):
    bmc.add_server(Power=LEGACY)
    async with metered(bmc) as source:
        for _ in range(5):
            await source.read()
        assert (bmc.opened, len(bmc.sessions)) == (1, 1)
    assert (bmc.opened, len(bmc.sessions)) == (1, 0)
    assert "Password" not in str(bmc.requests)


async def test_a_session_that_expired_is_renewed_within_the_read(bmc):
    bmc.add_server(Power=LEGACY)
    async with metered(bmc) as source:
        for renewals in range(1, 6):
            assert watts(await source.read()) == 344
            assert bmc.opened == renewals
            bmc.expire()
    assert bmc.most_at_once == 1


@pytest.mark.parametrize("location", ["{path}", "{url}{path}", "", "http://elsewhere.invalid/1"])
async def test_the_session_is_deleted_whatever_its_location_looks_like(bmc, location):
    bmc.location = location
    bmc.add_server(Power=LEGACY)
    await read(bmc)
    leaves_one = "elsewhere" in location  # nothing is sent to another host
    assert len(bmc.sessions) == leaves_one


@pytest.mark.parametrize("status", [404, 405, 501, 204])
async def test_where_there_are_no_sessions_basic_authentication_is_used(bmc, status):
    bmc.session_status, bmc.takes_basic = status, True
    bmc.add_server(Power=LEGACY)
    clock = FakeClock()
    async with metered(bmc, clock) as source:
        reading = await source.read()
        assert details(reading)["login"] == "basic"
        clock.advance(10000)
        await source.read()
    assert bmc.count("POST", SESSIONS) == 1
    assert ("GET", f"{CHASSIS}/1/Power", "basic") in bmc.requests


async def test_where_all_slots_are_taken_a_session_is_tried_again_after_ten_minutes(bmc):
    bmc.slots, bmc.takes_basic = 0, True
    bmc.add_server(Power=LEGACY)
    clock = FakeClock()
    async with metered(bmc, clock) as source:
        assert details(await source.read())["login"] == "basic"
        bmc.slots = 4
        clock.advance(300)
        assert details(await source.read())["login"] == "basic"
        clock.advance(301)
        assert details(await source.read())["login"] == "session"


async def test_a_root_that_wants_a_login_does_not_hide_the_sessions(bmc):
    bmc.root_needs_login = True
    bmc.add_server(Power=LEGACY)
    assert details(await read(bmc))["login"] == "session"


@pytest.mark.parametrize("sessions", [True, False])
async def test_a_wrong_password_is_refused_and_not_tried_again_lest_the_account_be_locked(bmc, tmp_path, sessions):
    secret, clock = tmp_path / "password", FakeClock()
    secret.write_text("wrong-one\n")
    bmc.takes_basic = not sessions
    bmc.session_status = None if sessions else 405
    bmc.add_server(Power=LEGACY)
    async with metered(bmc, clock, password_env=None, password_file=str(secret)) as source:
        for _ in range(4):
            with pytest.raises(Refused, match="check username and password; tried again in 5 min") as caught:
                await source.read()
            assert "wrong-one" not in str(caught.value)
            clock.advance(5)
        tries = len(bmc.requests)
        clock.advance(300)
        with pytest.raises(Refused):
            await source.read()
        assert len(bmc.requests) > tries
        assert bmc.refused_logins == (2 if sessions else 0)
        secret.write_text(PASSWORD)  # a new password is tried at once
        assert watts(await source.read()) == 344
    assert not bmc.sessions


async def test_credentials_that_change_on_the_bmc_end_in_a_refusal_and_not_in_old_values(bmc):
    bmc.add_server(Power=LEGACY)
    async with metered(bmc) as source:
        assert watts(await source.read()) == 344
        bmc.password = "rotated"
        bmc.expire()
        for _ in range(3):
            with pytest.raises(Refused, match="refuses the login of monitor"):
                await source.read()
        assert bmc.refused_logins == 1


async def test_a_bmc_that_answers_401_to_everything_is_not_filled_with_sessions(bmc):
    bmc.add_server(Power=LEGACY)
    bmc.resources[CHASSIS] = 401
    async with metered(bmc) as source:
        for _ in range(5):
            with pytest.raises(Refused, match="401 to a new session"):
                await source.read()
        assert bmc.opened <= 2
    assert len(bmc.sessions) <= 1


async def test_ilos_way_to_refuse_a_login(bmc):
    bmc.session_status = 400
    bmc.session_body = '{"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.0.10.UnauthorizedLoginAttempt"}]}}'
    bmc.add_server(Power=LEGACY)
    assert isinstance(await fails(bmc), Refused)


async def test_a_login_slower_than_a_read_is_waited_for_and_leaves_no_session_behind(bmc):
    bmc.add_server(Power=LEGACY)
    bmc.login_delay_seconds = 0.3
    async with metered(bmc, timeout_seconds=0.1) as source:
        with pytest.raises(TimedOut):
            await source.read()
        for _ in range(20):
            with contextlib.suppress(TimedOut):
                assert watts(await source.read()) == 344
                break
        assert bmc.opened == 1
    assert not bmc.sessions


async def test_closing_during_a_login_deletes_the_session_that_comes_of_it(bmc):
    bmc.add_server(Power=LEGACY)
    bmc.login_delay_seconds = 0.2
    async with metered(bmc, timeout_seconds=0.05) as source:
        with pytest.raises(TimedOut):
            await source.read()
    assert (bmc.opened, len(bmc.sessions)) == (1, 0)


# --- what goes wrong


async def test_discovery_longer_than_a_read_goes_on_in_the_next(bmc):
    for number in range(8):
        bmc.add_server(str(number), kind="Module")
    bmc.add_server("System", Power=LEGACY)
    bmc.delay_seconds = 0.06
    async with metered(bmc, timeout_seconds=0.25) as source:
        with pytest.raises(TimedOut):  # most of it was logging in
            await source.read()
        with pytest.raises(TimedOut, match=r"[1-9] resources looked at; the next read goes on"):
            await source.read()
        for _ in range(20):
            with contextlib.suppress(TimedOut):
                assert watts(await source.read()) == 344
                break
        else:
            pytest.fail("never found")
    assert bmc.count("GET", f"{CHASSIS}/0") <= 2  # once more where a read ended in the middle of it


async def test_a_bmc_that_hangs_times_out_and_one_that_recovers_is_read_again(bmc):
    bmc.add_server(Power=LEGACY)
    async with metered(bmc, timeout_seconds=0.2) as source:
        await source.read()
        bmc.hangs = True
        started = time.monotonic()
        with pytest.raises(TimedOut, match=r"within 0\.[12]"):
            await source.read()
        assert time.monotonic() - started < 1
        bmc.hangs = False
        bmc.most_in_flight = 0
        assert watts(await source.read()) == 344
        assert bmc.opened == 1


async def test_a_connection_that_is_reset_is_unavailable(bmc):
    bmc.add_server(Power=LEGACY)
    async with metered(bmc) as source:
        await source.read()
        bmc.resets = True
        with pytest.raises(Unavailable):
            await source.read()
        bmc.resets = False
        assert watts(await source.read()) == 344
    assert bmc.opened == 1


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (500, Unavailable, "HTTP 500: status 500"),
        (503, Unavailable, "busy or ill"),
        (429, Unavailable, "HTTP 429"),
        (504, TimedOut, "HTTP 504"),
        (403, Refused, "ReadOnly"),
        (400, Malformed, "HTTP 400"),
        ("<html>", Malformed, "not a JSON object"),
        ("", Malformed, "not a JSON object"),
        ("[" * 100_000, Malformed, "not a JSON object"),
    ],
)
async def test_a_wrong_answer_is_never_a_number(bmc, content, kind, words):
    bmc.add_server(Power=LEGACY)
    async with metered(bmc) as source:
        await source.read()
        bmc.resources[f"{CHASSIS}/1/Power"] = content
        with pytest.raises(kind, match=words) as caught:
            await source.read()
        assert f"{bmc.url}{CHASSIS}/1/Power" in str(caught.value)


async def test_what_a_bmc_says_is_told_without_the_secrets_it_repeats(bmc):
    def repeat(request: web.Request) -> web.Response:
        body = {"error": {"message": f"no right: {PASSWORD} {request.headers['X-Auth-Token']}"}}
        return web.json_response(body, status=403)

    bmc.add_server(Power=repeat)
    assert "no right: *** ***" in str(await fails(bmc))


@pytest.mark.parametrize(
    "target", ["http://127.0.0.2:1/redfish/v1/Chassis", "//elsewhere.invalid/x", "file:///etc/passwd"]
)
async def test_links_and_redirects_to_other_hosts_are_not_followed(bmc, target):
    bmc.add_server(Power=LEGACY)
    bmc.resources[ROOT]["Chassis"] = {"@odata.id": target}
    assert "links to another host" in str(await fails(bmc))
    bmc.link_chassis()
    bmc.resources[CHASSIS] = lambda _: web.Response(status=302, headers={"Location": target})
    assert "links to another host" in str(await fails(bmc))


async def test_a_redirect_on_the_same_host_is_followed_once(bmc):
    bmc.add_server(Power=LEGACY)
    bmc.resources[f"{CHASSIS}/1/Power/"] = bmc.resources[f"{CHASSIS}/1/Power"]
    moved = web.Response
    bmc.resources[f"{CHASSIS}/1/Power"] = lambda _: moved(status=308, headers={"Location": f"{CHASSIS}/1/Power/"})
    assert watts(await read(bmc)) == 344
    bmc.resources[f"{CHASSIS}/1/Power/"] = bmc.resources[f"{CHASSIS}/1/Power"]
    assert "HTTP 308" in str(await fails(bmc))


async def test_where_nothing_listens(bmc):
    bmc.port = 1
    assert isinstance(await fails(bmc), Unavailable)


# --- TLS

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@needs_openssl
async def test_a_certificate_of_its_own_is_taken_by_ca_file_fingerprint_or_when_told_to(tmp_path):
    certificate = Certificate(tmp_path)
    async with running(certificate) as bmc:
        bmc.add_server(Power=LEGACY)
        assert "TLS failed" in str(await fails(bmc))
        assert bmc.requests == []
        for trust in (
            {"ca_file": str(certificate.file)},
            {"fingerprint": certificate.fingerprint},
            {"fingerprint": certificate.fingerprint.replace(":", "").lower()},
            {"verify_tls": False},
        ):
            assert watts(await read(bmc, **trust)) == 344
        assert not bmc.sessions


@needs_openssl
async def test_another_certificate_gets_no_password(tmp_path):
    mine, other = Certificate(tmp_path / "mine"), Certificate(tmp_path / "other")
    named = Certificate(tmp_path / "named", name="DNS:bmc.example")
    async with running(other) as bmc:
        bmc.add_server(Power=LEGACY)
        error = await fails(bmc, fingerprint=mine.fingerprint)
        assert isinstance(error, Refused)
        assert other.fingerprint.replace(":", "").lower() in str(error)
        assert "TLS failed" in str(await fails(bmc, ca_file=str(mine.file)))
        assert bmc.requests == []
    async with running(named) as bmc:
        assert "TLS failed" in str(await fails(bmc, ca_file=str(named.file)))
        assert bmc.requests == []


# --- options


def test_the_spec_opens_a_source_and_explains_every_option():
    spec = specs()["redfish"]
    source = spec.open(options("https://bmc.example", period_seconds=7.0), SourceContext("bmc1", FakeClock()))
    assert (source.name, source.period_seconds, source.timeout_seconds) == ("bmc1", 7.0, 3.0)
    assert not spec.detect
    fields = dataclasses.fields(spec.options)
    assert all(field.metadata["help"] for field in fields)
    assert [field.name for field in fields if field.metadata.get("secret")] == ["password_file", "password_env"]
    assert options("https://bmc.example:8443").host == "bmc.example"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "bmc"}, "url must be https://HOST"),
        ({"url": "ftp://bmc"}, "url must be"),
        ({"url": "https://bmc/other"}, "url must be"),
        ({"url": "https://u:hunter2@bmc"}, "url must not hold a user or password"),
        ({"username": ""}, "username"),
        ({"password_file": "also"}, "only one of"),
        ({"fingerprint": "abc"}, "fingerprint must be a SHA-256"),
        ({"fingerprint": "ab" * 32, "ca_file": "x"}, "keep one of the two"),
        ({"url": "http://bmc", "fingerprint": "ab" * 32}, "https"),
        ({"period_seconds": 0}, "period_seconds"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
    ],
)
def test_impossible_options_are_refused(changes, words):
    with pytest.raises(ValueError, match=words) as caught:
        options(**({"url": "https://bmc"} | changes))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password_env": None}, "no password is configured"),
        ({"password_env": "NOT_THERE"}, "environment variable NOT_THERE: not set"),
        ({"password_env": None, "password_file": "/nowhere"}, "/nowhere: No such file"),
    ],
)
async def test_without_a_password_nothing_is_sent(bmc, changes, words):
    assert words in str(await fails(bmc, **changes))
    assert bmc.requests == []


async def test_a_simulated_meter_says_so(bmc):
    bmc.add_server(Power=LEGACY)
    assert (await read(bmc, simulated=True)).readings[0].meter.method is Method.SIMULATED


async def test_a_read_that_is_cancelled_does_not_break_the_next(bmc):
    bmc.add_server(Power=LEGACY)
    async with metered(bmc) as source:
        await source.read()
        bmc.delay_seconds = 0.2
        task = asyncio.create_task(source.read())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        bmc.delay_seconds = 0.0
        await asyncio.sleep(0.2)  # the double ends what it had begun
        assert watts(await source.read()) == 344
        assert bmc.opened == 1
