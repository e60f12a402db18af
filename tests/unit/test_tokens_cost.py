"""Reading a page costs a small part of parsing it whole, and yields the same numbers."""

import time
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.big_page import big_page
from support.captures import body

from tokwatt.readings import Quantity
from tokwatt.sources.tokens import specs
from tokwatt.sources.tokens._counting import Counted, count
from tokwatt.sources.tokens._exposition import Lines, series_id

VLLM = specs()["vllm"]
BIG = big_page()
TIMES_FASTER = 40
ROUNDS = 5  # a busy machine may disturb one


def counted(page: bytes, lines: Lines) -> Counted:
    return count(VLLM, lines.page(page), "t", "", model_is_fixed=False)


def fastest_seconds(work: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def test_the_big_page_is_big() -> None:
    samples = sum(not line.startswith(b"#") for line in BIG.splitlines())
    assert samples > 22_000
    assert len(BIG) > 2_500_000


@pytest.mark.parametrize("page", [body("vllm/0.32.0__loaded"), BIG], ids=["54 kB", "2.5 MB"])
def test_reading_is_far_cheaper_than_parsing_all(page: bytes) -> None:
    text, lines = page.decode(), Lines("t")
    counted(page, lines)  # a server's first page teaches its series
    ratios = []
    for _ in range(ROUNDS):
        whole = fastest_seconds(lambda: [None for family in parse_text(text) for _ in family.samples], 2)
        ratios.append(whole / fastest_seconds(lambda: counted(page, lines), 10))
        if ratios[-1] > TIMES_FASTER:
            return
    pytest.fail(f"only {max(ratios):.0f} times faster than the stock parser")


def test_the_big_page_yields_what_the_stock_parser_finds() -> None:
    wanted = {"vllm:generation_tokens_total": Quantity.OUTPUT, "vllm:prompt_tokens_cached_total": Quantity.CACHED_INPUT}
    expected = {
        (wanted[sample.name], sample.labels["model_name"], series_id(sample.name, sample.labels), sample.value)
        for family in parse_text(BIG.decode())
        for sample in family.samples
        if sample.name in wanted
    }
    assert len(expected) == 120  # 10 models on 6 ranks each, two counters
    found = counted(BIG, Lines("t")).counters
    assert expected == {
        (sample.quantity, sample.model, sample.series, sample.value)
        for sample in found
        if sample.quantity in wanted.values()
    }
