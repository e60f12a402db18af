"""One daemon thread for blocking vendor calls, so that a hung driver blocks neither the event loop nor the exit.

Owns the thread and its queue. Must not know any vendor: it runs the functions it is given, one at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tokwatt.readings import Clock, TimedOut

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    run: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


class Worker:
    """Runs blocking functions on its own daemon thread.

    Not `ThreadPoolExecutor`: its threads are joined at interpreter exit, so one hung driver call would hang the exit.
    A call that outlives its deadline cannot be killed. It is abandoned, later calls fail at once until it returns,
    and then the worker is usable again.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._busy_since: float | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._between: Callable[[], None] | None = None
        self._between_seconds = 0.0

    def run_between_calls(self, every_seconds: float, run: Callable[[], None]) -> None:
        """Run `run` on the thread every `every_seconds` while no call waits. Call it from the thread or before it runs.

        `run` must not raise.
        """
        self._between_seconds = every_seconds
        self._between = run

    def stop_between_calls(self) -> None:
        """Undo `run_between_calls`."""
        self._between = None

    async def call(self, run: Callable[[], T], timeout_seconds: float) -> T:
        """Run `run` on the thread and return its result or raise its exception.

        Raises:
            TimedOut: it did not return within `timeout_seconds`, or an earlier call has not returned yet.
        """
        if self._busy_since is not None:
            waited = self._clock() - self._busy_since
            raise TimedOut(
                f"an earlier call has not returned for {waited:.1f} s",
                where=self._name,
                hint="the driver or library hangs; reading resumes by itself when the call returns",
            )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._busy_since = self._clock()
        self._start()
        self._jobs.put(_Job(run, loop, answer))
        deadline = loop.call_later(timeout_seconds, self._expire, answer, timeout_seconds)
        try:
            return await answer
        finally:
            deadline.cancel()

    def close(self) -> None:
        """Let the thread end after the call in flight, if any. Does not wait for it."""
        self._closed = True
        self._jobs.put(None)

    def _expire(self, answer: asyncio.Future[Any], timeout_seconds: float) -> None:
        if not answer.done():
            answer.set_exception(
                TimedOut(
                    f"no answer within {timeout_seconds:g} s",
                    where=self._name,
                    hint="the call cannot be cancelled; reading resumes by itself when it returns",
                )
            )

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"tokwatt-{self._name}", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            if job.answer.done():  # the caller gave up while another function ran
                self._busy_since = None
                continue
            settle = self._run(job)
            self._busy_since = None  # before the answer arrives: its receiver may call again at once
            self._deliver(job, settle)

    def _next_job(self) -> _Job | None:
        due = time.monotonic() + self._between_seconds
        while (between := self._between) is not None and not self._closed:
            try:
                return self._jobs.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                between()
                due = max(due + self._between_seconds, time.monotonic())
        return self._jobs.get()

    @staticmethod
    def _run(job: _Job) -> Callable[[], None]:
        try:
            result = job.run()
        except BaseException as error:  # noqa: BLE001 - belongs to the caller, whatever it is
            return functools.partial(job.answer.set_exception, error)
        return functools.partial(job.answer.set_result, result)

    @staticmethod
    def _deliver(job: _Job, settle: Callable[[], None]) -> None:
        def settle_if_awaited() -> None:
            if not job.answer.done():
                settle()

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            job.loop.call_soon_threadsafe(settle_if_awaited)
