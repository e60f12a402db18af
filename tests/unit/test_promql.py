"""A Prometheus server as a meter: each sample at its own time, none twice, none too old."""

import contextlib
import json

import pytest
from support.clock import FakeClock
from support.faulty_server import answer
from support.page_server import PageFault, page_server

from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import (
    Boundary,
    DeviceLost,
    EnergyCounter,
    Malformed,
    PowerSample,
    SourceContext,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import specs
from tokwatt.sources.power._readout import Kind
from tokwatt.sources.power.promql import PromqlOptions, PromqlSource

SERVER_AHEAD = 1_799_999_900.0 + 37.0  # the server's clock at 0 of ours: it is 37 s fast


class Server:
    """Answers queries from samples; its time is the test's clock and an offset."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.samples: dict[tuple[tuple[str, str], ...], list[tuple[float, str]]] = {}
        self.queries: list[str] = []

    @property
    def now(self) -> float:
        return SERVER_AHEAD + self.clock.now

    def scrape(self, value: object, age: float = 0.0, **labels: str) -> None:
        """Take a sample `age` seconds ago."""
        self.samples.setdefault(tuple(labels.items()), []).append((self.now - age, str(value)))

    def __call__(self, parameters: dict[str, list[str]]) -> str:
        (query,) = parameters["query"]
        self.queries.append(query)
        if query == "time()":
            return success("scalar", [self.now, str(self.now)])
        if query.endswith("]"):
            found = [{"metric": dict(labels), "values": points} for labels, points in self.samples.items()]
            return success("matrix", found)
        found = [
            {"metric": dict(labels), "value": [self.now, points[-1][1]]} for labels, points in self.samples.items()
        ]
        return success("vector", found)


def success(kind: str, result: object) -> str:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}})


@contextlib.asynccontextmanager
async def meter(**changes):
    clock = FakeClock()
    server = Server(clock)
    wanted = {"kind": Kind.WATTS, "boundary": Boundary.HOST, "query": 'ipmi_watts{host="a"}'} | changes
    async with page_server(content_type="application/json", path="") as page:
        page.respond = server
        source = PromqlSource(PromqlOptions(url=page.url, **wanted), SourceContext("node-a", clock))
        try:
            yield server, source, page
        finally:
            await source.aclose()


async def test_a_sample_is_stamped_with_its_own_age_by_the_servers_clock():
    async with meter() as (server, source, page):
        server.scrape(412, age=11, __name__="ipmi_watts", host="a")
        reading = await source.read()
        (one,) = reading.readings
        assert isinstance(one, PowerSample)
        assert (one.watts, one.meter.device) == (412.0, "node-a")
        assert one.at_seconds == pytest.approx(server.clock.now - 11, abs=1e-3)
        assert reading.devices[0].name == "ipmi_watts"
        assert server.queries == ["time()", 'ipmi_watts{host="a"}[300s]']
        assert page.targets[0].startswith("/api/v1/query?")


async def test_every_sample_since_the_last_read_counts_once_and_none_from_before_the_first():
    ledger = Ledger()
    async with meter() as (server, source, _page):
        for _ in range(6):
            server.scrape(1000)
            server.clock.advance(5)
        first = await source.read()
        assert len(first.readings) == 1
        ledger.add_power(first, 60)
        assert (await source.read()).readings == first.readings  # nothing new: the same reading
        for watts in (1000, 500, 500):
            server.scrape(watts)
            server.clock.advance(5)
        second = await source.read()
        assert [one.watts for one in second.readings] == [1000, 500, 500]
        ledger.add_power(second, 60)
    (curve,) = ledger.curves.values()
    assert curve.line.end_value == pytest.approx(5 * (1000 + 750 + 500))


async def test_an_expression_counts_as_of_now():
    async with meter(query="sum(pdu_watts)") as (server, source, _page):
        server.scrape(810, age=40)
        (one,) = (await source.read()).readings
        assert (one.watts, one.at_seconds) == (810.0, pytest.approx(server.clock.now, abs=1e-3))
        assert server.queries == ["time()", "sum(pdu_watts)"]


@pytest.mark.parametrize(
    ("query", "selector"),
    [
        ("m", True),
        (" m\n", True),
        ("job:m:sum", True),
        ('m{a="b", c!~"}d"}', True),
        ('{__name__="m"}', True),
        (r'm{a="x\"}y"}', True),
        ("m{a='b'}", True),
        ('m{a="b"} + n{c="d"}', False),
        ("m offset 5m", False),
        ("m[5m]", False),
        ("sum(m)", False),
        ("m * 2", False),
        ("m # why", False),
        ("-m", False),
    ],
)
async def test_only_a_plain_selector_is_asked_for_its_samples(query, selector):
    async with meter(query=query) as (server, source, _page):
        server.scrape(1)
        with contextlib.suppress(Malformed):
            await source.read()
        assert server.queries[-1] == query.strip() + ("[300s]" if selector else "")


async def test_old_samples_are_not_read_and_say_how_old():
    async with meter(max_age_seconds=60) as (server, source, _page):
        server.scrape(412, age=61)
        with pytest.raises(Unavailable, match=r"61 s old \(max_age_seconds is 60"):
            await source.read()
        server.scrape(412)
        assert (await source.read()).readings[0].watts == 412.0


async def test_an_empty_result_says_that_nothing_was_found_then_that_it_is_lost():
    async with meter() as (server, source, _page):
        with pytest.raises(Unavailable, match=r"gives nothing .*typo"):
            await source.read()
        server.scrape(412)
        await source.read()
        server.samples.clear()
        with pytest.raises(DeviceLost, match="gives nothing"):
            await source.read()


async def test_two_series_for_one_device_are_refused_and_a_label_tells_them_apart():
    async with meter() as (server, source, _page):
        server.scrape(1, psu="1")
        server.scrape(2, psu="2")
        with pytest.raises(Malformed, match=r'2 series match where one is wanted: \{psu="1"\}; \{psu="2"\}'):
            await source.read()
    async with meter(device_label="psu", boundary=Boundary.OUTLET) as (server, source, _page):
        server.scrape(1, psu="1")
        server.scrape(2, psu="2")
        assert {one.meter.device: one.watts for one in (await source.read()).readings} == {"1": 1.0, "2": 2.0}
        del server.samples[("psu", "2"),]
        server.clock.advance(15)
        server.scrape(1, psu="1")
        (failure,) = (await source.read()).failures
        assert (failure.device, type(failure.error)) == ("2", DeviceLost)


async def test_a_series_that_ended_when_its_target_got_new_labels_is_not_a_second_one():
    async with meter() as (server, source, _page):
        for age in (100, 85, 70):
            server.scrape(400, age=age, pod="old")
        for age in (40, 25, 10):
            server.scrape(500, age=age, pod="new")
        (one,) = (await source.read()).readings
        assert one.watts == 500.0


async def test_samples_too_far_apart_for_the_period_say_so_and_still_count():
    async with meter(period_seconds=15) as (server, source, _page):
        for age in (180, 120, 60, 0):
            server.scrape(400, age=age)
        reading = await source.read()
        assert len(reading.readings) == 1
        assert "set period_seconds: 60" in str(reading.failures[0].error)


async def test_a_counter_behind_a_cache_moves_only_when_it_changes():
    changes = {"kind": Kind.JOULES, "boundary": Boundary.GPU, "update_seconds": 30.0}
    async with meter(**changes) as (server, source, _page):
        for age, joules in ((60, 1000), (45, 1000), (30, 10_000), (15, 10_000), (0, 19_000)):
            server.scrape(joules, age=age)
        (one,) = (await source.read()).readings
        assert isinstance(one, EnergyCounter)
        assert (one.joules, one.at_seconds) == (19_000.0, pytest.approx(server.clock.now - 7.5, abs=1e-3))


async def test_a_bad_sample_is_refused_and_the_next_good_one_read():
    async with meter() as (server, source, _page):
        server.scrape("NaN")
        for _ in range(2):
            with pytest.raises(Malformed, match="shows nan"):
                await source.read()
        server.clock.advance(15)
        server.scrape(412)
        assert (await source.read()).readings[0].watts == 412.0


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("<html>Prometheus Time Series</html>", Malformed, r"web page \(HTML\) that is no answer"),
        ("up 1\n", Malformed, "something that is no answer"),
        ("[1]", Malformed, "no answer of the Prometheus query API"),
        (success("matrix", "oops"), Malformed, "of another form"),
        (success("vector", [{"metric": {}}]), Malformed, "of another form"),
        (
            answer("400 Bad Request", '{"status":"error","error":"parse error: unexpected end"}'),
            Malformed,
            "parse error",
        ),
        (answer("404 Not Found", "page not found"), Unavailable, "without a path of its API"),
    ],
)
async def test_wrong_answers_say_what_is_wrong(body, kind, words):
    async with meter() as (server, source, page):
        page.respond = lambda parameters: server(parameters) if parameters["query"] == ["time()"] else body
        with pytest.raises(kind, match=words):
            await source.read()


async def test_a_scalar_is_no_series():
    async with meter(query="scalar(m)") as (server, source, page):
        page.respond = lambda parameters: success("scalar", [server.now, "1"])
        with pytest.raises(Malformed, match="of another form"):
            await source.read()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(PageFault.HANG, TimedOut), (PageFault.RESET, Unavailable), (PageFault.TRUNCATED, Malformed)],
)
async def test_a_fault_ends_in_time_and_reading_goes_on_after_it(fault, kind):
    async with meter(timeout_seconds=0.2) as (server, source, page):
        server.scrape(412)
        page.fault = fault
        with pytest.raises(kind):
            await source.read()
        page.fault = PageFault.NONE
        assert (await source.read()).readings[0].watts == 412.0


async def test_a_server_below_a_path_is_asked_there():
    async with meter() as (server, _source, page):
        server.scrape(5)
        options = PromqlOptions(url=f"{page.url}/prom/", kind=Kind.WATTS, boundary=Boundary.HOST, query="m")
        source = PromqlSource(options, SourceContext("node-a", server.clock))
        await source.read()
        await source.aclose()
        assert page.targets[-1].startswith("/prom/api/v1/query?")


def test_the_spec_opens_a_source():
    spec = specs()["promql"]
    options = PromqlOptions(url="http://127.0.0.1:9090", kind=Kind.WATTS, boundary=Boundary.HOST, query="m")
    source = spec.open(options, SourceContext("node-a", FakeClock()))
    assert (source.name, source.period_seconds, source.timeout_seconds) == ("node-a", 15.0, 3.0)


@pytest.mark.parametrize(
    ("changes", "words"), [({"query": " "}, "query"), ({"max_age_seconds": 0.0}, "max_age_seconds")]
)
def test_impossible_options_are_refused(changes, words):
    fine = {"url": "http://127.0.0.1:9090", "kind": Kind.WATTS, "boundary": Boundary.HOST, "query": "m"}
    with pytest.raises(ValueError, match=words):
        PromqlOptions(**(fine | changes))
