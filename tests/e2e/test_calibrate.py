"""`tokwatt calibrate` on a real llama.cpp server under a simulated meter, and its command line."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from support import tools
from support.page_server import page_server
from yarl import URL

from tokwatt.app.build import Workshop
from tokwatt.app.calibrate import Campaign, Limits
from tokwatt.app.calibrate_command import readings_of
from tokwatt.app.calibrate_load import HttpCompletions
from tokwatt.app.calibrate_report import as_text
from tokwatt.app.demo import NVML_NAME, demo_setup
from tokwatt.config import ListenAddress
from tokwatt.simulate import real
from tokwatt.simulate.real import RealLlamaServer
from tokwatt.simulate.real_world import SERVER_NAME, RealWorld, watts_of
from tokwatt.snapshot import Given
from tokwatt.sources._http import Access

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

LIMITS = Limits(seconds=150.0, prompt_tokens=256, answer_tokens=32, at_once=2, rounds=2, idle_seconds=4.0)
COMMAND = (sys.executable, "-m", "tokwatt", "calibrate")


async def test_a_real_server_under_a_meter_that_follows_its_slots() -> None:
    """Watts are a function of busy slots, so the truth of each joule is watts times the seconds that were measured."""
    tools.need_module(*real.PACKAGES, extra="real")
    workshop = Workshop()
    async with RealWorld(clock=workshop.clock, users=0, server=RealLlamaServer(threads=1)) as world:
        setup = demo_setup(world, workshop, ListenAddress("127.0.0.1", 0), simulated_servers=False)
        setup.power.pop(world.bmc_name)  # type: ignore[attr-defined]  a slow meter is the business of another test
        assert set(setup.power) == {NVML_NAME}
        readings = readings_of(setup, SERVER_NAME, workshop)
        completions = HttpCompletions(URL(world.llama.base_url), workshop.http, Access())
        campaign = Campaign(
            readings,
            completions,
            LIMITS,
            clock=workshop.clock,
            sleep=asyncio.sleep,
            say=print,
            rng=random.Random(5),
        )
        try:
            await completions.open()
            outcome = await campaign.run()
        finally:
            await readings.aclose()
            await workshop.aclose()
    print(as_text(SERVER_NAME, outcome))
    energy, times = outcome.joules[Given.GPU], outcome.seconds
    assert outcome.disturbed == 0, "the server counts what its answers say"
    assert outcome.engine == "llamacpp"
    assert outcome.at_once == 2
    assert outcome.idle[Given.GPU].watts == pytest.approx(watts_of(0), rel=0.02)
    for watts, blocks in (
        (watts_of(1), [block for block in outcome.blocks if block.batch == 1]),
        (watts_of(2), [block for block in outcome.blocks if block.batch == 2]),
    ):
        busy = sum(block.busy_seconds for block in blocks)
        used = sum(block.joules[Given.GPU] - watts_of(0) * block.quiet_seconds for block in blocks)
        assert used / busy == pytest.approx(watts, rel=0.08)
    for joule, second in (
        (energy.per_prefill_token, times.per_prefill_token),
        (energy.decode_token(1), times.decode_token(1)),
    ):
        # on a machine with other work the intervals are wide, and say so
        slack = max(0.06 * joule.value, joule.half_width)
        assert abs(joule.value - watts_of(1) * second.value) <= slack
    assert times.decode_token(1).value > times.per_prefill_token.value, "decode reads all weights for each token"


async def run(*arguments: str | Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *map(str, arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "tokwatt.yml"
    file.write_text("servers: [{name: chat, url: 'http://127.0.0.1:1/metrics', engine: vllm}]\nmeters: []\n")
    return file


async def test_wrong_use_is_said_with_exit_code_2(config: Path) -> None:
    code, _, err = await run("chta", "--config", config)
    assert (code, "no server is called 'chta'; servers: chat" in err) == (2, True)
    code, _, err = await run("chat", "--config", config, "--rounds", "0")
    assert (code, "--rounds" in err) == (2, True)
    code, _, err = await run("chat", "--config", config, "--rounds", "1")
    assert (code, "two repeats" in err) == (2, True)


async def test_a_server_that_is_not_there_fails_with_the_reason(config: Path) -> None:
    code, out, err = await run("chat", "--config", config)
    assert (code, out) == (1, "")
    assert "cannot connect" in err
    assert "at most 180 s" in err


async def test_a_busy_server_is_refused_before_any_prompt_is_sent(config: Path) -> None:
    page = "\n".join(
        f'vllm:{name}{{model_name="m"}} {value}'
        for name, value in (
            ("prompt_tokens_total", 9),
            ("generation_tokens_total", 9),
            ("request_success_total", 1),
            ("num_requests_running", 3),
            ("num_requests_waiting", 0),
        )
    )
    async with page_server(page + "\n") as server:
        config.write_text(config.read_text().replace("http://127.0.0.1:1/metrics", server.url))
        code, _, err = await run("chat", "--config", config)
        assert code == 1
        assert "3 requests run" in err
        assert not [target for target in server.targets if target.startswith("/v1/completions")]


async def test_ctrl_c_ends_at_once_and_json_is_for_scripts(tmp_path: Path) -> None:
    tools.need_module(*real.PACKAGES, extra="real")
    async with RealLlamaServer(threads=1) as server:
        config = tmp_path / "tokwatt.yml"
        config.write_text(f"servers: [{{name: chat, url: '{server.url}'}}]\nmeters: []\n")
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "chat", "--config", str(config), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        while b"idle power" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            _, err = await process.communicate()
        assert (process.returncode, "stopped, no result" in err.decode()) == (1, True)

        small = ("--prompt-tokens", "128", "--answer-tokens", "16", "--at-once", "2", "--rounds", "2")
        code, out, said = await run("chat", "--config", config, "--json", "--seconds", "170", *small)
        assert code == 0, said
        result = json.loads(out)
        async with aiohttp.ClientSession() as session, session.get(server.url) as page:
            counted = re.findall(r"^llamacpp:tokens_predicted_total (\S+)$", await page.text(), re.MULTILINE)
    assert result["joules"] == {}, "no meter, no joules"
    assert result["seconds"]["per_prefill_token"]["value"] > 0
    assert result["sequences_at_once"] == 2
    # the waves of each load that the plan is made from are not in the result
    assert float(counted[0]) >= result["output_tokens"] + 3 * 1 + 8 + 16 + 2 * 16
