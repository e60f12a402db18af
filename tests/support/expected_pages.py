"""What each body in tests/captures counts, read off its text by hand: the yardstick of the conformance tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Expected:
    """Counts by quantity and by kind of work, summed over models, ranks and reasons."""

    counts: Mapping[str, float]
    running: float | None
    waiting: float | None
    missing: tuple[str, ...] = ()
    work: Mapping[str, float] = field(default_factory=dict)
    kv_tokens: float | None = None


def totals(**counts: float) -> Mapping[str, float]:
    return counts


EXPECTED: Mapping[str, Expected] = {
    "vllm/0.32.0__idle": Expected(
        totals(computed_input=0, cached_input=0, output=0, requests_success=0, requests_error=0, requests_abort=0),
        0,
        0,
        work=totals(steps=0, first_tokens=0, preemptions=0, prefill_request_seconds=0),
        kv_tokens=0.0,
    ),
    "vllm/0.32.0__loaded": Expected(
        totals(
            computed_input=1187, cached_input=256, output=385, requests_success=5, requests_error=0, requests_abort=0
        ),
        4,
        0,
        work=totals(steps=361, first_tokens=9, preemptions=0, prefill_request_seconds=0.0541712360004567),
        kv_tokens=0.0003051944088384717 * 16384 * 128,
    ),
    "vllm/0.32.0__settled": Expected(
        totals(
            computed_input=1857, cached_input=256, output=1344, requests_success=16, requests_error=0, requests_abort=0
        ),
        0,
        0,
        work=totals(steps=738, first_tokens=16, preemptions=0, prefill_request_seconds=0.14831910300108575),
        kv_tokens=0.0,
    ),
    "vllm/0.32.0__after": Expected(
        totals(
            computed_input=2181, cached_input=256, output=1730, requests_success=16, requests_error=0, requests_abort=0
        ),
        0,
        0,
        work=totals(steps=1125, first_tokens=18, preemptions=0, prefill_request_seconds=0.14831910300108575),
        kv_tokens=0.0,
    ),
    # two ranks; the deprecated name of the cache hits repeats the new one
    "vllm/0.10__written-loaded": Expected(
        totals(prompt=5700, cached_input=1024, output=2720, requests_success=23, requests_abort=0),
        5,
        1,
        work=totals(steps=1100, first_tokens=27, draft_tokens=3500, preemptions=0),
        kv_tokens=0.21 * 1000 * 16 + 0.11 * 1000 * 16,
    ),
    "vllm/0.10__written-later": Expected(
        totals(prompt=7400, cached_input=1344, output=3510, requests_success=29, requests_abort=0),
        3,
        0,
        work=totals(steps=1360, first_tokens=33, draft_tokens=4300, preemptions=0),
        kv_tokens=0.08 * 1000 * 16 + 0.12 * 1000 * 16,
    ),
    "vllm/0.8__written-loaded": Expected(
        totals(prompt=4800, cached_input=1024, output=2310, requests_success=19, requests_abort=0),
        3,
        1,
        work=totals(steps=900, preemptions=0),
    ),
    "vllm/0.8__written-later": Expected(
        totals(prompt=6100, cached_input=1280, output=2950, requests_success=24, requests_abort=0),
        1,
        0,
        work=totals(steps=1100, preemptions=0),
    ),
    "llamacpp/b11434__idle": Expected(
        totals(computed_input=0, cached_input=0, output=0),
        0,
        0,
        work=totals(steps=0, sequence_steps=0, draft_tokens=0, prefill_request_seconds=0),
    ),
    "llamacpp/b11434__loaded": Expected(
        totals(computed_input=842, cached_input=278, output=352),
        2,
        2,
        work=totals(steps=380, sequence_steps=380 * 1.05789, draft_tokens=0, prefill_request_seconds=2.15522),
    ),
    "llamacpp/b11434__settled": Expected(
        totals(computed_input=1700, cached_input=287, output=1384),
        0,
        0,
        work=totals(steps=963, sequence_steps=963 * 1.45794, draft_tokens=0, prefill_request_seconds=4.61441),
    ),
    "llamacpp/b11434__after": Expected(
        totals(computed_input=1989, cached_input=288, output=1497),
        0,
        0,
        work=totals(steps=1078, sequence_steps=1078 * 1.40909, draft_tokens=0, prefill_request_seconds=5.38718),
    ),
    "llamacpp/b11434__large-counter": Expected(
        totals(computed_input=4399, cached_input=1047820, output=2067),
        0,
        0,
        work=totals(steps=1650, sequence_steps=1650 * 1.26727, draft_tokens=0, prefill_request_seconds=63.8538),
    ),
    # builds without a counter of cached tokens
    "llamacpp/61e588ab__written-loaded": Expected(
        totals(computed_input=1840, output=960),
        2,
        1,
        missing=("llamacpp:prompt_tokens_cached_total",),
        work=totals(steps=1002, sequence_steps=1002 * 1.37, prefill_request_seconds=2.104),
    ),
    "llamacpp/61e588ab__written-later": Expected(
        totals(computed_input=2390, output=1405),
        0,
        0,
        missing=("llamacpp:prompt_tokens_cached_total",),
        work=totals(steps=1468, sequence_steps=1468 * 1.41, prefill_request_seconds=2.733),
    ),
    # two data-parallel ranks add up; of two tensor-parallel ranks the larger counts once
    "sglang/0.5.23__written-starting": Expected(totals(), None, None),
    "sglang/0.5.23__written-loaded": Expected(
        totals(computed_input=5000, cached_input=700, output=3240, requests_success=26, requests_abort=2),
        7,
        3,
        work=totals(sequence_steps=3240, first_tokens=20, prefill_seconds=4.25, decode_seconds=32.0),
        kv_tokens=371950,
    ),
    "sglang/0.5.23__written-later": Expected(
        totals(computed_input=5600, cached_input=900, output=3901, requests_success=31, requests_abort=3),
        5,
        0,
        work=totals(sequence_steps=3901, first_tokens=24, prefill_seconds=4.75, decode_seconds=38.25),
        kv_tokens=346000,
    ),
    "sglang/older__written-finish-only": Expected(
        totals(prompt=5200, cached_input=650, output=2900, requests_success=26, requests_abort=2),
        7,
        3,
        work=totals(first_tokens=20),
    ),
    "sglang/older__written-later": Expected(
        totals(prompt=5800, cached_input=740, output=3500, requests_success=31, requests_abort=3),
        5,
        0,
        work=totals(first_tokens=24),
    ),
    "trtllm/050f80de__written-starting": Expected(totals(), None, None),
    "trtllm/050f80de__written-loaded": Expected(
        totals(prompt=61000, cached_input=20500, output=12800, requests_success=50, requests_error=4), 6, 1
    ),
    "trtllm/050f80de__written-later": Expected(
        totals(prompt=66000, cached_input=22000, output=14000, requests_success=55, requests_error=5), 2, 0
    ),
    "triton_vllm/8de0c14__written-loaded": Expected(
        totals(prompt=3300, output=870, requests_success=22, requests_error=3, requests_abort=1),
        None,
        None,
        work=totals(first_tokens=22),
    ),
    "triton_vllm/8de0c14__written-later": Expected(
        totals(prompt=4100, output=1130, requests_success=27, requests_error=4, requests_abort=2),
        None,
        None,
        work=totals(first_tokens=27),
    ),
    "tgi/3.3.7__written-loaded": Expected(
        totals(prompt=21504, output=6131, requests_success=57, requests_error=4),
        4,
        2,
        work=totals(prefill_seconds=3.25, decode_seconds=88.5),
    ),
    "tgi/3.3.7__written-later": Expected(
        totals(prompt=24576, output=7000, requests_success=65, requests_error=5),
        1,
        0,
        work=totals(prefill_seconds=3.75, decode_seconds=101.25),
    ),
    "lmdeploy/1263d5cd__written-loaded": Expected(
        totals(prompt=57000, cached_input=12000, output=10500, requests_success=70),
        4,
        2,
        work=totals(steps=400, first_tokens=74, draft_tokens=1200, prefill_request_seconds=3.5),
        kv_tokens=0.25,
    ),
    "lmdeploy/1263d5cd__written-later": Expected(
        totals(prompt=63500, cached_input=13750, output=11900, requests_success=80),
        1,
        0,
        work=totals(steps=450, first_tokens=81, draft_tokens=1500, prefill_request_seconds=4.25),
        kv_tokens=0.0625,
    ),
    "nim/1.5.0__written-loaded": Expected(totals(prompt=218, output=348, requests_success=10, requests_error=0), 1, 0),
    "nim/1.5.0__written-later": Expected(totals(prompt=301, output=512, requests_success=14, requests_error=1), 0, 0),
    "mlc/79d603f0__written-loaded": Expected(
        totals(computed_input=4096, output=1900), None, None, work=totals(prefill_seconds=1.75, decode_seconds=20.5)
    ),
    "mlc/79d603f0__written-later": Expected(
        totals(computed_input=4480, output=2156), None, None, work=totals(prefill_seconds=2.0, decode_seconds=24.0)
    ),
    "litellm/1.110.2__written-loaded": Expected(
        totals(prompt=1540, cached_input=128, output=510, requests_success=9, requests_error=1), None, None
    ),
    "litellm/1.110.2__written-later": Expected(
        totals(prompt=1790, cached_input=192, output=615, requests_success=12, requests_error=2), None, None
    ),
    "dynamo_frontend/1.6.1__written-loaded": Expected(
        totals(prompt=14336, cached_input=2048, output=5333, requests_success=26, requests_error=1, requests_abort=2),
        2,
        1,
    ),
    "dynamo_frontend/1.6.1__written-later": Expected(
        totals(prompt=16896, cached_input=2560, output=6210, requests_success=31, requests_error=2, requests_abort=3),
        1,
        0,
    ),
    "dynamo_frontend/0.6__written-loaded": Expected(
        totals(prompt=14336, cached_input=2048, output=5200, requests_success=26, requests_error=1, requests_abort=2),
        2,
        1,
    ),
    "dynamo_frontend/0.6__written-later": Expected(
        totals(prompt=16896, cached_input=2560, output=6100, requests_success=31, requests_error=2, requests_abort=3),
        1,
        0,
    ),
    "dynamo_sglang/1.6.1__written-loaded": Expected(
        totals(computed_input=5000, cached_input=700, output=3240, requests_success=26, requests_abort=2),
        7,
        3,
        work=totals(sequence_steps=3240, first_tokens=20),
    ),
    "dynamo_sglang/1.6.1__written-later": Expected(
        totals(computed_input=5600, cached_input=900, output=3901, requests_success=31, requests_abort=3),
        5,
        0,
        work=totals(sequence_steps=3901, first_tokens=24),
    ),
    "dynamo_trtllm/1.6.1__written-loaded": Expected(
        totals(prompt=61000, cached_input=20500, output=12800, requests_success=50, requests_error=4), 6, 1
    ),
    "dynamo_trtllm/1.6.1__written-later": Expected(
        totals(prompt=66000, cached_input=22000, output=14000, requests_success=55, requests_error=5), 2, 0
    ),
    "dynamo_vllm/1.6.1__written-settled": Expected(
        totals(
            computed_input=1857, cached_input=256, output=1344, requests_success=16, requests_error=0, requests_abort=0
        ),
        0,
        0,
        work=totals(steps=738, first_tokens=16, preemptions=0, prefill_request_seconds=0.14831910300108575),
        kv_tokens=0.0,
    ),
    "dynamo_vllm/1.6.1__written-later": Expected(
        totals(
            computed_input=2181, cached_input=256, output=1730, requests_success=16, requests_error=0, requests_abort=0
        ),
        0,
        0,
        work=totals(steps=1125, first_tokens=18, preemptions=0, prefill_request_seconds=0.14831910300108575),
        kv_tokens=0.0,
    ),
    # two replicas, of which one went on
    "ray_vllm/2.60.0__written-settled": Expected(
        totals(
            computed_input=3714, cached_input=512, output=2688, requests_success=32, requests_error=0, requests_abort=0
        ),
        0,
        0,
        work=totals(steps=1476, first_tokens=32, preemptions=0, prefill_request_seconds=2 * 0.14831910300108575),
        kv_tokens=0.0,
    ),
    "ray_vllm/2.60.0__written-later": Expected(
        totals(
            computed_input=4038, cached_input=512, output=3074, requests_success=32, requests_error=0, requests_abort=0
        ),
        0,
        0,
        work=totals(steps=1863, first_tokens=34, preemptions=0, prefill_request_seconds=2 * 0.14831910300108575),
        kv_tokens=0.0,
    ),
    "ray_sglang/2.60.0__written-loaded": Expected(
        totals(computed_input=5000, cached_input=700, output=3240, requests_success=26, requests_abort=2),
        7,
        3,
        work=totals(sequence_steps=3240, first_tokens=20),
    ),
    "ray_sglang/2.60.0__written-later": Expected(
        totals(computed_input=5600, cached_input=900, output=3901, requests_success=31, requests_abort=3),
        5,
        0,
        work=totals(sequence_steps=3901, first_tokens=24),
    ),
}
