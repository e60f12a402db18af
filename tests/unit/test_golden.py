"""Every recorded body of a real server through the real app: /metrics byte for byte, counts as the client saw them.

`make golden` writes the files anew; the diff is the review.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from support import captures
from support.clock import FakeClock
from support.exporter import SteadyGpu, ticking_exporter
from support.openmetrics import Samples, classic_samples, openmetrics_samples, total
from support.servers import pages, reply, serving

from tokwatt.config import CapacityPrice, Config, ElectricityPrice, GpuSelection, Prices, ServerConfig

GOLDEN = Path(__file__).parent.parent / "golden"
PRICES = Prices(CapacityPrice(dollars_per_gpu_hour=2.5), ElectricityPrice(dollars_per_kwh=0.17), pue=1.1)
CAPTURES = [
    "llamacpp/b11434__idle",
    "llamacpp/b11434__loaded",
    "llamacpp/b11434__settled",
    "llamacpp/b11434__after",
    "llamacpp/b11434__large-counter",
    "vllm/0.32.0__idle",
    "vllm/0.32.0__loaded",
    "vllm/0.32.0__settled",
    "vllm/0.32.0__after",
]
MODELS = b'{"object": "list", "data": [{"id": "gemma-3-270m"}]}'
PROPS = b'{"build_info": "b11434-0c1e57098"}'
VERSION = b'{"version": "0.32.0"}'


async def replay(capture: str, seconds: int = 10) -> tuple[str, str]:
    """Serve idle.prom, then the capture for the rest of the time; returns both formats of the last tick."""
    idle = capture.rsplit("__", 1)[0] + "__idle"
    clock = FakeClock()
    bodies = pages(captures.body(idle), captures.body(capture))
    json = "application/json"
    async with serving(
        metrics=bodies,
        v1_models=reply(MODELS, content_type=json),
        props=reply(PROPS, content_type=json),
        version=reply(VERSION, content_type=json),
    ) as server:
        config = Config(
            servers=(ServerConfig("captured", server.url, gpus=GpuSelection(every=True)),), meters=(), prices=PRICES
        )
        async with ticking_exporter(config, clock, SteadyGpu(clock, 300)) as exporter:
            for _ in range(seconds + 1):
                await exporter.tick()
                clock.advance(1)
            classic = exporter.face.exposition.body("", gzipped=False)
            openmetrics = exporter.face.exposition.body("application/openmetrics-text; version=1.0.0", gzipped=False)
            assert classic is not None
            assert openmetrics is not None
            return classic.content.decode(), openmetrics.content.decode()


def stable(text: str) -> str:
    """Leave out what differs from machine to machine: versions."""
    return re.sub(r"tokwatt_build_info\{[^}]*\}", "tokwatt_build_info{...}", text)


def compare(path: Path, text: str) -> None:
    if os.environ.get("TOKWATT_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing: run `make golden` and read the diff"
    assert text == path.read_text(encoding="utf-8"), f"{path.name} differs: run `make golden` and read the diff"


@pytest.mark.parametrize("capture", CAPTURES)
async def test_capture_gives_golden_metrics(capture: str) -> None:
    classic, openmetrics = await replay(capture)
    compare(GOLDEN / f"{capture.replace('/', '__')}.metrics", stable(classic))
    # the strict parser refuses what OpenMetrics forbids; both formats must say the same
    assert openmetrics_samples(openmetrics) == classic_samples(classic)


def counted(samples: Samples) -> tuple[float, float, float]:
    return (
        total(samples, "tokwatt_input_tokens_total"),
        total(samples, "tokwatt_cached_input_tokens_total"),
        total(samples, "tokwatt_output_tokens_total"),
    )


# What the client's `usage` says, and what the server really did beyond it (captures' README):
# n=2 choices of which usage reports one (20 tokens), aborted requests whose tokens were made all the same.
@pytest.mark.parametrize(("capture", "extra_output"), [("llamacpp/b11434", 20), ("vllm/0.32.0", 0)])
async def test_settled_counts_are_the_clients(capture: str, extra_output: int) -> None:
    client = captures.data(f"{capture}__client")
    done = [step["client_delta"] for step in client["steps"] if not step["client_delta"]["aborted"]]
    prompt = sum(step["prompt_tokens"] for step in done)
    cached = sum(step["cached_tokens"] for step in done)
    output = sum(step["completion_tokens"] for step in done)
    classic, _ = await replay(f"{capture}__settled")
    assert counted(classic_samples(classic)) == (prompt - cached, cached, output + extra_output)


async def test_a_counter_printed_with_six_digits_is_exact_to_what_is_printed() -> None:
    classic, _ = await replay("llamacpp/b11434__large-counter")
    assert counted(classic_samples(classic)) == (4399, 1_047_820, 2067)
