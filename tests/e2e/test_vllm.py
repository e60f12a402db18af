"""A real vLLM server on the CPU under known requests: its clients, its own counters and tokwatt, step by step.

Only `make e2e-vllm` runs this: vLLM is 3.5 GB. docs/sources-vllm.md explains the steps and holds the figures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from support.completions import Answered, Completions
from support.nvml_double import NvmlDouble
from support.openmetrics import Samples, total
from support.processes import poll
from support.request_steps import SERVER, VLLM, Counted, Recorder, Step, table, tokwatt_counted
from support.tokwatt_process import TokwattProcess, running_tokwatt
from support.vllm_server import CONTEXT_TOKENS, MAX_RUNNING, MODEL, VllmServer, running_vllm_server

pytestmark = [pytest.mark.e2e, pytest.mark.vllm, pytest.mark.timeout(600)]

TICK_SECONDS = 0.5
WATTS = 300.0
IDLE_SECONDS = 4.0
READ_BEFORE_ABORT = (12, 30, 60)
SEEN_BEFORE_ABORT = 20
LONG = 600  # tokens of answers that are aborted: more than 1 s
LAG = 30  # tokens that vLLM may still make for a client that has hung up
ANSWERED = ("one answer", "one stream", "first of two", "second of two", "four at a time", "one gave up in the queue")


@dataclass(frozen=True, slots=True)
class Run:
    """What is left when all requests are done, the exporter still alive."""

    steps: dict[str, Step]
    tokwatt: TokwattProcess
    first: Samples  # tokwatt before the first request
    last: Samples
    aborted_prompt_tokens: int  # of each aborted request


def prompt(text: str, tokens: int = 300) -> str:
    """A prompt of so many tokens, the model's being characters. Different texts share no prefix."""
    return (f"{text}: the miller counts the sacks that the wheel has ground. " * (1 + tokens // 10))[:tokens]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    work = tmp_path_factory.mktemp("vllm")
    nvml = NvmlDouble(work, gpus=1, watts=WATTS)
    with running_vllm_server(work) as server:
        config = {
            "tick_seconds": TICK_SECONDS,
            "window_seconds": 20,
            "servers": [{"name": SERVER, "url": f"{server.url}/metrics", "gpus": "all"}],
            "meters": [{"source": "nvml"}],
        }
        with running_tokwatt(work / "run", config, env=nvml.env()) as tokwatt:
            tokwatt.wait_ready()
            first = tokwatt.samples()
            recorder = Recorder(tokwatt, server.url, VLLM, TICK_SECONDS)
            client = Completions(server.url, MODEL)
            send_answered(recorder, client)
            send_aborted(recorder, client)
            with recorder.step("refused: prompt too long"):
                assert str(CONTEXT_TOKENS) in client.refused("x" * (CONTEXT_TOKENS + 1), 8)
            with recorder.step("nothing"):
                time.sleep(IDLE_SECONDS)
            restart(recorder, client, server, tokwatt)
            print(table(recorder.steps.items()))
            yield Run(recorder.steps, tokwatt, first, tokwatt.samples(), len(prompt("")))
            assert tokwatt.terminate() == 0


def send_answered(recorder: Recorder, client: Completions) -> None:
    with recorder.step("one answer") as step:
        step.answered(client.complete(prompt("one"), 48))
    with recorder.step("one stream") as step:
        step.answered(client.stream(prompt("stream"), 48))
    for name in ("first of two", "second of two"):  # the same prompt: the second time from the prefix cache
        with recorder.step(name) as step:
            step.answered(client.complete(prompt("twice", 700), 32))
    with recorder.step("four at a time") as step, ThreadPoolExecutor(4) as pool:
        step.answered(*pool.map(lambda number: mixed(client, number), range(12)))
    with recorder.step("two choices") as step:
        step.answered(client.complete(prompt("choices"), 20, n=2, temperature=0.8, seed=3))
    places = MAX_RUNNING * data_parallel_ranks(recorder.page())
    with recorder.step("one gave up in the queue") as step, ThreadPoolExecutor(places) as pool:
        running = [pool.submit(client.stream, prompt(f"runs {number}"), 400) for number in range(places)]
        recorder.wait_for(lambda page: total(page, "vllm:num_requests_running") == places, "a full batch")
        client.abort(
            prompt("waits"),
            LONG,
            lambda: recorder.wait_for(lambda page: total(page, "vllm:num_requests_waiting") == 1, "a queue"),
        )
        step.answered(*(one.result() for one in running))


def data_parallel_ranks(page: Samples) -> int:
    return sum(name == "vllm:generation_tokens_total" for name, _ in page)


def mixed(client: Completions, number: int) -> Answered:
    send = client.stream if number % 2 else client.complete
    return send(prompt(f"mixed {number}", 100 + 50 * number), 20 + 7 * number)


def send_aborted(recorder: Recorder, client: Completions) -> None:
    for tokens in READ_BEFORE_ABORT:
        with recorder.step(f"stream aborted after {tokens}") as step:
            step.read_tokens = client.abort_stream(prompt(f"cut {tokens}"), LONG, tokens)
    with recorder.step("answer aborted"):
        enough = recorder.counted().output + SEEN_BEFORE_ABORT
        client.abort(
            prompt("hang up"),
            LONG,
            lambda: recorder.wait_for(lambda page: VLLM.counted(page).output >= enough, "generated tokens"),
        )


def restart(recorder: Recorder, client: Completions, server: VllmServer, tokwatt: TokwattProcess) -> None:
    """The server ends, is seen to be away, and comes back on its port with counters at 0."""
    up = "tokwatt_source_up"
    with recorder.step("restart", restarted=True):
        server.stop()
        poll(lambda: total(tokwatt.samples(), up, source=SERVER) == 0 or None, "the outage")
        server.start()
        poll(lambda: total(tokwatt.samples(), up, source=SERVER) == 1 or None, "the server's return")
    with recorder.step("after the restart") as step:
        step.answered(client.complete(prompt("one"), 48), client.stream(prompt("again"), 40))


@pytest.mark.parametrize("name", [*ANSWERED, "after the restart"])
def test_answered_requests_are_counted_as_their_clients_were_told(run: Run, name: str) -> None:
    step = run.steps[name]
    assert step.tokwatt == step.told_counted
    assert step.requests == {"success": step.told.requests, "abort": 0, "error": 0}


def test_a_prompt_that_was_sent_before_comes_from_the_cache(run: Run) -> None:
    assert run.steps["first of two"].tokwatt.cached == 0
    again = run.steps["second of two"]
    assert again.tokwatt.cached == again.told.cached_tokens > again.tokwatt.computed > 0


def test_a_client_that_gave_up_in_the_queue_costs_no_tokens(run: Run) -> None:
    step = run.steps["one gave up in the queue"]
    assert step.told.requests >= MAX_RUNNING
    assert step.tokwatt == step.server == step.told_counted


@pytest.mark.parametrize("tokens", READ_BEFORE_ABORT)
def test_an_aborted_stream_counts_its_prompt_and_what_was_made_until_the_abort(run: Run, tokens: int) -> None:
    step = run.steps[f"stream aborted after {tokens}"]
    assert step.tokwatt.prompt == run.aborted_prompt_tokens
    assert tokens <= step.read_tokens <= step.tokwatt.output <= step.read_tokens + LAG


def test_an_aborted_answer_counts_its_prompt_and_what_was_made_until_the_abort(run: Run) -> None:
    step = run.steps["answer aborted"]
    assert step.tokwatt.prompt == run.aborted_prompt_tokens
    assert SEEN_BEFORE_ABORT <= step.tokwatt.output < LONG


@pytest.mark.parametrize(
    "name", [*(f"stream aborted after {tokens}" for tokens in READ_BEFORE_ABORT), "answer aborted"]
)
def test_vllm_counts_no_request_that_was_aborted(run: Run, name: str) -> None:
    assert run.steps[name].requests == {"success": 0, "abort": 0, "error": 0}


def test_the_prompt_counts_once_for_each_choice(run: Run) -> None:
    """Usage names the prompt once. Each choice is a request of its own to vLLM; the second finds it in the cache."""
    step = run.steps["two choices"]
    assert step.tokwatt.prompt == 2 * step.told.prompt_tokens
    assert step.tokwatt.output == step.told.completion_tokens
    assert step.requests == {"success": 2, "abort": 0, "error": 0}


@pytest.mark.parametrize("name", ["refused: prompt too long", "nothing", "restart"])
def test_what_makes_no_tokens_counts_nothing(run: Run, name: str) -> None:
    assert run.steps[name].tokwatt == Counted()
    assert set(run.steps[name].requests.values()) == {0}


def test_tokwatt_counts_in_every_step_what_the_server_counts(run: Run) -> None:
    assert {name: step.tokwatt for name, step in run.steps.items()} == {
        name: step.server for name, step in run.steps.items()
    }


def test_totals_are_the_sum_of_all_steps_across_the_restart(run: Run) -> None:
    assert tokwatt_counted(run.first) == Counted()
    assert tokwatt_counted(run.last) == sum((step.server for step in run.steps.values()), Counted())
    assert total(run.last, "tokwatt_counter_resets_total", source=SERVER) == 1


def test_the_engine_its_version_and_the_model_are_known(run: Run) -> None:
    assert total(run.last, "tokwatt_server_info", server=SERVER, engine="vllm", input="computed") == 1
    versions = {dict(labels)["engine_version"] for (name, labels) in run.last if name == "tokwatt_server_info"}
    assert len(versions) == 1
    assert versions.pop().startswith("0.32.0")
    models = {dict(labels)["model"] for (name, labels) in run.last if name == "tokwatt_output_tokens_total"}
    assert models == {MODEL}


def test_energy_is_idle_while_nothing_runs(run: Run) -> None:
    joules = run.steps["nothing"].gpu_joules
    assert joules.get("unsplit", 0) == 0
    assert joules["idle"] > WATTS * IDLE_SECONDS


def test_energy_is_not_idle_while_requests_run(run: Run) -> None:
    assert run.steps["one gave up in the queue"].gpu_joules["unsplit"] > WATTS
