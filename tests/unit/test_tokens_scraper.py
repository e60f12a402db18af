"""The scraper against real sockets that behave badly, and its reading when they behave well."""

import asyncio
import gzip
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.captures import body as capture
from support.servers import Behaviour, FakeServer, hang, head, pages, raw, reply, serving, stream

from tokwatt import __version__
from tokwatt.readings import Malformed, Quantity, Refused, ServerReading, SourceError, TimedOut, Unavailable
from tokwatt.sources._http import Access, Http, parse_url, safe_url
from tokwatt.sources.tokens import specs
from tokwatt.sources.tokens.scraper import TokenScraper
from tokwatt.sources.tokens.spec import TokenSpec, spec_from_mapping

SPECS = specs()
GENERIC = spec_from_mapping({"title": "mine", "switch_on": "use --metrics", "quantities": {"output": "out"}}, "spec")
PAGE = b"# TYPE out counter\nout 5\n"


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    client = Http()
    yield client
    await client.aclose()


def scraper(http: Http, url: str, **options: Any) -> TokenScraper:
    options = {"spec": GENERIC, "known": SPECS, "timeout_seconds": 5.0} | options
    return TokenScraper("chat", url, http, time.monotonic, **options)


def output(reading: ServerReading) -> float:
    return sum(sample.value for sample in reading.counters if sample.quantity is Quantity.OUTPUT)


async def fails(http: Http, behaviour: Behaviour, **options: Any) -> SourceError:
    async with serving(metrics=behaviour) as server:
        with pytest.raises(SourceError) as caught:
            await scraper(http, server.url, **options).read()
        assert f"http://127.0.0.1:{server.port}/metrics" in str(caught.value)
        return caught.value


async def test_reads_a_real_page_and_keeps_the_connection(http: Http) -> None:
    async with serving(metrics=reply(capture("vllm/0.32.0__settled")), version=reply(b'{"version": "0.32.0"}')) as fake:
        source = scraper(http, fake.url, spec=None)
        before = time.monotonic()
        reading = await source.read()
        after = time.monotonic()
        again = await source.read()
        assert (reading.server, reading.engine, reading.engine_version) == ("chat", "vllm", "0.32.0")
        assert output(reading) == output(again) == 1344
        assert before <= reading.at_seconds <= after
        assert 0 <= reading.uncertainty_seconds <= after - before
        assert fake.connections == 1
        assert [line.split(" ")[1] for line in fake.requests].count("/version") == 1
        assert f"User-Agent: tokwatt/{__version__}" in fake.requests[0]
        assert "gzip" in fake.requests[0]


async def test_nothing_listens(http: Http) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unavailable, match="cannot connect: Connect") as caught:
            await scraper(http, f"http://user:hunter2@127.0.0.1:{port}/metrics").read()
    assert "hunter2" not in str(caught.value)
    assert "is the server running" in str(caught.value)


async def test_unknown_host(http: Http) -> None:
    with pytest.raises(Unavailable, match="host name is not known"):
        await scraper(http, "http://no-such-host.invalid/metrics").read()


async def test_hung_server_and_slow_trickle_meet_the_deadline(http: Http) -> None:
    started = time.monotonic()
    assert isinstance(await fails(http, hang, timeout_seconds=0.2), TimedOut)
    trickle = stream(head(Content_Length="1000"), b"x", 1000, pause=0.02)
    assert isinstance(await fails(http, trickle, timeout_seconds=0.2), TimedOut)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("behaviour", "kind", "says"),
    [
        (reply(b"boom", "500 Internal Server Error"), Malformed, "HTTP 500: boom"),
        (reply(b'{"error": {"message": "Loading model"}}', "503 S"), Unavailable, "the model is loading"),
        (reply(b"busy", "503 Service Unavailable"), Unavailable, "HTTP 503: busy"),
        (reply(b"<html>", "404 Not Found"), Unavailable, r"no metrics at this path \(use --metrics\)"),
        (reply(b'{"error":{"message":"no endpoint"}}', "501 N"), Unavailable, r"no endpoint.*\(use --metrics\)"),
        (reply(b"", "401 Unauthorized"), Refused, "bearer_token_file"),
        (reply(b"", "403 Forbidden"), Refused, "HTTP 403"),
        (reply(b'{"detail": "no model given"}', "400 Bad Request"), Malformed, "HTTP 400: no model given"),
        (reply(b"x" * 10_000, "418 Teapot"), Malformed, "HTTP 418"),
        (
            reply(b"", "302 Found", Location="http://u:pw@127.0.0.1:1/x?token=s3"),
            Malformed,
            "redirected to http://127.0",
        ),
        (reply(b"<!doctype html><html>"), Malformed, "web page"),
        (reply(b'  {"object": "list"}\n', content_type="application/json"), Malformed, "answered JSON"),
        (reply(b"[]"), Malformed, "answered JSON"),
        (reply(b""), Malformed, "no token counter of mine is there; seen: nothing"),
        (reply(b"node_load1 1\n"), Malformed, r"seen: node_load1 \(use --metrics\)"),
        (reply(b"out NaN\n"), Malformed, "out has the impossible value nan"),
        (reply(b"out -1\n"), Malformed, "impossible value -1"),
        (reply(b"out 1\nout 2\n"), Malformed, "the same series twice: 'out 2'"),
        (reply(b"out one\n"), Malformed, "cannot read the line 'out one'"),
        (reply(b"out 5\n", Content_Encoding="br"), Malformed, "Content-Encoding 'br'"),
        (reply(b"out 5\n", Content_Encoding="gzip"), Malformed, "cannot unpack"),
        (reply(gzip.compress(PAGE)[:-9], Content_Encoding="gzip"), Malformed, "cut short"),
        (reply(b"out 5\n", content_type="application/openmetrics-text"), Malformed, 'no "# EOF"'),
        (raw(head(Content_Length="100") + PAGE), Malformed, "cut short"),
        (raw(head(Transfer_Encoding="chunked") + b"1a\r\n" + PAGE), Malformed, "cut short"),
        (raw(head(Connection="close") + b"out 5\nout_more 1"), Malformed, "last line has no end"),
        (raw(b"SSH-2.0-OpenSSH_9\r\n"), Malformed, "not an HTTP answer"),
        (raw(b""), Unavailable, "closed the connection"),
    ],
)
async def test_every_bad_answer_is_an_error_that_says_what_it_was(
    http: Http, behaviour: Behaviour, kind: type[SourceError], says: str
) -> None:
    error = await fails(http, behaviour)
    assert type(error) is kind
    with pytest.raises(kind, match=says):
        raise error
    assert len(str(error)) < 500
    for secret in ("pw@", "s3"):
        assert secret not in str(error)


async def test_a_huge_body_is_not_read_to_its_end(http: Http) -> None:
    taken = [0]
    error = await fails(
        http, stream(head(Transfer_Encoding="chunked"), b"100000\r\n" + b"x" * 2**20 + b"\r\n", 100, taken)
    )
    assert isinstance(error, Malformed)
    assert "larger than 8388608 bytes" in str(error)
    assert taken[0] < 40 * 2**20


async def test_a_gzip_bomb_is_stopped(http: Http) -> None:
    bomb = gzip.compress(b"\n" * (100 * 2**20))
    assert len(bomb) < 200_000
    error = await fails(http, reply(bomb, Content_Encoding="gzip"))
    assert "larger than 8388608 bytes" in str(error)


async def test_gzip_answers_are_read(http: Http) -> None:
    body = gzip.compress(capture("vllm/0.32.0__settled"))
    async with serving(metrics=reply(body, Content_Encoding="gzip")) as fake:
        assert output(await scraper(http, fake.url, spec=SPECS["vllm"]).read()) == 1344


async def test_a_body_without_length_that_ends_in_a_line_end_is_whole(http: Http) -> None:
    async with serving(metrics=raw(head(Connection="close") + PAGE)) as fake:
        assert output(await scraper(http, fake.url).read()) == 5


async def test_the_source_recovers_after_failures(http: Http) -> None:
    async with serving(metrics=reply(b"boom", "500 E")) as fake:
        source = scraper(http, fake.url)
        for bad in (fake.paths["/metrics"], hang, raw(b""), raw(head(Content_Length="100") + PAGE)):
            fake.paths["/metrics"] = bad
            with pytest.raises(SourceError):
                await asyncio.wait_for(source.read(), 10)
            source = scraper(http, fake.url, timeout_seconds=0.3)
        fake.paths["/metrics"] = reply(PAGE)
        assert output(await source.read()) == 5


async def test_token_file_is_sent_read_anew_and_never_shown(http: Http, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-s3cret\n")
    async with serving(metrics=reply(PAGE)) as fake:
        source = scraper(http, fake.url, access=Access(bearer_token_file=str(file)))
        await source.read()
        file.write_text("second-s3cret")
        await source.read()
        assert "Authorization: Bearer first-s3cret\r\n" in fake.requests[0]
        assert "Authorization: Bearer second-s3cret\r\n" in fake.requests[1]
        fake.paths["/metrics"] = reply(b"", "401 Unauthorized")
        with pytest.raises(Refused) as caught:
            await source.read()
        assert "s3cret" not in str(caught.value)
        file.unlink()
        with pytest.raises(Refused, match=r"cannot read the token file .*token: No such file"):
            await source.read()


async def test_missing_ca_file(http: Http) -> None:
    with pytest.raises(Unavailable, match="cannot use the CA file /nowhere/"):
        await scraper(http, "https://127.0.0.1:1/metrics", access=Access(ca_file="/nowhere/ca.pem")).read()


def llamacpp(fake: FakeServer, model: str) -> None:
    fake.paths["/v1/models"] = reply(b'{"data": [{"id": "%s"}]}' % model.encode())
    fake.paths["/props"] = reply(b'{"build_info": "b11434"}')


async def test_model_without_labels_is_asked_once_and_again_after_a_restart(http: Http) -> None:
    settled, idle = capture("llamacpp/b11434__settled"), capture("llamacpp/b11434__idle")
    async with serving(metrics=pages(settled, settled, idle)) as fake:
        llamacpp(fake, "gemma")
        source = scraper(http, fake.url, spec=None)
        readings = [await source.read(), await source.read()]
        assert sum("/v1/models" in request for request in fake.requests) == 1
        llamacpp(fake, "qwen")
        readings.append(await source.read())
        models = [{sample.model for sample in reading.counters} for reading in readings]
        assert models == [{"gemma"}, {"gemma"}, {"qwen"}]
        assert [reading.engine_version for reading in readings] == ["b11434"] * 3


async def test_model_that_cannot_be_had_is_empty_and_not_asked_for_ever(http: Http) -> None:
    async with serving(metrics=reply(capture("llamacpp/b11434__settled")), v1_models=reply(b'{"data": []}')) as fake:
        source = scraper(http, fake.url, spec=None)
        for _ in range(6):
            reading = await source.read()
        assert {sample.model for sample in reading.counters} == {""}
        assert output(reading) == 1384
        assert sum("/v1/models" in request for request in fake.requests) == 3


async def test_configured_model_replaces_all(http: Http) -> None:
    async with serving(metrics=reply(capture("vllm/0.32.0__settled"))) as fake:
        reading = await scraper(http, fake.url, spec=None, model_override="prod").read()
        assert {sample.model for sample in reading.counters} == {"prod"}


async def test_detection_says_what_it_saw_and_what_to_write(http: Http) -> None:
    neither = await fails(http, reply(b"node_load1 1\n"), spec=None)
    assert "no known inference server wrote these metrics; seen: node_load1" in str(neither)
    assert "write `engine:` (one of " in str(neither)
    both = capture("vllm/0.32.0__idle") + capture("llamacpp/b11434__idle")
    several = await fails(http, reply(both), spec=None)
    assert "the metrics look like llamacpp or vllm (write `engine: llamacpp`)" in str(several)


async def test_another_engine_on_the_same_port_is_detected_anew(http: Http) -> None:
    async with serving(metrics=pages(capture("vllm/0.32.0__idle"), capture("llamacpp/b11434__idle"))) as fake:
        source = scraper(http, fake.url, spec=None)
        assert [(await source.read()).engine, (await source.read()).engine] == ["vllm", "llamacpp"]


async def test_a_server_without_series_before_its_first_request(http: Http) -> None:
    lazy = {"detect": "running", "series_appear": "on_first_request", "quantities": {"output": "out"}}
    async with serving(metrics=pages(b"running 0\n", b"running 1\nout 7\n")) as fake:
        source = scraper(http, fake.url, spec=spec_from_mapping(lazy, "spec"))
        first = await source.read()
        assert (first.counters, first.missing) == ((), ())  # nothing has drifted: nothing was there to count yet
        assert output(await source.read()) == 7


async def test_a_server_known_to_have_no_token_counters_is_not_even_asked(http: Http) -> None:
    async with serving() as fake:
        with pytest.raises(Unavailable, match=r"Ollama has no metrics page.*engine: litellm"):
            await scraper(http, fake.url, spec=SPECS["ollama"]).read()
        assert fake.requests == []


async def test_a_page_without_token_counters_says_whose_it_is_and_what_to_do(http: Http) -> None:
    page = reply(capture("triton_trtllm/0b9d7d5__written-loaded"))
    error = await fails(http, page, spec=None)
    assert isinstance(error, Unavailable)
    assert "gauges of the last iteration only, no cumulative token count" in str(error)
    assert "engine: litellm" in str(error)


@pytest.mark.parametrize("spec", [None, SPECS["vllm"]])
async def test_one_side_of_a_split_deployment(http: Http, spec: TokenSpec | None) -> None:
    async with serving(metrics=reply(capture("vllm/0.32.0__settled"))) as fake:
        reading = await scraper(http, fake.url, spec=spec, side="prefill").read()
    assert output(reading) == 0
    assert {sample.quantity for sample in reading.counters} >= {Quantity.COMPUTED_INPUT, Quantity.CACHED_INPUT}


async def test_a_named_server_of_which_only_the_house_is_there_yet(http: Http) -> None:
    page = b'nv_inference_count{model="m",version="1"} 0\n'
    async with serving(metrics=pages(page, capture("triton_vllm/8de0c14__written-loaded"))) as fake:
        source = scraper(http, fake.url, spec=SPECS["triton_vllm"])
        first = await source.read()
        assert (first.counters, first.missing) == ((), ())
        assert output(await source.read()) == 870


async def test_a_late_handler_moves_the_reading_to_the_answer(http: Http) -> None:
    async with serving(metrics=reply(PAGE)) as fake:
        source = scraper(http, fake.url)
        for _ in range(5):
            await source.read()

        async def late(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.2)
            await reply(PAGE)(writer)

        fake.paths["/metrics"] = late
        sent = time.monotonic()
        reading = await source.read()
        assert reading.at_seconds - sent > 0.15
        assert 0.05 < reading.uncertainty_seconds < (time.monotonic() - sent)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ftp://127.0.0.1/x", "http://", "http://u:pw@:80/", "http://[::1/x"]
)
def test_impossible_urls(url: str) -> None:
    with pytest.raises(ValueError, match="http") as caught:
        parse_url(url)
    assert "pw" not in str(caught.value)


def test_safe_url_hides_what_is_secret() -> None:
    assert safe_url("http://u:p@h:1/m?model=a&api_key=b#f") == "http://h:1/m?model=a&api_key=***"


async def test_a_url_without_a_path_gets_the_engines_own(http: Http) -> None:
    assert scraper(http, "http://127.0.0.1:8000").target == "http://127.0.0.1:8000/metrics"
    assert scraper(http, "http://127.0.0.1:8000/m").target == "http://127.0.0.1:8000/m"
