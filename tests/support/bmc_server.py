"""The child process of `bmc_double`: pyghmi's BMC with DCMI, sensor records and faults on demand.

Run in tests/ as: python -m support.bmc_server PORT CONTROL_FILE SUITES. Reads the control file at every request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

from pyghmi.ipmi import bmc
from pyghmi.ipmi.private import constants, serversession
from pyghmi.ipmi.private import session as ipmi_session
from support.sensor_record import sensor_record

SHA1, SHA256 = 1, 3  # authentication algorithms
NO_MATCHING_SUITE = 0x11


class Control:
    """What the test wants, and which suites it started the server with."""

    def __init__(self, path: Path, suites: str) -> None:
        self.path, self.suites = path, suites

    def read(self) -> dict:
        return json.loads(self.path.read_text())


def watts_now(settings: dict) -> float:
    now = time.monotonic()
    return next(watts for since, watts in reversed(settings["schedule"]) if since <= now)


def spoil_packets(control: Control) -> None:
    """Let the control file silence or spoil whatever the server sends."""
    send = ipmi_session._io_sendto

    def send_or_not(sock, packet, address):
        settings = control.read()
        if settings["silent"]:
            return
        if settings["send"]:
            packet = bytes.fromhex(settings["send"])
        if settings["corrupt"]:
            packet = bytes(packet[:-1]) + bytes((packet[-1] ^ 0xFF,))
        send(sock, packet, address)

    ipmi_session._io_sendto = send_or_not


class Session(serversession.ServerSession):
    """pyghmi's server session with refusals, and with SHA-256 where suite 17 is wanted."""

    control: Control  # set by main: pyghmi makes the sessions

    def __init__(self, authdata, kg, address, sock, request, *rest, **options):
        self._asked = request[12]
        super().__init__(authdata, kg, address, sock, request, *rest, **options)

    def _got_rmcp_openrequest(self, data):
        self._asked = data[12]
        super()._got_rmcp_openrequest(data)

    def create_open_session_response(self, request):
        status = self.control.read()["open_status"]
        offered = {"3": SHA1, "17": SHA256}.get(self.control.suites, self._asked)
        if self._asked != offered:
            status = NO_MATCHING_SUITE
        self.clientsessionid = request[4:8]
        if status:
            return bytearray([request[0], status, 0, 0]) + self.clientsessionid
        response = super().create_open_session_response(request)
        if self.control.suites == "17":
            self.currhashlib, self.currhashlen = hashlib.sha256, 16
            response[16], response[24] = 3, 4
        return response

    def send_payload(self, payload=(), payload_type=None, **options):
        opening = payload_type == constants.payload_types["rmcpplusopenresponse"]
        if not (opening and self.control.suites == "mute" and self._asked != SHA1):
            super().send_payload(payload, payload_type, **options)

    def _got_rakp1(self, data):
        status = self.control.read()["unknown_user_status"]
        if status is not None and bytes(data[28:]).decode() not in self.authdata:
            message = bytearray([data[0], status, 0, 0]) + self.clientsessionid
            self.send_payload(message, constants.payload_types["rakp2"], retry=False)
            return
        super()._got_rakp1(data)

    def handle_client_request(self, request):
        code = self.control.read()["privilege_code"]
        if code and (request["netfn"], request["command"]) == (0x06, 0x3B):
            self.send_ipmi_response(code=code)
            return
        super().handle_client_request(request)

    def _send_rakp4(self, tag, status):
        if self.control.suites != "17":
            super()._send_rakp4(tag, status)
            return
        # pyghmi truncates RAKP 4 to the 12 bytes of SHA-1.
        code = hmac.new(self.sik, bytes(self.Rm + self.managedsessionid + self.uuiddata), hashlib.sha256).digest()
        payload = bytearray([tag, status, 0, 0]) + self.clientsessionid + code[:16]
        self.send_payload(payload, constants.payload_types["rakp4"], retry=False)
        self.confalgo, self.integrityalgo, self.sequencenumber = "aes", "sha256", 1
        self.sessionid = struct.unpack("<I", bytes(self.clientsessionid))[0]


class PowerBmc(bmc.Bmc):
    """Answers DCMI power, sensor records, sensor readings and the device id."""

    def __init__(self, control: Control, authdata: dict, port: int) -> None:
        super().__init__(authdata, port=port, address="127.0.0.1", bmcuuid=uuid.UUID(int=1))
        self._control = control
        self._cancelled = 0

    def handle_raw_request(self, request, session):
        settings = self._control.read()
        time.sleep(settings["delay_seconds"])
        handler = {
            (0x2C, 0x02): self._dcmi,
            (0x06, 0x01): self._device_id,
            (0x0A, 0x20): self._sdr_info,
            (0x0A, 0x22): self._reserve,
            (0x0A, 0x23): self._sdr,
            (0x04, 0x2D): self._reading,
        }.get((request["netfn"], request["command"]))
        if handler is None:
            super().handle_raw_request(request, session)
            return
        code, reply = handler(settings, bytes(request["data"]))
        session.send_ipmi_response(data=list(reply), code=code)

    @staticmethod
    def _dcmi(settings, _data):
        if settings["dcmi_code"]:
            return settings["dcmi_code"], b""
        if settings["dcmi_data"] is not None:
            return 0, bytes.fromhex(settings["dcmi_data"])
        watts = round(watts_now(settings)) if settings["active"] else 0
        # Minimum, maximum and average cover 13 days, as on real servers: whoever uses them is wrong.
        others = max(0, watts - 50), min(65535, watts + 80), 9999, int(time.time()), 1131466123
        numbers = struct.pack("<HHHHII", watts, *others)
        return 0, b"\xdc" + numbers + (b"\x40" if settings["active"] else b"\x00")

    @staticmethod
    def _device_id(settings, _data):  # pyghmi's own is longer than the specification allows
        return settings["device_id_code"], bytes((0x20, 1, 2, 0x45, 2, 0xBF, 0xA2, 0x02, 0, 2, 0x0F))

    @staticmethod
    def _sdr_info(settings, _data):
        return 0, b"\x51" + struct.pack("<HH", len(settings["sensors"]), 0xFFFF) + bytes(8) + b"\x02"

    @staticmethod
    def _reserve(_settings, _data):
        return 0, b"\x01\x00"

    def _sdr(self, settings, data):
        sensors = settings["sensors"]
        index, offset, count = max(0, int.from_bytes(data[2:4], "little") - 1), data[4], data[5]
        if self._cancelled < settings["cancellations"]:
            self._cancelled += 1
            return 0xC5, b""
        if index >= len(sensors):
            return 0xCB, b""
        sensor = sensors[index]
        record = sensor_record(
            index + 1, sensor["name"], m=sensor["m"], unit=sensor.get("unit", 6), kind=sensor.get("type", 0x0B)
        )
        count = len(record) - offset if count == 0xFF else count
        if count > settings["max_read"]:
            return 0xCA, b""
        following = index + 2 if index + 1 < len(sensors) else 0xFFFF
        return 0, struct.pack("<H", following) + record[offset : offset + count]

    @staticmethod
    def _reading(settings, data):
        if not 1 <= data[0] <= len(settings["sensors"]):
            return 0xCB, b""
        sensor = settings["sensors"][data[0] - 1]
        raw = sensor.get("raw", int(watts_now(settings) * sensor.get("share", 0)) // sensor["m"])
        return 0, bytes((raw & 0xFF, 0xE0 if sensor.get("unavailable") else 0xC0, 0xC0))


def main() -> None:
    port, control = int(sys.argv[1]), Control(Path(sys.argv[2]), sys.argv[3])
    spoil_packets(control)
    if control.suites == "17":
        serversession.hashlib = SimpleNamespace(sha1=hashlib.sha256)  # pyghmi's server names SHA-1 everywhere
    Session.control, serversession.ServerSession = control, Session
    accounts = control.read()["accounts"]
    parent = os.getppid()
    PowerBmc(control, accounts, port)
    print("ready", flush=True)
    while os.getppid() == parent:
        ipmi_session.Session.wait_for_rsp(1)


if __name__ == "__main__":
    main()
