"""A tab of headless Chromium over its DevTools protocol: what a page shows, asks for and complains of."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from support import tools
from support.chromium import OPTIONS


class Tab:
    """One page. `requests`: URLs it asked for. `complaints`: console errors, uncaught exceptions, CSP violations."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def listen(self) -> None:
        """Read what the browser says until it hangs up."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            else:
                self._note(said["method"], said.get("params", {}))

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning", "assert"}:
            self.complaints.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        said = await asyncio.wait_for(answer, 20)
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def open(self, url: str) -> None:
        """Load a page."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        done = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    async def until(self, expression: str, seconds: float = 5.0) -> float:
        """Wait until an expression is true in the page; returns how long that took, in seconds."""
        clock = asyncio.get_running_loop().time
        start = clock()
        while not await self.value(f"Boolean({expression})"):
            if clock() - start > seconds:
                text = await self.value("document.body.innerText")
                raise AssertionError(f"not true within {seconds} s: {expression}\n{self.complaints}\n{text}")
            await asyncio.sleep(0.05)
        return clock() - start

    async def text(self, selector: str) -> str:
        """Text of the first element that matches, as a reader sees it."""
        found = await self.value(f"document.querySelector({selector!r}).innerText")
        return re.sub(r"\s+", " ", str(found)).strip()

    async def look(self, *, width: int, dark: bool = False) -> None:
        """Emulate a window width and a colour scheme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, file: Path, *, height: int | None = None) -> None:
        """Save a PNG of the whole page, or of its upper part."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        picture = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(picture["data"]))


@contextlib.asynccontextmanager
async def tab(url: str, work: Path, *, width: int = 1280, dark: bool = False) -> AsyncIterator[Tab]:
    """Open a page in a Chromium of its own; skips the test where Chromium is missing."""
    tools.need("chromium", "fonts")
    process = await asyncio.create_subprocess_exec(
        tools.find("chromium"),
        *OPTIONS,
        f"--user-data-dir={work / 'chromium-profile'}",
        "--hide-scrollbars",
        "--remote-debugging-port=0",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        port = await asyncio.wait_for(_port(process.stderr), 30)
        swallow = asyncio.create_task(process.stderr.read())  # a full pipe would stop the browser
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                pages = [target for target in await response.json() if target["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                opened = Tab(socket)
                listening = asyncio.create_task(opened.listen())
                await opened.look(width=width, dark=dark)
                await opened.open(url)
                yield opened
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
    await swallow


async def _port(stderr: asyncio.StreamReader) -> int:
    async for line in stderr:
        if found := re.search(rb"DevTools listening on ws://[^:]+:(\d+)/", line):
            return int(found[1])
    raise AssertionError("chromium ended before its DevTools were up")
