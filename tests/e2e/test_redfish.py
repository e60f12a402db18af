"""The Redfish meter against a second, independent service: sushy-static, which serves a tree of files."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.ports import free_port
from support.processes import running
from support.redfish_double import Certificate
from support.sysfs_tree import Hwmon, Powercap

from tokwatt.readings import EnergyCounter, PowerReading, PowerSample, Refused, SourceContext, Unavailable
from tokwatt.sources.power.redfish import RedfishOptions, RedfishSource

pytestmark = pytest.mark.e2e

ROOT = "/redfish/v1"
SUSHY = Path(sys.executable).with_name("sushy-static")
PSU = f"{ROOT}/Chassis/1U/PowerSubsystem/PowerSupplies"


class Mockup:
    """A tree as DMTF publishes them: one folder a resource. Shaped after its public-rackmount1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        power_watts = {"Reading": 374, "DataSourceUri": f"{ROOT}/Chassis/1U/Sensors/TotalPower"}
        self.put("", {"Chassis": link("/Chassis"), "Links": {"Sessions": link("/SessionService/Sessions")}})
        self.put("/Chassis", {"Members": [link("/Chassis/1U"), link("/Chassis/Drives")]})
        chassis = {"Id": "1U", "ChassisType": "RackMount", "Manufacturer": "Contoso", "Model": "3500RX"}
        for part in ("EnvironmentMetrics", "PowerSubsystem", "Power"):
            chassis[part] = link(f"/Chassis/1U/{part}")
        self.put("/Chassis/1U", chassis)
        self.put("/Chassis/Drives", {"Id": "Drives", "ChassisType": "StorageEnclosure"})
        self.put("/Chassis/1U/EnvironmentMetrics", {"PowerWatts": power_watts, "EnergykWh": {"Reading": 7855}})
        self.put("/Chassis/1U/PowerSubsystem", {"PowerSupplies": {"@odata.id": PSU}})
        self.put("/Chassis/1U/PowerSubsystem/PowerSupplies", {"Members": [{"@odata.id": f"{PSU}/Bay1"}]})
        self.put("/Chassis/1U/PowerSubsystem/PowerSupplies/Bay1", {"Metrics": {"@odata.id": f"{PSU}/Bay1/Metrics"}})
        metrics = {"InputPowerWatts": {"Reading": 937.4}, "EnergykWh": {"Reading": 325675}}
        self.put("/Chassis/1U/PowerSubsystem/PowerSupplies/Bay1/Metrics", metrics)
        self.put("/Chassis/1U/Power", {"PowerControl": [{"PowerConsumedWatts": 344}]})

    def put(self, path: str, content: dict[str, Any]) -> None:
        file = self.folder / path.lstrip("/") / "index.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"@odata.id": f"{ROOT}{path}"} | content))

    def remove(self, path: str) -> None:
        (self.folder / path.lstrip("/") / "index.json").unlink()


def link(path: str) -> dict[str, str]:
    return {"@odata.id": f"{ROOT}{path}"}


@pytest.fixture
def mockup(tmp_path) -> Mockup:
    return Mockup(tmp_path / "mockup")


@pytest.fixture
def certificate(tmp_path) -> Certificate:
    return Certificate(tmp_path / "tls")


@pytest.fixture
async def service(mockup, certificate, tmp_path, monkeypatch) -> AsyncIterator[str]:
    monkeypatch.setenv("BMC_PASSWORD", "unused")
    with sushy(mockup, tmp_path, "-c", str(certificate.file), "-k", str(certificate.key)) as port:
        yield f"https://127.0.0.1:{port}"


@contextlib.contextmanager
def sushy(mockup: Mockup, work: Path, *options: str) -> Iterator[int]:
    """Serve a tree; yields the port."""
    port = free_port()
    argv = [str(SUSHY), "-i", "127.0.0.1", "-p", str(port), "-m", str(mockup.folder), *options]
    with running("sushy-static", argv, work) as child:
        child.wait_until(lambda: listens(port), "listening")
        yield port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def read(url: str, certificate: Certificate) -> PowerReading:
    options = RedfishOptions(url, "monitor", password_env="BMC_PASSWORD", fingerprint=certificate.fingerprint)
    source = RedfishSource(options, SourceContext("bmc1", time.monotonic))
    try:
        return await source.read()
    finally:
        await source.aclose()


def watts(reading: PowerReading) -> float:
    (sample,) = reading.readings
    assert isinstance(sample, PowerSample)
    return sample.watts


async def test_each_resource_is_read_when_those_before_it_are_missing(service, mockup, certificate):
    reading = await read(service, certificate)
    assert watts(reading) == 374  # not 344, not 937.4: the three differ in the published mockup too
    assert dict(reading.devices[0].details)["login"] == "basic"  # sushy-static has no sessions
    assert reading.devices[0].name == "Contoso 3500RX"
    mockup.remove("/Chassis/1U/EnvironmentMetrics")
    assert watts(await read(service, certificate)) == 937.4
    mockup.remove("/Chassis/1U/PowerSubsystem")
    assert watts(await read(service, certificate)) == 344
    mockup.remove("/Chassis/1U/Power")
    with pytest.raises(Unavailable, match="chassis 1U shows no power now"):
        await read(service, certificate)


async def test_power_that_changes_is_followed_and_a_fine_counter_is_used(service, mockup, certificate):
    path = "/Chassis/1U/EnvironmentMetrics"
    for value in (374, 510.5, 1):
        mockup.put(path, {"PowerWatts": {"Reading": value}})
        assert watts(await read(service, certificate)) == value
    mockup.put(path, {"PowerWatts": {"Reading": 374}, "EnergykWh": {"Reading": 7855.123456}})
    (counter,) = (await read(service, certificate)).readings
    assert isinstance(counter, EnergyCounter)
    assert counter.joules == pytest.approx(7855.123456 * 3.6e6)


async def test_a_certificate_that_is_not_the_one_named_gets_no_request(service, certificate, tmp_path):
    with pytest.raises(Refused, match="fingerprint"):
        await read(service, Certificate(tmp_path / "other"))


def test_probe_reads_the_meters_that_a_configuration_names(mockup, tmp_path):
    """The whole way: YAML, options, sources, report."""
    powercap, hwmon = Powercap(tmp_path / "sys"), Hwmon(tmp_path / "sys")
    powercap.add("intel-rapl:0", "package-0", 1000)
    powercap.add("intel-rapl:0:0", "dram", 200)
    hwmon.add(0, "power_meter", device="ACPI000D:00", power1_average=412_000_000)
    secret = tmp_path / "password"
    secret.write_text("unused")
    secret.chmod(0o600)
    with sushy(mockup, tmp_path) as port:
        config = tmp_path / "tokwatt.yaml"
        config.write_text(
            f"""
servers:
  - name: chat
    url: http://127.0.0.1:{free_port()}/metrics
    hosts: [bmc1]
meters:
  - {{source: redfish, name: bmc1, url: "http://127.0.0.1:{port}", username: monitor, password_file: password}}
  - {{source: rapl, sysfs_root: {powercap.root}}}
  - {{source: hwmon, name: board, sysfs_root: {hwmon.root}, boundaries: {{power_meter: host}}}}
"""
        )
        tokwatt = str(Path(sys.executable).with_name("tokwatt"))
        check = subprocess.run([tokwatt, "check", config], capture_output=True, text=True, timeout=60)
        assert check.returncode == 0, check.stdout + check.stderr
        done = subprocess.run(
            [tokwatt, "probe", "--json", "--config", config], capture_output=True, text=True, timeout=60
        )
    rows = {row["source"]: row for row in json.loads(done.stdout)["sources"]}
    assert "host bmc1 Contoso 3500RX: 374.0 W" in rows["bmc1"]["items"][0]
    assert any("cpu package-0" in item for item in rows["rapl"]["items"])
    assert any("host board power1: 412.0 W" in item for item in rows["board"]["items"])
