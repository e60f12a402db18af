"""Series that people read wrongly: refused where the number would be wrong, told where something would be lost."""

import pytest
from support.clock import FakeClock
from support.page_server import page_server

from tokwatt.readings import Boundary, SourceContext
from tokwatt.sources.power._readout import Kind
from tokwatt.sources.power.prometheus import PrometheusOptions, PrometheusSource
from tokwatt.sources.power.promql import PromqlOptions


def options(metric: str, kind: Kind, **changes) -> PrometheusOptions:
    return PrometheusOptions(
        **({"url": "http://127.0.0.1/m", "metric": metric, "kind": kind, "boundary": Boundary.HOST} | changes)
    )


WRONG = [
    ("rPDU2DeviceStatusPower", Kind.WATTS, {}, "hundredths of a kilowatt.*0.1 times"),
    ("rPDU2DeviceStatusEnergy", Kind.KWH, {}, "tenths of a kWh.*10 times"),
    ("st4OutletEnergy", Kind.KWH, {"scale": 0.1}, "in Wh.*100 times"),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", Kind.JOULES, {}, "millijoules.*1000 times"),
    ("gpu_energy_consumed", Kind.JOULES, {"scale": 1e-3}, "microjoules"),
    ("scaph_host_power_microwatts", Kind.WATTS, {}, "microwatts"),
    ("kepler_node_cpu_joules_total", Kind.WATTS, {}, "counts energy"),
    ("kepler_platform_watts", Kind.JOULES, {}, "counts power"),
    ("kepler_node_cpu_joules_total", Kind.JOULES, {"device_label": "zone"}, "contain each other"),
    ("kepler_pod_cpu_joules_total", Kind.JOULES, {}, "share of a meter"),
    ("kepler_container_gpu_joules_total", Kind.JOULES, {}, "share of a meter"),
    ("scaph_process_power_consumption_microwatts", Kind.WATTS, {"scale": 1e-6}, "share of a meter"),
    ("rPDU2DeviceStatusApparentPower", Kind.WATTS, {"scale": 10}, "apparent power"),
    ("network_ups_tools_ups_power", Kind.WATTS, {}, "apparent power"),
    ("pdu_outlet_apparent_power_voltamperes", Kind.WATTS, {}, "apparent power"),
    ("network_ups_tools_ups_load", Kind.WATTS, {"scale": 7.5}, "an estimate"),
]
RIGHT = [
    ("rPDU2DeviceStatusPower", Kind.WATTS, {"scale": 10}),
    ("rPDU2DeviceStatusEnergy", Kind.KWH, {"scale": 0.1}),
    ("rPDU2DeviceStatusEnergy", Kind.JOULES, {"scale": 360000}),
    ("st4OutletEnergy", Kind.KWH, {"scale": 0.001}),
    ("network_ups_tools_ups_realpower", Kind.WATTS, {}),
    ("kepler_node_cpu_joules_total", Kind.JOULES, {"device_label": "path", "labels": {"zone": "package"}}),
    ("kepler_platform_watts", Kind.WATTS, {}),
    ("scaph_host_energy_microjoules", Kind.JOULES, {"scale": 1e-6}),
    ("nobody_knows_this_series", Kind.KWH, {"scale": 0.123}),
]


@pytest.mark.parametrize(("metric", "kind", "changes", "words"), WRONG, ids=[f"{w[0]}-{w[3][:12]}" for w in WRONG])
def test_a_series_that_would_be_read_wrongly_is_refused_with_the_reason(metric, kind, changes, words):
    with pytest.raises(ValueError, match=words):
        options(metric, kind, **changes)


@pytest.mark.parametrize(("metric", "kind", "changes"), RIGHT, ids=[f"{r[0]}-{r[1]}" for r in RIGHT])
def test_one_that_is_read_rightly_is_not(metric, kind, changes):
    assert options(metric, kind, **changes).metric == metric


@pytest.mark.parametrize("query", ["rPDU2DeviceStatusPower", ' rPDU2DeviceStatusPower{instance="pdu1"} '])
def test_a_plain_selector_of_promql_is_held_to_the_same(query):
    wanted = {"url": "http://127.0.0.1:9090", "query": query, "kind": Kind.WATTS, "boundary": Boundary.OUTLET}
    with pytest.raises(ValueError, match="hundredths of a kilowatt"):
        PromqlOptions(**wanted)
    assert PromqlOptions(**wanted, scale=10)
    assert PromqlOptions(**(wanted | {"query": f"10 * sum({query})"}))  # an expression is its writer's


@pytest.mark.parametrize(("changes", "told"), [({}, 1), ({"wraps_at_joules": 262143.3}, 0)])
async def test_a_counter_that_wraps_unhandled_is_read_and_told(changes, told):
    async with page_server("node_rapl_package_joules_total 5\n") as page:
        wanted = options("node_rapl_package_joules_total", Kind.JOULES, url=page.url, boundary=Boundary.CPU, **changes)
        source = PrometheusSource(wanted, SourceContext("cpu", FakeClock()))
        reading = await source.read()
        await source.aclose()
    assert len(reading.readings) == 1
    assert ["wraps_at_joules" in text for text in reading.warnings] == [True] * told
