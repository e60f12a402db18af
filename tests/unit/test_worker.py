"""A worker survives a call that hangs, without hanging anything else."""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support.clock import FakeClock

from tokwatt.readings import TimedOut
from tokwatt.sources._worker import Worker


async def test_returns_the_result_of_a_function_that_ran_on_another_thread():
    worker = Worker("nvml", time.monotonic)
    assert await worker.call(threading.get_ident, 1.0) != threading.get_ident()
    worker.close()


async def test_raises_what_the_function_raised_even_a_timeout_of_its_own():
    def refuse() -> None:
        raise TimeoutError("from the vendor")

    worker = Worker("nvml", time.monotonic)
    with pytest.raises(TimeoutError, match="from the vendor"):
        await worker.call(refuse, 1.0)
    assert await worker.call(lambda: 7, 1.0) == 7
    worker.close()


async def test_a_hung_call_times_out_then_later_calls_fail_at_once_until_it_returns():
    clock, returned = FakeClock(), threading.Event()
    worker = Worker("nvml", clock)
    with pytest.raises(TimedOut, match=r"no answer within 0\.02 s"):
        await worker.call(returned.wait, 0.02)
    clock.advance(12.3)
    started = time.monotonic()
    with pytest.raises(TimedOut, match=r"nvml: .*has not returned for 12\.3 s"):
        await worker.call(lambda: 1, 5.0)
    assert time.monotonic() - started < 1.0

    returned.set()
    assert await _call_when_free(worker, lambda: 2) == 2
    worker.close()


async def test_the_event_loop_runs_while_a_call_blocks():
    release = threading.Event()
    worker = Worker("nvml", time.monotonic)
    call = asyncio.create_task(worker.call(release.wait, 5.0))
    turns = 0
    while turns < 20:
        await asyncio.sleep(0)
        turns += 1
    assert not call.done()
    release.set()
    assert await call is True
    worker.close()


async def test_a_cancelled_caller_leaves_the_worker_usable():
    release = threading.Event()
    worker = Worker("nvml", time.monotonic)
    call = asyncio.create_task(worker.call(release.wait, 5.0))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    release.set()
    assert await _call_when_free(worker, lambda: 3) == 3
    worker.close()


async def test_runs_a_function_between_calls_on_the_same_thread():
    threads: list[int] = []
    three = threading.Event()

    def between() -> None:
        threads.append(threading.get_ident())
        if len(threads) >= 3:
            three.set()

    worker = Worker("nvml", time.monotonic)
    own = await worker.call(threading.get_ident, 1.0)

    def enable() -> None:
        worker.run_between_calls(0.001, between)

    await worker.call(enable, 1.0)
    assert await asyncio.to_thread(three.wait, 5.0)
    await worker.call(worker.stop_between_calls, 1.0)
    count = len(threads)
    await asyncio.sleep(0.01)
    assert len(threads) == count
    assert set(threads) == {own}
    worker.close()


def test_a_hung_call_does_not_keep_the_interpreter_from_exiting():
    program = textwrap.dedent(
        """
        import asyncio, threading, time
        from tokwatt.readings import TimedOut
        from tokwatt.sources._worker import Worker

        async def main():
            worker = Worker("nvml", time.monotonic)
            try:
                await worker.call(threading.Event().wait, 0.05)
            except TimedOut:
                print("timed out")
            worker.close()

        asyncio.run(main())
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "timed out\n"


async def _call_when_free(worker: Worker, run):
    for _ in range(1000):
        try:
            return await worker.call(run, 1.0)
        except TimedOut:
            await asyncio.sleep(0.001)
    raise AssertionError("the worker never became free")
