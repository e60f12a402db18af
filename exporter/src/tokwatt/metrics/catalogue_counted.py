"""Families that are counted: tokens, measured and given energy, dollars and what goes with them."""

from __future__ import annotations

from typing import Final

from tokwatt.metrics import totals
from tokwatt.metrics.family import MODEL, Family, counter

COUNTED: Final[tuple[Family, ...]] = (
    # Tokens
    counter(
        "tokwatt_input_tokens_total",
        MODEL,
        'Prompt tokens computed by the server. All prompt tokens where tokwatt_server_info says input="all".',
        totals.input_tokens,
    ),
    counter(
        "tokwatt_cached_input_tokens_total",
        MODEL,
        "Prompt tokens served from a prefix cache, not part of tokwatt_input_tokens_total.",
        totals.cached_input_tokens,
    ),
    counter("tokwatt_output_tokens_total", MODEL, "Generated tokens, reasoning tokens included.", totals.output_tokens),
    counter(
        "tokwatt_requests_total",
        (*MODEL, "outcome"),
        "Requests that the server counted as ended, by outcome (success, error, abort).",
        totals.requests,
    ),
    counter(
        "tokwatt_meaningful_responses_total",
        ("server",),
        "Meaningful responses of this server as the application counts them (responses[].meaningful).",
        totals.meaningful_responses,
    ),
    # Measured energy: one boundary, one name, so that sum() is true
    counter(
        "tokwatt_gpu_energy_joules_total",
        ("device", "source"),
        "Energy measured on GPU boards.",
        totals.measured("gpu"),
    ),
    counter(
        "tokwatt_cpu_energy_joules_total",
        ("device", "source"),
        "Energy measured on CPU packages.",
        totals.measured("cpu"),
    ),
    counter(
        "tokwatt_dram_energy_joules_total", ("device", "source"), "Energy measured on DRAM.", totals.measured("dram")
    ),
    counter(
        "tokwatt_host_energy_joules_total",
        ("device", "source"),
        "Energy measured on whole servers (BMC). Contains GPUs.",
        totals.measured("host"),
    ),
    counter(
        "tokwatt_outlet_energy_joules_total",
        ("device", "source"),
        "Energy measured at power outlets. Contains hosts.",
        totals.measured("outlet"),
    ),
    # Attributed energy
    counter(
        "tokwatt_server_gpu_energy_joules_total",
        (*MODEL, "phase"),
        "GPU energy given to this inference server: that of the GPUs it owns, and of shared ones its part by a rule.",
        totals.given("gpu"),
    ),
    counter(
        "tokwatt_server_host_energy_joules_total",
        (*MODEL, "phase"),
        "Host energy given to this inference server: its GPUs' draw, and its part of the rest by GPU count or a rule.",
        totals.given("host"),
    ),
    counter(
        "tokwatt_server_facility_energy_joules_total",
        (*MODEL, "phase"),
        "Facility energy given to this inference server: that of its outlets, or its host energy times PUE.",
        totals.given("facility"),
    ),
    counter(
        "tokwatt_unattributed_gpu_energy_joules_total",
        ("device",),
        "Measured GPU energy of no server. Given + unattributed = measured.",
        totals.unattributed("gpu"),
    ),
    counter(
        "tokwatt_unattributed_host_energy_joules_total",
        ("device",),
        "Measured host energy of no server. Given + unattributed = measured.",
        totals.unattributed("host"),
    ),
    counter(
        "tokwatt_unattributed_outlet_energy_joules_total",
        ("device",),
        "Measured outlet energy of no server. Given (before outlet_pue) + unattributed = measured.",
        totals.unattributed("outlet"),
    ),
    counter(
        "tokwatt_cost_dollars_total",
        (*MODEL, "phase", "component"),
        "Cost of this inference server: capacity by time, energy by joules at the widest measured boundary times PUE"
        " (outlets: times outlet_pue).",
        totals.cost,
    ),
    counter(
        "tokwatt_included_energy_dollars_total",
        (*MODEL, "phase"),
        "Worth of energy that a lease covers: part of the lease, never to be added to the cost.",
        totals.aside("included_energy_dollars"),
    ),
    counter(
        "tokwatt_energy_credit_dollars_total",
        (*MODEL, "phase"),
        "Got for energy while electricity had a negative price: to be taken off tokwatt_cost_dollars_total.",
        totals.aside("energy_credit_dollars"),
    ),
    counter(
        "tokwatt_carbon_grams_total",
        (*MODEL, "phase"),
        "Carbon emitted for this server's energy at the widest measured boundary times PUE, by the grid's intensity.",
        totals.aside("carbon_grams"),
    ),
)
