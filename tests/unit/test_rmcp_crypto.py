"""RAKP codes, session keys and AES against values computed with the openssl command.

Made from the concatenations of IPMI v2.0 section 13.31 with `openssl dgst -sha1|-sha256 -mac HMAC -macopt hexkey:KEY`
and `openssl enc -aes-128-cbc -nopad -K KEY -iv IV`.
"""

import pytest

from tokwatt.sources.power._rmcp_crypto import SUITES, BadPacketError, Exchange

VECTORS = {
    3: {
        "rakp2": "20362ca28f560a480ebb754184e71aadc5e392bf",
        "rakp3": "b1a20cdbb16f4e6a6b5d98cb6d14e766a2dc70a9",
        "sik": "42440e27394d12d91a9930d1426ea86f47524fc6",
        "rakp4": "84ed5155f6ac1024697b331a",
        "k1": "cb68e66e59bba7f669045facc451f909f06faf54",
        "k2": "3dff1f6e954e54cf6a19d0ab0810a196",
        "sign": "e5c3bf480641bd1ca9875b70",
        "aes": "ca76b598705a736e0645fb1c0d0250b1",
    },
    17: {
        "rakp2": "28d48582bea9d067a9e3e38da9a9417714374c50e3345f7d4d66faf1ac2df79f",
        "rakp3": "16e8de048396f156dc507d0a7f499c62d94131ab480a5cfa5055015a612709ff",
        "sik": "5660c306ca048dd2fce9c0a06e6636396cbda2529fd476e4b231713bdd76ce5c",
        "rakp4": "657daf88a8cd8752fc7b40121f11eaf9",
        "k1": "e1d1998c19e933faf8ad37a35ada0886571ed08c30a1f2094f3bfdd89b6446b5",
        "k2": "55f374697983244113477d36a89b51b6",
        "sign": "6d971f972242bbbe88d318d7c771f5f8",
        "aes": "e51d23b43c0e5f65a7ede95e4fbf84fe",
    },
}
VECTOR = bytes(range(0x10, 0x20))
MESSAGE = bytes.fromhex("2018c88104017a")


def exchange(suite: int) -> Exchange:
    return Exchange(
        suite=SUITES[suite],
        username=b"root",
        password=b"secret",
        role=0x12,
        console_id=bytes.fromhex("a4a3a2a1"),
        bmc_id=bytes.fromhex("01020304"),
        console_random=bytes(range(16)),
        bmc_random=bytes(range(0xF0, 0x100)),
        bmc_guid=bytes.fromhex("00112233445566778899aabbccddeeff"),
    )


@pytest.mark.parametrize("suite", [3, 17])
def test_codes_and_keys_match_those_of_openssl(suite):
    made, expected = exchange(suite), VECTORS[suite]
    cipher = made.cipher()
    assert {
        "rakp2": made.rakp2_code().hex(),
        "rakp3": made.rakp3_code().hex(),
        "sik": made.session_key().hex(),
        "rakp4": made.rakp4_code().hex(),
        "k1": cipher.integrity_key.hex(),
        "k2": cipher.aes_key.hex(),
        "sign": cipher.sign(b"a signed packet").hex(),
        "aes": cipher.encrypt(MESSAGE, VECTOR)[16:].hex(),
    } == expected


@pytest.mark.parametrize("suite", [3, 17])
@pytest.mark.parametrize("length", [0, 1, 14, 15, 16, 17, 31, 48])
def test_decrypting_undoes_encrypting(suite, length):
    cipher = exchange(suite).cipher()
    sealed = cipher.encrypt(bytes(length), VECTOR)
    assert len(sealed) % 16 == 0
    assert cipher.decrypt(sealed) == bytes(length)


@pytest.mark.parametrize("sealed", [b"", VECTOR, VECTOR + b"odd", VECTOR + bytes(16)])
def test_what_does_not_decrypt_is_refused(sealed):
    with pytest.raises(BadPacketError):
        exchange(3).cipher().decrypt(sealed)


def test_a_wrong_integrity_code_is_refused():
    cipher = exchange(17).cipher()
    cipher.check(b"data", cipher.sign(b"data"))
    for code in (b"", cipher.sign(b"other"), cipher.sign(b"data")[:12]):
        with pytest.raises(BadPacketError):
            cipher.check(b"data", code)


def test_secrets_are_not_in_the_repr():
    made = exchange(3)
    text = repr(made) + repr(made.cipher())
    assert "secret" not in text
    assert VECTORS[3]["k2"] not in text
    assert "aes_key" not in text
