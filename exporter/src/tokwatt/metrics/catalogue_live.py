"""Families of the live window: rates, ratios, coverage and their errors."""

from __future__ import annotations

from typing import Final

from tokwatt.metrics import live, phases, totals
from tokwatt.metrics.family import BOUNDARY, MODEL, Family, gauge

_PHASE_WINDOW = "over the live window; absent while part of it is unsplit"
_WINDOW = "over the live window; absent below min_coverage"

LIVE: Final[tuple[Family, ...]] = (
    # Live gauges
    gauge("tokwatt_output_tokens_per_second", MODEL, f"Generated tokens per second {_WINDOW}.", live.output_per_second),
    gauge(
        "tokwatt_input_tokens_per_second",
        MODEL,
        f"Computed prompt tokens per second {_WINDOW}.",
        live.input_per_second,
    ),
    gauge(
        "tokwatt_server_power_watts",
        ("server", "boundary"),
        f"Mean measured power given to the server {_WINDOW}.",
        live.power,
    ),
    gauge(
        "tokwatt_host_non_gpu_power_watts",
        ("device",),
        "Mean power of a whole server less that of the GPUs in it, over the window; absent where it is not known or the"
        " GPUs draw more than the host shows.",
        totals.non_gpu_power,
    ),
    gauge(
        "tokwatt_output_tokens_per_joule",
        BOUNDARY,
        f"Tokens per watt-second: generated tokens / all energy given to the server, idle included, {_WINDOW}.",
        live.output_per_joule,
    ),
    gauge(
        "tokwatt_processed_tokens_per_joule",
        BOUNDARY,
        f"(Computed input + generated tokens) / all energy given to the server, idle included, {_WINDOW}.",
        live.processed_per_joule,
    ),
    gauge(
        "tokwatt_output_tokens_per_dollar",
        MODEL,
        f"Generated tokens / dollars (configured capacity + energy) {_WINDOW}.",
        live.output_per_dollar,
    ),
    gauge(
        "tokwatt_processed_tokens_per_dollar",
        MODEL,
        f"(Computed input + generated tokens) / dollars (configured capacity + energy) {_WINDOW}.",
        live.processed_per_dollar,
    ),
    gauge(
        "tokwatt_prefill_tokens_per_joule",
        BOUNDARY,
        f"Computed prompt tokens / energy of prefill {_PHASE_WINDOW}.",
        phases.prefill_per_joule,
    ),
    gauge(
        "tokwatt_decode_tokens_per_joule",
        BOUNDARY,
        f"Generated tokens / energy of decode {_PHASE_WINDOW}.",
        phases.decode_per_joule,
    ),
    gauge(
        "tokwatt_prefill_tokens_per_dollar",
        MODEL,
        f"Computed prompt tokens / dollars (configured capacity + energy) of prefill {_PHASE_WINDOW}.",
        phases.prefill_per_dollar,
    ),
    gauge(
        "tokwatt_decode_tokens_per_dollar",
        MODEL,
        f"Generated tokens / dollars (configured capacity + energy) of decode {_PHASE_WINDOW}.",
        phases.decode_per_dollar,
    ),
    gauge(
        "tokwatt_phase_error_ratio",
        ("server", "boundary"),
        "Half-width of the 90 % interval of the prefill share of busy energy; absent where it is exact or unsplit.",
        phases.share_error,
    ),
    gauge(
        "tokwatt_phase_energy_error_ratio",
        ("server", "boundary", "phase"),
        "Half-width of the 90 % interval of a phase's energy as a share of it: the error of its tokens per joule.",
        phases.energy_error,
    ),
    gauge(
        "tokwatt_response_cost_dollars",
        MODEL,
        "Dollars per meaningful response: generated tokens per response x attempts x dollars per generated token + "
        f"dollars of support, {_WINDOW}.",
        live.response_cost,
    ),
    gauge(
        "tokwatt_response_energy_joules",
        BOUNDARY,
        "Joules per meaningful response: generated tokens per response x attempts x joules per generated token + "
        f"joules of the support servers, {_WINDOW}.",
        live.response_energy,
    ),
    gauge(
        "tokwatt_output_tokens_per_response",
        MODEL,
        f"Generated tokens, reasoning included / finished responses, {_WINDOW}.",
        live.response_output_tokens,
    ),
    gauge(
        "tokwatt_response_attempts_ratio",
        MODEL,
        f"Finished responses per meaningful response: as configured, or measured {_WINDOW}.",
        live.response_attempts,
    ),
    gauge(
        "tokwatt_support_tokens_per_response",
        MODEL,
        "Tokens of pre- and post-processing / meaningful responses: as configured, and those that support servers "
        f"processed {_WINDOW}.",
        live.response_support_tokens,
    ),
    gauge(
        "tokwatt_response_support_dollars",
        MODEL,
        f"Dollars of pre- and post-processing in tokwatt_response_cost_dollars, {_WINDOW}.",
        live.response_support_dollars,
    ),
    gauge(
        "tokwatt_response_support_joules",
        BOUNDARY,
        f"Joules of support servers in tokwatt_response_energy_joules, {_WINDOW}.",
        live.response_support_energy,
    ),
    gauge(
        "tokwatt_window_coverage_ratio",
        ("server", "boundary"),
        "Part of the live window in which both tokens and this boundary's energy were measured.",
        live.coverage,
    ),
    gauge(
        "tokwatt_energy_error_ratio",
        ("server", "boundary"),
        "Half-width of the 90 % interval of the live window's energy, as a share of it; absent below min_coverage"
        " and where a rule divides a GPU: nobody knows the error of a rule.",
        live.energy_error,
    ),
    gauge(
        "tokwatt_window_seconds",
        ("server",),
        'Length of the live window. Wider than configured where tokwatt_server_info says output="at_finish".',
        live.window_length,
    ),
    gauge(
        "tokwatt_window_end_timestamp_seconds",
        ("server",),
        'Unix time at which the live window ends: the last finish where tokwatt_server_info says output="at_finish".',
        live.window_end,
    ),
)
