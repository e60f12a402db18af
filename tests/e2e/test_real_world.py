"""`tokwatt demo --real`'s server, started for real: its counters against what its clients were told, and its end."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from support import tools

from tokwatt.simulate import real
from tokwatt.simulate.real import MissingPackagesError, RealLlamaServer, StartFailedError
from tokwatt.simulate.real_load import Completion, send_all
from tokwatt.simulate.real_world import IDLE_WATTS, RealWorld, watts_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

REQUESTS = [Completion("The keeper of the lighthouse wrote " * n, 4 * n) for n in (1, 2, 5, 5, 8)]


@pytest.fixture(autouse=True)
def _installed() -> None:
    tools.need_module(*real.PACKAGES, extra="real")


async def counters(url: str) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        rows = re.findall(r"^llamacpp:(\w+) (\S+)$", await answer.text(), re.MULTILINE)
    return {name: float(value) for name, value in rows}


def exists(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


async def test_counters_are_the_sums_of_usage_and_the_child_ends():
    server = RealLlamaServer()
    await server.start()
    pid = server.pid
    assert pid is not None
    try:
        usage = await send_all(server.base_url, REQUESTS)
        seen = await counters(server.url)
    finally:
        await server.stop()
    assert usage.requests == len(REQUESTS)
    assert usage.output_tokens == sum(request.max_tokens for request in REQUESTS)
    assert seen["tokens_predicted_total"] == usage.output_tokens
    assert seen["prompt_tokens_cached_total"] == usage.cached_tokens
    assert seen["prompt_tokens_total"] == usage.prompt_tokens - usage.cached_tokens
    assert not exists(pid)


async def test_simulated_meters_follow_the_real_server():
    async with RealWorld(users=1) as world:
        assert [server.name for server in world.servers] == ["real-llama"]
        deadline = time.monotonic() + 60.0
        while world.load is None or world.load.done.requests < 1:
            assert time.monotonic() < deadline, "no request was answered"
            await asyncio.sleep(0.2)
        await world.load.stop()
        busy = world.gpu_joules_between(world.start_seconds, time.monotonic()) / (
            time.monotonic() - world.start_seconds
        )
        while world.watts != IDLE_WATTS:
            assert time.monotonic() < deadline, "the meter did not fall back to idle"
            await asyncio.sleep(0.2)
    assert IDLE_WATTS < busy <= watts_of(2)


def test_child_does_not_outlive_a_killed_parent():
    script = """
import asyncio
from tokwatt.simulate.real import RealLlamaServer
async def main():
    server = RealLlamaServer()
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert exists(child)
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10.0
    while exists(child):
        assert time.monotonic() < deadline, f"child {child} is an orphan"
        time.sleep(0.1)


async def test_a_server_that_cannot_start_says_why(tmp_path):
    (tmp_path / "gemma-3-270m-q4_k_m.gguf").write_bytes(b"no model")
    server = RealLlamaServer(model_folder=str(tmp_path))
    with pytest.raises(StartFailedError, match="before it was ready"):
        await server.start(timeout_seconds=60.0)
    assert server.pid is None


async def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(real, "PACKAGES", ("os", "no_such_package"))
    with pytest.raises(MissingPackagesError, match=r"no_such_package .*pip install 'tokwatt\[real\]'"):
        await RealLlamaServer().start()
