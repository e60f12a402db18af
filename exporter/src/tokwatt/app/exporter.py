"""A running exporter: sampler, books and HTTP face, with a change of configuration while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from tokwatt.app.http import Face, Verify, application
from tokwatt.app.plan import plan_of
from tokwatt.app.price_sources import PriceEntry
from tokwatt.app.setup import CountEntry, OwnerEntry, PowerEntry, Setup, TokenEntry
from tokwatt.economics.books import Books
from tokwatt.ledger.ledger import Ledger
from tokwatt.metrics.exposition import Exposition
from tokwatt.readings import Clock, CountSource, OwnerSource, PowerSource, PriceSource, TokenSource
from tokwatt.sampler import ReloadState, Sampler, Sleep
from tokwatt.sources.tokens.scraper import TokenScraper
from tokwatt.sources.tokens.spec import TokenSpec

log = logging.getLogger("tokwatt")

Entry = TokenEntry | PowerEntry | PriceEntry | CountEntry | OwnerEntry
SHUTDOWN_SECONDS = 1.0  # for connections and sources together; SIGTERM must end within 2 s


class Exporter:
    """Owns the running parts. `replace()` takes over a new setup without losing a total."""

    def __init__(
        self,
        setup: Setup,
        clock: Clock = time.monotonic,
        wall_clock: Clock = time.time,
        exposition: Exposition | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.face = Face(exposition or Exposition())
        self._setup = setup
        self._tokens: dict[str, TokenSource] = {}
        self._power: dict[str, PowerSource] = {}
        self._owners: dict[str, OwnerSource] = {}
        self._prices: dict[str, PriceSource] = {}
        self._counts: dict[str, CountSource] = {}
        self._books = Books(plan_of(setup.config, (), (), (), setup.simulated_servers), Ledger())
        self._sampler = Sampler(
            self._books,
            clock,
            wall_clock,
            self.face.publish,
            sleep,
            simulated=setup.simulated,
            reload_state=ReloadState(successful=True, at_unix_seconds=wall_clock()),
        )
        self._clock = clock
        self._wall_clock = wall_clock
        self._ticking: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None

    @property
    def setup(self) -> Setup:
        """The setup in force."""
        return self._setup

    @property
    def books(self) -> Books:
        """Totals and windows of everything that is read."""
        return self._books

    @property
    def token_specs(self) -> Mapping[str, TokenSpec]:
        """Spec in use by server, of those whose engine is known by now."""
        scrapers = {name: source for name, source in self._tokens.items() if isinstance(source, TokenScraper)}
        return {name: source.spec for name, source in scrapers.items() if source.spec is not None}

    def open(self) -> None:
        """Build the sources; nothing is read yet. Call inside a running event loop."""
        self._watch(self._setup)

    async def tick(self) -> None:
        """Read once and publish: what `start()` does again and again. For those who own the time."""
        await self._sampler.tick()

    def start(self, first_after_seconds: float = 0.0) -> None:
        """Begin to read sources on time. Call inside a running event loop."""
        self.open()
        self._sampler.publish_now()  # so that /metrics answers from the first moment
        self._ticking = asyncio.create_task(self._sampler.run(first_after_seconds), name="tick")
        self._ticking.add_done_callback(_log_death)

    def _watch(self, setup: Setup) -> None:
        """Build sources that are not there yet, then tell the books about all of them."""
        added_tokens = {name: entry.build() for name, entry in setup.tokens.items() if name not in self._tokens}
        added_power = {name: entry.build() for name, entry in setup.power.items() if name not in self._power}
        added_prices = {name: entry.build() for name, entry in setup.prices.items() if name not in self._prices}
        added_owners = {name: entry.build() for name, entry in setup.owners.items() if name not in self._owners}
        self._prices |= added_prices
        self._owners |= added_owners
        self._tokens |= added_tokens
        self._power |= added_power
        added_counts = {name: entry.build() for name, entry in setup.counts.items() if name not in self._counts}
        self._counts |= added_counts
        plan = plan_of(
            setup.config,
            self._tokens.values(),
            self._power.values(),
            self._counts.values(),
            setup.simulated_servers,
            self._owners.values(),
        )
        self._books.reconfigure(plan, self._clock())
        for name, price_source in added_prices.items():
            self._sampler.watch_price(price_source, setup.prices[name].target)
        for name, token_source in added_tokens.items():
            self._sampler.watch_tokens(token_source, setup.tokens[name].target)
        for name, power_source in added_power.items():
            self._sampler.watch_power(power_source, setup.power[name].target)
        for name, owner_source in added_owners.items():
            self._sampler.watch_owner(owner_source, setup.owners[name].target)
        for name, count_source in added_counts.items():
            self._sampler.watch_count(count_source, setup.counts[name].target)

    async def replace(self, setup: Setup) -> None:
        """Take over a new setup. Sources whose entry is unchanged keep running."""
        before, after = _entries(self._setup), _entries(setup)
        gone = [name for name, entry in before.items() if name not in after or after[name].key != entry.key]
        await self._sampler.unwatch(gone)
        for name in gone:
            self._tokens.pop(name, None)
            self._power.pop(name, None)
            self._owners.pop(name, None)
            if self._prices.pop(name, None) is not None:
                self._books.prices.forget_source(name)
            self._counts.pop(name, None)
        self._books.ledger.begin_anew(gone)
        self._books.ledger.release(lambda source: source in setup.power)
        self._setup = setup
        self._watch(setup)

    def note_reload(self, *, successful: bool) -> None:
        """Publish the outcome of a configuration load."""
        state = self._sampler.reload_state
        at = self._wall_clock() if successful else state.at_unix_seconds
        self._sampler.reload_state = ReloadState(successful, at)

    async def serve(
        self,
        host: str,
        port: int,
        *,
        reload: Callable[[], Awaitable[bool]] | None = None,
        verify: Verify | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> str:
        """Open the HTTP face; returns its URL. Raises OSError where the address cannot be had."""
        runner = web.AppRunner(
            application(self.face, self._clock, reload, verify),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_SECONDS / 2,
        )
        await runner.setup()
        site = web.TCPSite(runner, host or None, port, ssl_context=tls, backlog=512)
        await site.start()
        self._runner = runner
        actual_port = runner.addresses[0][1]
        shown_host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(host, host)  # noqa: S104  what to open, not to bind
        shown_host = f"[{shown_host}]" if ":" in shown_host else shown_host
        return f"{'https' if tls else 'http'}://{shown_host}:{actual_port}/"

    async def stop(self) -> None:
        """Stop serving and reading. A source that hangs is abandoned after a second."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await self._sampler.aclose()


def _entries(setup: Setup) -> dict[str, Entry]:
    return {**setup.tokens, **setup.power, **setup.prices, **setup.counts, **setup.owners}


def _log_death(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("the tick died, readings have stopped; restart tokwatt and report this", exc_info=task.exception())
