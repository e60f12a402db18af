"""The RMCP+ client against a stand-in BMC in a child process: login, faults, recovery."""

import asyncio
import time

import pytest
from support.bmc_double import PASSWORD, USER, BmcDouble, free_udp_port

from tokwatt.readings import Malformed, Refused, TimedOut, Unavailable
from tokwatt.sources.power._rmcp import RmcpSession, RmcpSettings

GET_DEVICE_ID = (0x06, 0x01, b"")


@pytest.fixture
def start(tmp_path):
    bmcs: list[BmcDouble] = []

    def start_bmc(**settings) -> BmcDouble:
        bmcs.append(BmcDouble(tmp_path, **settings))
        return bmcs[-1]

    yield start_bmc
    for bmc in bmcs:
        bmc.stop()


@pytest.fixture
async def session():
    sessions: list[RmcpSession] = []

    def make(port: int, *, password=PASSWORD, username=USER, suites=(17, 3), privilege=2, timeout=1.0) -> RmcpSession:
        settings = RmcpSettings("127.0.0.1", port, username, privilege, suites, timeout)
        sessions.append(RmcpSession(settings, password.encode))
        return sessions[-1]

    yield make
    for made in sessions:
        await made.aclose()


@pytest.mark.parametrize("suites", ["3", "17", "stubborn"])
async def test_logs_in_with_what_the_bmc_offers_and_keeps_the_session(start, session, suites):
    bmc = start(suites=suites)
    made = session(bmc.port)
    for _ in range(100):  # more than the 64 request numbers and the 32 of the sequence window
        reply = await made.command(*GET_DEVICE_ID)
        assert (reply.completion_code, reply.data[0]) == (0, 0x20)


async def test_a_bmc_that_ignores_suite_17_is_asked_for_suite_3(start, session):
    made = session(start(suites="mute").port)
    assert (await made.command(*GET_DEVICE_ID)).completion_code == 0


@pytest.mark.parametrize(("offered", "configured"), [("3", 17), ("17", 3), ("stubborn", 17)])
async def test_a_configured_suite_is_never_replaced(start, session, offered, configured):
    made = session(start(suites=offered).port, suites=(configured,))
    with pytest.raises(Refused, match="cipher suite"):
        await made.command(*GET_DEVICE_ID)


@pytest.mark.parametrize("suites", ["3", "17"])
async def test_a_wrong_password_is_refused_and_not_shown(start, session, suites):
    made = session(start(suites=suites).port, password="hunter2")
    with pytest.raises(Refused, match="wrong password") as caught:
        await made.command(*GET_DEVICE_ID)
    assert "hunter2" not in str(caught.value)


async def test_an_unknown_user_is_refused_or_explained(start, session):
    bmc = start(unknown_user_status=0x0D)
    with pytest.raises(Refused, match="unauthorized name"):
        await session(bmc.port, username="nobody").command(*GET_DEVICE_ID)
    bmc.set(unknown_user_status=None)
    with pytest.raises(TimedOut, match="silent on an unknown user"):
        await session(bmc.port, username="nobody", timeout=0.3).command(*GET_DEVICE_ID)


async def test_a_bmc_without_a_free_session_is_unavailable(start, session):
    bmc = start(open_status=1)
    made = session(bmc.port, suites=(3,))
    with pytest.raises(Unavailable, match="all sessions of the BMC are in use"):
        await made.command(*GET_DEVICE_ID)
    bmc.set(open_status=0)
    assert (await made.command(*GET_DEVICE_ID)).completion_code == 0


async def test_a_higher_privilege_is_asked_for_after_the_login(start, session):
    made = session(start().port, privilege=4)
    assert (await made.command(*GET_DEVICE_ID)).completion_code == 0


async def test_a_privilege_that_the_account_does_not_have_is_refused(start, session):
    made = session(start(privilege_code=0x81).port, privilege=3)
    with pytest.raises(Refused, match=r"privilege level 3 denied.*0x81.*lower `privilege`"):
        await made.command(*GET_DEVICE_ID)


async def test_a_closed_port_is_unavailable_at_once(session):
    started = time.monotonic()
    with pytest.raises(Unavailable, match="nothing listens there"):
        await session(free_udp_port(), timeout=5.0).command(*GET_DEVICE_ID)
    assert time.monotonic() - started < 2.0


async def test_a_silent_bmc_times_out_and_the_session_survives_or_is_made_again(start, session):
    bmc = start(silent=True)
    made = session(bmc.port, timeout=0.4)
    with pytest.raises(TimedOut, match=f"BMC 127.0.0.1:{bmc.port}: no answer"):
        await made.command(*GET_DEVICE_ID)
    bmc.set(silent=False)
    assert (await made.command(*GET_DEVICE_ID)).completion_code == 0


async def test_a_restarted_bmc_costs_no_read(start, session):
    bmc = start()
    made = session(bmc.port, timeout=1.0)
    await made.command(*GET_DEVICE_ID)
    bmc.restart()
    assert (await made.command(*GET_DEVICE_ID)).completion_code == 0


@pytest.mark.parametrize("fault", [{"send": "00"}, {"send": "0600ff0706" + "ff" * 30}, {"corrupt": True}])
async def test_garbage_is_malformed_and_does_not_end_the_client(start, session, fault):
    bmc = start()
    made = session(bmc.port, timeout=0.4)
    await made.command(*GET_DEVICE_ID)
    bmc.set(**fault)
    with pytest.raises((Malformed, Refused)):
        await made.command(*GET_DEVICE_ID)
    bmc.set(send="", corrupt=False)
    assert (await made.command(*GET_DEVICE_ID)).completion_code == 0


async def test_a_slow_answer_within_the_deadline_is_taken_and_its_repetitions_ignored(start, session):
    bmc = start()
    made = session(bmc.port, timeout=3.0)
    await made.command(*GET_DEVICE_ID)
    bmc.set(delay_seconds=0.7)  # longer than the wait before the first repetition
    assert (await made.command(*GET_DEVICE_ID)).data[0] == 0x20
    bmc.set(delay_seconds=0)
    await asyncio.sleep(0.8)  # the answer to the repetition arrives
    assert (await made.command(0x04, 0x2D, b"\x01")).data[0] == 42


async def test_a_cancelled_command_leaves_the_session_usable(start, session):
    bmc = start()
    made = session(bmc.port)
    await made.command(*GET_DEVICE_ID)
    bmc.set(delay_seconds=0.2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await made.command(*GET_DEVICE_ID)
    bmc.set(delay_seconds=0)
    assert (await made.command(0x04, 0x2D, b"\x01")).data[0] == 42


async def test_commands_at_once_are_sent_one_after_the_other(start, session):
    made = session(start().port)
    replies = await asyncio.gather(*(made.command(*GET_DEVICE_ID) for _ in range(20)))
    assert {reply.data[0] for reply in replies} == {0x20}


async def test_many_bmcs_are_read_side_by_side_in_one_process(start, session):
    made = [session(start().port) for _ in range(3)]
    replies = await asyncio.gather(*(one.command(*GET_DEVICE_ID) for one in made for _ in range(5)))
    assert len(replies) == 15


async def test_a_lost_packet_is_sent_again(session):
    """A silent listener gets the request at least twice within its deadline."""
    loop = asyncio.get_running_loop()
    got: list[bytes] = []

    class Listener(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            got.append(data)

    transport, _ = await loop.create_datagram_endpoint(Listener, local_addr=("127.0.0.1", 0))
    with pytest.raises(TimedOut):
        await session(transport.get_extra_info("sockname")[1], suites=(3,), timeout=0.8).command(*GET_DEVICE_ID)
    transport.close()
    assert len(got) == 2
    assert got[0] == got[1]


@pytest.mark.parametrize(("username", "password"), [("x" * 17, "p"), ("root", "p" * 21)])
async def test_names_and_passwords_that_ipmi_cannot_carry_are_refused(session, username, password):
    with pytest.raises(Refused, match="16 bytes of user name and 20 of password"):
        await session(1, username=username, password=password).command(*GET_DEVICE_ID)


async def test_without_the_aes_library_it_tells_what_to_install(session, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(Unavailable, match=r"pip install 'tokwatt\[ipmi\]'"):
        await session(1).command(*GET_DEVICE_ID)
