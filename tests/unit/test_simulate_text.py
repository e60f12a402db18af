import math
import re
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import captures

from tokwatt.simulate.counters import Finish
from tokwatt.simulate.engine import Engine
from tokwatt.simulate.llamacpp_text import LlamacppText
from tokwatt.simulate.load import ClosedLoop, Mix, Request, Scripted
from tokwatt.simulate.machines import LLAMA_8B_ON_H100, LLAMACPP_3B_ON_H100
from tokwatt.simulate.vllm_text import vllm_template

STARTED = 1.79e9


def busy_engine() -> Engine:
    load = ClosedLoop(Mix(400, 80, cached_ratio=0.4, abort_ratio=0.1), start_seconds=0.0, users=20, seed=1)
    sim = Engine(LLAMA_8B_ON_H100, load, start_seconds=0.0, seed=1)
    sim.advance_to(60.0)
    return sim


def vllm_body(sim: Engine, model: str = "acme/8b") -> str:
    return vllm_template(sim.machine, model, started_unix_seconds=STARTED).render(sim)


def families(text: str) -> set[tuple[str, str]]:
    return {(name, kind) for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)}


def label_keys(text: str) -> set[tuple[str, ...]]:
    rows = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {(row.split("{")[0].split(" ")[0], *re.findall(r'(\w+)="', row)) for row in rows}


def values(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()) if key != "model_name")
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_vllm_body_has_the_families_and_labels_of_a_real_one():
    real, simulated = captures.body("vllm/0.32.0__loaded").decode(), vllm_body(busy_engine())
    assert families(simulated) == families(real)
    assert label_keys(simulated) == label_keys(real)
    assert len(simulated) == pytest.approx(len(real), rel=0.1)
    assert simulated.count("\n") == pytest.approx(real.count("\n"), rel=0.05)


def test_llamacpp_body_has_the_families_of_a_real_one():
    simulated = LlamacppText().render(busy_engine())
    assert families(simulated) == families(captures.body("llamacpp/b11434__loaded").decode())
    assert label_keys(simulated) == label_keys(captures.body("llamacpp/b11434__loaded").decode())


def test_vllm_numbers_are_the_engines():
    sim = busy_engine()
    seen, counters = values(vllm_body(sim)), sim.counters
    by_source = "vllm:prompt_tokens_by_source_total{engine=0,source=%s}"

    assert seen["vllm:prompt_tokens_total{engine=0}"] == counters.prompt_tokens
    assert seen[by_source % "local_compute"] == counters.computed_input_tokens
    assert seen[by_source % "local_cache_hit"] == counters.cached_input_tokens > 0
    assert seen["vllm:generation_tokens_total{engine=0}"] == counters.output_tokens > 0
    assert seen["vllm:num_requests_running{engine=0}"] == 20
    success = "vllm:request_success_total{engine=0,finished_reason=%s}"
    assert seen[success % "stop"] == counters.finished[Finish.STOP]
    assert counters.finished[Finish.ABORT] > 0
    assert seen[success % "abort"] == 0  # as vLLM does: a client that leaves is not counted
    assert seen["vllm:iteration_tokens_total_count{engine=0}"] == counters.steps


def test_vllm_histograms_are_cumulative():
    body = vllm_body(busy_engine())
    rows = re.findall(r'^(\S+)_bucket\{.*le="([^"]+)".*\} (\S+)$', body, re.MULTILINE)
    assert len({name for name, _, _ in rows}) >= 16
    for name in {name for name, _, _ in rows}:
        counts = [float(count) for row, _, count in rows if row == name]
        assert counts == sorted(counts)
        assert re.search(rf"^{name}_count(\{{.*\}})? {counts[-1]}$", body, re.MULTILINE)


def test_vllm_start_is_shown_and_model_name_is_escaped():
    body = vllm_body(busy_engine(), 'odd"name%s\\')
    names = {
        sample.labels.get("model_name")
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.name == "vllm:generation_tokens_total"
    }
    assert names == {'odd"name%s\\'}
    assert values(body)["process_start_time_seconds{}"] == STARTED
    assert 0 < values(body)["vllm:generation_tokens_created{engine=0}"] - STARTED < 60


def test_llamacpp_counts_output_at_the_end():
    sim = Engine(LLAMACPP_3B_ON_H100, Scripted([Request(0.0, 300, 0, 400)]), start_seconds=0.0, seed=1)
    sim.advance_to(1.0)
    during = values(LlamacppText().render(sim))
    assert sim.counters.output_tokens > 50
    assert during["llamacpp:prompt_tokens_total{}"] == 300
    assert during["llamacpp:tokens_predicted_total{}"] == 0
    assert during["llamacpp:requests_processing{}"] == 1
    sim.advance_to(10.0)
    assert values(LlamacppText().render(sim))["llamacpp:tokens_predicted_total{}"] == 400


def test_llamacpp_prints_six_digits():
    # The real server printed 1.04782e+06 for 1047818: tests/captures/llamacpp/README.md.
    requests = [Request(0.0, 30_000, 0, 1) for _ in range(34)] + [Request(0.0, 27_818, 0, 1)]
    sim = Engine(LLAMACPP_3B_ON_H100, Scripted(requests), start_seconds=0.0, seed=1)
    sim.advance_to(300.0)
    assert sim.counters.prompt_tokens == 1_047_818
    assert "llamacpp:prompt_tokens_total 1.04782e+06\n" in LlamacppText().render(sim)


def test_llamacpp_speeds_are_reset_by_every_scrape():
    text, sim = LlamacppText(), busy_engine()
    assert values(text.render(sim))["llamacpp:predicted_tokens_seconds{}"] > 0
    assert values(text.render(sim))["llamacpp:predicted_tokens_seconds{}"] == 0


def test_cost_of_rendering(capsys):
    sim = busy_engine()
    template = vllm_template(sim.machine, "m", started_unix_seconds=STARTED)
    began = time.perf_counter()
    for _ in range(50):
        body = template.render(sim)
    milliseconds = (time.perf_counter() - began) / 50 * 1e3
    assert math.isfinite(milliseconds)
    with capsys.disabled():
        print(f"\n[vLLM body of {len(body)} bytes: {milliseconds:.2f} ms]")
