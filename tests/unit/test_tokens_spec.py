"""Spec files are data with a strict form; mistakes are named."""

from typing import Any

import pytest

from tokwatt.sources.tokens import specs
from tokwatt.sources.tokens.spec import Moves, SpecError, check_complete, spec_from_mapping


def mapping(**changes: Any) -> dict[str, Any]:
    return {"engine": "mine", "quantities": {"output": "out_total"}} | changes


def test_built_in_specs_are_sorted_and_complete() -> None:
    found = specs()
    assert list(found) == sorted(found)
    assert {"llamacpp", "vllm"} <= set(found)
    for engine, spec in found.items():
        assert spec.engine == engine
        assert spec.path.startswith("/")
        if spec.no_tokens:
            assert not spec.quantities
            assert spec.instead
        else:
            assert spec.model_labels or spec.model_from
            assert "output" in spec.quantities


def test_a_mapping_with_names_only_is_enough() -> None:
    spec = spec_from_mapping({"quantities": {"output": "out_total", "prompt": ["in_total", "in"]}}, "servers[0].spec")
    assert (spec.engine, spec.title, spec.path) == ("generic", "generic", "/metrics")
    assert spec.metrics("prompt") == ("in_total", "in")
    assert spec.quantities["output"][0].moves is Moves.LIVE


def test_overriding_a_built_in_spec_changes_what_is_given_only() -> None:
    base = specs()["vllm"]
    spec = spec_from_mapping(
        {"model_label": "served", "quantities": {"output": {"metric": "ray_vllm_out", "moves": "at_finish"}}}, "s", base
    )
    assert spec.model_labels == ("served",)
    assert spec.metrics("output") == ("ray_vllm_out",)
    assert spec.quantities["prompt"] == base.quantities["prompt"]
    assert spec.detect == base.detect


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"spec: must be a table"),
        (mapping(summary_="x"), r'spec: unknown key "summary_" \(did you mean "summary"\?\)'),
        (mapping(title=" "), r"spec.title: must be a text"),
        (mapping(path="metrics"), r'spec.path: must start with "/"'),
        (mapping(default_ports=[70000]), r"spec.default_ports: must be a list of port numbers"),
        (mapping(default_ports=[True]), r"spec.default_ports"),
        (mapping(detect=[1]), r"spec.detect: must be a text or a list of texts"),
        (mapping(series_appear="later"), r"spec.series_appear: must be one of at_start, on_first_request"),
        (mapping(model_from={"path": "/v1/models"}), r"spec.model_from.key: missing"),
        (mapping(model_from={"path": "x", "key": "id"}), r"spec.model_from.path: must start"),
        (mapping(provenance={"files": []}), r"spec.provenance.version: missing"),
        ({"engine": "mine"}, r"spec.quantities: names no token counter"),
        (mapping(quantities={"requests_success": "x"}), r"names no token counter"),
        (mapping(quantities={"outputs": "x"}), r'spec.quantities: unknown key "outputs" \(did you mean "output"\?\)'),
        (mapping(role="queen"), r"spec.role: must be one of engine, worker, frontend, proxy"),
        (mapping(rename={"a": "b"}), r"spec.rename: needs the names of an engine"),
        (mapping(sides={"middle": {}}), r'spec.sides: unknown key "middle"'),
        (mapping(sides={"decode": {"leave_out": "in"}}), r"sides.decode.leave_out: must be one of computed_input"),
        (mapping(quantities={"output": {"metric": "x", "optional": "yes"}}), r"optional: must be true or false"),
        (mapping(quantities={"output": []}), r"spec.quantities.output: names no metric"),
        (mapping(quantities={"output": [{}]}), r"spec.quantities.output\[0\].metric: missing"),
        (mapping(quantities={"output": 'x{a="b"}'}), r"not a metric name; labels belong into `where`"),
        (mapping(quantities={"output": {"metric": "x", "where_": {}}}), r'output\[0\]: unknown key "where_"'),
        (mapping(quantities={"output": {"metric": "x", "where": ["a"]}}), r"output\[0\].where: must map"),
        (mapping(quantities={"output": {"metric": "x", "where": {"a": 1}}}), r"where.a: must be a text"),
        (
            mapping(quantities={"output": {"metric": "x", "moves": "never"}}),
            r"output\[0\].moves: must be one of at_arrival",
        ),
        (mapping(quantities={"output": {"metric": "x", "sum_over": "r", "max_over": "r"}}), r'"r" is in both'),
        (mapping(work={"step": "x"}), r'spec.work: unknown key "step" \(did you mean "steps"\?\)'),
        (mapping(work={"live_output": "x"}), r'spec.work: unknown key "live_output"'),
        (mapping(work={"steps": {"metric": "x", "times": "a b"}}), r"steps\[0\].metric: 'a b' is not a metric name"),
        (mapping(work={"steps": {"metric": "x", "times_labels": "a"}}), r"times_labels: .* give `times` too"),
        (mapping(quantities={"output": {"metric": "x", "times": "y"}}), r"output: `times` is for `work` only"),
    ],
)
def test_mistakes_are_named(data: object, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec_from_mapping(data, "spec")


def test_an_engines_names_may_begin_otherwise() -> None:
    base = specs()["vllm"]
    spec = spec_from_mapping({"rename": {"vllm:": "relay_vllm_"}}, "s", base)
    assert spec.metrics("output") == ("relay_vllm_generation_tokens_total",)
    assert spec.sides["decode"].quantities["cached_input"][0].metric == "relay_vllm_prompt_tokens_by_source_total"
    assert spec.quantities["output"][0].sum_over == base.quantities["output"][0].sum_over
    context = spec.work["kv_tokens"][0]
    assert (context.metric, context.times) == ("relay_vllm_kv_cache_usage_perc", "relay_vllm_cache_config_info")
    with pytest.raises(SpecError, match=r"s\.rename: must map beginnings of names"):
        spec_from_mapping({"rename": {"vllm:": 5}}, "s", base)


def test_series_may_be_given_to_an_engine_that_has_none() -> None:
    spec = spec_from_mapping({"quantities": {"output": "gateway_out_total"}}, "s", specs()["triton_trtllm"])
    assert (spec.no_tokens, spec.metrics("output")) == ("", ("gateway_out_total",))


def test_a_built_in_spec_must_be_complete() -> None:
    with pytest.raises(SpecError, match=r"f\.toml\.summary: missing"):
        check_complete(spec_from_mapping(mapping(), "f.toml"), "f.toml")
