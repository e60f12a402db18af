"""Packets of RMCP+ byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokwatt.sources.power import _rmcp_packet as packets
from tokwatt.sources.power._bmc import BmcReply
from tokwatt.sources.power._rmcp_crypto import SUITES, BadPacketError, SessionCipher
from tokwatt.sources.power._rmcp_packet import Payload

CIPHERS = [SessionCipher(suite, b"k" * 20, b"a" * 16) for suite in SUITES.values()]
ID = bytes.fromhex("0a0b0c0d")


def test_a_request_is_the_bytes_of_the_specification():
    # Get Device ID to the BMC (0x20) from the console (0x81), sequence 1
    assert packets.pack_request(0x06, 0x01, b"", 1).hex() == "2018c88104017a"


def test_a_response_is_matched_by_function_command_and_sequence():
    message = bytes.fromhex("811c63200401") + b"\x00\xab\xcd"
    message += bytes((-sum(message[3:]) & 0xFF,))
    assert packets.unpack_response(message, 0x06, 0x01, 1) == BmcReply(0, b"\xab\xcd")
    assert packets.unpack_response(message, 0x06, 0x02, 1) is None
    assert packets.unpack_response(message, 0x06, 0x01, 2) is None
    assert packets.unpack_response(message, 0x0A, 0x01, 1) is None
    with pytest.raises(BadPacketError, match="checksum"):
        packets.unpack_response(message[:-1] + b"\x00", 0x06, 0x01, 1)


def test_an_open_request_asks_for_the_algorithms_of_the_suite():
    assert packets.pack_open_request(7, 2, ID, SUITES[17]).hex() == (
        "070200000a0b0c0d" + "0000000803000000" + "0100000804000000" + "0200000801000000"
    )


@pytest.mark.parametrize("cipher", CIPHERS, ids=lambda cipher: str(cipher.suite.number))
@pytest.mark.parametrize("length", range(7, 24))
def test_a_secured_packet_is_padded_to_four_bytes_signed_and_opens_again(cipher, length):
    message = bytes(range(length))
    data = packets.pack_secured(cipher, ID, 5, message, bytes(16))
    signed = data[4 : -cipher.suite.code_bytes]
    assert len(signed) % 4 == 0
    assert signed[-1] == 0x07
    packet = packets.unpack(data, cipher.suite.code_bytes)
    assert (packet.session_id, packet.sequence, packet.payload_type) == (ID, 5, Payload.IPMI)
    assert packets.open_secured(packet, cipher) == message


def test_a_changed_bit_anywhere_is_refused():
    cipher = CIPHERS[0]
    data = packets.pack_secured(cipher, ID, 5, b"seven b", bytes(16))
    for position in range(4, len(data)):
        changed = data[:position] + bytes((data[position] ^ 0x10,)) + data[position + 1 :]
        with pytest.raises(BadPacketError):
            packets.open_secured(packets.unpack(changed, cipher.suite.code_bytes), cipher)


def test_a_plain_packet_is_no_packet_of_a_session():
    packet = packets.unpack(packets.pack_plain(Payload.IPMI, b"seven b"), 12)
    with pytest.raises(BadPacketError, match="authenticated"):
        packets.open_secured(packet, CIPHERS[0])


@given(st.binary(max_size=120) | st.binary(max_size=80).map(lambda tail: b"\x06\x00\xff\x07\x06" + tail))
def test_garbage_is_refused_and_nothing_else_is_raised(data):
    for unpack in (
        lambda: packets.open_secured(packets.unpack(data, 12), CIPHERS[0]),
        lambda: packets.unpack_response(data, 6, 1, 1),
        lambda: packets.unpack_open_response(data, data[0] if data else 0, data[4:8]),
        lambda: packets.unpack_rakp2(data, data[0] if data else 0, data[4:8]),
        lambda: packets.unpack_rakp4(data, data[0] if data else 0, data[4:8]),
    ):
        try:
            unpack()
        except BadPacketError:
            continue
