"""What reading one metrics page costs beside prometheus_client's parser: `python tests/bench/reading.py`.

The same text in the same run, in turns; figures are medians and belong to the machine they were taken on. The parser's
time is for parsing alone; tokwatt's is for finding, parsing and counting what the vLLM spec wants.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.big_page import big_page
from support.captures import body

from tokwatt.sources.tokens import specs
from tokwatt.sources.tokens._counting import Counted, count
from tokwatt.sources.tokens._exposition import Lines

ROUNDS = 7
VLLM = specs()["vllm"]


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Time of one call, averaged over some."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return 1000 * (time.perf_counter() - started) / times


def counted(page: bytes, lines: Lines) -> Counted:
    """Read as the scraper does; `lines` is what it remembers of earlier pages."""
    return count(VLLM, lines.page(page), "bench", "", model_is_fixed=False)


def stock(text: str) -> int:
    """Parse all of it; returns the number of samples."""
    return sum(len(family.samples) for family in text_string_to_metric_families(text))


def compare(what: str, page: bytes, times: int) -> None:
    """Print the medians of both."""
    text, lines = page.decode(), Lines("bench")
    found = len(counted(page, lines).counters)
    whole, first, later = [], [], []
    for _ in range(ROUNDS):
        whole.append(milliseconds(lambda: stock(text), max(1, times // 10)))
        first.append(milliseconds(lambda: counted(page, Lines("bench")), times))
        later.append(milliseconds(lambda: counted(page, lines), times))
    parser, new, usual = map(statistics.median, (whole, first, later))
    print(f"{what}: {len(page) / 1000:,.0f} kB, {stock(text):,} samples, of which {found} are counters wanted")
    print(f"  prometheus_client parses it in {parser:.2f} ms")
    print(f"  tokwatt reads and counts it in {usual:.3f} ms, {parser / usual:.0f} times faster")
    print(f"  tokwatt, a server's first page: {new:.3f} ms, {parser / new:.0f} times faster", flush=True)


if __name__ == "__main__":
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    compare("recorded page of vLLM 0.32.0", body("vllm/0.32.0__loaded"), 100)
    compare("page of 10 models on 6 ranks each, made from it", big_page(), 10)
