"""A real llama.cpp server under known requests, some of them given up: its clients, its own counters and tokwatt.

The main job (test_main_job.py) has answers in one piece only; here are streams, the prompt cache and clients that
hang up while they wait, while their prompt is processed and while tokens are made for them.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from support.completions import Answered, Completions
from support.llama_server import SLOTS, LlamaServer, running_llama_server
from support.nvml_double import NvmlDouble
from support.openmetrics import Samples, present, total
from support.request_steps import LLAMACPP, SERVER, Counted, Recorder, Step, table, tokwatt_counted
from support.tokwatt_process import TokwattProcess, running_tokwatt

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

TICK_SECONDS = 0.5
READ_BEFORE_ABORT = 12
LONG = 400  # tokens of the stream that is aborted: several seconds
GIVEN_UP = 60  # tokens of answers in one piece whose clients hang up: about a second
LAG = 10  # tokens that the server may still make for a client that has hung up
ANSWERED = ("one answer", "one stream", "first of two", "second of two", "three at a time")
# Depending on its build, the server sees that a client of an answer in one piece has gone, or answers to nobody.
HUNG_UP = ("given up in the queue", "given up in its prompt", "given up in its answer")
SENTENCE = "the clerk of the mill writes down what the wheel has ground, and the children count the boats. "


def prompt(text: str, sentences: int = 3) -> str:
    return f"{text}: {SENTENCE * sentences}"


WAITING = prompt("waits")


@dataclass(frozen=True, slots=True)
class Run:
    """What is left when all requests are done, the exporter still alive."""

    steps: dict[str, Step]
    prompt_tokens: dict[str, int]  # of the aborted requests, by step
    tokwatt: TokwattProcess
    last: Samples


def tokens_of(server: LlamaServer, text: str) -> int:
    """Length of a prompt as the server splits it, its start token included."""
    body = json.dumps({"content": text, "add_special": True}).encode()
    request = urllib.request.Request(f"{server.url}/tokenize", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return len(json.load(answer)["tokens"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    work = tmp_path_factory.mktemp("llama-requests")
    nvml = NvmlDouble(work, gpus=1, watts=300)
    with running_llama_server(work) as server:
        config = {
            "tick_seconds": TICK_SECONDS,
            "window_seconds": 20,
            "servers": [{"name": SERVER, "url": f"{server.url}/metrics", "gpus": "all"}],
            "meters": [{"source": "nvml"}],
        }
        with running_tokwatt(work / "run", config, env=nvml.env()) as tokwatt:
            tokwatt.wait_ready()
            assert tokwatt_counted(tokwatt.samples()) == Counted()
            recorder = Recorder(tokwatt, server.url, LLAMACPP, TICK_SECONDS)
            client = Completions(server.url, "gemma-3-270m")
            send_answered(recorder, client)
            lengths = send_aborted(recorder, client, server)
            with recorder.step("refused: prompt too long"):
                client.refused(prompt("too long", 300), 8)
            with recorder.step("nothing"):
                time.sleep(3.0)
            print(table(recorder.steps.items()), lengths)
            yield Run(recorder.steps, lengths, tokwatt, tokwatt.samples())
            assert tokwatt.terminate() == 0


def send_answered(recorder: Recorder, client: Completions) -> None:
    with recorder.step("one answer") as step:
        step.answered(client.complete(prompt("one"), 24))
    with recorder.step("one stream") as step:
        step.answered(client.stream(prompt("a stream"), 24))
    for name in ("first of two", "second of two"):  # the same prompt: the second time from the cache of the slot
        with recorder.step(name) as step:
            step.answered(client.complete(prompt("twice", 8), 12))
    with recorder.step("three at a time") as step, ThreadPoolExecutor(SLOTS + 1) as pool:
        step.answered(*pool.map(lambda number: mixed(client, number), range(6)))
    with recorder.step("given up in the queue") as step, ThreadPoolExecutor(SLOTS) as pool:
        running = [pool.submit(client.stream, prompt(f"runs {number}"), 100) for number in range(SLOTS)]
        recorder.wait_for(lambda page: total(page, "llamacpp:requests_processing") == SLOTS, "no free slot")
        client.abort(
            WAITING,
            GIVEN_UP,
            lambda: recorder.wait_for(lambda page: total(page, "llamacpp:requests_deferred") == 1, "a queue"),
        )
        step.answered(*(one.result() for one in running))


def mixed(client: Completions, number: int) -> Answered:
    send = client.stream if number % 2 else client.complete
    return send(prompt(f"mixed {number}", 1 + number), 10 + number)


def send_aborted(recorder: Recorder, client: Completions, server: LlamaServer) -> dict[str, int]:
    """Returns the lengths of the prompts."""
    prompts = {
        "given up in the queue": WAITING,
        "stream aborted": prompt("cut"),
        "given up in its answer": prompt("hang up"),
        "given up in its prompt": prompt("patience", 40),
    }
    with recorder.step("stream aborted") as step:
        step.read_tokens = client.abort_stream(prompts["stream aborted"], LONG, READ_BEFORE_ABORT)
    with recorder.step("given up in its answer"):
        before = recorder.counted().prompt

        def generating() -> None:
            recorder.wait_for(lambda page: LLAMACPP.counted(page).prompt > before, "the prompt")
            time.sleep(0.2)  # the server's page does not tell how far it is

        client.abort(prompts["given up in its answer"], GIVEN_UP, generating)
    with recorder.step("given up in its prompt"):
        client.abort(
            prompts["given up in its prompt"],
            GIVEN_UP,
            lambda: recorder.wait_for(lambda page: total(page, "llamacpp:requests_processing") == 1, "a busy slot"),
        )
    return {name: tokens_of(server, text) for name, text in prompts.items()}


@pytest.mark.parametrize("name", ANSWERED)
def test_answered_requests_are_counted_as_their_clients_were_told(run: Run, name: str) -> None:
    assert run.steps[name].tokwatt == run.steps[name].told_counted


def test_a_prompt_that_was_sent_before_comes_from_the_cache(run: Run) -> None:
    again = run.steps["second of two"]
    assert again.tokwatt.cached == again.told.cached_tokens > again.tokwatt.computed > 0


def test_an_aborted_stream_counts_its_prompt_and_what_was_made_until_the_abort(run: Run) -> None:
    step = run.steps["stream aborted"]
    assert step.tokwatt.prompt == run.prompt_tokens["stream aborted"]
    assert READ_BEFORE_ABORT <= step.read_tokens <= step.tokwatt.output <= step.read_tokens + LAG


@pytest.mark.parametrize("name", HUNG_UP)
def test_a_request_that_was_given_up_counts_what_the_server_did_for_it(run: Run, name: str) -> None:
    step = run.steps[name]
    extra = step.tokwatt - step.told_counted
    assert extra.prompt in (0, run.prompt_tokens[name])
    assert 0 <= extra.output <= GIVEN_UP
    assert step.tokwatt == step.server


def test_tokwatt_counts_in_every_step_what_the_server_counts(run: Run) -> None:
    assert {name: step.tokwatt for name, step in run.steps.items()} == {
        name: step.server for name, step in run.steps.items()
    }


def test_totals_are_the_sum_of_all_steps(run: Run) -> None:
    assert tokwatt_counted(run.last) == sum((step.server for step in run.steps.values()), Counted())


@pytest.mark.parametrize("name", ["refused: prompt too long", "nothing"])
def test_what_makes_no_tokens_counts_nothing(run: Run, name: str) -> None:
    assert run.steps[name].tokwatt == Counted()


def test_llamacpp_counts_no_requests(run: Run) -> None:
    assert not present(run.last, "tokwatt_requests_total", server=SERVER)
