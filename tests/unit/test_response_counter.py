"""An application's counter of meaningful responses: its page, its total, and its place in a running exporter."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import FakeClock
from support.openmetrics import classic_samples, present, total
from support.page_server import PageFault, PageServer, page_server

from tokwatt.app.build import Workshop
from tokwatt.app.exporter import Exporter
from tokwatt.app.probe import probe
from tokwatt.app.setup import setup_of
from tokwatt.config import CapacityPrice, Config, CounterConfig, GpuSelection, Prices, ResponseConfig, ServerConfig
from tokwatt.ledger.counts import CountCurve
from tokwatt.readings import CountReading, CountSample, Malformed, Refused, TimedOut, Unavailable
from tokwatt.sources._http import Access, Http
from tokwatt.sources.responses import ResponseCounter

PAGE = """\
# TYPE accepted_answers_total counter
accepted_answers_total{service="chat",pod="a"} 40
accepted_answers_total{service="chat",pod="b"} 2
accepted_answers_total{service="mail",pod="a"} 900
accepted_answers_created{service="chat",pod="a"} 1.7e9
"""


@contextlib.asynccontextmanager
async def counter(body: str = PAGE, **changes: object) -> AsyncIterator[tuple[PageServer, ResponseCounter]]:
    wanted = {"metric": "accepted_answers_total", "labels": {"service": "chat"}, "timeout_seconds": 0.2, **changes}
    http = Http()
    async with page_server(body) as page:
        try:
            yield page, ResponseCounter("chat/meaningful", page.url, http=http, clock=FakeClock(), **wanted)  # type: ignore[arg-type]
        finally:
            await http.aclose()


async def test_every_series_with_the_labels_is_a_part_of_the_count() -> None:
    async with counter() as (_page, source):
        reading = await source.read()
    assert {sample.series: sample.value for sample in reading.samples} == {
        'accepted_answers_total{pod="a", service="chat"}': 40,
        'accepted_answers_total{pod="b", service="chat"}': 2,
    }
    assert reading.at_seconds == 100.0


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ("other_total 3\n", Unavailable, "does not show accepted_answers_total"),
        ('accepted_answers_total{service="mail"} 3\n', Unavailable, 'the first of 1 is {service="mail"}'),
        ('accepted_answers_total{service="chat"} -1\n', Malformed, "impossible value"),
        ('accepted_answers_total{service="chat"} NaN\n', Malformed, "impossible value"),
        ("<html>login</html>", Malformed, "web page"),
    ],
)
async def test_a_page_without_the_counter_says_what_it_shows(body: str, error: type[Exception], words: str) -> None:
    async with counter(body) as (_page, source):
        with pytest.raises(error, match=words):
            await source.read()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (PageFault.HANG, TimedOut),
        (PageFault.RESET, Unavailable),
        (PageFault.TRUNCATED, Malformed),
        (PageFault.ERROR_500, Malformed),
        (PageFault.UNAUTHORIZED, Refused),
    ],
)
async def test_a_page_that_fails(fault: PageFault, error: type[Exception]) -> None:
    async with counter() as (page, source):
        page.fault = fault
        with pytest.raises(error):
            await source.read()
        page.fault = PageFault.NONE
        assert (await source.read()).samples


async def test_a_missing_token_file_is_named_and_nothing_is_sent() -> None:
    async with counter(access=Access("/nowhere/token")) as (page, source):
        with pytest.raises(Refused, match="/nowhere/token"):
            await source.read()
        assert page.targets == []


def read(at: float, **values: float) -> CountReading:
    return CountReading(at, tuple(CountSample(name, value) for name, value in values.items()))


class TestCountCurve:
    def curve(self) -> CountCurve:
        curve = CountCurve(read(0, a=100), 3.5)
        for at in range(1, 11):
            assert curve.add(read(at, a=100 + at))
        return curve

    def test_the_first_reading_is_the_baseline(self) -> None:
        assert self.curve().total == 10
        assert self.curve().between(2.5, 7) == pytest.approx(4.5)

    def test_a_restart_counts_from_zero(self) -> None:
        curve = self.curve()
        curve.add(read(11, a=3))
        assert (curve.total, curve.resets) == (13, 1)

    def test_a_series_that_joins_began_at_zero(self) -> None:
        curve = self.curve()
        curve.add(read(11, a=111, b=5))
        assert curve.total == 16

    def test_an_old_reading_is_ignored(self) -> None:
        curve = self.curve()
        assert not curve.add(read(10, a=500))
        assert curve.total == 10

    def test_what_was_counted_across_a_gap_is_kept_but_no_edge_may_lie_in_it(self) -> None:
        curve = self.curve()
        curve.add(read(20, a=120))
        assert (curve.total, curve.gap_seconds) == (20, 10)
        assert curve.between(5, 20) == pytest.approx(15)
        assert curve.between(5, 15) is None

    def test_a_restart_in_a_gap_lost_a_part_so_no_count_over_it_is_known(self) -> None:
        curve = self.curve()
        curve.add(read(20, a=4))
        curve.add(read(21, a=5))
        assert curve.total == 15
        assert curve.between(5, 21) is None
        assert curve.between(20, 21) == 1

    def test_another_counter_in_its_place_is_a_new_baseline(self) -> None:
        curve = self.curve()
        curve.begin_anew()
        curve.add(read(11, a=9000))
        curve.add(read(12, a=9002))
        assert (curve.total, curve.resets) == (12, 0)
        assert curve.between(5, 12) is None

    def test_beyond_what_was_read_nothing_is_known(self) -> None:
        assert self.curve().between(-1, 5) is None
        assert self.curve().between(5, 10.5) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.5, 1.0, 1.0, 6.0]),
            st.dictionaries(st.sampled_from("ab"), st.integers(0, 50), min_size=1),
        ),
        min_size=2,
        max_size=30,
    ),
    st.floats(0, 60),
    st.floats(0, 60),
)
def test_any_history_only_grows_and_counts_add_up(
    steps: list[tuple[float, dict[str, int]]], one: float, other: float
) -> None:
    at = 0.0
    curve = CountCurve(read(at, **steps[0][1]), 3.5)
    for pause, values in steps[1:]:
        before, at = curve.total, at + pause
        assert curve.add(read(at, **values))
        assert curve.total >= before
    middle, end = sorted((min(one, at), min(other, at)))
    whole, left, right = curve.between(0, end), curve.between(0, middle), curve.between(middle, end)
    if whole is not None and left is not None and right is not None:
        assert left + right == pytest.approx(whole)


CHAT_PAGE = """\
vllm:prompt_tokens_total{{model_name="m"}} {prompt}
vllm:generation_tokens_total{{model_name="m"}} {output}
vllm:request_success_total{{model_name="m",finished_reason="stop"}} {finished}
vllm:num_requests_running{{model_name="m"}} 1
vllm:num_requests_waiting{{model_name="m"}} 0
"""


async def test_in_a_running_exporter() -> None:
    """Attempts on /metrics from two pages; a counter that goes away takes only what needs it."""
    clock = FakeClock()
    workshop = Workshop(clock)
    async with page_server() as chat, page_server() as app:
        config = Config(
            servers=(ServerConfig("chat", chat.url, engine="vllm", gpus=GpuSelection()),),
            meters=(),
            prices=Prices(CapacityPrice(dollars_per_hour=3600.0)),
            responses=(ResponseConfig("chat", meaningful=CounterConfig(app.url, "accepted_total")),),
        )
        exporter = Exporter(setup_of(config, workshop), clock, clock)
        exporter.open()

        async def tick() -> None:
            now = clock.now - 100
            chat.body = CHAT_PAGE.format(prompt=500 * now, output=300 * now, finished=2 * now)
            app.body = f"accepted_total {1.6 * now}\n"
            await exporter.tick()
            clock.advance(1)

        def page() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
            body = exporter.face.exposition.body("text/plain", gzipped=False)
            assert body is not None
            return dict(classic_samples(body.content.decode()))

        for _ in range(20):
            await tick()
        samples = page()
        assert total(samples, "tokwatt_source_up", source="chat/meaningful", kind="responses") == 1
        assert total(samples, "tokwatt_meaningful_responses_total", server="chat") == pytest.approx(1.6 * 19)
        assert total(samples, "tokwatt_response_attempts_ratio", server="chat") == pytest.approx(1.25)
        assert total(samples, "tokwatt_response_cost_dollars", server="chat") == pytest.approx(1 / 1.6)
        rows, _ = await probe(config, workshop)
        assert [row.items for row in rows if row.kind == "responses"] == [("meaningful responses 30",)]

        app.fault = PageFault.RESET
        for _ in range(8):
            await tick()
        samples = page()
        assert total(samples, "tokwatt_source_up", source="chat/meaningful") == 0
        assert total(samples, "tokwatt_source_errors_total", source="chat/meaningful", reason="unavailable") == 8
        assert not present(samples, "tokwatt_response_cost_dollars")
        assert total(samples, "tokwatt_output_tokens_per_response") == pytest.approx(150)
        assert total(samples, "tokwatt_output_tokens_per_dollar") == pytest.approx(300)

        app.fault = PageFault.NONE
        other = replace(config.responses[0], meaningful=CounterConfig(f"{app.url}?other", "accepted_total"))
        await exporter.replace(setup_of(replace(config, responses=(other,)), workshop))
        before = total(page(), "tokwatt_meaningful_responses_total")
        await tick()
        assert total(page(), "tokwatt_meaningful_responses_total") == before, "another counter: a new baseline"
        await tick()
        assert total(page(), "tokwatt_meaningful_responses_total") == pytest.approx(before + 1.6)

        await exporter.replace(setup_of(replace(config, responses=()), workshop))
        await tick()
        assert not present(page(), "tokwatt_source_up", source="chat/meaningful")
        await exporter.stop()
    await workshop.aclose()
