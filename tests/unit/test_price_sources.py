"""Prices from files, series and tariffs, through the whole exporter: what moves, fails, vanishes and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import zoneinfo
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

import pytest
from support.clock import FakeClock
from support.config_specs import ENGINES, POWER_SPECS
from support.exporter import SteadyGpu
from support.page_server import PageFault, PageServer, page_server
from support.readings import tokens

from tokwatt.app.build import Workshop
from tokwatt.app.exporter import Exporter
from tokwatt.app.plan import plan_of
from tokwatt.app.probe import probe
from tokwatt.app.setup import PowerEntry, Setup, TokenEntry, setup_of
from tokwatt.config import ConfigError, load_config
from tokwatt.economics.plan import Capacity, Fed, Prices
from tokwatt.metrics.exposition import Exposition
from tokwatt.readings import Malformed, Refused, SourceContext, SourceError, Unavailable
from tokwatt.snapshot import Aside, Component, Snapshot, SourceHealth
from tokwatt.sources.power._web import WebOptions
from tokwatt.sources.prices.file import FileOptions, FilePrice
from tokwatt.sources.prices.promql import PromqlPrice, PromqlPriceOptions

SERVER = "servers: [{name: chat, url: 'http://127.0.0.1:1/metrics', gpus: all}]\nmeters: []\n"
KWH = 3.6e6


class SteadyServer:
    """An inference server that answers at once."""

    name = "chat"
    timeout_seconds = 1.0

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    async def read(self):
        return tokens(self._clock(), 10 * self._clock())

    async def aclose(self) -> None:
        pass


class Rig:
    """An exporter with the prices of a configuration, one GPU at 1 kW, and clocks that the test owns."""

    def __init__(self, prices: str, folder: Path = Path(), unix: float = 1.78e9) -> None:
        self.clock = FakeClock(0.0)
        self.ahead = unix
        self.folder = folder
        self.workshop = Workshop(self.clock, lambda: self.ahead + self.clock())
        self.exporter = Exporter(
            self.setup(prices), self.clock, self.workshop.wall_clock, Exposition(with_process=False)
        )

    def setup(self, prices: str) -> Setup:
        text = SERVER + prices
        config, _ = load_config(text, str(self.folder / "t.yml"), power_specs=POWER_SPECS, engines=ENGINES)
        made = setup_of(config, self.workshop)
        return Setup(
            config,
            {"chat": TokenEntry("chat", "", lambda: SteadyServer(self.clock))},
            {"nvml": PowerEntry("nvml", "", lambda: SteadyGpu(self.clock, 1000.0))},
            prices=made.prices,
        )

    async def __aenter__(self) -> Self:
        self.exporter.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.exporter.stop()
        await self.workshop.aclose()

    async def run(self, seconds: int, then: Callable[[], None] = lambda: None) -> None:
        for _ in range(seconds):
            await self.exporter.tick()
            self.clock.advance(1.0)
        then()

    @property
    def snapshot(self) -> Snapshot:
        assert self.exporter.face.snapshot is not None
        return self.exporter.face.snapshot

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a file or a page to be read; time of the exporter stands still meanwhile."""
        async with asyncio.timeout(10):
            await self.exporter.tick()
            while not condition():
                await asyncio.sleep(0.01)
                await self.exporter.tick()

    def page(self) -> str:
        body = self.exporter.face.exposition.body("text/plain", gzipped=False)
        assert body is not None
        return body.content.decode()

    def price(self) -> float | None:
        return self.snapshot.servers[0].capacity_dollars_per_second

    def credit(self) -> float | None:
        return self._sum(row.aside.get(Aside.ENERGY_CREDIT_DOLLARS) for row in self.snapshot.servers[0].phases)

    def dollars(self, component: Component) -> float | None:
        return self._sum(row.dollars.get(component) for row in self.snapshot.servers[0].phases)

    def grams(self) -> float | None:
        return self._sum(row.aside.get(Aside.CARBON_GRAMS) for row in self.snapshot.servers[0].phases)

    @staticmethod
    def _sum(amounts) -> float | None:
        known = [amount for amount in amounts if amount is not None]
        return sum(known) if known else None

    def health(self, source: str) -> SourceHealth:
        return next(one for one in self.snapshot.sources if one.source == source)


def context(name: str = "prices.capacity") -> SourceContext:
    return SourceContext(name, FakeClock(50.0))


def file_price(path: Path, factor: float = 1.0, *, may_be_negative: bool = False) -> FilePrice:
    return FilePrice(FileOptions(str(path), factor, may_be_negative, 600.0, 10.0, 2.0), context())


async def read_once(source) -> object:
    try:
        return await source.read()
    finally:
        await source.aclose()


class TestFile:
    @pytest.mark.parametrize(
        ("text", "value"),
        [("2.5", 2.5), ("2.5\n", 2.5), ("# spot of p5 in us-east-1\n\n  .25e1  \n", 2.5), ("0", 0.0)],
    )
    async def test_one_number_is_a_price_for_as_long_as_it_may_hold(self, tmp_path, text, value):
        (tmp_path / "spot").write_text(text)
        reading = await read_once(file_price(tmp_path / "spot", factor=2.0))
        assert [(step.at_seconds, step.value) for step in reading.steps] == [(50.0, 2 * value), (650.0, None)]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "empty"),
            (b"# nothing\n", "empty"),
            (b"1 2", "is not one number"),
            (b"1\n2\n", "is not one number"),
            (b"2,50", "is not one number"),
            (b"nan", "is not one number"),
            (b"inf", "is not one number"),
            (b"1_000", "is not one number"),
            (b"1e999", "inf is no price"),
            (b"<html>503</html>", "is not one number"),
            (b"\xff\xfe2\x00", "is not one number"),
            (b"-1", "a negative price"),
            (b"1" * 5000, "longer than 4096 bytes"),
        ],
    )
    async def test_garbage_is_refused_and_quoted(self, tmp_path, content, reason):
        (tmp_path / "spot").write_bytes(content)
        with pytest.raises(Malformed, match=reason) as caught:
            await read_once(file_price(tmp_path / "spot"))
        assert str(tmp_path) in str(caught.value)

    async def test_electricity_may_be_negative(self, tmp_path):
        (tmp_path / "spot").write_text("-12.5")
        reading = await read_once(file_price(tmp_path / "spot", may_be_negative=True))
        assert reading.steps[0].value == -12.5

    async def test_a_missing_file_and_a_folder_say_so(self, tmp_path):
        with pytest.raises(Unavailable, match="No such file"):
            await read_once(file_price(tmp_path / "spot"))
        with pytest.raises(SourceError, match="directory"):
            await read_once(file_price(tmp_path))

    async def test_a_file_that_may_not_be_read(self, tmp_path, monkeypatch):
        def refuse(path: Path, mode: str) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)  # root, who may run the tests, could read any file
        with pytest.raises(Refused, match="Permission denied"):
            await read_once(file_price(tmp_path / "spot"))


class Prometheus:
    """The query API with the series that the test sets."""

    def __init__(self) -> None:
        self.series: list[tuple[dict[str, str], str]] = []
        self.queries: list[str] = []

    def set(self, value: object, **labels: str) -> None:
        self.series = [(labels, str(value))]

    def __call__(self, parameters: dict[str, list[str]]) -> str:
        (query,) = parameters["query"]
        if query == "time()":
            return json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [1.8e9, "1.8e9"]}})
        self.queries.append(query)
        found = [{"metric": labels, "value": [1.8e9, value]} for labels, value in self.series]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": found}})


def promql_price(url: str, query: str = "spot") -> PromqlPrice:
    web = WebOptions(url=url, timeout_seconds=2.0)
    return PromqlPrice(PromqlPriceOptions(web, query, 1.0, False, 600.0), context())


@contextlib.asynccontextmanager
async def serving(prometheus: Prometheus) -> AsyncIterator[PageServer]:
    async with page_server(path="") as page:
        page.respond = prometheus
        yield page


class TestSeries:
    async def test_the_one_series_of_a_query_is_the_price(self):
        prometheus = Prometheus()
        prometheus.set("2.75", zone="a")
        async with serving(prometheus) as page:
            reading = await read_once(promql_price(page.url, 'spot{zone="a"}'))
        assert reading.steps[0].value == 2.75
        assert prometheus.queries == ['spot{zone="a"}']

    async def test_no_series_several_and_no_number_say_what_to_do(self):
        prometheus = Prometheus()
        async with serving(prometheus) as page:
            with pytest.raises(Unavailable, match="gives nothing"):
                await read_once(promql_price(page.url))
            prometheus.series = [({"zone": "a"}, "1"), ({"zone": "b"}, "2")]
            with pytest.raises(Malformed, match=r'gives 2 series: \{zone="a"\}; \{zone="b"\}.*aggregate'):
                await read_once(promql_price(page.url))
            for value in ("NaN", "+Inf", "-1"):
                prometheus.set(value)
                with pytest.raises(Malformed):
                    await read_once(promql_price(page.url))

    @pytest.mark.parametrize("fault", [fault for fault in PageFault if fault is not PageFault.NONE])
    async def test_every_way_to_fail_is_an_error_of_the_source(self, fault):
        prometheus = Prometheus()
        prometheus.set(1)
        async with serving(prometheus) as page:
            page.fault = fault
            web = WebOptions(url=page.url, timeout_seconds=0.3)
            with pytest.raises(SourceError):
                await read_once(PromqlPrice(PromqlPriceOptions(web, "spot", 1.0, False, 600.0), context()))


def spot_file(hold_seconds: float = 600) -> str:
    options = f"file: spot, unit: dollars_per_hour, period_seconds: 0.01, hold_seconds: {hold_seconds}"
    return f"prices: {{capacity: {{spot: {{{options}}}}}}}"


class TestMovingPrices:
    async def test_a_file_that_is_replaced_moves_the_price_and_never_the_past(self, tmp_path):
        (tmp_path / "spot").write_text("3600\n")
        async with Rig(spot_file(), tmp_path) as rig:
            await rig.until(lambda: rig.price() == 1.0)
            await rig.run(10)
            charged = rig.dollars(Component.CAPACITY)
            assert charged == pytest.approx(9.0, abs=1e-9)  # from the first reading of the server to the last one
            (tmp_path / "new").write_text("7200\n")
            (tmp_path / "new").replace(tmp_path / "spot")
            await rig.until(lambda: rig.price() == 2.0)
            assert rig.dollars(Component.CAPACITY) == pytest.approx(10.0)
            await rig.run(10)
            assert rig.dollars(Component.CAPACITY) == pytest.approx(10.0 + 9 * 2.0)

    async def test_garbage_keeps_the_last_price_for_a_while_and_says_so(self, tmp_path):
        (tmp_path / "spot").write_text("3600")
        async with Rig(spot_file(hold_seconds=20), tmp_path) as rig:
            await rig.until(lambda: rig.price() == 1.0)
            (tmp_path / "new").write_text("soon")
            (tmp_path / "new").rename(tmp_path / "spot")  # a file that is written in place may be read while empty
            await rig.until(lambda: rig.health("prices.capacity").up is False)
            health = rig.health("prices.capacity")
            assert (health.kind, health.reason) == ("price", "malformed")
            assert "'soon' is not one number" in health.message
            await rig.run(60)
            assert rig.price() is None
            assert 19.0 <= rig.dollars(Component.CAPACITY) <= 20.0
            (tmp_path / "new").write_text("3600")
            (tmp_path / "new").rename(tmp_path / "spot")
            await rig.until(lambda: rig.price() == 1.0)
            assert rig.health("prices.capacity").up is True
            before = rig.dollars(Component.CAPACITY)
            await rig.run(11)
            assert rig.dollars(Component.CAPACITY) == pytest.approx(before + 10.0)

    async def test_before_the_first_price_there_are_no_dollars(self, tmp_path):
        async with Rig(spot_file(), tmp_path) as rig:
            await rig.run(5)
            assert rig.dollars(Component.CAPACITY) is None
            assert rig.price() is None
            text = rig.page()
            assert "tokwatt_cost_dollars_total{" not in text
            await rig.until(lambda: rig.health("prices.capacity").up is False)
            text = rig.page()
            assert 'tokwatt_source_up{kind="price",source="prices.capacity"} 0.0' in text

    async def test_a_market_series_moves_goes_negative_and_vanishes(self):
        prometheus = Prometheus()
        prometheus.set("100")
        async with serving(prometheus) as page:
            series = f"url: '{page.url}', query: spot, unit: dollars_per_mwh, period_seconds: 0.01, hold_seconds: 30"
            async with Rig(f"prices: {{electricity: {{series: {{{series}}}}}}}") as rig:
                await rig.until(lambda: rig.snapshot.prices.electricity_dollars_per_joule is not None)
                assert rig.snapshot.prices.electricity_dollars_per_joule == pytest.approx(0.1 / KWH)
                await rig.run(11)
                assert rig.dollars(Component.ENERGY) == pytest.approx(10 * 1000 * 0.1 / KWH)
                prometheus.set("-50")
                await rig.until(lambda: (rig.snapshot.prices.electricity_dollars_per_joule or 0) < 0)
                await rig.run(11)
                assert rig.credit() == pytest.approx(10 * 1000 * 0.05 / KWH)
                prometheus.series = []
                await rig.until(lambda: rig.health("prices.electricity").up is False)
                assert "gives nothing" in rig.health("prices.electricity").message
                await rig.run(60)
                assert rig.snapshot.prices.electricity_dollars_per_joule is None
                assert rig.dollars(Component.ENERGY) == pytest.approx(11 * 1000 * 0.1 / KWH)

    async def test_carbon_follows_a_series(self):
        prometheus = Prometheus()
        prometheus.set("360")
        async with serving(prometheus) as page:
            series = f"url: '{page.url}', query: grid, period_seconds: 0.01"
            async with Rig(f"prices: {{pue: 1.5, carbon: {{series: {{{series}}}}}}}") as rig:
                await rig.until(lambda: rig.snapshot.prices.carbon_grams_per_joule is not None)
                await rig.run(11)
                assert rig.snapshot.prices.carbon_grams_per_joule == pytest.approx(1e-4)
                assert rig.grams() == pytest.approx(10 * 1000 * 1.5 * 1e-4)


TARIFF = """
prices:
  electricity:
    tariff:
      time_zone: Europe/Berlin
      dollars_per_kwh: 0.20
      rules: [{hours: [22:00-06:00], dollars_per_kwh: 0.10}]
"""


class TestTariffInTheExporter:
    EVENING = datetime(2026, 6, 10, 21, 59, 50, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()

    async def test_it_holds_at_once_and_switches_inside_a_tick(self):
        async with Rig(TARIFF, unix=self.EVENING - 0.6) as rig:
            await rig.run(21)
            assert rig.dollars(Component.ENERGY) == pytest.approx(1000 * (10.6 * 0.2 + 9.4 * 0.1) / KWH)
            assert rig.health("prices.electricity").up is True

    async def test_a_wall_clock_that_is_set_moves_the_price_from_then_on(self):
        async with Rig(TARIFF, unix=self.EVENING) as rig:
            await rig.run(20)  # 10 s dear, 10 s cheap
            rig.ahead -= 60.0  # it is 21:59:10 again
            await rig.run(21)
            assert rig.dollars(Component.ENERGY) == pytest.approx(1000 * (10 * 0.2 + 10 * 0.1 + 20 * 0.2) / KWH)

    async def test_a_reload_changes_the_tariff_at_its_instant(self):
        async with Rig(TARIFF, unix=self.EVENING) as rig:
            await rig.run(5)
            rig.clock.advance(-0.5)  # between two ticks
            await rig.exporter.replace(rig.setup(TARIFF.replace("0.20", "0.40").replace("0.10", "0.30")))
            rig.clock.advance(0.5)
            await rig.run(11)
            assert rig.dollars(Component.ENERGY) == pytest.approx(1000 * (4.5 * 0.2 + 5.5 * 0.4 + 5 * 0.3) / KWH)

    async def test_a_flat_price_after_a_tariff_and_back(self):
        async with Rig(TARIFF, unix=self.EVENING) as rig:
            await rig.run(5)
            await rig.exporter.replace(rig.setup("prices: {electricity: {dollars_per_kwh: 1}}"))
            await rig.run(5)
            assert [source.source for source in rig.snapshot.sources if source.kind == "price"] == []
            await rig.exporter.replace(rig.setup(TARIFF))
            await rig.run(11)
            assert rig.dollars(Component.ENERGY) == pytest.approx(1000 * (5 * 0.2 + 5 * 1 + 10 * 0.1) / KWH)

    async def test_probe_shows_the_price_now_and_the_next_one(self):
        workshop = Workshop(FakeClock(0.0), lambda: self.EVENING - 3600)
        config, _ = load_config(SERVER + TARIFF, "t.yml", power_specs=POWER_SPECS, engines=ENGINES)
        rows, _ = await probe(config, workshop)
        await workshop.aclose()
        row = next(row for row in rows if row.kind == "price")
        assert (row.source, row.ok, row.target) == ("prices.electricity", True, "tariff Europe/Berlin")
        assert row.items == ("0.2 $ per kWh, in 1.0 h 0.1",)


def test_every_kind_of_price_is_bound_from_the_file(tmp_path):
    text = (Path(__file__).parent.parent / "fixtures/config/valid/prices.yml").read_text()
    config, warnings = load_config(text, str(tmp_path / "t.yml"), power_specs=POWER_SPECS, engines=ENGINES)
    assert [warning.key for warning in warnings] == ["servers[1].capacity.spot.file"]  # it may come later
    plan = plan_of(config, (), ())
    chat, code = plan.servers
    assert chat.capacity == Capacity(pytest.approx(10.9375 / 3600, rel=1e-5), per_gpu=True)
    assert code.capacity == Capacity(Fed("servers.code.capacity"), per_gpu=False, includes_electricity=True)
    assert plan.prices == Prices(Fed("prices.electricity"), 1.2, carbon_grams_per_joule=Fed("prices.carbon"))
    setup = setup_of(config, Workshop())
    assert {name: entry.target for name, entry in setup.prices.items()} == {
        "prices.electricity": "tariff Europe/Berlin",
        "prices.carbon": "promql http://prometheus:9090",
        "servers.code.capacity": f"file {tmp_path / 'spot.txt'}",
    }


def test_a_host_without_time_zone_data_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(zoneinfo, "ZoneInfo", unknown_zone)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(ConfigError, match="no time zone data; install the package tzdata"):
        load_config(SERVER + TARIFF, "t.yml", power_specs=POWER_SPECS, engines=ENGINES)


def unknown_zone(name: str) -> None:
    raise zoneinfo.ZoneInfoNotFoundError(name)
