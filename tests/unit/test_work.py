"""Work counters from a page to the tick of a splitter: products, resets, rounding, and what simulated engines did."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokwatt.economics.phases.split import Tick
from tokwatt.economics.phases.ticks import tick_of
from tokwatt.ledger.server import ServerLedger
from tokwatt.ledger.work import WorkAccount
from tokwatt.readings import ServerReading, Work, WorkSample
from tokwatt.simulate.engine import Engine
from tokwatt.simulate.llamacpp_text import LlamacppText
from tokwatt.simulate.load import ClosedLoop, Mix
from tokwatt.simulate.machines import LLAMA_8B_ON_H100, LLAMACPP_3B_ON_H100, Machine
from tokwatt.simulate.vllm_text import vllm_template
from tokwatt.sources.tokens import specs
from tokwatt.sources.tokens._counting import Counted, count
from tokwatt.sources.tokens._exposition import Lines
from tokwatt.sources.tokens.spec import TokenSpec, spec_from_mapping

SPECS = specs()
MAX_GAP = 3.5


def counted(spec: TokenSpec, text: str) -> Counted:
    return count(spec, Lines("t").page(text.encode()), "t", "m", model_is_fixed=False)


def reading_of(spec: TokenSpec, text: str, at: float) -> ServerReading:
    """What a scraper hands over for one page."""
    found = counted(spec, text)
    return ServerReading(
        "s",
        at,
        0.0,
        found.counters,
        requests_running=found.requests_running,
        requests_waiting=found.requests_waiting,
        output_at_finish=found.output_at_finish,
        series_begin_at_zero=spec.appears_on_first_request,
        input_by_prefill_end=found.input_by_prefill_end,
        work=found.work,
        kv_tokens=found.kv_tokens,
    )


def with_work(**work: object) -> TokenSpec:
    return spec_from_mapping({"engine": "own", "quantities": {"output": "out_total"}, "work": work}, "spec")


# --- from a page ---


def test_a_product_multiplies_the_series_that_agree_in_the_labels_both_have() -> None:
    spec = with_work(sequence_steps={"metric": "mean", "times": "calls", "sum_over": "rank"})
    page = 'mean{m="a",rank="0"} 1.5\nmean{m="a",rank="1"} 2\ncalls{rank="1",x="y"} 10\ncalls{rank="0",x="y"} 4\n'
    assert [(sample.series, sample.value) for sample in counted(spec, page).work] == [
        ('mean{m="a",rank="0"}', 6.0),
        ('mean{m="a",rank="1"}', 20.0),
    ]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ('calls{rank="1"} 10\n', []),  # of another rank
        ('calls{rank="0",x="1"} 10\ncalls{rank="0",x="2"} 10\n', []),  # of two, nobody knows which
        ("", []),
        ("calls NaN\n", []),
        ("calls 10\n", [15.0]),
    ],
)
def test_a_product_without_its_factor_is_absent(calls: str, expected: list[float]) -> None:
    spec = with_work(sequence_steps={"metric": "mean", "times": "calls"})
    assert [sample.value for sample in counted(spec, f'mean{{rank="0"}} 1.5\n{calls}').work] == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [('a="10",b="16"', 80.0), ('a="None",b="16"', None), ('a="10"', None)],
)
def test_a_capacity_in_labels(labels: str, expected: float | None) -> None:
    spec = with_work(kv_tokens={"metric": "usage", "times": "info", "times_labels": ["a", "b"]})
    assert counted(spec, f"usage 0.5\ninfo{{{labels}}} 1\n").kv_tokens == expected


@pytest.mark.parametrize("value", ["-1", "NaN", "+Inf"])
def test_an_impossible_work_counter_is_left_out_and_tokens_are_read(value: str) -> None:
    found = counted(
        with_work(steps="steps_total", preemptions="pre_total"), f"out_total 5\nsteps_total {value}\npre_total 2\n"
    )
    assert [sample.value for sample in found.counters] == [5.0]
    assert [(sample.work, sample.value) for sample in found.work] == [(Work.PREEMPTIONS, 2.0)]


def test_work_that_a_page_lacks_is_not_missing() -> None:
    assert counted(with_work(steps="steps_total"), "out_total 5\n").missing == ()


# --- the account ---


def work(at: float, *samples: WorkSample, at_zero: bool = False) -> ServerReading:
    return ServerReading("s", at, 0.0, (), work=samples, series_begin_at_zero=at_zero)


def steps(value: float, rank: int = 0, rounding: float = 0.0) -> WorkSample:
    return WorkSample(Work.STEPS, f"steps/{rank}", value, rounding)


def booked(*readings: ServerReading) -> float:
    account = WorkAccount()
    for reading in readings:
        account.add(reading, uninterrupted=True)
    return account.totals[Work.STEPS]


def test_a_restarted_rank_does_not_look_like_a_restart_of_the_sum() -> None:
    assert booked(work(0, steps(100), steps(500, 1)), work(1, steps(3), steps(510, 1))) == 13


def test_a_fall_by_rounding_adds_nothing_and_does_not_count_twice_later() -> None:
    assert booked(work(0, steps(1000, rounding=2)), work(1, steps(998.5, rounding=2)), work(2, steps(1003))) == 3


def test_a_new_series_is_a_baseline_or_began_at_zero() -> None:
    assert booked(work(0, steps(5)), work(1, steps(6), steps(70, 1))) == 1
    assert booked(work(0, steps(5), at_zero=True), work(1, steps(6), steps(70, 1), at_zero=True)) == 5 + 71


@given(
    lives=st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=6), min_size=1, max_size=5),
    ranks=st.integers(1, 3),
)
def test_totals_are_what_every_life_did_since_the_first_reading(lives: list[list[int]], ranks: int) -> None:
    account, seen = WorkAccount(), [list(accumulate(lives[0]))]
    for life in lives[1:]:
        values = list(accumulate(life))
        if values[0] < seen[-1][-1]:  # else a restart shows nowhere
            seen.append(values)
    totals = []
    for value in chain.from_iterable(seen):
        account.add(work(0, *(steps(value, rank) for rank in range(ranks))))
        totals.append(account.totals[Work.STEPS])
    assert totals == sorted(totals)
    assert totals[-1] == ranks * (sum(life[-1] for life in seen) - seen[0][0])


@given(
    calls=st.integers(1, 30_000_000),
    busy=st.floats(1.0, 8.0),
    moves=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 8)), min_size=1, max_size=30),
)
def test_six_digits_of_a_mean_and_a_count_never_look_like_a_restart(
    calls: int, busy: float, moves: list[tuple[int, int]]
) -> None:
    slots = calls * busy
    begin, readings = slots, []
    for at, (more, width) in enumerate([(0, 0), *moves]):
        calls, slots = calls + more, slots + more * width
        page = f"llamacpp:n_decode_total {calls:.6g}\nllamacpp:n_busy_slots_per_decode {slots / calls:.6g}\n"
        readings.append(reading_of(SPECS["llamacpp"], page, float(at)))
    account = WorkAccount()
    for reading in readings:
        account.add(reading)
    assert account.totals[Work.SEQUENCE_STEPS] == pytest.approx(slots - begin, abs=3e-5 * slots)


# --- ticks ---


def ticks_of(readings: list[ServerReading]) -> list[Tick]:
    ledger = ServerLedger(MAX_GAP)
    for reading in readings:
        ledger.add(reading)
    return [tick_of(a, b, 1.0) for a, b in pairwise(ledger.timeline.after(-1.0))]


def simulated(machine: Machine, users: int = 12) -> Engine:
    load = ClosedLoop(Mix(900, 120, cached_ratio=0.3, abort_ratio=0.1), start_seconds=0.0, users=users, seed=4)
    return Engine(machine, load, start_seconds=0.0, seed=4)


def watched(sim: Engine, spec: TokenSpec, render: Callable[[Engine], str], *, seconds: int = 20) -> list[ServerReading]:
    readings = []
    for at in range(seconds + 1):
        sim.advance_to(float(at))
        readings.append(reading_of(spec, render(sim), float(at)))
    return readings


def test_ticks_of_a_simulated_vllm_are_what_it_did() -> None:
    sim = simulated(LLAMA_8B_ON_H100)
    render = vllm_template(sim.machine, "m", started_unix_seconds=1.79e9).render
    ticks = ticks_of(watched(sim, SPECS["vllm"], render))
    truth = sim.tokens_between(0.0, 20.0)
    assert sum(tick.steps or 0.0 for tick in ticks) == sim.counters.step_tokens.count > 1000
    assert sum(tick.prompt_tokens or 0.0 for tick in ticks) == truth.computed_input_tokens
    firsts = sum(tick.first_tokens or 0.0 for tick in ticks)
    assert firsts == sim.counters.first_token_seconds.count
    assert sum(tick.decode_tokens or 0.0 for tick in ticks) == truth.output_tokens - firsts
    assert {tick.preempted for tick in ticks} == {0.0}
    assert ticks[-1].kv_tokens == pytest.approx(sim.kv_tokens)
    # twelve requests of about 1,000 tokens
    assert all(5_000 < (tick.kv_token_steps or 0.0) / (tick.steps or 1.0) < 20_000 for tick in ticks[1:])
    assert (ticks[-1].running_before, ticks[-1].waiting_after) == (12.0, 0.0)
    assert [tick.prefill_seconds for tick in ticks] == [None] * 20


def test_ticks_of_a_simulated_llamacpp_are_what_it_did() -> None:
    sim = simulated(LLAMACPP_3B_ON_H100)
    ticks = ticks_of(watched(sim, SPECS["llamacpp"], LlamacppText().render))
    assert sum(tick.steps or 0.0 for tick in ticks) == sim.counters.steps
    assert sum(tick.decode_tokens or 0.0 for tick in ticks) == pytest.approx(sim.counters.sequence_steps, rel=1e-5)
    assert all(0.9 <= (tick.decode_tokens or 0.0) / (tick.steps or 1.0) <= 8.01 for tick in ticks[1:])
    assert sum(tick.prompt_tokens or 0.0 for tick in ticks) == sim.tokens_between(0.0, 20.0).computed_input_tokens
    assert (ticks[-1].first_tokens, ticks[-1].kv_token_steps) == (None, None)


def test_a_restart_between_two_readings_never_makes_work_negative() -> None:
    sim = simulated(LLAMACPP_3B_ON_H100)
    text = LlamacppText()
    readings = watched(sim, SPECS["llamacpp"], text.render, seconds=5)
    sim.restart(5.5)
    sim.advance_to(6.0)
    readings.append(reading_of(SPECS["llamacpp"], text.render(sim), 6.0))
    tick = ticks_of(readings)[-1]
    assert tick.steps == sim.counters.steps
    assert tick.decode_tokens == pytest.approx(sim.counters.sequence_steps, rel=1e-5)


def test_a_missed_reading_leaves_both_neighbours_unread() -> None:
    sim = simulated(LLAMA_8B_ON_H100)
    render = vllm_template(sim.machine, "m", started_unix_seconds=1.79e9).render
    first, second, third = watched(sim, SPECS["vllm"], render, seconds=2)
    ledger = ServerLedger(MAX_GAP)
    ledger.add(first)
    ledger.miss(second.at_seconds)
    ledger.add(third)
    ticks = [tick_of(a, b, None) for a, b in pairwise(ledger.timeline.after(-1.0))]
    assert [(tick.read, tick.steps, tick.joules) for tick in ticks] == [(False, None, None)] * 2


def test_without_a_step_count_steps_are_decode_tokens_by_running_requests() -> None:
    spec = SPECS["sglang"]

    def page(decode: int, running: int) -> str:
        return (
            f'sglang:realtime_tokens_total{{mode="decode"}} {decode}\nsglang:num_running_reqs {running}\n'
            f"sglang:num_queue_reqs 0\nsglang:time_to_first_token_seconds_count 3\nsglang:num_used_tokens 500\n"
        )

    pages = [page(100, 4), page(300, 6), page(300, 0), page(310, 0)]
    ticks = ticks_of([reading_of(spec, text, float(at)) for at, text in enumerate(pages)])
    # first tokens are no part of the counter; what ran unseen between two idle edges has an unknown number of steps
    assert [(tick.decode_tokens, tick.steps) for tick in ticks] == [(200.0, 40.0), (0.0, 0.0), (10.0, None)]
    assert [tick.kv_token_steps for tick in ticks] == [20_000.0, 0.0, None]


def test_whole_prompts_without_their_cached_part_are_no_computed_input() -> None:
    spec = SPECS["triton_vllm"]
    page = "vllm:prompt_tokens_total 10\nvllm:generation_tokens_total 5\nvllm:time_to_first_token_seconds_count 1\n"
    ticks = ticks_of([reading_of(spec, page, at) for at in (0.0, 1.0)])
    assert (ticks[0].prompt_tokens, ticks[0].decode_tokens, ticks[0].steps) == (None, 0.0, None)


def test_phase_seconds_are_the_engines_own() -> None:
    def page(prefill: float, decode: float) -> str:
        return (
            f"tgi_request_input_length_sum 100\ntgi_request_generated_tokens_sum 50\ntgi_batch_current_size 1\n"
            f'tgi_batch_forward_duration_sum{{method="prefill"}} {prefill}\n'
            f'tgi_batch_forward_duration_sum{{method="decode"}} {decode}\n'
        )

    texts = [page(1.0, 8.0), page(1.25, 8.5)]
    (tick,) = ticks_of([reading_of(SPECS["tgi"], text, float(at)) for at, text in enumerate(texts)])
    assert (tick.prefill_seconds, tick.decode_seconds) == (0.25, 0.5)
    # tokens of TGI come at arrival and at finish: they say nothing of this interval
    assert (tick.prompt_tokens, tick.decode_tokens, tick.steps) == (None, None, None)
