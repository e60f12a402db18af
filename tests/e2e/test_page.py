"""The live page in a real browser, against the real HTTP face and hand-made Snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from support import snapshots
from support.devtools import Tab, tab

from tokwatt.app.http import Face, application
from tokwatt.snapshot import Given, ModelWindow, PriceSnapshot, Snapshot

pytestmark = pytest.mark.e2e

SHOWN = "document.querySelector('.server .big .value') && !document.body.classList.contains('stale')"
CARDS = "[...document.querySelectorAll('.server')]"
TICK_SECONDS = 0.2


class Served:
    """The exporter's HTTP face behind a path prefix. Ticks on by itself until frozen; can hang, and stop."""

    def __init__(self, picture: Snapshot) -> None:
        self.picture = picture
        self.hangs = False
        self.frozen = False
        self.polls = 0
        self._face = Face()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    @property
    def url(self) -> str:
        return f"{self.origin}behind/a/proxy/"

    async def start(self) -> None:
        @web.middleware
        async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.polls += request.path.endswith("snapshot")
            if self.hangs:
                await asyncio.sleep(30)
            return await handler(request)

        self._face.publish(self.picture)
        outer = web.Application(middlewares=[gate])
        outer.add_subapp("/behind/a/proxy/", application(self._face, time.monotonic))
        self._runner = web.AppRunner(outer, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def more_polls(self, number: int) -> None:
        wanted = self.polls + number
        while self.polls < wanted:
            await asyncio.sleep(0.05)

    async def tick(self) -> None:
        seconds = 0.0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            seconds += TICK_SECONDS
            if not self.frozen:
                at = replace(self.picture, at_seconds=self.picture.at_seconds + seconds)
                self._face.publish(replace(at, at_unix_seconds=self.picture.at_unix_seconds + seconds))


@contextlib.asynccontextmanager
async def serving(picture: Snapshot) -> AsyncIterator[Served]:
    served = Served(picture)
    await served.start()
    ticking = asyncio.create_task(served.tick())
    try:
        yield served
    finally:
        ticking.cancel()
        await served.stop()


async def card(page: Tab, server: str) -> str:
    """Text of one server's card, as a reader sees it."""
    cards: list[str] = await page.value(f"{CARDS}.map(card => card.innerText)")
    return next(" ".join(text.split()) for text in cards if text.lstrip().startswith(server))


async def test_numbers_reasons_and_hostile_text(tmp_path: Path) -> None:
    async with serving(snapshots.snapshot()) as served, tab(served.url, tmp_path) as page:
        await page.until(SHOWN)
        known, unknown = await card(page, "chat"), await card(page, "silent")

        # the three headlines, at the widest measured boundary, with what they mean in other units
        assert "Output tokens per second 3,000 tokens/s input 12,000 tokens/s" in known
        assert "Output tokens per joule 2.00 tokens per watt-second, facility 7.20 million tokens/kWh" in known
        assert "Output tokens per dollar 2.50 million tokens/$ $0.400 per million tokens" in known
        made = "(150 tokens × 1.20 attempts, $0.000300 of support)"
        assert f"Per meaningful response: $0.0273 and 90.0 J (facility) {made}" in known
        power = ("GPU 1,000 W ± 5.1 % 100 %", "facility 1,500 W ± 5.1 % 100 %")
        for text in ("vllm 0.11.0", "config=fp8-tp1", "simulated", *power):
            assert text in known
        assert "Idle: 25 % of facility energy. Cost $10.10, busy $7.57, electricity $0.100" in known
        assert "idle no request running 375 kJ 104 Wh 25 % $2.50 $0.0250" in known
        assert "total 1.50 MJ 417 Wh 100 % $10.00 $0.100" in known
        assert "12 running · 0 waiting · input: computed" in known
        assert "org/model-8b 1,800,000 7,200,000 0 900 3 error" in known

        # unknown is a dash with its reason, never a number
        assert unknown.count("server does not answer: refused") == 3
        assert "last answer: never" in unknown
        everything = await page.value("document.body.innerText")
        for wrong in ("NaN", "undefined", "null", "Infinity", "[object"):
            assert wrong not in everything

        fleet = await page.text("#fleet")
        assert "Output tokens 3,000 tokens/s only 1 of 2 servers" in fleet
        assert "Idle share of energy 25 %" in fleet
        assert "20 % of GPU energy is no server’s; 20 % of host energy is no server’s" in fleet
        meters = await page.text("#meters")
        assert "1.25 MJ" in meters
        assert "bmc1 simulated" in meters
        sources = await page.text("#sources")
        assert "2 timeout 1 3.5 s 1 vllm:x_total" in sources
        assert "▲ down refused: connection refused" in await page.value(
            "[...document.querySelectorAll('#sources td.state.bad')].map(cell => "
            "getComputedStyle(cell.querySelector('.text'), '::before').content.slice(1, -1) + cell.innerText)[0]"
            ".replace(/\\s+/g, ' ')"
        )
        assert (
            await page.text("#simulated") == "SIMULATED: no power or cost on this page was measured"
        )  # one server is real

        # text from outside stays text
        assert snapshots.HOSTILE in await page.value("document.querySelector('.chips').textContent")
        assert snapshots.HOSTILE in await page.value("document.querySelector('#meters').textContent")
        assert await page.value("document.images.length + document.querySelectorAll('main script').length") == 0
        assert "owned" not in await page.value("document.title")

        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith((served.url, "data:image/svg+xml"))] == []


async def test_boundary_is_selectable_and_absence_says_why(tmp_path: Path) -> None:
    picture = snapshots.with_chat(
        snapshots.snapshot(), window=snapshots.window(host_coverage=0.896), capacity_dollars_per_second=None
    )
    picture = snapshots.with_source(picture, "bmc1", up=False, reason="timeout", message="no answer within 4 s")
    async with serving(picture) as served, tab(served.url, tmp_path) as page:
        await page.until(SHOWN)
        text = await card(page, "chat")
        assert "— tokens per watt-second, facility coverage 89 %, needs 90 %; bmc1 is down: timeout" in text
        assert "— tokens/$ facility coverage 89 %, needs 90 %; bmc1 is down: timeout" in text
        await page.value("document.querySelector('#boundary input[value=gpu]').click()")
        await page.until("document.querySelector('.server').innerText.includes('watt-second, GPU')")
        assert "3.00 tokens per watt-second, GPU 10.8 million tokens/kWh" in await card(page, "chat")

        served.picture = replace(picture, prices=PriceSnapshot(None, 1.0), simulated=False)
        await page.until("document.querySelector('.server').innerText.includes('no price is configured or known')")
        assert await page.value("document.getElementById('simulated').checkVisibility()") is False
        assert page.complaints == []


async def test_several_models_have_rates_of_their_own_and_one_ratio(tmp_path: Path) -> None:
    picture = snapshots.snapshot()
    window, totals = snapshots.window(), picture.servers[0].tokens[0]
    parts = [
        ModelWindow(name, rate, 100.0, {}, {}, None, None)
        for name, rate in (("org/large", 1000.0), ("org/small", 2000.0))
    ]
    models = (replace(window.models[0], model=""), *parts)
    tokens = tuple(replace(totals, model=part.model) for part in parts)
    picture = snapshots.with_chat(picture, window=replace(window, models=models), tokens=tokens)
    async with serving(picture) as served, tab(served.url, tmp_path) as page:
        await page.until(SHOWN)
        text = await card(page, "chat")
        assert "Output tokens per second 3,000 tokens/s" in text
        assert "2.00 tokens per watt-second, facility" in text
        assert "org/large 1,800,000 1,000/s" in text
        assert "org/small 1,800,000 2,000/s" in text
        assert page.complaints == []


async def test_zero_tokens_are_a_measured_zero(tmp_path: Path) -> None:
    picture = snapshots.snapshot()
    window = picture.servers[0].window
    assert window is not None
    idle = ModelWindow("org/model-8b", 0.0, 0.0, {Given.GPU: 0.0}, {Given.GPU: 0.0}, 0.0, 0.0)
    picture = snapshots.with_chat(
        picture, window=replace(window, models=(idle,), boundaries=window.boundaries[:1]), phases=()
    )
    async with serving(picture) as served, tab(served.url, tmp_path) as page:
        await page.until(SHOWN)
        text = await card(page, "chat")
        assert "0 tokens per watt-second, GPU power flows, no output tokens" in text
        assert "0 tokens/$ money is spent, no tokens come out" in text
        assert page.complaints == []


async def test_a_source_going_down_shows_within_three_seconds(tmp_path: Path) -> None:
    healthy = snapshots.with_source(snapshots.snapshot(), "silent", up=True, reason="", message="", errors={})
    async with serving(healthy) as served, tab(served.url, tmp_path) as page:
        await page.until(SHOWN)
        assert await page.value("document.getElementById('down').checkVisibility()") is False
        served.picture = snapshots.with_source(
            healthy, "chat", up=False, reason="timeout", message="http://127.0.0.1:8000/metrics: no answer within 2 s"
        )
        assert await page.until("document.getElementById('down').checkVisibility()") < 3
        assert "chat is down (timeout): http://127.0.0.1:8000/metrics: no answer within 2 s" in await page.text("#down")
        assert "Server does not answer (timeout; last answer:" in await card(page, "chat")
        assert await page.value("document.getElementById('announcer').textContent") == "chat is down: timeout"
        served.picture = replace(healthy, config_reload_successful=False)
        await page.until("!document.getElementById('down').checkVisibility()")
        assert "last reload of the configuration failed" in await page.text("#reload")
        assert page.complaints == []


async def test_an_exporter_that_stops_hangs_or_freezes_shows_and_recovers(tmp_path: Path) -> None:
    grey = "document.getElementById('offline').checkVisibility() && document.body.classList.contains('stale')"
    async with serving(snapshots.snapshot()) as served, tab(served.url, tmp_path) as page:
        await page.until(SHOWN)
        await served.more_polls(2)  # now the page knows how often numbers move
        await served.stop()
        assert await page.until(grey) < 3
        assert "The exporter does not answer since" in await page.text("#offline")
        await served.start()
        await page.until(f"!({grey})")

        served.hangs = True
        assert await page.until(grey) < 3.5  # a poll, then its deadline
        assert "nothing within 2.0 s" in await page.text("#offline")
        served.hangs = False
        await page.until(f"!({grey})")

        served.frozen = True
        await page.until(grey, 8)
        assert "its numbers have not moved for" in await page.text("#offline")
        served.frozen = False
        await page.until(f"!({grey})")
        assert await page.text("#status") != ""


async def test_a_hidden_tab_asks_nothing(tmp_path: Path) -> None:
    async with serving(snapshots.snapshot()) as served, tab(served.url, tmp_path) as page:
        await page.until(SHOWN)
        await page.value("Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true}), 1")
        await page.value("window.away = true, document.dispatchEvent(new Event('visibilitychange'))")
        await asyncio.sleep(0.3)  # a poll under way may end
        before = served.polls
        await asyncio.sleep(2.2)
        assert served.polls == before
        await page.value("window.away = false, document.dispatchEvent(new Event('visibilitychange'))")
        await page.until(SHOWN)
        assert served.polls > before
        await served.more_polls(2)


async def test_updates_keep_elements_selection_and_open_details(tmp_path: Path) -> None:
    async with serving(snapshots.snapshot()) as served, tab(served.url, tmp_path) as page:
        await page.until(SHOWN)
        await page.value("window.kept = document.querySelector('.big .value'), window.kept.firstChild.length")
        await page.value("document.querySelector('details').open = false, 1")
        await page.value("getSelection().selectAllChildren(document.querySelector('.server h3')), 1")
        busier = replace(snapshots.window().models[0], output_tokens_per_second=4321.0)
        later = snapshots.snapshot(at_seconds=1010.0)  # far enough for a point of its own in the history
        served.picture = snapshots.with_chat(later, window=replace(snapshots.window(), models=(busier,)))
        await page.until("window.kept.textContent === '4,321'")
        assert await page.value("window.kept.isConnected && !document.querySelector('details').open")
        assert await page.value("getSelection().toString()") == "chat"
        label = await page.value("document.querySelector('.spark').getAttribute('aria-label')")
        assert label == "Output tokens per second, since this page opened: lowest 3,000, highest 4,321"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
async def test_fits_every_width_and_has_contrast(tmp_path: Path, width: int, dark: bool) -> None:
    async with serving(snapshots.snapshot()) as served, tab(served.url, tmp_path, width=width, dark=dark) as page:
        await page.until(SHOWN)
        await page.value("document.querySelectorAll('details').forEach(details => { details.open = true }), 1")
        assert await page.value("document.documentElement.scrollWidth") <= width
        assert await page.value(LOWEST_CONTRAST) >= 4.5
        assert await page.value("document.querySelectorAll('main, header, footer, nav, h1').length") == 5
        assert page.complaints == []


# WCAG 2.2, 1.4.3: contrast of every visible text with the nearest opaque background behind it
LOWEST_CONTRAST = """
(() => {
  const parts = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const channel = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) =>
    0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3) return colour;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let lowest = 21;
  while (texts.nextNode()) {
    const holder = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !holder.checkVisibility()) continue;
    const [a, b] = [luminance(parts(getComputedStyle(holder).color)), luminance(behind(holder))].sort((x, y) => y - x);
    lowest = Math.min(lowest, (a + 0.05) / (b + 0.05));
  }
  return lowest;
})()
"""
