"""The page of meters: complete, and its recipes are configurations that load."""

import re

import pytest
from support.power_specs import real_power_specs

from tokwatt.app.meters_reference import render_meters
from tokwatt.config import load_config
from tokwatt.readings import SourceContext

SPECS = real_power_specs()
PAGE = render_meters(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_every_meter_states_what_a_person_must_know(name):
    spec = SPECS[name]
    (section,) = re.findall(rf"(?ms)^## {name}$(.*?)(?=^## )", PAGE)
    for text in (spec.summary, spec.needs, spec.method, spec.resolution, *spec.traps):
        assert text, f"{name} leaves a field of its SPEC empty"
        assert text in section
    assert spec.precisions, f"{name} declares no error"
    for _, declared in spec.precisions:
        assert f"±{declared.gain_ratio * 100:g} % of the reading" in section
        assert declared.renewed_every_seconds > 0


def test_the_recipes_are_valid_and_open():
    (recipes,) = re.findall(r"(?s)```yaml\n(.*?)```", PAGE)
    config, warnings = load_config(recipes, "meters.md", power_specs=SPECS, engines=())
    assert not warnings
    assert config.meters is not None
    assert len(config.meters) == 7
    for meter in config.meters:
        SPECS[meter.source].open(meter.options, SourceContext(meter.name, lambda: 0.0))
