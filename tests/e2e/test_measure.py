"""`tokwatt measure` as its users run it: a real llama.cpp server, the real NVML binding on a driver
double, a load script.

Counts equal what the script's answers said, joules what the double really drew between the same two instants.
"""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.devtools import tab
from support.llama_server import LlamaServer, running_llama_server
from support.nvml_double import NvmlDouble
from support.processes import Child

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

LOAD = Path(__file__).parents[1] / "support/load_script.py"
WATTS = 240.0
SECONDS = 16


@dataclass(frozen=True, slots=True)
class Stage:
    """What a measured command needs."""

    work: Path
    server: LlamaServer
    nvml: NvmlDouble
    config: Path

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tokwatt", "measure", "--config", str(self.config), *arguments]

    def measure(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**self.nvml.env(), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            self.argv(*arguments), env=env, cwd=self.work, capture_output=True, text=True, check=False, timeout=120
        )

    def load(self, seconds: float, concurrency: int) -> list[str]:
        script = [sys.executable, str(LOAD), self.server.url, str(seconds), str(concurrency), "usage.json"]
        return ["--", *script]

    def usage(self) -> dict[str, int]:
        return dict(json.loads((self.work / "usage.json").read_text()))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    work = tmp_path_factory.mktemp("measure")
    nvml = NvmlDouble(work, gpus=1, watts=WATTS)
    with running_llama_server(work) as server:
        server.complete("the first request is slow", 8)
        config = work / "tokwatt.yml"
        config.write_text(
            yaml.safe_dump(
                {
                    "tick_seconds": 0.5,
                    "servers": [{"name": "chat", "url": f"{server.url}/metrics", "gpus": "all"}],
                    "meters": [{"source": "nvml"}],
                    "prices": {"capacity": {"dollars_per_gpu_hour": 2.5}, "electricity": {"dollars_per_kwh": 0.17}},
                    "responses": [{"server": "chat", "attempts": 1.2}],
                }
            )
        )
        yield Stage(work, server, nvml, config)


@pytest.fixture(scope="module")
def run(stage: Stage) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    began = time.monotonic()
    saved = ("--json", "run.json", "--csv", "runs.csv", "--report", "run.html", "--label", "users=1")
    done = stage.measure(*saved, *stage.load(SECONDS, 1))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((stage.work / "run.json").read_text())
    report["usage"] = stage.usage()
    report["drawn_watts"] = stage.nvml.joules(0, began, time.monotonic()) / (time.monotonic() - began)
    return done, report


def test_counts_equal_what_the_clients_were_told(run: Any) -> None:
    figures, usage = run[1]["servers"][0]["run"], run[1]["usage"]
    assert usage["output"] > 0
    assert (figures["output_tokens"], figures["input_tokens"]) == (usage["output"], usage["input"])


def test_joules_are_those_of_the_same_instants(run: Any) -> None:
    figures = run[1]["servers"][0]["run"]
    length = figures["to_second"] - figures["from_second"]
    assert figures["from_second"] <= 0
    assert length >= SECONDS + 0.5
    assert figures["gpu_energy_joules"] == pytest.approx(run[1]["drawn_watts"] * length, rel=0.01)
    assert figures["gpu_power_p50_watts"] == pytest.approx(WATTS, rel=0.02)
    assert figures["gpu_power_p90_watts"] == pytest.approx(WATTS, rel=0.04)
    assert figures["gpu_coverage_ratio"] == pytest.approx(1)
    kwh = figures["gpu_energy_joules"] / 3.6e6
    assert figures["dollars"] == pytest.approx(2.5 * length / 3600 + 0.17 * kwh, rel=1e-6)
    assert figures["gpu_output_tokens_per_joule"] == pytest.approx(
        figures["output_tokens"] / figures["gpu_energy_joules"], rel=1e-9
    )


def test_the_steady_state_is_a_part_of_the_load(run: Any) -> None:
    server = run[1]["servers"][0]
    steady = server["steady"]
    if run[1]["usage"]["responses"] < 12:
        pytest.skip("this machine was too busy for a steady load")
    assert steady is not None, server["why_not_steady"]
    assert steady["from_second"] >= 0
    assert steady["to_second"] <= server["run"]["to_second"]
    assert steady["gpu_output_tokens_per_joule"] > server["run"]["gpu_output_tokens_per_joule"]


def test_the_terminal_shows_the_table_and_the_command_keeps_its_own_output(run: Any) -> None:
    done, report = run
    assert "server chat (llamacpp" in done.stdout
    assert "WHOLE RUN" in done.stdout
    assert f"{report['servers'][0]['run']['output_tokens']:,.0f}" in done.stdout
    assert "\r" not in done.stderr  # no progress line where there is no terminal


@pytest.fixture(scope="module")
def sweep(stage: Stage, run: Any) -> subprocess.CompletedProcess[str]:
    done = stage.measure("--csv", "runs.csv", "--label", "users=2", *stage.load(6, 2))
    assert done.returncode == 0, done.stderr
    return subprocess.run(
        [sys.executable, "-m", "tokwatt", "measure", "--compare", "runs.csv", "--report", "sweep.html"],
        cwd=stage.work,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_sweep_in_one_loop_compares_as_a_table(stage: Stage, sweep: subprocess.CompletedProcess[str]) -> None:
    assert sweep.returncode == 0, sweep.stderr
    assert [line.split()[0] for line in sweep.stdout.splitlines()] == ["LABELS", "users=1", "users=2"]
    with (stage.work / "runs.csv").open(newline="") as lines:
        assert {row["labels"] for row in csv.DictReader(lines)} == {"users=1", "users=2"}


def test_a_failing_command_is_reported_and_the_report_is_saved(stage: Stage) -> None:
    done = stage.measure("--json", "failed.json", "--", "sh", "-c", "sleep 2; exit 3")
    assert done.returncode == 1
    assert "exit status 3" in done.stdout
    report = json.loads((stage.work / "failed.json").read_text())
    assert report["exit_status"] == 3
    assert report["servers"][0]["run"]["output_tokens"] == 0


@pytest.mark.parametrize(
    ("command", "seconds"),
    [("trap 'echo asked >> asked.txt; exit 7' INT; while :; do sleep 0.1; done", 8), ("exec sleep 100", 8)],
)
def test_one_interrupt_ends_both_and_the_report_is_saved(stage: Stage, command: str, seconds: float) -> None:
    asked = stage.work / "asked.txt"
    asked.unlink(missing_ok=True)
    file = stage.work / "interrupted.json"
    file.unlink(missing_ok=True)
    started = stage.work / "started"
    started.unlink(missing_ok=True)
    script = f"cd {stage.work}; touch started; {command}"
    child = Child(
        "measure", stage.argv("--json", str(file), "--", "sh", "-c", script), stage.work / "m.log", stage.nvml.env()
    )
    try:
        child.wait_until(started.exists, "command started")
        time.sleep(1.5)
        child.signal(signal.SIGINT)
        began = time.monotonic()
        status = child.wait(seconds)
    finally:
        child.stop(5.0)
    assert status == 1, child.log_text()
    assert time.monotonic() - began < seconds
    assert json.loads(file.read_text())["interrupted"] is True
    assert "interrupted" in child.log_text()
    if "trap" in command:
        assert asked.read_text() == "asked\n"


def test_sources_that_are_down_are_said_before_the_command_starts(stage: Stage) -> None:
    config = yaml.safe_load(stage.config.read_text())
    config["servers"].append({"name": "gone", "url": "http://127.0.0.1:1/metrics"})
    file = stage.work / "two.yml"
    file.write_text(yaml.safe_dump(config))
    done = stage.measure("--config", str(file), "--", "sh", "-c", "echo COMMAND >&2; sleep 1")
    assert done.returncode == 0, done.stderr
    assert "gone (http://127.0.0.1:1/metrics) is down: " in done.stderr.split("COMMAND")[0]
    assert "server gone" in done.stdout


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["run.html", "sweep.html"])
async def test_pages_are_whole_without_network(stage: Stage, sweep: Any, name: str, dark: bool) -> None:
    file = stage.work / name
    text = file.read_text()
    assert "<script" not in text
    assert "http" not in text.replace(stage.server.url, "")
    async with tab(file.as_uri(), stage.work, width=900, dark=dark) as page:
        await page.until("document.querySelectorAll('svg').length >= 2")
        assert await page.value("document.documentElement.scrollWidth") <= 900
        assert await page.value("document.querySelectorAll('svg polyline, svg circle').length") >= 2
        assert page.complaints == []
        await page.screenshot(stage.work / f"{name}-{'dark' if dark else 'light'}.png")
