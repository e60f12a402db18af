"""What is particular to one engine's page; what holds for every engine is in test_tokens_conformance."""

import pytest
from support.captures import PAGES
from support.captures import body as capture

from tokwatt.sources.tokens import specs
from tokwatt.sources.tokens._counting import Counted, count, detect
from tokwatt.sources.tokens._exposition import Lines
from tokwatt.sources.tokens.overlap import double_counting
from tokwatt.sources.tokens.spec import Moves

SPECS = specs()


def counted(engine: str, body: bytes, side: str = "") -> Counted:
    return count(SPECS[engine].on_side(side), Lines("t").page(body), "t", "", model_is_fixed=False)


def totals(found: Counted) -> dict[str, float]:
    sums: dict[str, float] = {}
    for sample in found.counters:
        sums[sample.quantity.value] = sums.get(sample.quantity.value, 0.0) + sample.value
    return sums


def page_of(engine: str) -> str:
    """A page with all counters, a recorded one where there is one."""
    pages = [page for page in PAGES if PAGES[page] == engine and not page.endswith(("idle", "starting"))]
    return min(pages, key=lambda page: "__written-" in page)


def without(body: bytes, *names: str) -> bytes:
    """The page without some metrics."""
    wanted = [line for line in body.splitlines(keepends=True) if not any(name.encode() in line for name in names)]
    return b"".join(wanted)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_its_engines_and_no_others(page: str) -> None:
    assert [spec.engine for spec in detect(SPECS.values(), Lines("t").page(capture(page)))] == [PAGES[page]]


@pytest.mark.parametrize(
    ("one", "other", "engines"),
    [
        ("ray_vllm/2.60.0__written-settled", "ray_sglang/2.60.0__written-loaded", ["ray_sglang", "ray_vllm"]),
        (
            "triton_vllm/8de0c14__written-loaded",
            "triton_trtllm/0b9d7d5__written-loaded",
            ["triton_trtllm", "triton_vllm"],
        ),
        ("vllm/0.32.0__settled", "vllm_router/2026__written-loaded", ["vllm"]),
        ("vllm/0.32.0__settled", "litellm/1.110.2__written-loaded", ["litellm", "vllm"]),
        (
            "dynamo_frontend/1.6.1__written-loaded",
            "dynamo_vllm/1.6.1__written-settled",
            ["dynamo_frontend", "dynamo_vllm"],
        ),
    ],
)
def test_a_mixed_page_is_one_engines_or_a_question(one: str, other: str, engines: list[str]) -> None:
    page = Lines("t").page(capture(one) + capture(other))
    assert [spec.engine for spec in detect(SPECS.values(), page)] == engines


def test_several_models_keep_their_own_counts_and_lose_other_labels() -> None:
    found = counted("litellm", capture("litellm/1.110.2__written-loaded"))
    sums: dict[str, float] = {}
    for sample in found.counters:
        if sample.quantity.value == "output":
            sums[sample.model] = sums.get(sample.model, 0.0) + sample.value
    assert sums == {"chat-large": 500, "chat-small": 10}


def test_a_server_before_its_first_request_misses_nothing() -> None:
    for page in ("sglang/0.5.23__written-starting", "trtllm/050f80de__written-starting"):
        found = counted(PAGES[page], capture(page))
        assert (found.counters, found.missing, found.has_tokens) == ((), (), False)


def test_sglang_live_counters_are_taken_whole_or_not_at_all() -> None:
    # the first decode has not happened: output waits for its live series and does not fall back to the other counter
    body = b"".join(
        line
        for line in capture("sglang/0.5.23__written-loaded").splitlines(keepends=True)
        if b'mode="decode"' not in line
    )
    assert "output" not in totals(counted("sglang", body))
    assert counted("sglang", body).missing == ()


@pytest.mark.parametrize("engine", [engine for engine, spec in SPECS.items() if not spec.no_tokens])
def test_a_series_that_vanished_is_named(engine: str) -> None:
    page = page_of(engine)
    spec = SPECS[engine]
    body = capture(page)
    outputs = spec.metrics("output")
    found = counted(engine, without(body, *outputs))
    assert "output" not in totals(found)
    assert outputs[0] in found.missing
    inputs = spec.metrics("computed_input") + spec.metrics("prompt")
    assert inputs[0] in counted(engine, without(body, *(name + end for name in inputs for end in "{ \t"))).missing


def test_an_alternative_that_is_read_is_no_drift() -> None:
    body = without(capture("vllm/0.32.0__settled"), "prompt_tokens_by_source", "prompt_tokens_cached")
    found = counted("vllm", body)
    assert totals(found)["prompt"] == 2113
    assert totals(found)["cached_input"] == 256  # prefix_cache_hits_total
    assert found.missing == ()


def test_a_counter_that_appears_with_its_first_event_is_no_drift() -> None:
    body = without(capture("tgi/3.3.7__written-loaded"), "tgi_request_failure")
    assert counted("tgi", body).missing == ()


def vllm_by_source(local: int, hits: int, transfer: int) -> bytes:
    sources = {"local_compute": local, "local_cache_hit": hits, "external_kv_transfer": transfer}
    lines = [f'vllm:prompt_tokens_by_source_total{{source="{name}"}} {value}' for name, value in sources.items()]
    return "\n".join(
        [
            *lines,
            f"vllm:prompt_tokens_total {local + hits + transfer}",
            f"vllm:prompt_tokens_cached_total {hits + transfer}",
            "vllm:generation_tokens_total 50",
            "",
        ]
    ).encode()


def test_vllm_prefill_and_decode_sides_count_a_prompt_once() -> None:
    prefill = totals(counted("vllm", vllm_by_source(900, 100, 0), "prefill"))
    decode = totals(counted("vllm", vllm_by_source(1, 20, 979), "decode"))
    assert prefill == {"computed_input": 900, "cached_input": 100}
    assert decode == {"computed_input": 1, "cached_input": 20, "output": 50}
    # without a side, the decode server's computed input is right all the same; its cached input holds the transfer
    assert totals(counted("vllm", vllm_by_source(1, 20, 979))) == {
        "computed_input": 1,
        "cached_input": 999,
        "output": 50,
    }


def test_the_decode_side_of_an_older_vllm_leaves_the_prompt_to_the_prefill_side() -> None:
    body = b"vllm:prompt_tokens_total 1000\nvllm:prefix_cache_hits_total 0\nvllm:generation_tokens_total 50\n"
    assert totals(counted("vllm", body, "decode")) == {"output": 50}


@pytest.mark.parametrize("engine", ["sglang", "trtllm", "lmdeploy", "dynamo_vllm", "dynamo_trtllm", "ray_vllm"])
def test_two_sides_together_count_prompts_and_outputs_once(engine: str) -> None:
    page = page_of(engine)
    prefill, decode = (totals(counted(engine, capture(page), side)) for side in ("prefill", "decode"))
    assert "output" not in prefill
    assert "output" in decode
    assert "prompt" not in decode
    assert counted(engine, capture(page), "prefill").missing == ()


def test_a_side_that_makes_no_difference_changes_nothing() -> None:
    assert SPECS["llamacpp"].on_side("decode") is SPECS["llamacpp"]
    assert SPECS["vllm"].on_side("both") is SPECS["vllm"]


@pytest.mark.parametrize(
    ("engine", "moves"),
    [
        ("vllm", {"computed_input": "prefill_end", "output": "live"}),
        ("sglang", {"computed_input": "live", "prompt": "at_finish", "output": "live"}),
        ("trtllm", {"prompt": "at_finish", "output": "at_finish"}),
        ("tgi", {"prompt": "at_arrival", "output": "at_finish"}),
        ("llamacpp", {"computed_input": "prefill_end", "output": "at_finish"}),
        ("lmdeploy", {"prompt": "prefill_end", "cached_input": "at_finish", "output": "live"}),
        ("dynamo_frontend", {"prompt": "prefill_end", "output": "live"}),
        ("litellm", {"prompt": "at_finish", "output": "at_finish"}),
    ],
)
def test_when_counters_move(engine: str, moves: dict[str, str]) -> None:
    assert {name: SPECS[engine].quantities[name][0].moves for name in moves} == {
        name: Moves(value) for name, value in moves.items()
    }


def in_use(**engines: str) -> tuple[str, ...]:
    return double_counting({name: SPECS[engine] for name, engine in engines.items()})


def test_frontend_and_workers_together_count_twice() -> None:
    (message,) = in_use(front="dynamo_frontend", a="dynamo_vllm", b="dynamo_sglang", other="vllm")
    assert message == (
        "server front (Dynamo frontend) stands in front of others and counts again what a and b count: "
        "their tokens are in two rows"
    )
    (message,) = in_use(gateway="litellm", chat="vllm")
    assert "counts again what chat counts:" in message


def test_servers_side_by_side_count_once() -> None:
    assert in_use(a="vllm", b="vllm", c="sglang", d="dynamo_vllm") == ()
    assert in_use(front="dynamo_frontend", other="vllm") == ()
    assert in_use(gateway="litellm") == ()


def test_a_person_may_say_that_they_are_separate() -> None:
    both = {"gateway": SPECS["litellm"], "chat": SPECS["vllm"]}
    assert double_counting(both, separate=("gateway",)) == ()
    assert double_counting(both, separate=("chat",)) == ()
    assert double_counting(both) != ()
