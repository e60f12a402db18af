"""HTTP servers on loopback that behave as told, byte by byte where a real framework wouldn't."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Writer = asyncio.StreamWriter
Behaviour = Callable[[Writer], Awaitable[None]]


class FakeServer:
    """Answers each path with a behaviour; `requests` keeps the heads that arrived."""

    def __init__(self) -> None:
        self.paths: dict[str, Behaviour] = {}
        self.requests: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/metrics"

    async def handle(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                text = head.decode("latin-1")
                self.requests.append(text)
                path = text.split(" ", 2)[1].split("?")[0]
                await self.paths.get(path, reply(b"not here", status="404 Not Found"))(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def aclose(self) -> None:
        """End the connections that are still open."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def serving(**paths: Behaviour) -> AsyncIterator[FakeServer]:
    """Serve; keyword `metrics` answers /metrics, `v1_models` answers /v1/models."""
    fake = FakeServer()
    fake.paths = {"/" + name.replace("_", "/"): behaviour for name, behaviour in paths.items()}
    server = await asyncio.start_server(fake.handle, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        await fake.aclose()


def head(status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def reply(body: bytes, status: str = "200 OK", content_type: str = "text/plain", **headers: str) -> Behaviour:
    """A whole answer with Content-Length."""

    async def behave(writer: Writer) -> None:
        writer.write(head(status, Content_Type=content_type, Content_Length=str(len(body)), **headers) + body)

    return behave


def pages(*bodies: bytes) -> Behaviour:
    """One body after the other; the last one stays."""
    left = list(bodies)

    async def behave(writer: Writer) -> None:
        await reply(left.pop(0) if len(left) > 1 else left[0])(writer)

    return behave


def raw(data: bytes, *, close: bool = True) -> Behaviour:
    """Exactly these bytes."""

    async def behave(writer: Writer) -> None:
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return behave


async def hang(writer: Writer) -> None:
    """Accept the request and never answer."""
    await asyncio.Event().wait()


def stream(first: bytes, chunk: bytes, times: int, fake: list[int] | None = None, pause: float = 0.0) -> Behaviour:
    """A head, then `chunk` again and again; counts the bytes that the client took into `fake`."""

    async def behave(writer: Writer) -> None:
        writer.write(first)
        for _ in range(times):
            writer.write(chunk)
            await writer.drain()
            if fake is not None:
                fake[0] += len(chunk)
            if pause:
                await asyncio.sleep(pause)

    return behave
