"""Metrics pages of N vLLM servers, one port each, as cheap to serve as Python can: `python page_servers.py COUNT`.

Every answer is a ready-made page of real size (54 kB, counters moving); requests are not parsed beyond their end.
Prints its ports as JSON, then serves until killed. A process of its own, so that its cost is not the exporter's.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from pathlib import Path

PAGE = Path(__file__).parents[1] / "captures" / "vllm" / "0.32.0__loaded.prom"
MOVING = re.compile(
    rb"^(vllm:(?:generation_tokens_total|prompt_tokens_total|prompt_tokens_by_source_total)\{[^}]*\}) [0-9.]+$",
    re.MULTILINE,
)
STEPS = 64  # pages made before; one is served for a second, so that counters fall once in about a minute
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
VERSION = b'{"version": "0.32.0"}'


def answers() -> list[bytes]:
    """Whole HTTP answers with counters that go up from one to the next."""
    text = PAGE.read_bytes()
    made = []
    for step in range(STEPS):
        body = MOVING.sub(lambda match, tokens=3000 * step: match[1] + b" %d.0" % tokens, text)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n" % len(body)
        made.append(head + body)
    return made


class Server(asyncio.Protocol):
    """Answers with the page of this second, whatever the request; `/served` tells how many pages were."""

    def __init__(self, pages: list[bytes], served: list[int]) -> None:
        self.pages = pages
        self.served = served

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Requests of an exporter fit into one packet."""
        if not data.endswith(b"\r\n\r\n"):
            return
        path = data.split(b" ", 2)[1]
        if path == b"/metrics":
            self.served[0] += 1
            self.transport.write(self.pages[int(time.monotonic()) % STEPS])
        else:
            body = VERSION if path == b"/version" else b"%d" % self.served[0]
            self.transport.write(JSON % (len(body), body))


async def serve(count: int) -> None:
    """Serve `count` ports."""
    pages = answers()
    loop = asyncio.get_running_loop()
    served = [0]
    servers = [await loop.create_server(lambda: Server(pages, served), "127.0.0.1", 0) for _ in range(count)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
