"""What holds for every inference server that ships with tokwatt. A new spec file is tested by being there.

It needs bodies of two states in tests/captures/<engine>/ and their counts in tests/support/expected_pages.py.
"""

import json
import re
import socket
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping
from importlib import resources
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.captures import FOLDER, PAGES, is_written, lives, state
from support.captures import body as capture
from support.expected_pages import EXPECTED
from support.servers import Behaviour, hang, head, pages, raw, reply, serving

from tokwatt.ledger.tokens import TokenAccount
from tokwatt.ledger.work import WorkAccount
from tokwatt.readings import Malformed, Quantity, Refused, ServerReading, SourceError, TimedOut, Unavailable
from tokwatt.sources._http import Http
from tokwatt.sources.tokens import specs
from tokwatt.sources.tokens.scraper import TokenScraper
from tokwatt.sources.tokens.spec import JsonField, TokenSpec

SPECS = specs()
READABLE = [engine for engine, spec in SPECS.items() if not spec.no_tokens]
PAGELESS = [engine for engine, spec in SPECS.items() if spec.recognise is not None]
LIVES = lives()
STEPS = [step for life in LIVES for step in pairwise(life) if PAGES[step[0]] in READABLE]
HEADER = re.compile(r"# Written from upstream source \S.*@\S.*, not recorded from a running server\.\n")
# Its text is not quite Prometheus': no TYPE lines, label values without quotes.
NOT_PROMETHEUS = ("mlc",)
MONOTONE = ("counter", "histogram")
# Names a spec reads of which no version's page is known; each is another spelling of one that is.
WITHOUT_A_PAGE = {"tgi_request_success_total", "tgi_request_failure_total", "request_finish_total"}


def full_page(engine: str) -> bytes:
    """A page of `engine` that shows its token counters."""
    return next(capture(page) for life in LIVES for page in life[-1:] if PAGES[page] == engine)


def nested(field: JsonField, text: str) -> Any:
    """The data in which `field` finds `text`."""
    value: Any = text
    for key in reversed(field.keys):
        value = [value] if key.isdigit() else {key: value}
    return value


def identity(spec: TokenSpec) -> dict[str, Behaviour]:
    """The answers, by path, that tell the server's model and version."""
    answers: dict[str, Any] = {}
    for field, text in ((spec.model_from, "the-model"), (spec.version_from, "1.2.3")):
        if field is not None:
            answers.setdefault(field.path, {}).update(nested(field, text))
    return {path: reply(json.dumps(data).encode(), content_type="application/json") for path, data in answers.items()}


def scraper(http: Http, port: int, spec: TokenSpec | None, path: str, timeout_seconds: float = 5.0) -> TokenScraper:
    url = f"http://127.0.0.1:{port}{path}"
    return TokenScraper("s", url, http, time.monotonic, spec, timeout_seconds=timeout_seconds, known=SPECS)


def sums(reading: ServerReading) -> dict[str, float]:
    found: dict[str, float] = {}
    for sample in reading.counters:
        found[sample.quantity.value] = found.get(sample.quantity.value, 0.0) + sample.value
    return found


def work_sums(reading: ServerReading) -> dict[str, float]:
    found: dict[str, float] = {}
    for sample in reading.work:
        found[sample.work.value] = found.get(sample.work.value, 0.0) + sample.value
    return found


def booked(account: TokenAccount) -> dict[Quantity, float]:
    """What the ledger has counted since the first reading, of all models."""
    found: dict[Quantity, float] = {}
    for model in account.models.values():
        for quantity, value in model.counted.items():
            found[quantity] = found.get(quantity, 0.0) + value
    return found


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    client = Http()
    yield client
    await client.aclose()


# --- bodies ---


def test_every_engine_with_a_page_has_bodies_and_no_others() -> None:
    assert set(PAGES.values()) == set(SPECS) - set(PAGELESS)


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life[0].split("__")[0])
def test_every_version_has_two_states(life: tuple[str, ...]) -> None:
    engine = PAGES[life[0]]
    assert len(life) >= 2, f"write a second body beside {life[0]}.prom, for example __written-later.prom"
    if engine in READABLE:
        with_counters = [page for page in life if EXPECTED[page].counts]
        assert len(with_counters) >= 2, f"only one body of {life} has counters: nothing can be seen to move"


@pytest.mark.parametrize("page", [page for page in PAGES if is_written(page)])
def test_a_written_page_says_so_in_its_first_line_and_in_the_readme(page: str) -> None:
    first = capture(page).decode().splitlines(keepends=True)[0]
    assert HEADER.fullmatch(first), first
    readme = (FOLDER / PAGES[page] / "README.md").read_text(encoding="utf-8")
    assert "Written from upstream source" in readme
    assert "not recorded" in readme


@pytest.mark.parametrize("page", [page for page in PAGES if not is_written(page)])
def test_a_recorded_page_says_so_in_the_readme_and_holds_nothing_of_ours(page: str) -> None:
    assert b"not recorded" not in capture(page)
    readme = (FOLDER / PAGES[page] / "README.md").read_text(encoding="utf-8")
    assert "exactly as the real server sent it" in readme
    assert f"| {page.split('/')[1]}.prom |" in readme or f"## {page.split('/')[1]}.prom" in readme


@pytest.mark.parametrize("life", [life for life in LIVES if PAGES[life[0]] not in NOT_PROMETHEUS], ids=lambda x: x[0])
def test_from_state_to_state_no_series_is_lost_and_no_counter_falls(life: tuple[str, ...]) -> None:
    for before, after in pairwise(counters_of(page) for page in life):
        assert before.keys() <= after.keys()
        assert [series for series in before if after[series] < before[series]] == []


def counters_of(page: str) -> Mapping[tuple[str, str], float]:
    """Counters and histograms, by what tells their series apart; gauges as 0."""
    families = parse_text(capture(page).decode())
    return {
        (sample.name, str(sorted(sample.labels.items()))): sample.value if family.type in MONOTONE else 0.0
        for family in families
        for sample in family.samples
        # these exist or not as the server's other clients came and went
        if not sample.name.startswith(("http_", "python_", "process_"))
    }


def has_names_of_its_own(engine: str) -> bool:
    file = resources.files("tokwatt.sources.tokens") / f"{engine}.toml"
    return "like" not in tomllib.loads(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("engine", [engine for engine in READABLE if has_names_of_its_own(engine)])
def test_every_series_that_a_spec_names_is_on_some_page(engine: str) -> None:
    spec = SPECS[engine]
    found = [item for group in (spec.quantities, spec.work) for items in group.values() for item in items]
    names = {name for item in found for name in (item.metric, item.times) if name}
    text = "".join(capture(page).decode() for page in PAGES if PAGES[page] == engine)
    unseen = {name for name in names if not re.search(rf"^{re.escape(name)}[{{ \t]", text, re.MULTILINE)}
    assert unseen <= WITHOUT_A_PAGE


# --- readings ---


async def read_all(http: Http, spec: TokenSpec | None, engine: str, life: tuple[str, ...]) -> list[ServerReading]:
    known = SPECS[engine]
    async with serving() as fake:
        fake.paths[known.path] = pages(*map(capture, life))
        fake.paths |= identity(known)
        source = scraper(http, fake.port, spec, known.path)
        return [await source.read() for _ in life]


@pytest.mark.parametrize("life", [x for x in LIVES if PAGES[x[0]] in READABLE], ids=lambda x: x[0].split("__")[0])
@pytest.mark.parametrize("detected", [False, True], ids=["named", "detected"])
async def test_every_body_yields_its_reading(http: Http, life: tuple[str, ...], detected: bool) -> None:
    engine = PAGES[life[0]]
    spec = SPECS[engine]
    for page, reading in zip(life, await read_all(http, None if detected else spec, engine, life), strict=True):
        expected = EXPECTED[page]
        assert sums(reading) == expected.counts, page
        assert (reading.requests_running, reading.requests_waiting) == (expected.running, expected.waiting), page
        assert reading.missing == expected.missing, page
        assert work_sums(reading) == pytest.approx(expected.work, rel=1e-12), page
        assert reading.kv_tokens == pytest.approx(expected.kv_tokens), page
        assert reading.engine == engine
        assert reading.engine_version == ("1.2.3" if spec.version_from else "")
        models = {sample.model for sample in reading.counters}
        assert "" not in models or not (spec.model_labels or spec.model_from)
        if spec.model_from and not spec.model_labels:
            assert models <= {"the-model"}


def test_every_body_has_an_expected_reading() -> None:
    assert set(EXPECTED) == {page for page in PAGES if PAGES[page] in READABLE}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0]} to {state(step[1])}")
async def test_the_ledger_counts_exactly_what_came_between_two_states(http: Http, step: tuple[str, str]) -> None:
    engine = PAGES[step[0]]
    first, second = await read_all(http, SPECS[engine], engine, step)
    account = TokenAccount()
    account.add(first)
    assert set(booked(account).values()) <= {0.0}
    account.add(second)
    before, after = (EXPECTED[page].counts for page in step)
    # a series that shows for the first time is a baseline: what it counted before was not seen
    assert booked(account) == {name: value - before.get(name, value) for name, value in after.items()}
    assert account.resets == 0


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0]} to {state(step[1])}")
async def test_the_ledger_adds_up_exactly_the_work_between_two_states(http: Http, step: tuple[str, str]) -> None:
    engine = PAGES[step[0]]
    account = WorkAccount()
    for reading in await read_all(http, SPECS[engine], engine, step):
        account.add(reading)
    before, after = (EXPECTED[page].work for page in step)
    expected = {name: value - before.get(name, value) for name, value in after.items()}
    assert account.totals == pytest.approx(expected, rel=1e-9, abs=1e-9)


# --- failures ---


def cut_in_a_wanted_line(engine: str) -> bytes:
    """The page up to the middle of a line that counts output tokens."""
    page = full_page(engine)
    return next(
        page[: found.end()]
        for name in SPECS[engine].metrics("output")
        if (found := re.search(rf"^{re.escape(name)}[{{ \t]".encode(), page, re.MULTILINE))
    )


Fault = Callable[[bytes], Behaviour]  # from the page that the server would have shown
PROSE = b"<!doctype html><html><body>vllm:generation_tokens_total 5</body></html>"
FAULTS: Mapping[str, tuple[Fault, type[SourceError], str]] = {
    "binary": (lambda page: reply(bytes(range(256)) * 16), Malformed, "no token counter"),
    "HTML": (lambda page: reply(PROSE, content_type="text/html"), Malformed, "web page"),
    "empty": (lambda page: reply(b""), Malformed, "no token counter.*seen: nothing"),
    "hang": (lambda page: hang, TimedOut, "no complete answer within"),
    "401": (lambda page: reply(b"", "401 Unauthorized"), Refused, "bearer_token_file"),
    "shorter than its length": (
        lambda page: raw(head(Content_Length=str(2 * len(page))) + page),
        Malformed,
        "cut short",
    ),
    "half a chunk": (
        lambda page: raw(head(Transfer_Encoding="chunked") + b"%x\r\n" % (2 * len(page)) + page),
        Malformed,
        "cut short",
    ),
    "no length, half a line": (lambda page: raw(head(Connection="close") + page + b"half"), Malformed, "no end"),
}


async def error_of(source: TokenScraper, kind: type[SourceError], says: str) -> SourceError:
    with pytest.raises(kind, match=says) as caught:
        await source.read()
    assert type(caught.value) is kind
    assert source.target in str(caught.value)
    return caught.value


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("engine", READABLE)
async def test_a_bad_answer_is_an_error_of_its_kind_and_a_good_one_ends_it(http: Http, engine: str, fault: str) -> None:
    spec = SPECS[engine]
    make, kind, says = FAULTS[fault]
    page = full_page(engine)
    async with serving() as fake:
        fake.paths[spec.path] = make(page)
        timeout_seconds = 0.05 if kind is TimedOut else 5.0
        await error_of(scraper(http, fake.port, spec, "", timeout_seconds), kind, says)
        fake.paths[spec.path] = reply(page)
        assert sums(await scraper(http, fake.port, spec, "").read())


@pytest.mark.parametrize("engine", READABLE)
async def test_a_page_that_ends_within_a_counter_is_malformed(http: Http, engine: str) -> None:
    async with serving() as fake:
        fake.paths[SPECS[engine].path] = reply(cut_in_a_wanted_line(engine))
        await error_of(scraper(http, fake.port, SPECS[engine], ""), Malformed, "cannot read the line")


@pytest.mark.parametrize("status", ["404 Not Found", "501 Not Implemented"])
@pytest.mark.parametrize("engine", READABLE)
async def test_a_server_without_its_page_is_told_how_to_switch_it_on(http: Http, engine: str, status: str) -> None:
    async with serving() as fake:
        fake.paths[SPECS[engine].path] = reply(b"not here", status)
        error = await error_of(scraper(http, fake.port, SPECS[engine], ""), Unavailable, "no metrics at this path")
    assert error.hint == SPECS[engine].switch_on


@pytest.mark.parametrize("engine", READABLE)
async def test_a_port_that_nobody_listens_on(http: Http, engine: str) -> None:
    with socket.socket() as unused:  # bound and not listening: connections are refused
        unused.bind(("127.0.0.1", 0))
        error = await error_of(scraper(http, unused.getsockname()[1], SPECS[engine], ""), Unavailable, "cannot connect")
    assert "is the server running" in error.hint


# --- servers that count no tokens ---


@pytest.mark.parametrize("engine", [engine for engine in SPECS if engine not in READABLE])
async def test_a_server_that_counts_no_tokens_is_not_asked_and_says_what_to_do(http: Http, engine: str) -> None:
    async with serving() as fake:
        error = await error_of(scraper(http, fake.port, SPECS[engine], ""), Unavailable, re.escape(SPECS[engine].title))
        assert fake.requests == []
    assert SPECS[engine].no_tokens in error.what
    assert error.hint == SPECS[engine].instead


@pytest.mark.parametrize("page", [page for page, engine in PAGES.items() if engine not in READABLE])
async def test_a_page_that_counts_no_tokens_is_known_in_every_state(http: Http, page: str) -> None:
    spec = SPECS[PAGES[page]]
    async with serving() as fake:
        fake.paths[spec.path] = reply(capture(page))
        error = await error_of(scraper(http, fake.port, None, spec.path), Unavailable, re.escape(spec.no_tokens))
    assert error.hint == spec.instead
