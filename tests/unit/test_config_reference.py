from dataclasses import fields

from support.config_specs import ENGINES, POWER_SPECS

from tokwatt.config import (
    CapacityPrice,
    Config,
    CounterConfig,
    ElectricityPrice,
    Prices,
    ResponseConfig,
    ServerConfig,
    load_config,
)
from tokwatt.config.reference import EXAMPLE, render_reference


def test_the_example_is_a_configuration_without_warnings():
    config, warnings = load_config(EXAMPLE, "tokwatt.yml", power_specs=POWER_SPECS, engines=ENGINES)
    assert [server.name for server in config.servers] == ["chat", "guardrail"]
    assert warnings == ()


def test_every_setting_has_a_row_that_says_what_it_means():
    page = render_reference(POWER_SPECS, ENGINES)
    prefixes = {
        Config: "",
        ServerConfig: "servers[].",
        Prices: "prices.",
        CapacityPrice: "prices.capacity.",
        ElectricityPrice: "prices.electricity.",
        ResponseConfig: "responses[].",
        CounterConfig: "responses[].meaningful.",
        **{spec.options: "meters[]." for spec in POWER_SPECS.values()},
    }
    for options, prefix in prefixes.items():
        for setting in fields(options):
            assert setting.metadata["help"]
            assert f"| `{prefix}{setting.name}` | " in page
    assert "| `tick_seconds` | number (seconds) | `1` | how often" in page
    assert "| `meters[].host` | text | required | address of the BMC |" in page
    assert "| `meters[].port` | whole number, at least 1, at most 65535 | `623` | UDP port |" in page
    assert "| `servers[].role` | `both`, `prefill`, `decode`, `support` | `both` |" in page
