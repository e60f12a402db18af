"""An inference server that answers like vLLM while well, and in every broken way on request.

Raw sockets: an HTTP library would refuse to misbehave. Its counters go on while it is ill, as a real server's would.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from enum import StrEnum
from typing import Any

from support.ports import free_port

MODEL = "acme/chat-small"
HUGE_BYTES = 100 * 1024 * 1024
PROMPT_PER_SECOND = 1000
CACHED_PER_SECOND = 250
OUTPUT_PER_SECOND = 500


class Fault(StrEnum):
    """How the server fails."""

    NONE = "none"
    DOWN = "down"  # nothing listens
    CLOSES = "closes"  # accepts and hangs up without a byte
    HUNG = "hung"  # accepts and says nothing
    STALLS = "stalls"  # sends half of the body, then nothing
    ERROR_500 = "error_500"
    LOADING_503 = "loading_503"
    UNAUTHORIZED = "unauthorized"
    REDIRECT = "redirect"
    HTML = "html"
    EMPTY = "empty"
    BINARY = "binary"
    TRUNCATED = "truncated"  # the connection ends before Content-Length is reached
    HUGE = "huge"  # 100 MB
    NAN = "nan"
    NEGATIVE = "negative"
    DUPLICATE = "duplicate"


class FaultyServer:
    """Set `fault` at any time; it holds from the next request on."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/metrics"
        self.fault = Fault.NONE
        self.requests = 0
        self._worked_seconds = 0.0
        self._working_since: float | None = time.monotonic()

    def work(self) -> None:
        """Let the counters run on."""
        if self._working_since is None:
            self._working_since = time.monotonic()

    def rest(self) -> None:
        """Freeze the counters, so that a test can compare totals exactly."""
        if self._working_since is not None:
            self._worked_seconds += time.monotonic() - self._working_since
            self._working_since = None

    def counters(self) -> tuple[int, int, int]:
        """Prompt tokens (cached included), cached and output tokens up to now."""
        since = self._working_since
        worked = self._worked_seconds + (0.0 if since is None else time.monotonic() - since)
        return int(worked * PROMPT_PER_SECOND), int(worked * CACHED_PER_SECOND), int(worked * OUTPUT_PER_SECOND)

    def body(self, output: str | None = None) -> str:
        prompt, cached, generated = self.counters()
        labels = f'{{engine="0",model_name="{MODEL}"}}'
        lines = []
        for name, value in (
            ("vllm:prompt_tokens_total", prompt),
            ("vllm:prompt_tokens_cached_total", cached),
            ("vllm:generation_tokens_total", generated if output is None else output),
        ):
            lines += [f"# HELP {name} Tokens.", f"# TYPE {name} counter", f"{name}{labels} {value}"]
        lines += ["# HELP vllm:num_requests_running Requests.", "# TYPE vllm:num_requests_running gauge"]
        lines += [f"vllm:num_requests_running{labels} 1.0", ""]
        return "\n".join(lines)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            await self._answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away first: that is its right
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        special = _MISBEHAVIOURS.get(self.fault)
        if special is not None:
            await special(self, writer)
            return
        whole = _ANSWERS.get(self.fault, lambda server: answer("200 OK", server.body()))
        writer.write(whole(self))
        await writer.drain()


def answer(status: str, body: str | bytes, content_type: str = "text/plain; version=0.0.4", *headers: str) -> bytes:
    """A whole HTTP answer."""
    content = body.encode() if isinstance(body, str) else body
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, *headers, "", ""]).encode() + content


async def _closes(server: FaultyServer, writer: asyncio.StreamWriter) -> None:
    pass


async def _hung(server: FaultyServer, writer: asyncio.StreamWriter) -> None:
    while server.fault == Fault.HUNG:
        await asyncio.sleep(0.05)


async def _stalls(server: FaultyServer, writer: asyncio.StreamWriter) -> None:
    whole = answer("200 OK", server.body())
    writer.write(whole[: len(whole) - 100])
    await writer.drain()
    while server.fault == Fault.STALLS:
        await asyncio.sleep(0.05)


async def _truncated(server: FaultyServer, writer: asyncio.StreamWriter) -> None:
    whole = answer("200 OK", server.body())
    writer.write(whole[: len(whole) - 100])
    await writer.drain()


async def _huge(server: FaultyServer, writer: asyncio.StreamWriter) -> None:
    filler = b"# " + b"x" * 65533 + b"\n"
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {HUGE_BYTES}\r\n\r\n".encode())
    for _ in range(HUGE_BYTES // len(filler)):
        writer.write(filler)
        await writer.drain()


Misbehaviour = Callable[[FaultyServer, asyncio.StreamWriter], Coroutine[Any, Any, None]]
_ANSWERS: Mapping[Fault, Callable[[FaultyServer], bytes]] = {
    Fault.ERROR_500: lambda _: answer("500 Internal Server Error", "Internal Server Error", "text/plain"),
    Fault.LOADING_503: lambda _: answer(
        "503 Service Unavailable", '{"error":{"message":"Loading model"}}', "application/json"
    ),
    Fault.UNAUTHORIZED: lambda _: answer("401 Unauthorized", '{"error":"Unauthorized"}', "application/json"),
    Fault.REDIRECT: lambda server: answer("302 Found", "", "text/plain", f"Location: {server.url}"),
    Fault.HTML: lambda _: answer("200 OK", "<!doctype html><html><body>Welcome to nginx!</body></html>", "text/html"),
    Fault.EMPTY: lambda _: answer("200 OK", ""),
    Fault.BINARY: lambda _: answer("200 OK", bytes(range(256)) * 8),
    Fault.NAN: lambda server: answer("200 OK", server.body(output="NaN")),
    Fault.NEGATIVE: lambda server: answer("200 OK", server.body(output="-5")),
    Fault.DUPLICATE: lambda server: answer("200 OK", server.body() + server.body()),
}
_MISBEHAVIOURS: Mapping[Fault, Misbehaviour] = {
    Fault.CLOSES: _closes,
    Fault.HUNG: _hung,
    Fault.STALLS: _stalls,
    Fault.TRUNCATED: _truncated,
    Fault.HUGE: _huge,
}


@contextlib.contextmanager
def running_faulty_server(port: int | None = None) -> Iterator[FaultyServer]:
    """Run it on a loopback port (None: a free one), in a thread with its own event loop."""
    server = FaultyServer(free_port() if port is None else port)
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, stop)), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        thread.join(5)


async def _serve(server: FaultyServer, stop: threading.Event) -> None:
    """Listen, except while DOWN."""
    listener: asyncio.Server | None = None
    while not stop.is_set():
        if (server.fault == Fault.DOWN) == (listener is not None):
            if listener is not None:
                listener.close()
                listener = None
            else:
                listener = await asyncio.start_server(server.handle, "127.0.0.1", server.port)
        await asyncio.sleep(0.02)
    if listener is not None:
        listener.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
