"""`tokwatt run`: configuration, signals, and what is looked for again while it runs."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tokwatt.app.build import Workshop
from tokwatt.app.detect import Tried, detect, gpus_of_detected
from tokwatt.app.exporter import Exporter
from tokwatt.app.http import Verify
from tokwatt.app.setup import setup_of
from tokwatt.config import Config, ConfigError, ListenAddress, read_config
from tokwatt.config.web import BasicAuth, build_ssl_context, read_web_config
from tokwatt.sources.tokens.overlap import double_counting

log = logging.getLogger("tokwatt")

LOOK_AGAIN_SECONDS = 30.0  # for servers that start after the exporter, where none are configured


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Command line of `tokwatt run`."""

    config: Path | None
    listen: ListenAddress | None
    web_config: Path | None


class Runner:
    """Loads, reloads and looks again."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._workshop = Workshop()
        self._stop = asyncio.Event()
        self._busy = asyncio.Lock()  # a reload and a new look must not interleave
        self._open = False  # servers or meters were left to detection
        self._exporter: Exporter | None = None
        self._warned: tuple[str, ...] = ()

    def _load(self) -> Config:
        if self._options.config is None:
            return Config()
        config, warnings = read_config(
            self._options.config,
            power_specs=self._workshop.power_specs,
            engines=self._workshop.engines,
            check_spec=self._workshop.check_spec,
            counted_again=self._workshop.counted_again,
            owner_specs=self._workshop.owner_specs,
        )
        for warning in warnings:
            log.warning("%s", warning)
        return config

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises ConfigError and OSError before anything is served."""
        config = self._load()
        verify, tls = self._web()
        self._open = not config.servers or config.meters is None
        config, tried = await detect(config, self._workshop)
        report(tried)
        exporter = self._exporter = Exporter(setup_of(config, self._workshop), self._workshop.clock)
        listen = self._options.listen or config.listen
        loop = asyncio.get_running_loop()
        for stop_signal in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop_signal, self._stop.set)
        reloads: set[asyncio.Task[bool]] = set()

        def on_hangup() -> None:
            task = asyncio.create_task(self.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, on_hangup)
        # exporters that a cluster restarts together must not ask one BMC or router at the same instant ever after
        exporter.start(random.uniform(0.0, config.tick_seconds))  # noqa: S311  a jitter, not a secret
        looking = asyncio.create_task(self._look_again())
        try:
            reload = self.reload if config.reload_endpoint else None
            url = await exporter.serve(listen.host, listen.port, reload=reload, verify=verify, tls=tls)
            log.info("serving %s and %smetrics", url, url)
            await self._stop.wait()
            log.info("stopping")
        finally:
            looking.cancel()
            await exporter.stop()
            await self._workshop.aclose()

    def _web(self) -> tuple[Verify | None, ssl.SSLContext | None]:
        path = self._options.web_config
        if path is None:
            return None, None
        web, warnings = read_web_config(path)
        for warning in warnings:
            log.warning("%s", warning)
        verify = BasicAuth(web.basic_auth_users).verify if web.basic_auth_users else None
        return verify, build_ssl_context(web, str(path))

    async def reload(self) -> bool:
        """Load the configuration again. On any mistake the old one runs on. Returns whether it was taken over."""
        async with self._busy:
            assert self._exporter is not None
            try:
                config = self._load()
                now_open = not config.servers or config.meters is None
                config, _ = await detect(config, self._workshop)
                setup = setup_of(config, self._workshop)
            except (ConfigError, ValueError, OSError) as error:
                log.error("reload refused, the old configuration runs on:\n%s", error)  # noqa: TRY400  no traceback
                self._exporter.note_reload(successful=False)
                return False
            if config.listen != self._exporter.setup.config.listen and self._options.listen is None:
                log.warning("listen: a new address takes effect at the next start, not at a reload")
            self._open = now_open
            await self._exporter.replace(setup)
            self._exporter.note_reload(successful=True)
            log.info("configuration reloaded")
            return True

    async def _look_again(self) -> None:
        """Where servers or meters were left to detection, take in those that start later."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            self._warn_of_double_counting()
            if not self._open:
                continue
            async with self._busy:
                await self._take_in()

    def _warn_of_double_counting(self) -> None:
        """Say once what detection brought to light; what the configuration names was refused when it was loaded."""
        assert self._exporter is not None
        separate = {server.name for server in self._exporter.setup.config.servers if server.separate}
        found = double_counting(self._exporter.token_specs, separate)
        for message in found if found != self._warned else ():
            log.warning("%s; keep what is beside the GPUs, or write `separate: true`", message)
        self._warned = found

    async def _take_in(self) -> None:
        assert self._exporter is not None
        running = self._exporter.setup.config
        wanted = self._load_quietly()
        if wanted is None:
            return
        config, _ = await detect(wanted, self._workshop)
        known_urls = {server.url for server in running.servers}
        new_servers = [server for server in config.servers if server.url not in known_urls]
        known_meters = {meter.name for meter in running.meters or ()}
        new_meters = [meter for meter in config.meters or () if meter.name not in known_meters]
        if not new_servers and not new_meters:
            return
        servers = (*running.servers, *new_servers)
        if not wanted.servers:
            again = self._workshop.counted_again(servers)  # workers that start after their frontend replace it
            servers = tuple(s for s in servers if s.name not in again)
            gpus = gpus_of_detected(len(servers), self._workshop.owner_specs)
            servers = tuple(replace(server, gpus=gpus) for server in servers)
        for name in (*(s.name for s in new_servers), *(m.name for m in new_meters)):
            log.info("found %s", name)
        merged = replace(running, servers=servers, meters=(*(running.meters or ()), *new_meters))
        await self._exporter.replace(setup_of(merged, self._workshop))

    def _load_quietly(self) -> Config | None:
        try:
            return self._load()
        except ConfigError:
            return None  # said at the reload that refused it


def report(tried: Sequence[Tried]) -> None:
    """Log what was found and what was not, and why."""
    for item in tried:
        log.info("%s %s: %s", "found    " if item.found else "not found", item.where, item.reason)
