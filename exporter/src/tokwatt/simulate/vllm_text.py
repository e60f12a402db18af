"""The /metrics body of a simulated vLLM: families, types and labels as vLLM 0.32 shows them, with own HELP texts.

Owns which engine number feeds which series. Families of features the simulation lacks stay at 0, as on a real server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tokwatt.simulate import counters as c
from tokwatt.simulate.counters import Finish
from tokwatt.simulate.engine import Engine
from tokwatt.simulate.exposition import Family, Series, Template, Value, counter, gauge, histogram
from tokwatt.simulate.machines import Machine

BLOCK_TOKENS = 16
BYTES_PER_PROMPT_TOKEN = 4.6  # of a JSON request, roughly
CHAT: Mapping[str, str] = {"handler": "/v1/chat/completions"}
CHAT_POST: Mapping[str, str] = {**CHAT, "method": "POST"}

CACHE_CONFIG: Mapping[str, str] = {
    "_block_size_resolved": "True",
    "block_size": str(BLOCK_TOKENS),
    "cache_dtype": "auto",
    "cache_hit_alignment_tokens": "None",
    "effective_attention_block_size": str(BLOCK_TOKENS),
    "enable_mamba_shared_prefix_checkpoint": "False",
    "enable_prefix_caching": "True",
    "gpu_memory_utilization": "0.92",
    "hash_block_size": "None",
    "is_attention_free": "False",
    "kv_cache_dtype_skip_layers": "[]",
    "kv_cache_layout": "None",
    "kv_cache_memory_bytes": "None",
    "kv_offloading_backend": "native",
    "kv_offloading_size": "None",
    "kv_sharing_fast_prefill": "False",
    "mamba_block_size": "None",
    "mamba_cache_dtype": "auto",
    "mamba_cache_mode": "none",
    "mamba_page_size_padded": "None",
    "mamba_ssm_cache_dtype": "float32",
    "num_cpu_blocks": "None",
    "num_gpu_blocks_override": "None",
    "prefix_cache_retention_interval": "0",
    "prefix_caching_hash_algo": "sha256",
    "prefix_match_unit": "None",
    "replayssm_buffer_len": "16",
    "skip_page_size_padded": "None",
    "sliding_window": "None",
    "swa_bounded_replay": "True",
    "use_kda_recoverssm": "False",
    "use_replayssm": "False",
    "user_specified_block_size": "False",
}


def vllm_template(machine: Machine, model: str, *, started_unix_seconds: float) -> Template:
    """Compile the body for one start of a server."""
    families = (*_process(started_unix_seconds), *_counters(model), *_histograms(), _cache_config(machine), *_http())
    return Template(families, {"engine": "0", "model_name": model}, created_unix_seconds=started_unix_seconds + 11.0)


def _by(label: str, values: dict[str, Value | float]) -> list[Series]:
    return [Series(value, {label: name}) for name, value in values.items()]


def _computed(engine: Engine) -> float:
    return engine.counters.computed_input_tokens


def _cached(engine: Engine) -> float:
    return engine.counters.cached_input_tokens


def _prompt(engine: Engine) -> float:
    return engine.counters.prompt_tokens


def _generated(engine: Engine) -> float:
    return engine.counters.output_tokens


def _running(engine: Engine) -> float:
    return engine.running


def _waiting(engine: Engine) -> float:
    return engine.waiting


def _ended(engine: Engine) -> float:
    return sum(engine.counters.finished.values())


def _finished(reason: Finish) -> Value:
    return lambda engine: engine.counters.finished[reason]


def _process(started_unix_seconds: float) -> tuple[Family, ...]:
    def collected(name: str, help_text: str, values: tuple[float, float, float]) -> Family:
        rows = tuple(Series(value, {"generation": str(age)}) for age, value in enumerate(values))
        return Family(name, "counter", help_text, rows, common=False)

    python = {"implementation": "CPython", "major": "3", "minor": "12", "patchlevel": "11", "version": "3.12.11"}
    return (
        collected("python_gc_objects_collected_total", "Objects the collector freed", (15210.0, 3044.0, 612.0)),
        collected("python_gc_objects_uncollectable_total", "Objects the collector could not free", (0.0, 0.0, 0.0)),
        collected("python_gc_collections_total", "Runs of the collector by generation", (1604.0, 145.0, 11.0)),
        gauge("python_info", "Python platform", Series(1.0, python), common=False),
        gauge("process_virtual_memory_bytes", "Virtual memory in bytes.", 3.1e10, common=False),
        gauge("process_resident_memory_bytes", "Resident memory in bytes.", 1.42e9, common=False),
        gauge("process_start_time_seconds", "Unix time of the process start.", started_unix_seconds, common=False),
        Family("process_cpu_seconds_total", "counter", "CPU time in seconds.", (Series(_cpu_seconds),), common=False),
        gauge("process_open_fds", "Open file descriptors.", 61.0, common=False),
        gauge("process_max_fds", "Most file descriptors allowed.", 65536.0, common=False),
    )


def _cpu_seconds(engine: Engine) -> float:
    return round(9.0 + engine.counters.steps * 1.1e-3, 2)


def _counters(model: str) -> tuple[Family, ...]:
    sleeping = {"awake": 1.0, "weights_offloaded": 0.0, "discard_all": 0.0}
    tiers: dict[str, Value | float] = {
        "device": _cached, "host": 0.0, "p2p": 0.0, "disk": 0.0, "external_unspecified": 0.0,
    }  # fmt: skip
    reasons: dict[str, Value | float] = {
        "stop": _finished(Finish.STOP),
        "length": _finished(Finish.LENGTH),
        # A request whose client left never gets there: vLLM drops it without finish statistics.
        "abort": 0.0, "error": 0.0, "repetition": 0.0,
    }  # fmt: skip
    # This family has no `engine` label.
    rejected = [Series(0.0, {"model_name": model, "reason": f"max_num_queued_{what}"}) for what in ("reqs", "tokens")]
    estimated = "Model-based estimate per GPU, for utilization figures: "
    cache = "Tokens looked up in the prefix cache"
    return (
        counter("vllm:estimated_flops_per_gpu_total", estimated + "floating point operations.", 0.0),
        counter("vllm:estimated_read_bytes_per_gpu_total", estimated + "bytes read from memory.", 0.0),
        counter("vllm:estimated_write_bytes_per_gpu_total", estimated + "bytes written to memory.", 0.0),
        gauge("vllm:num_requests_running", "Requests in the batch.", _running),
        gauge("vllm:num_requests_waiting", "Requests in the queue.", _waiting),
        gauge(
            "vllm:num_requests_waiting_by_reason",
            "Requests in the queue by reason: capacity (no room in the batch) or deferred (a passing constraint).",
            *_by("reason", {"capacity": _waiting, "deferred": 0.0}),
        ),
        gauge("vllm:engine_sleep_state", "1 at the state the engine is in.", *_by("sleep_state", {**sleeping})),
        gauge("vllm:kv_cache_usage_perc", "Used part of the KV cache, 0 to 1.", lambda engine: engine.kv_usage_ratio),
        counter("vllm:prefix_cache_queries_total", f"{cache}.", _prompt),
        counter("vllm:prefix_cache_hits_total", f"{cache} and found.", _cached),
        counter("vllm:external_prefix_cache_queries_total", f"{cache} of another instance.", 0.0),
        counter("vllm:external_prefix_cache_hits_total", f"{cache} of another instance and found.", 0.0),
        counter("vllm:mm_cache_queries_total", "Items looked up in the multi-modal cache.", 0.0),
        counter("vllm:mm_cache_hits_total", "Items found in the multi-modal cache.", 0.0),
        counter("vllm:num_preemptions_total", "Requests pushed out of the batch.", 0.0),
        counter("vllm:prompt_tokens_total", "Prompt tokens, those from a cache included.", _prompt),
        counter(
            "vllm:prompt_tokens_by_source_total",
            "Prompt tokens by where they came from.",
            *_by("source", {"local_compute": _computed, "local_cache_hit": _cached, "external_kv_transfer": 0.0}),
        ),
        counter("vllm:prompt_tokens_cached_total", "Prompt tokens from a cache, here or elsewhere.", _cached),
        counter(
            "vllm:prompt_tokens_cached_by_source_total", "Prompt tokens from a cache, by tier.", *_by("source", tiers)
        ),
        counter("vllm:generation_tokens_total", "Tokens generated.", _generated),
        counter("vllm:request_success_total", "Requests that finished, by reason.", *_by("finished_reason", reasons)),
        counter("vllm:admission_rejections_total", "Requests refused by a queue limit.", *rejected, common=False),
    )


def _histograms() -> tuple[Family, ...]:
    tokens, seconds = c.TOKEN_BOUNDS, c.REQUEST_BOUNDS
    return (
        histogram(
            "vllm:request_prompt_tokens", "Prompt tokens of a request.", tokens,
            lambda e: e.counters.request_prompt_tokens,
        ),
        histogram(
            "vllm:request_generation_tokens", "Generated tokens of a request.", tokens,
            lambda e: e.counters.request_output_tokens,
        ),
        histogram(
            "vllm:iteration_tokens_total", "Tokens of an engine step.", c.STEP_TOKEN_BOUNDS,
            lambda e: e.counters.step_tokens,
        ),
        histogram(
            "vllm:request_max_num_generation_tokens", "Most tokens a request could generate.", tokens,
            lambda e: e.counters.request_output_tokens,
        ),
        histogram(
            "vllm:request_params_n", "Answers a request asked for.", (1.0, 2.0, 5.0, 10.0, 20.0),
            lambda e: e.counters.request_answers,
        ),
        histogram(
            "vllm:request_params_max_tokens", "Token limit a request asked for.", tokens,
            lambda e: e.counters.request_output_tokens,
        ),
        histogram(
            "vllm:time_to_first_token_seconds", "Arrival to first token.", c.FIRST_TOKEN_BOUNDS,
            lambda e: e.counters.first_token_seconds,
        ),
        histogram(
            "vllm:inter_token_latency_seconds", "Time between two tokens of a request.", c.BETWEEN_TOKENS_BOUNDS,
            lambda e: e.counters.between_tokens_seconds,
        ),
        histogram(
            "vllm:request_time_per_output_token_seconds", "Mean time per token of a request.", c.BETWEEN_TOKENS_BOUNDS,
            lambda e: e.counters.request_token_seconds,
        ),
        histogram(
            "vllm:e2e_request_latency_seconds", "Arrival to end of a request.", seconds,
            lambda e: e.counters.request_seconds,
        ),
        histogram(
            "vllm:request_queue_time_seconds", "Time a request waited.", seconds,
            lambda e: e.counters.request_queue_seconds,
        ),
        histogram(
            "vllm:request_inference_time_seconds", "Time a request was in the batch.", seconds,
            lambda e: e.counters.request_inference_seconds,
        ),
        histogram(
            "vllm:request_prefill_time_seconds", "Time from admission to first token.", seconds,
            lambda e: e.counters.request_prefill_seconds,
        ),
        histogram(
            "vllm:request_decode_time_seconds", "Time from first to last token.", seconds,
            lambda e: e.counters.request_decode_seconds,
        ),
        histogram(
            "vllm:request_num_preemptions", "Times a request was pushed out.", c.PREEMPTION_BOUNDS,
            lambda e: e.counters.request_preemptions,
        ),
        histogram(
            "vllm:request_prefill_kv_computed_tokens", "Prompt tokens of a request that were computed.", tokens,
            lambda e: e.counters.request_computed_tokens,
        ),
    )  # fmt: skip


def _cache_config(machine: Machine) -> Family:
    labels = {
        **CACHE_CONFIG,
        "kv_cache_max_concurrency": f"{machine.kv_capacity_tokens / 8192:.2f}",
        "kv_cache_size_tokens": str(machine.kv_capacity_tokens),
        "num_gpu_blocks": str(machine.kv_capacity_tokens // BLOCK_TOKENS),
        "engine": "0",
    }
    return gauge("vllm:cache_config_info", "Configuration of the cache", Series(1.0, labels), common=False)


def _http() -> tuple[Family, ...]:
    def sizes(name: str, help_text: str, total: Value) -> Family:
        rows = (Series(_ended, CHAT, "_count"), Series(total, CHAT, "_sum"))
        return Family(name, "summary", help_text, rows, common=False, created=f"{name}_created")

    fine = histogram(
        "http_request_duration_highr_seconds", "Latency of all requests, fine buckets.", c.HTTP_BOUNDS,
        lambda e: e.counters.http_seconds,
    )  # fmt: skip
    coarse = histogram(
        "http_request_duration_seconds", "Latency by handler, few buckets.", c.HTTP_COARSE_BOUNDS,
        lambda e: e.counters.http_coarse_seconds, **CHAT_POST,
    )  # fmt: skip
    return (
        counter(
            "http_requests_total", "Requests by method, status and handler.",
            Series(_ended, {**CHAT_POST, "status": "2xx"}), common=False,
        ),
        sizes("http_request_size_bytes", "Content length of requests.", lambda e: _prompt(e) * BYTES_PER_PROMPT_TOKEN),
        sizes("http_response_size_bytes", "Content length of answers.", lambda e: _generated(e) * 5.0),
        replace(fine, common=False),
        replace(coarse, common=False),
    )  # fmt: skip
