import math
import time
from random import Random

import pytest

from tokwatt.simulate.counters import Finish
from tokwatt.simulate.engine import Engine
from tokwatt.simulate.load import ClosedLoop, Idle, Load, Mix, Request, Scripted
from tokwatt.simulate.machines import (
    LLAMA_8B_ON_H100,
    LLAMA_70B_ON_4_H100,
    LLAMACPP_1B_ON_CPU,
    LLAMACPP_3B_ON_H100,
    Machine,
)


def engine(load: Load, machine: Machine = LLAMA_8B_ON_H100, seed: int = 3) -> Engine:
    return Engine(machine, load, start_seconds=0.0, seed=seed)


def some_requests(count: int = 200) -> list[Request]:
    rng = Random(5)
    requests = []
    for _ in range(count):
        prompt = rng.randrange(1, 3000)
        cached = rng.randrange(0, prompt)
        finish = rng.choice(list(Finish))
        requests.append(Request(rng.uniform(0, 20), prompt, cached, rng.randrange(1, 300), finish))
    return requests


@pytest.mark.parametrize("machine", [LLAMA_8B_ON_H100, LLAMA_70B_ON_4_H100, LLAMACPP_3B_ON_H100, LLAMACPP_1B_ON_CPU])
def test_tokens_of_the_books_are_those_of_the_requests(machine):
    requests = some_requests(200 if machine.gpu_count else 12)
    sim = engine(Scripted(requests), machine)
    truth = sim.tokens_between(0.0, 550.0)

    assert truth.computed_input_tokens == sum(r.prompt_tokens - r.cached_tokens for r in requests)
    assert truth.cached_input_tokens == sum(r.cached_tokens for r in requests)
    assert truth.output_tokens == truth.finished_output_tokens == sum(r.output_tokens for r in requests)
    assert truth.aborted_requests == sum(r.finish is Finish.ABORT for r in requests)
    assert truth.finished_requests == len(requests) - truth.aborted_requests
    assert (sim.running, sim.waiting, sim.kv_usage_ratio) == (0, 0, 0.0)


def test_counters_show_what_the_books_hold():
    requests = some_requests()
    sim = engine(Scripted(requests))
    truth = sim.tokens_between(0.0, 300.0)
    counters = sim.counters
    ended_by_itself = [r for r in requests if r.finish is not Finish.ABORT]

    assert counters.prompt_tokens == truth.computed_input_tokens + truth.cached_input_tokens
    assert counters.output_tokens == truth.output_tokens
    assert counters.first_token_seconds.count == len(requests)
    assert counters.request_output_tokens.total == sum(r.output_tokens for r in ended_by_itself)
    # vLLM: the sum of the step histogram is computed prompt plus generated tokens.
    assert counters.step_tokens.total == truth.computed_input_tokens + truth.output_tokens
    assert counters.step_tokens.count == counters.steps
    assert counters.between_tokens_seconds.count == truth.output_tokens - len(requests)


def test_phases_add_up_and_time_is_busy_or_idle():
    sim = engine(ClosedLoop(Mix(500, 100), start_seconds=10.0, users=20, seed=1))
    truth = sim.energy_between(0.0, 60.0)

    assert truth.prefill_joules + truth.decode_joules + truth.idle_joules == pytest.approx(truth.joules, rel=1e-12)
    assert truth.busy_seconds + truth.idle_seconds == pytest.approx(60.0, abs=1e-9)
    assert truth.idle_seconds == pytest.approx(10.0, abs=0.01)
    assert truth.idle_joules == pytest.approx(10.0 * LLAMA_8B_ON_H100.idle_watts, rel=1e-3)
    assert truth.prefill_joules > 0
    assert truth.decode_joules > 0


def test_joules_are_the_integral_of_power():
    sim = engine(ClosedLoop(Mix(500, 100), start_seconds=0.0, users=20, seed=1, pause_seconds=1.0))
    step = 0.001
    watts = [sim.energy_between(n * step, (n + 1) * step).joules / step for n in range(5000)]

    assert sum(watts) * step == pytest.approx(sim.energy_between(0.0, 5.0).joules, rel=1e-9)
    assert min(watts) >= LLAMA_8B_ON_H100.idle_watts - 1e-6
    assert max(watts) <= LLAMA_8B_ON_H100.limit_watts * 1.15  # jitter shortens a step at the limit


def test_history_does_not_depend_on_who_asked_when():
    def load() -> Load:
        return ClosedLoop(Mix(800, 60, cached_ratio=0.4), start_seconds=1.0, users=5, seed=1, pause_seconds=0.7)

    watched, alone = engine(load()), engine(load())
    rng = Random(1)
    now = 0.0
    while now < 30.0:
        now += rng.uniform(0.0, 0.05)
        watched.advance_to(now)
        watched.energy_at(max(0.0, now - rng.uniform(0.0, 5.0)))
    for instant in (0.5, 1.0, 7.77, 19.0, 30.0):
        assert watched.energy_at(instant) == pytest.approx(alone.energy_at(instant), rel=1e-12)
        assert watched.tokens_at(instant) == alone.tokens_at(instant)


def test_seed_decides():
    def history(seed: int) -> tuple[float, ...]:
        return engine(ClosedLoop(Mix(300, 50), start_seconds=0.0, users=4, seed=1), seed=seed).energy_at(20.0)

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_prompt_counts_at_the_end_of_its_prefill_and_output_step_by_step():
    sim = engine(Scripted([Request(1.0, 20_000, 0, 50)]))
    now = 1.2
    sim.advance_to(now)
    assert (sim.running, sim.counters.steps, sim.counters.prompt_tokens) == (1, 0, 0)
    while sim.counters.prompt_tokens == 0:
        now += 0.001
        sim.advance_to(now)
    assert sim.counters.steps == 3  # chunks of 8192
    assert sim.counters.step_tokens.count == 1  # as vLLM sees it: two of them gave no token
    assert sim.counters.step_tokens.total == 20_001
    assert sim.kv_tokens == 20_001
    assert sim.counters.prompt_tokens == 20_000
    assert sim.counters.output_tokens == 1
    sim.advance_to(now + 0.1)
    assert 1 < sim.counters.output_tokens < 50
    assert sim.counters.finished_output_tokens == 0
    sim.advance_to(10.0)
    assert sim.counters.finished_output_tokens == 50


def test_restart_loses_requests_and_zeroes_counters_but_not_the_truth():
    sim = engine(ClosedLoop(Mix(300, 400), start_seconds=0.0, users=10, seed=1))
    sim.advance_to(30.0)
    first = sim.counters
    before_tokens, before_energy = sim.tokens_at(30.0), sim.energy_at(30.0)
    sim.restart(30.0)

    assert sim.counters is not first
    assert sim.counters.output_tokens == 0
    assert sim.request_lost_count == 10
    assert sim.tokens_at(30.0) == before_tokens
    assert sim.energy_at(30.0) == pytest.approx(before_energy)
    after = sim.tokens_between(30.0, 60.0)
    assert after.output_tokens == sim.counters.output_tokens > 0
    assert sim.tokens_at(60.0).output_tokens == first.output_tokens + sim.counters.output_tokens
    assert sim.energy_between(0.0, 60.0).busy_seconds == pytest.approx(60.0, abs=0.1)


def test_stopped_engine_idles_and_takes_nobody():
    sim = engine(ClosedLoop(Mix(300, 100), start_seconds=0.0, users=4, seed=1))
    sim.stop(5.0)
    sim.start(9.0)
    down = sim.energy_between(5.0, 9.0)
    assert down.busy_seconds == 0
    assert down.joules == pytest.approx(4.0 * LLAMA_8B_ON_H100.idle_watts)
    assert sim.tokens_between(5.0, 9.0).output_tokens == 0
    assert sim.tokens_between(9.0, 20.0).output_tokens > 0
    sim.advance_to(20.0)
    assert sim.running + sim.waiting == 4


def test_batch_and_kv_space_are_limits():
    sim = engine(ClosedLoop(Mix(300, 100), start_seconds=0.0, users=30, seed=1), LLAMACPP_3B_ON_H100)
    sim.advance_to(5.0)
    assert sim.running == LLAMACPP_3B_ON_H100.max_sequences
    assert sim.waiting == 30 - sim.running

    long_prompts = engine(ClosedLoop(Mix(20_000, 400, spread=0.0), start_seconds=0.0, users=60, seed=1))
    long_prompts.advance_to(20.0)
    assert long_prompts.running == LLAMA_8B_ON_H100.kv_capacity_tokens // 20_400
    assert long_prompts.kv_usage_ratio <= 1.0


@pytest.mark.parametrize(
    ("machine", "users", "tokens_per_joule"),
    [
        # ML.ENERGY leaderboard v3, GPU energy, output tokens: 8 sequences and many.
        (LLAMA_8B_ON_H100, 8, (1.7, 2.8)),
        (LLAMA_8B_ON_H100, 256, (10.0, 18.0)),
        (LLAMA_70B_ON_4_H100, 8, (0.2, 0.35)),
        (LLAMA_70B_ON_4_H100, 256, (1.5, 3.0)),
    ],
)
def test_efficiency_is_plausible(machine, users, tokens_per_joule):
    sim = engine(ClosedLoop(Mix(300, 300), start_seconds=0.0, users=users, seed=1), machine)
    tokens, energy = sim.tokens_between(20.0, 60.0), sim.energy_between(20.0, 60.0)
    assert tokens_per_joule[0] < tokens.output_tokens / energy.joules < tokens_per_joule[1]
    assert machine.idle_watts < energy.joules / 40.0 < machine.limit_watts * 1.02


def test_only_the_recent_past_is_remembered():
    sim = engine(ClosedLoop(Mix(50, 50), start_seconds=0.0, users=2, seed=1))
    sim.advance_to(1000.0)
    assert sim.energy_at(1000.0 - 590.0).joules > 0
    with pytest.raises(LookupError, match="remembers from"):
        sim.energy_at(1.0)


def test_idle_engine_draws_idle_power():
    sim = engine(Idle())
    assert sim.energy_between(3.0, 13.0).joules == pytest.approx(10 * LLAMA_8B_ON_H100.idle_watts)
    assert sim.tokens_at(13.0).output_tokens == 0
    assert math.isinf(Idle().peek())


def test_cost_of_simulating_a_busy_minute(capsys):
    sim = engine(ClosedLoop(Mix(300, 300), start_seconds=0.0, users=64, seed=1))
    began = time.process_time()
    sim.advance_to(60.0)
    seconds = time.process_time() - began
    with capsys.disabled():
        print(f"\n[simulated 8B engine, 64 users: {100 * seconds / 60.0:.2f} % of a core]")
