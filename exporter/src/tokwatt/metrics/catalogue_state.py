"""Families about what is in force, what is measured, and how the exporter and its sources fare."""

from __future__ import annotations

from typing import Final

from tokwatt.metrics import health, totals
from tokwatt.metrics.family import Family, Kind, counter, gauge

STATE: Final[tuple[Family, ...]] = (
    # Prices
    gauge(
        "tokwatt_capacity_price_dollars_per_second",
        ("server",),
        "Price in force of the hardware this server holds.",
        totals.capacity_price,
    ),
    gauge(
        "tokwatt_electricity_price_dollars_per_joule",
        (),
        "Electricity price in force.",
        totals.electricity_price,
    ),
    gauge(
        "tokwatt_grid_carbon_grams_per_joule",
        (),
        "Carbon intensity of the grid in force: grams of CO2 equivalent / joule.",
        totals.carbon_intensity,
    ),
    gauge("tokwatt_pue_ratio", (), "Power usage effectiveness in force: facility energy / IT energy.", totals.pue),
    gauge(
        "tokwatt_outlet_pue_ratio",
        (),
        "Facility energy / outlet energy in force, for servers whose outlets are measured; PUE is not applied to them.",
        totals.outlet_pue,
    ),
    # Identity
    gauge(
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
    gauge(
        "tokwatt_meter_info",
        ("source", "boundary", "device", "fidelity", "method", "error_ratio", "resolution", "renewed_seconds"),
        "How a device's energy is measured (method attributed: a rule divides it between servers), and what its meter "
        "declares of itself; constant 1.",
        health.meter_info,
    ),
    gauge(
        "tokwatt_meter_energy_to_power_ratio",
        ("source", "device"),
        "Energy of a hardware counter / integrated power of the same device over the last minutes; about 1 if both are "
        "right.",
        health.energy_to_power,
    ),
    # Health
    gauge("tokwatt_source_up", ("source", "kind"), "Whether the last read of a source succeeded.", health.up),
    gauge(
        "tokwatt_source_read_seconds", ("source", "kind"), "Duration of the last read of a source.", health.read_seconds
    ),
    gauge(
        "tokwatt_source_last_success_timestamp_seconds",
        ("source", "kind"),
        "Unix time of the last successful read of a source.",
        health.last_success,
    ),
    counter(
        "tokwatt_source_errors_total",
        ("source", "reason"),
        "Failed reads of a source, or of one of its devices, by reason.",
        health.errors,
    ),
    gauge(
        "tokwatt_source_missing_series",
        ("source", "series"),
        "1 for a series that the server's spec names and the healthy server does not show.",
        health.missing_series,
    ),
    counter(
        "tokwatt_counter_resets_total",
        ("source", "kind"),
        "Resets found in a source's counters (restarted server, reloaded driver); absent before the first.",
        health.resets,
    ),
    counter(
        "tokwatt_gap_seconds_total",
        ("source", "kind"),
        "Seconds between two reads of a source that lay too far apart: a power gauge's energy in them is unknown.",
        health.gap_seconds,
    ),
    gauge(
        "tokwatt_config_last_reload_successful",
        (),
        "Whether the last configuration reload succeeded; the running configuration is the last good one.",
        health.reload_successful,
    ),
    gauge(
        "tokwatt_config_last_reload_success_timestamp_seconds",
        (),
        "Unix time of the last successful configuration load.",
        health.reload_timestamp,
    ),
)
