"""One HTTP page on loopback for tests of meters: what it shows and how it fails can change at any time.

async with page_server("some_watts 412\\n") as page:
    page.url; page.body = "..."; page.fault = PageFault.HANG; page.targets    # requests seen: path and query
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from support.faulty_server import answer


class PageFault(StrEnum):
    """How the page fails."""

    NONE = "none"
    HANG = "hang"  # takes the request and says nothing
    RESET = "reset"  # hangs up without a byte
    TRUNCATED = "truncated"  # hangs up in the middle of the body
    STALLS = "stalls"  # half of the body, then nothing
    ERROR_500 = "error_500"
    ERROR_503 = "error_503"
    UNAUTHORIZED = "unauthorized"


class PageServer:
    """`respond` makes the body from the query's parameters where one body is not enough."""

    def __init__(self, body: str, content_type: str) -> None:
        self.body = body
        self.content_type = content_type
        self.fault = PageFault.NONE
        self.delay_seconds = 0.0
        self.respond: Callable[[dict[str, list[str]]], str | bytes] | None = None
        self.targets: list[str] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode()
            self.targets.append(target)
            writer.write(await self._answer(target))
            await writer.drain()
            if self.fault is PageFault.STALLS:
                await asyncio.sleep(3600)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up first: that is its right
        finally:
            writer.close()

    async def _answer(self, target: str) -> bytes:
        await asyncio.sleep(self.delay_seconds)
        if self.fault is PageFault.HANG:
            await asyncio.sleep(3600)
        if self.fault is PageFault.RESET:
            return b""
        if self.fault is PageFault.ERROR_500:
            return answer("500 Internal Server Error", "boom")
        if self.fault is PageFault.ERROR_503:
            return answer("503 Service Unavailable", '{"detail": "not enabled"}')
        if self.fault is PageFault.UNAUTHORIZED:
            return answer("401 Unauthorized", "who are you?")
        body = self.respond(parse_qs(urlsplit(target).query)) if self.respond else self.body
        if isinstance(body, bytes):
            return body  # a whole answer with its head
        whole = answer("200 OK", body, self.content_type)
        return whole if self.fault is PageFault.NONE else whole[: -max(1, len(body) // 2)]


@contextlib.asynccontextmanager
async def page_server(
    body: str = "", content_type: str = "text/plain; version=0.0.4", path: str = "/metrics"
) -> AsyncIterator[PageServer]:
    """Serve on a free port, in the test's own event loop."""
    page = PageServer(body, content_type)
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await page.handle(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    page.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
    try:
        yield page
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
