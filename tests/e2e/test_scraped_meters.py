"""Meters that read other exporters, against the real ones: ipmi_exporter, node_exporter, and a Prometheus server."""

import asyncio
import time
from pathlib import Path

import pytest
from support import tools
from support.bmc_double import PASSWORD, USER, BmcDouble
from support.openmetrics import present, total
from support.ports import free_port
from support.processes import poll, running
from support.prometheus import Prometheus, running_prometheus
from support.tokwatt_process import running_tokwatt

from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import Boundary, DeviceLost, Malformed, PowerReading, SourceContext, Unavailable
from tokwatt.sources.power._readout import Kind
from tokwatt.sources.power.ipmi import IpmiOptions, IpmiSource
from tokwatt.sources.power.prometheus import PrometheusOptions, PrometheusSource
from tokwatt.sources.power.promql import PromqlOptions, PromqlSource

pytestmark = pytest.mark.e2e
RAPL_RANGE_UJ = 262_143_328_850


def node_exporter(work: Path, *arguments: str):
    tools.need("node-exporter")
    address = f"127.0.0.1:{free_port()}"
    argv = [tools.find("node-exporter"), f"--web.listen-address={address}", "--collector.disable-defaults", *arguments]
    return address, running("node_exporter", argv, work)


def page_meter(address: str, path: str = "/metrics", **changes) -> PrometheusSource:
    options = PrometheusOptions(url=f"http://{address}{path}", **({"kind": Kind.WATTS} | changes))
    return PrometheusSource(options, SourceContext("meter", time.monotonic))


async def read_once(source) -> PowerReading:
    try:
        return await source.read()
    finally:
        await source.aclose()


async def test_ipmi_exporter_and_our_own_session_read_the_same_watts_of_one_bmc(tmp_path):
    tools.need("ipmi-exporter", "ipmi-dcmi")
    config = tmp_path / "ipmi.yml"
    config.write_text(
        f"modules: {{default: {{user: {USER}, pass: {PASSWORD}, driver: LAN_2_0, privilege: user, timeout: 5000,"
        " collectors: [dcmi]}}\n"
    )
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    address = f"127.0.0.1:{free_port()}"
    argv = [tools.find("ipmi-exporter"), f"--config.file={config}", f"--web.listen-address={address}"]
    with BmcDouble(tmp_path) as bmc, running("ipmi_exporter", argv, tmp_path) as child:
        child.wait_for_url(f"http://{address}/metrics")
        wanted = {"metric": "ipmi_dcmi_power_consumption_watts", "boundary": Boundary.HOST}
        path = f"/ipmi?target=127.0.0.1:{bmc.port}"
        for watts in (1, 412, 65535):
            bmc.set_watts(watts)
            theirs = await read_once(page_meter(address, path, **wanted))
            options = IpmiOptions(host="127.0.0.1", port=bmc.port, username=USER, password_file=str(secret))
            ours = await read_once(IpmiSource(options, SourceContext("bmc", time.monotonic)))
            assert theirs.readings[0].watts == ours.readings[0].watts == watts
        bmc.set(active=False)  # this version of ipmi_exporter shows a suspended reading as 0
        with pytest.raises(Unavailable, match=r"0 W, which is no measurement|does not show"):
            await read_once(page_meter(address, path, **wanted))
        bmc.set(active=True, dcmi_code=0xC1)
        with pytest.raises(Unavailable, match="does not show ipmi_dcmi_power_consumption_watts"):
            await read_once(page_meter(address, path, **wanted))


async def test_a_pdu_in_node_exporters_textfile_is_read_by_outlet_and_lost_when_it_is_gone(tmp_path):
    file = tmp_path / "pdu.prom"
    file.write_text('pdu_outlet_watts{outlet="1"} 412\npdu_outlet_watts{outlet="2"} 398.5\n')
    arguments = ("--collector.textfile", f"--collector.textfile.directory={tmp_path}")
    address, program = node_exporter(tmp_path, *arguments)
    with program as child:
        child.wait_for_url(f"http://{address}/metrics")
        wanted = {"metric": "pdu_outlet_watts", "boundary": Boundary.OUTLET}
        with pytest.raises(Malformed, match=r'outlet="1".*outlet="2"'):
            await read_once(page_meter(address, **wanted))
        source = page_meter(address, device_label="outlet", **wanted)
        reading = await source.read()
        assert {one.meter.device: one.watts for one in reading.readings} == {"1": 412.0, "2": 398.5}
        file.unlink()
        with pytest.raises(DeviceLost):
            await read_once(source)


async def test_rapl_through_node_exporter_keeps_its_joules_across_a_wrap(tmp_path):
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("max_energy_range_uj", str(RAPL_RANGE_UJ))):
        (zone / name).write_text(f"{text}\n")
    energy = zone / "energy_uj"
    energy.write_text(f"{RAPL_RANGE_UJ - 600_000_000}\n")
    address, program = node_exporter(tmp_path, "--collector.rapl", f"--path.sysfs={tmp_path / 'sys'}")
    ledger = Ledger()
    with program as child:
        child.wait_for_url(f"http://{address}/metrics")
        source = page_meter(
            address,
            metric="node_rapl_package_joules_total",
            boundary=Boundary.CPU,
            kind=Kind.JOULES,
            wraps_at_joules=RAPL_RANGE_UJ / 1e6,
        )
        ledger.add_power(await source.read(), 60)
        energy.write_text("400000000\n")  # 1000 J later
        ledger.add_power(await read_once(source), 60)
    (curve,) = ledger.curves.values()
    assert curve.line.end_value == pytest.approx(1000.0, abs=1e-3)
    assert curve.resets == 0


class ScrapedHost:
    """A real Prometheus that scrapes a real node_exporter every second; its metric `host_watts` is a file's."""

    def __init__(self, file: Path, prometheus: Prometheus) -> None:
        self.file = file
        self.prometheus = prometheus

    def show(self, watts: float) -> None:
        """Change the watts, and wait until the server has a sample of them."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"host_watts {watts}\n")
        fresh.replace(self.file)
        poll(lambda: [one for one in self.prometheus.instant("host_watts") if one.value == watts], f"{watts} W")

    def meter(self, **changes) -> PromqlSource:
        wanted = {"kind": Kind.WATTS, "boundary": Boundary.HOST, "period_seconds": 1.0, "query": "host_watts"}
        options = PromqlOptions(url=self.prometheus.url, **(wanted | changes))
        return PromqlSource(options, SourceContext("host", time.monotonic))


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scraped-host")
    address, program = node_exporter(folder, "--collector.textfile", f"--collector.textfile.directory={folder}")
    with program as child:
        child.wait_for_url(f"http://{address}/metrics")
        with running_prometheus(folder, {"node": address}) as prometheus:
            yield ScrapedHost(folder / "host.prom", prometheus)


async def test_a_prometheus_server_gives_each_sample_once_at_the_time_of_its_scrape(host):
    host.show(500)
    source = host.meter()
    ours = list((await source.read()).readings)
    host.show(800)
    time.sleep(2)
    ours += (await source.read()).readings
    await source.aclose()
    wall = time.time() - time.monotonic()
    (raw,) = host.prometheus.instant("host_watts[60s]")
    matching = [
        (at, watts)
        for one in ours
        for at, watts in raw.points
        if abs(at - wall - one.at_seconds) < 0.2 and watts == one.watts
    ]
    assert len(matching) == len(set(matching)) == len(ours) >= 3
    assert {one.watts for one in ours} == {500.0, 800.0}


async def test_expressions_mistakes_and_nothing_are_told_apart(host):
    host.show(700)
    reading = await read_once(host.meter(query="sum(host_watts) * 2"))
    assert reading.readings[0].watts == 1400.0
    with pytest.raises(Malformed, match="parse error"):
        await read_once(host.meter(query="sum("))
    with pytest.raises(Unavailable, match="gives nothing"):
        await read_once(host.meter(query="host_wats"))


async def test_a_series_that_ends_is_old_and_no_reading_any_more(host):
    host.show(600)
    source = host.meter(max_age_seconds=2.0)
    assert (await source.read()).readings[0].watts == 600.0
    host.file.unlink()

    async def read_for(seconds: int) -> None:
        for _ in range(5 * seconds):
            await source.read()
            await asyncio.sleep(0.2)

    with pytest.raises(Unavailable, match="s old"):
        await read_for(20)
    await source.aclose()


def test_the_exporter_counts_the_joules_of_a_scraped_meter(tmp_path):
    file = tmp_path / "host.prom"
    file.write_text('pdu_watts{outlet="1"} 500\n')
    address, program = node_exporter(tmp_path, "--collector.textfile", f"--collector.textfile.directory={tmp_path}")
    with program as child:
        child.wait_for_url(f"http://{address}/metrics")
        config = {
            "servers": [{"name": "chat", "url": "http://127.0.0.1:9/metrics"}],
            "meters": [
                {
                    "source": "prometheus",
                    "name": "rack3",
                    "url": f"http://{address}/metrics",
                    "metric": "pdu_watts",
                    "labels": {"outlet": "1"},
                    "kind": "watts",
                    "boundary": "outlet",
                    "period_seconds": 1,
                }
            ],
        }
        with running_tokwatt(tmp_path, config) as tokwatt:

            def joules() -> float:
                samples = tokwatt.samples()
                name = "tokwatt_outlet_energy_joules_total"
                return total(samples, name, device="rack3") if present(samples, name) else 0.0

            begun = time.monotonic()
            poll(lambda: joules() >= 1500, "3 s at 500 W", 15)
            seconds = time.monotonic() - begun
            assert joules() <= 500 * (seconds + 3)
