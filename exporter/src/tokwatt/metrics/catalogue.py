"""One row per metric family: name, type, labels, help, and where its samples come from in a Snapshot.

Docs, dashboards checks and the exposition are made from these rows. Names and meanings are API (docs/metrics.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from tokwatt.metrics import health, live, load, phases, totals
from tokwatt.metrics.sample import Sample
from tokwatt.snapshot import Snapshot


class Kind(StrEnum):
    """Prometheus metric type."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family.

    `open_labels`: more labels than listed may appear (from the user's configuration).
    `seldom`: its samples stay the same over many Snapshots, so its text is kept.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    samples: Callable[[Snapshot], Iterable[Sample]]
    open_labels: bool = False
    seldom: bool = False

    @property
    def unit(self) -> str:
        """Base unit that ends the name, "" where there is none."""
        stem = self.name.removesuffix("_total")
        last = stem.rsplit("_", 1)[-1]
        return last if last in {"joules", "watts", "seconds", "dollars", "ratio"} and "_per_" not in stem else ""


def _counter(name: str, labels: tuple[str, ...], text: str, samples: Callable[[Snapshot], Iterable[Sample]]) -> Family:
    return Family(name, Kind.COUNTER, labels, text, samples)


def _gauge(name: str, labels: tuple[str, ...], text: str, samples: Callable[[Snapshot], Iterable[Sample]]) -> Family:
    return Family(name, Kind.GAUGE, labels, text, samples)


_MODEL = ("server", "model")
_BOUNDARY = ("server", "model", "boundary")
_PHASE_WINDOW = "over the live window, ending a few seconds earlier; absent while it is unsplit"
_WINDOW = "over the live window; absent below min_coverage"

_SLICES = "in slices of about 10 s in which tokens and all its energy were measured"

CATALOGUE: tuple[Family, ...] = (
    # Tokens
    _counter(
        "tokwatt_input_tokens_total",
        _MODEL,
        'Prompt tokens computed by the server. All prompt tokens where tokwatt_server_info says input="all".',
        totals.input_tokens,
    ),
    _counter(
        "tokwatt_cached_input_tokens_total",
        _MODEL,
        "Prompt tokens served from a prefix cache, not part of tokwatt_input_tokens_total.",
        totals.cached_input_tokens,
    ),
    _counter(
        "tokwatt_output_tokens_total", _MODEL, "Generated tokens, reasoning tokens included.", totals.output_tokens
    ),
    _counter(
        "tokwatt_requests_total",
        (*_MODEL, "outcome"),
        "Requests that the server counted as ended, by outcome (success, error, abort).",
        totals.requests,
    ),
    # Measured energy: one boundary, one name, so that sum() is true
    _counter(
        "tokwatt_gpu_energy_joules_total",
        ("device", "source"),
        "Energy measured on GPU boards.",
        totals.measured("gpu"),
    ),
    _counter(
        "tokwatt_cpu_energy_joules_total",
        ("device", "source"),
        "Energy measured on CPU packages.",
        totals.measured("cpu"),
    ),
    _counter(
        "tokwatt_dram_energy_joules_total", ("device", "source"), "Energy measured on DRAM.", totals.measured("dram")
    ),
    _counter(
        "tokwatt_host_energy_joules_total",
        ("device", "source"),
        "Energy measured on whole servers (BMC). Contains GPUs.",
        totals.measured("host"),
    ),
    _counter(
        "tokwatt_outlet_energy_joules_total",
        ("device", "source"),
        "Energy measured at power outlets. Contains hosts.",
        totals.measured("outlet"),
    ),
    # Attributed energy
    _counter(
        "tokwatt_server_gpu_energy_joules_total",
        (*_MODEL, "phase"),
        "GPU energy given to this inference server: all energy of the GPUs it owns.",
        totals.given("gpu"),
    ),
    _counter(
        "tokwatt_server_host_energy_joules_total",
        (*_MODEL, "phase"),
        "Host energy given to this inference server: its GPUs' draw, and its part of the rest by GPU count.",
        totals.given("host"),
    ),
    _counter(
        "tokwatt_server_facility_energy_joules_total",
        (*_MODEL, "phase"),
        "Facility energy given to this inference server: its host energy times PUE.",
        totals.given("facility"),
    ),
    _counter(
        "tokwatt_unattributed_gpu_energy_joules_total",
        ("device",),
        "Measured GPU energy of no server. Given + unattributed = measured.",
        totals.unattributed("gpu"),
    ),
    _counter(
        "tokwatt_unattributed_host_energy_joules_total",
        ("device",),
        "Measured host energy of no server. Given + unattributed = measured.",
        totals.unattributed("host"),
    ),
    _counter(
        "tokwatt_cost_dollars_total",
        (*_MODEL, "phase", "component"),
        "Cost of this inference server: capacity by time, energy by joules at the widest measured boundary times PUE.",
        totals.cost,
    ),
    # Time, energy and tokens by load
    Family(
        "tokwatt_load_seconds_total",
        Kind.COUNTER,
        ("server", "load_le"),
        f"Time in which the server generated load_le tokens per second or less, {_SLICES}.",
        load.seconds,
        seldom=True,
    ),
    Family(
        "tokwatt_load_gpu_energy_joules_total",
        Kind.COUNTER,
        ("server", "load_le"),
        f"GPU energy given to the server in the time of tokwatt_load_seconds_total, {_SLICES}.",
        load.energy("gpu"),
        seldom=True,
    ),
    Family(
        "tokwatt_load_host_energy_joules_total",
        Kind.COUNTER,
        ("server", "load_le"),
        f"Host energy given to the server in the time of tokwatt_load_seconds_total, {_SLICES}.",
        load.energy("host"),
        seldom=True,
    ),
    Family(
        "tokwatt_load_facility_energy_joules_total",
        Kind.COUNTER,
        ("server", "load_le"),
        f"Facility energy given to the server in the time of tokwatt_load_seconds_total, {_SLICES}.",
        load.energy("facility"),
        seldom=True,
    ),
    Family(
        "tokwatt_load_output_tokens_total",
        Kind.COUNTER,
        ("server", "load_le"),
        f"Tokens that the server generated in the time of tokwatt_load_seconds_total, {_SLICES}.",
        load.output_tokens,
        seldom=True,
    ),
    # Live gauges
    _gauge(
        "tokwatt_output_tokens_per_second", _MODEL, f"Generated tokens per second {_WINDOW}.", live.output_per_second
    ),
    _gauge(
        "tokwatt_input_tokens_per_second",
        _MODEL,
        f"Computed prompt tokens per second {_WINDOW}.",
        live.input_per_second,
    ),
    _gauge(
        "tokwatt_server_power_watts",
        ("server", "boundary"),
        f"Mean measured power given to the server {_WINDOW}.",
        live.power,
    ),
    _gauge(
        "tokwatt_output_tokens_per_joule",
        _BOUNDARY,
        f"Tokens per watt-second: generated tokens / all energy given to the server, idle included, {_WINDOW}.",
        live.output_per_joule,
    ),
    _gauge(
        "tokwatt_processed_tokens_per_joule",
        _BOUNDARY,
        f"(Computed input + generated tokens) / all energy given to the server, idle included, {_WINDOW}.",
        live.processed_per_joule,
    ),
    _gauge(
        "tokwatt_output_tokens_per_dollar",
        _MODEL,
        f"Generated tokens / dollars (configured capacity + energy) {_WINDOW}.",
        live.output_per_dollar,
    ),
    _gauge(
        "tokwatt_processed_tokens_per_dollar",
        _MODEL,
        f"(Computed input + generated tokens) / dollars (configured capacity + energy) {_WINDOW}.",
        live.processed_per_dollar,
    ),
    _gauge(
        "tokwatt_prefill_tokens_per_joule",
        _BOUNDARY,
        f"Computed prompt tokens / energy of prefill {_PHASE_WINDOW}.",
        phases.prefill_per_joule,
    ),
    _gauge(
        "tokwatt_decode_tokens_per_joule",
        _BOUNDARY,
        f"Generated tokens / energy of decode {_PHASE_WINDOW}.",
        phases.decode_per_joule,
    ),
    _gauge(
        "tokwatt_prefill_tokens_per_dollar",
        _MODEL,
        f"Computed prompt tokens / dollars (configured capacity + energy) of prefill {_PHASE_WINDOW}.",
        phases.prefill_per_dollar,
    ),
    _gauge(
        "tokwatt_decode_tokens_per_dollar",
        _MODEL,
        f"Generated tokens / dollars (configured capacity + energy) of decode {_PHASE_WINDOW}.",
        phases.decode_per_dollar,
    ),
    _gauge(
        "tokwatt_phase_error_ratio",
        ("server", "boundary"),
        "Half-width of the 90 % interval of the prefill share of busy energy; absent where it is exact or unsplit.",
        phases.share_error,
    ),
    _gauge(
        "tokwatt_phase_energy_error_ratio",
        ("server", "boundary", "phase"),
        "Half-width of the 90 % interval of a phase's energy as a share of it: the error of its tokens per joule.",
        phases.energy_error,
    ),
    _gauge(
        "tokwatt_response_cost_dollars",
        _MODEL,
        f"Dollars per meaningful response: attempts x dollars / responses + support tokens x their price, {_WINDOW}.",
        live.response_cost,
    ),
    _gauge(
        "tokwatt_response_energy_joules",
        _BOUNDARY,
        f"Joules per meaningful response: attempts x energy given / responses, {_WINDOW}.",
        live.response_energy,
    ),
    _gauge(
        "tokwatt_window_coverage_ratio",
        ("server", "boundary"),
        "Part of the live window in which both tokens and this boundary's energy were measured.",
        live.coverage,
    ),
    _gauge(
        "tokwatt_window_seconds",
        ("server",),
        'Length of the live window. Wider than configured where tokwatt_server_info says output="at_finish".',
        live.window_length,
    ),
    _gauge(
        "tokwatt_window_end_timestamp_seconds",
        ("server",),
        'Unix time at which the live window ends: the last finish where tokwatt_server_info says output="at_finish".',
        live.window_end,
    ),
    # Prices
    _gauge(
        "tokwatt_capacity_price_dollars_per_second",
        ("server",),
        "Price in force of the hardware this server holds.",
        totals.capacity_price,
    ),
    _gauge("tokwatt_electricity_price_dollars_per_joule", (), "Electricity price in force.", totals.electricity_price),
    _gauge("tokwatt_pue_ratio", (), "Power usage effectiveness in force: facility energy / IT energy.", totals.pue),
    # Identity
    _gauge(
        "tokwatt_build_info", ("version", "pythonversion"), "Version of this exporter; constant 1.", health.build_info
    ),
    Family(
        "tokwatt_server_info",
        Kind.GAUGE,
        ("server", "engine", "engine_version", "role", "input", "output", "phases", "simulated"),
        "Identity of an inference server and the configured labels; constant 1.",
        health.server_info,
        open_labels=True,
    ),
    Family(
        "tokwatt_gpu_info",
        Kind.GAUGE,
        ("device", "name", "index", "source"),
        "Identity of a GPU; constant 1.",
        health.gpu_info,
    ),
    _gauge(
        "tokwatt_meter_info",
        ("source", "boundary", "device", "fidelity", "method"),
        "How a device's energy is measured; constant 1.",
        health.meter_info,
    ),
    # Health
    _gauge("tokwatt_source_up", ("source", "kind"), "Whether the last read of a source succeeded.", health.up),
    _gauge(
        "tokwatt_source_read_seconds", ("source", "kind"), "Duration of the last read of a source.", health.read_seconds
    ),
    _gauge(
        "tokwatt_source_last_success_timestamp_seconds",
        ("source", "kind"),
        "Unix time of the last successful read of a source.",
        health.last_success,
    ),
    _counter(
        "tokwatt_source_errors_total",
        ("source", "reason"),
        "Failed reads of a source, or of one of its devices, by reason.",
        health.errors,
    ),
    _gauge(
        "tokwatt_source_missing_series",
        ("source", "series"),
        "1 for a series that the server's spec names and the healthy server does not show.",
        health.missing_series,
    ),
    _counter(
        "tokwatt_counter_resets_total",
        ("source", "kind"),
        "Resets found in a source's counters (restarted server, reloaded driver); absent before the first.",
        health.resets,
    ),
    _counter(
        "tokwatt_gap_seconds_total",
        ("source", "kind"),
        "Seconds between two reads of a source that lay too far apart: a power gauge's energy in them is unknown.",
        health.gap_seconds,
    ),
    _gauge(
        "tokwatt_config_last_reload_successful",
        (),
        "Whether the last configuration reload succeeded; the running configuration is the last good one.",
        health.reload_successful,
    ),
    _gauge(
        "tokwatt_config_last_reload_success_timestamp_seconds",
        (),
        "Unix time of the last successful configuration load.",
        health.reload_timestamp,
    ),
)
