"""What the specs pick from real pages comes out as their clients counted it; and the rules of picking."""

from typing import Any

import pytest
from support.captures import body as capture
from support.captures import data as capture_data

from tokwatt.readings import Malformed, Quantity
from tokwatt.sources.tokens import specs
from tokwatt.sources.tokens._counting import Counted, count, detect
from tokwatt.sources.tokens._exposition import Lines
from tokwatt.sources.tokens.spec import TokenSpec, spec_from_mapping

VLLM, LLAMACPP = specs()["vllm"], specs()["llamacpp"]


def counted(spec: TokenSpec, body: bytes, model: str = "") -> Counted:
    return count(spec, Lines("t").page(body), "t", model, model_is_fixed=bool(model))


def totals(found: Counted) -> dict[str, float]:
    sums: dict[str, float] = {}
    for sample in found.counters:
        sums[sample.quantity.value] = sums.get(sample.quantity.value, 0.0) + sample.value
    return sums


def generic(**quantities: Any) -> TokenSpec:
    return spec_from_mapping({"engine": "generic", "model_label": "model", "quantities": quantities}, "spec")


@pytest.mark.parametrize(("state", "section"), [("settled", "settled"), ("after", "after"), ("loaded", "loaded")])
def test_vllm_counts_are_what_its_clients_saw(state: str, section: str) -> None:
    seen = capture_data("vllm/0.32.0__client")[section]
    found = counted(VLLM, capture(f"vllm/0.32.0__{state}"))
    sums = totals(found)
    assert sums["computed_input"] + sums["cached_input"] == seen["counters"]["vllm:prompt_tokens_total"]
    assert sums["cached_input"] == seen["counters"]["vllm:prompt_tokens_cached_total"]
    assert sums["output"] == seen["counters"]["vllm:generation_tokens_total"]
    assert "prompt" not in sums  # the exact input is enough; both would be a second view of the same tokens
    assert {sample.model for sample in found.counters} == {"tiny-llama"}
    assert found.missing == ()


def test_vllm_settled_is_the_usage_of_the_responses() -> None:
    client = capture_data("vllm/0.32.0__client")["settled"]["client"]
    sums = totals(counted(VLLM, capture("vllm/0.32.0__settled")))
    assert sums["computed_input"] == client["prompt_tokens"] - client["cached_tokens"]
    assert sums["cached_input"] == client["cached_tokens"]
    assert sums["output"] == client["completion_tokens"]
    assert sums["requests_success"] == client["completed"]
    assert sums["requests_error"] == sums["requests_abort"] == 0


def test_vllm_loaded_and_idle() -> None:
    loaded = counted(VLLM, capture("vllm/0.32.0__loaded"))
    assert (loaded.requests_running, loaded.requests_waiting) == (4, 0)
    assert set(totals(counted(VLLM, capture("vllm/0.32.0__idle"))).values()) == {0.0}


@pytest.mark.parametrize(("state", "section"), [("settled", "settled"), ("after", "after"), ("loaded", "loaded")])
def test_llamacpp_counts_are_what_its_clients_saw(state: str, section: str) -> None:
    seen = capture_data("llamacpp/b11434__client")[section]["counters"]
    sums = totals(counted(LLAMACPP, capture(f"llamacpp/b11434__{state}")))
    assert sums == {
        "computed_input": seen["llamacpp:prompt_tokens_total"],
        "cached_input": seen["llamacpp:prompt_tokens_cached_total"],
        "output": seen["llamacpp:tokens_predicted_total"],
    }


def test_llamacpp_settled_is_the_usage_of_the_responses() -> None:
    client = capture_data("llamacpp/b11434__client")["settled"]["client"]
    sums = totals(counted(LLAMACPP, capture("llamacpp/b11434__settled")))
    assert sums["computed_input"] + sums["cached_input"] == client["prompt_tokens"]
    assert sums["output"] == client["completion_tokens"] + 20  # the second choice of an n=2 request; usage has one


def test_llamacpp_counter_with_six_digits() -> None:
    rows = capture_data("llamacpp/b11434__large-counter")["rows"]
    sums = totals(counted(LLAMACPP, capture("llamacpp/b11434__large-counter")))
    assert sums["cached_input"] == float(rows[-1][2]) == 1047820  # printed as 1.04782e+06
    assert abs(sums["cached_input"] - (288 + rows[-1][1])) <= 5  # the truth, within the printed digits
    assert (sums["computed_input"], sums["output"]) == (4399, 2067)


def test_llamacpp_without_its_cache_counter_still_counts_computed_tokens() -> None:
    body = b"".join(
        line for line in capture("llamacpp/b11434__after").splitlines(keepends=True) if b"cached_total" not in line
    )
    found = counted(LLAMACPP, body)
    assert totals(found) == {"computed_input": 1989, "output": 1497}
    assert found.missing == ("llamacpp:prompt_tokens_cached_total",)


def test_llamacpp_gauges_that_a_read_resets_are_never_named() -> None:
    names = {candidate.metric for candidates in LLAMACPP.quantities.values() for candidate in candidates}
    assert not names & {"llamacpp:prompt_tokens_seconds", "llamacpp:predicted_tokens_seconds"}


def vllm_page(*lines: str) -> bytes:
    return "\n".join(('vllm:generation_tokens_total{model_name="m"} 5', *lines, "")).encode()


def test_vllm_0_10_offers_all_prompt_tokens_and_hits() -> None:
    body = vllm_page('vllm:prompt_tokens_total{model_name="m"} 9', 'vllm:prefix_cache_hits_total{model_name="m"} 4')
    found = counted(VLLM, body)
    assert totals(found) == {"prompt": 9, "cached_input": 4, "output": 5}
    assert found.missing == (
        "vllm:request_success_total",
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
    )


@pytest.mark.parametrize(("unit", "cached"), [("tokens", {"cached_input": 4.0}), ("blocks", {})])
def test_early_vllm_v1_counted_blocks(unit: str, cached: dict[str, float]) -> None:
    name = "vllm:gpu_prefix_cache_hits_total"
    body = vllm_page(f"# HELP {name} GPU prefix cache hits, in terms of number of cached {unit}.", f"{name} 4")
    assert totals(counted(VLLM, body)) == {"output": 5, **cached}


def test_vllm_ranks_stay_series_of_their_own() -> None:
    body = vllm_page(*(f'vllm:prompt_tokens_total{{engine="{rank}",model_name="m"}} {rank}' for rank in range(3)))
    samples = [sample for sample in counted(VLLM, body).counters if sample.quantity is Quantity.PROMPT]
    assert [sample.value for sample in samples] == [0, 1, 2]
    assert len({sample.series for sample in samples}) == 3


def test_ranks_that_repeat_each_other_count_once() -> None:
    spec = generic(output={"metric": "out", "max_over": ["tp_rank"], "sum_over": ["dp_rank"]})
    body = b'out{dp_rank="0",tp_rank="0"} 7\nout{dp_rank="0",tp_rank="1"} 8\nout{dp_rank="1",tp_rank="0"} 3\n'
    samples = counted(spec, body).counters
    assert {sample.series: sample.value for sample in samples} == {'out{dp_rank="0"}': 8, 'out{dp_rank="1"}': 3}


def test_gauges_add_up_over_ranks_and_a_broken_one_is_unknown() -> None:
    spec = generic(output="out", requests_running="run")
    assert counted(spec, b'out 1\nrun{rank="0"} 2\nrun{rank="1"} 3\n').requests_running == 5
    assert counted(spec, b"out 1\nrun NaN\n").requests_running is None
    assert counted(spec, b"out 1\n").requests_running is None


def test_a_filter_without_a_match_yet_keeps_its_place() -> None:
    spec = generic(
        output="out", requests_abort=[{"metric": "done", "where": {"reason": "abort"}}, {"metric": "aborted_total"}]
    )
    found = counted(spec, b'out 1\ndone{reason="stop"} 3\naborted_total 9\n')
    assert totals(found) == {"output": 1}
    assert found.missing == ()
    other_labels = counted(spec, b'out 1\ndone{why="stop"} 3\naborted_total 9\n')
    assert totals(other_labels) == {"output": 1, "requests_abort": 9}


def test_also_gives_other_spellings() -> None:
    spec = generic(output={"metric": "out", "also": ["out_total"]})
    assert totals(counted(spec, b"# TYPE out counter\nout 4\n")) == {"output": 4}
    assert totals(counted(spec, b"out_total 5\n")) == {"output": 5}


@pytest.mark.parametrize("value", ["NaN", "-1", "+Inf", "-Inf", "1e999"])
def test_impossible_counter_values(value: str) -> None:
    with pytest.raises(Malformed, match="impossible value"):
        counted(generic(output="out"), f"out {value}\n".encode())
    spec = generic(output={"metric": "out", "max_over": ["rank"]})
    with pytest.raises(Malformed, match="impossible value"):
        counted(spec, f'out{{rank="0"}} {value}\nout{{rank="1"}} 5\n'.encode())


def test_model_comes_from_the_label_or_from_outside() -> None:
    spec = generic(output="out")
    body = b'out{model="a"} 1\nout 2\n'
    found = count(spec, Lines("t").page(body), "t", "from-outside", model_is_fixed=False)
    assert {sample.model: sample.value for sample in found.counters} == {"a": 1, "from-outside": 2}
    assert {sample.model for sample in counted(spec, body, "fixed").counters} == {"fixed"}


@pytest.mark.parametrize(
    ("body", "engines"),
    [
        (capture("vllm/0.32.0__idle"), ("vllm",)),
        (capture("llamacpp/b11434__idle"), ("llamacpp",)),
        (capture("vllm/0.32.0__idle") + capture("llamacpp/b11434__idle"), ("llamacpp", "vllm")),
        (b"vllm:generation_tokens_total 1\nnv_inference_count 1\n", ("triton_vllm",)),
        (b"# TYPE vllm:generation_tokens_total counter\n", ("vllm",)),
        (b'vllm:input_tokens_total{server="a"} 1\n', ("vllm_router",)),
        (b"node_cpu_seconds_total 1\n", ()),
        (b"", ()),
    ],
)
def test_detection(body: bytes, engines: tuple[str, ...]) -> None:
    assert tuple(spec.engine for spec in detect(specs().values(), Lines("t").page(body))) == engines
