"""Keys, authentication codes and encryption of RMCP+ (RAKP). Pure: no I/O, no clock, no randomness of its own.

Source: IPMI v2.0 specification, sections 13.20 to 13.32 and table 22-20 (cipher suites).
Only suites with authentication, integrity and AES exist here: suite 0 means no authentication and is refused.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Any, Final

from tokwatt.readings import Unavailable

_AES_BLOCK = 16
# 20 bytes with either hash, as ipmitool and pyghmi do it: the specification sizes Const_n for SHA-1 only.
_CONSTANT_BYTES = 20


class BadPacketError(ValueError):
    """Bytes that are no valid packet of this session: garbage, an old packet, or a forged one."""


@dataclass(frozen=True, slots=True)
class CipherSuite:
    """A set of algorithms. Numbers are those of tables 13-17 (authentication), 13-18 (integrity), 13-19."""

    number: int
    digest: str
    authentication: int
    integrity: int
    confidentiality: int
    code_bytes: int  # length of a truncated integrity code

    @property
    def algorithms(self) -> tuple[int, int, int]:
        """Authentication, integrity and confidentiality algorithm numbers."""
        return self.authentication, self.integrity, self.confidentiality


SUITES: Final = {
    3: CipherSuite(3, "sha1", authentication=1, integrity=1, confidentiality=1, code_bytes=12),
    17: CipherSuite(17, "sha256", authentication=3, integrity=4, confidentiality=1, code_bytes=16),
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """Everything both sides know after RAKP message 2; the codes prove that they share the password."""

    suite: CipherSuite
    username: bytes
    password: bytes = field(repr=False)
    role: int  # requested privilege, bit 4 set for look-up by name only
    console_id: bytes
    bmc_id: bytes
    console_random: bytes
    bmc_random: bytes
    bmc_guid: bytes

    @property
    def _who(self) -> bytes:
        return bytes((self.role, len(self.username))) + self.username

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self.suite.digest)

    def rakp2_code(self) -> bytes:
        """Code by which the BMC proves the password (13.31)."""
        ids, randoms = self.console_id + self.bmc_id, self.console_random + self.bmc_random
        return self._hmac(self.password, ids + randoms + self.bmc_guid + self._who)

    def rakp3_code(self) -> bytes:
        """Code by which we prove the password (13.31)."""
        return self._hmac(self.password, self.bmc_random + self.console_id + self._who)

    def session_key(self) -> bytes:
        """SIK (13.31). Without a BMC key K_G, the password is the key."""
        return self._hmac(self.password, self.console_random + self.bmc_random + self._who)

    def rakp4_code(self) -> bytes:
        """Code by which the BMC proves the session key (13.31)."""
        code = self._hmac(self.session_key(), self.console_random + self.bmc_id + self.bmc_guid)
        return code[: self.suite.code_bytes]

    def cipher(self) -> SessionCipher:
        """Return the keys of the session (13.32)."""
        key = self.session_key()
        return SessionCipher(
            self.suite,
            integrity_key=self._hmac(key, b"\x01" * _CONSTANT_BYTES),
            aes_key=self._hmac(key, b"\x02" * _CONSTANT_BYTES)[:_AES_BLOCK],
        )


@dataclass(frozen=True, slots=True)
class SessionCipher:
    """Signs and encrypts the packets of an established session."""

    suite: CipherSuite
    integrity_key: bytes = field(repr=False)
    aes_key: bytes = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Return the truncated integrity code (13.28.4)."""
        return hmac.digest(self.integrity_key, data, self.suite.digest)[: self.suite.code_bytes]

    def check(self, data: bytes, code: bytes) -> None:
        """Compare in constant time. Raises BadPacketError."""
        if not same_code(self.sign(data), code):
            raise BadPacketError("integrity code does not match")

    def encrypt(self, payload: bytes, initialization_vector: bytes) -> bytes:
        """Return the vector and the AES-CBC-128 text, padded with 1, 2, 3, ... and the pad length (13.29)."""
        pad = -(len(payload) + 1) % _AES_BLOCK
        padded = payload + bytes(range(1, pad + 1)) + bytes((pad,))
        encryptor = _aes(self.aes_key, initialization_vector).encryptor()
        text: bytes = encryptor.update(padded) + encryptor.finalize()
        return initialization_vector + text

    def decrypt(self, data: bytes) -> bytes:
        """Undo `encrypt`. Raises BadPacketError for a wrong length or padding."""
        vector, text = data[:_AES_BLOCK], data[_AES_BLOCK:]
        if len(vector) != _AES_BLOCK or not text or len(text) % _AES_BLOCK:
            raise BadPacketError("encrypted payload is not a number of AES blocks")
        decryptor = _aes(self.aes_key, vector).decryptor()
        padded: bytes = decryptor.update(text) + decryptor.finalize()
        pad = padded[-1]
        if pad >= _AES_BLOCK or padded[-1 - pad : -1] != bytes(range(1, pad + 1)):
            raise BadPacketError("confidentiality padding is wrong")
        return padded[: -1 - pad]


def same_code(expected: bytes, received: bytes) -> bool:
    """Compare two authentication codes in constant time."""
    return hmac.compare_digest(expected, received)


def require_aes() -> None:
    """Import the AES implementation, once, before the first packet.

    Raises:
        Unavailable: it is not installed.
    """
    try:
        import cryptography.hazmat.primitives.ciphers  # noqa: F401, PLC0415
    except ImportError as error:
        raise Unavailable(
            "RMCP+ needs AES from the package cryptography, which is not installed",
            where="ipmi",
            hint="pip install 'tokwatt[ipmi]'",
        ) from error


def _aes(key: bytes, initialization_vector: bytes) -> Any:
    # Typed Any: the library is optional and imported late.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415

    return Cipher(algorithms.AES(key), modes.CBC(initialization_vector))
