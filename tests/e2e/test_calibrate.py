"""`tokwatt calibrate` on a real llama.cpp server under a simulated meter, and its command line."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import urllib.request
from pathlib import Path

import pytest
from support import tools
from support.llama_server import running_llama_server
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
from tokwatt.simulate.real_world import SERVER_NAME, RealWorld, watts_of
from tokwatt.snapshot import Given
from tokwatt.sources._http import Access

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

LIMITS = Limits(seconds=110.0, prompt_tokens=768, answer_tokens=96, at_once=2, idle_seconds=4.0)
COMMAND = (sys.executable, "-m", "tokwatt", "calibrate")


async def test_a_real_server_under_a_meter_that_follows_its_slots() -> None:
    """Watts are a function of busy slots, so the truth of each joule is watts times the seconds that were measured."""
    tools.need_module(*real.PACKAGES, extra="real")
    workshop = Workshop()
    async with RealWorld(clock=workshop.clock, users=0) as world:
        setup = demo_setup(world, workshop, ListenAddress("127.0.0.1", 0), simulated_servers=False)
        setup.power.pop(world.bmc_name)  # type: ignore[attr-defined]  a slow meter is the business of another test
        assert set(setup.power) == {NVML_NAME}
        readings = readings_of(setup, SERVER_NAME, workshop)
        completions = HttpCompletions(URL(world.llama.base_url), workshop.http, Access())
        await completions.open()
        said: list[str] = []
        campaign = Campaign(
            readings,
            completions,
            LIMITS,
            clock=workshop.clock,
            sleep=asyncio.sleep,
            say=said.append,
            rng=random.Random(5),
        )
        outcome = await campaign.run()
        await readings.aclose()
    await workshop.aclose()
    print(as_text(SERVER_NAME, outcome))
    energy, times = outcome.joules[Given.GPU], outcome.seconds
    assert outcome.disturbed == 0, "the server counts what its answers say"
    assert outcome.engine == "llamacpp"
    assert outcome.at_once == 2
    assert outcome.idle[Given.GPU].watts == pytest.approx(watts_of(0), rel=0.02)
    one, two = watts_of(1), watts_of(2)
    assert energy.per_prefill_token.value == pytest.approx(one * times.per_prefill_token.value, rel=0.06)
    assert energy.decode_token(1).value == pytest.approx(one * times.decode_token(1).value, rel=0.06)
    assert energy.decode_token(2).value == pytest.approx(two * times.decode_token(2).value, rel=0.12)
    assert times.decode_token(1).value > 3 * times.per_prefill_token.value, "decode reads all weights for each token"
    assert (energy.per_prefill_token.error_ratio or 1) < 0.3


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


def test_ctrl_c_ends_at_once_and_json_is_for_scripts(tmp_path: Path) -> None:
    tools.need_module(*real.PACKAGES, extra="real")

    async def interrupted(config: Path) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "chat", "--config", str(config), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        while b"idle power" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            _, err = await process.communicate()
        return process.returncode or 0, err.decode()

    with running_llama_server(tmp_path) as server:
        config = tmp_path / "tokwatt.yml"
        config.write_text(f"servers: [{{name: chat, url: '{server.url}/metrics'}}]\nmeters: []\n")
        code, err = asyncio.run(interrupted(config))
        assert (code, "stopped, no result" in err) == (1, True)
        small = ("--prompt-tokens", "256", "--answer-tokens", "32", "--at-once", "2", "--rounds", "2")
        code, out, err = asyncio.run(run("chat", "--config", config, "--json", "--seconds", "120", *small))
        assert code == 0, err
        said = json.loads(out)
        assert said["joules"] == {}, "no meter, no joules"
        assert said["seconds"]["per_prefill_token"]["value"] > 0
        assert said["sequences_at_once"] == 2
        with urllib.request.urlopen(f"{server.url}/metrics") as page:
            counted = page.read().decode()
        (line,) = [line for line in counted.splitlines() if line.startswith("llamacpp:tokens_predicted_total ")]
        # the two waves of each load that the plan is made from are not in the result
        assert float(line.split()[1]) >= said["output_tokens"] + 2 * (2 * 1 + 8 + 32 + 2 * 32)
