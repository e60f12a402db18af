"""Any exporter's page as a meter: the right series in the right unit, and no guess where two could be meant."""

import contextlib

import pytest
from support.clock import FakeClock
from support.page_server import PageFault, page_server

from tokwatt.ledger.ledger import Ledger
from tokwatt.readings import (
    Boundary,
    DeviceLost,
    EnergyCounter,
    Fidelity,
    Malformed,
    Method,
    PowerSample,
    Refused,
    SourceContext,
    TimedOut,
    Unavailable,
)
from tokwatt.sources.power import specs
from tokwatt.sources.power._readout import Kind
from tokwatt.sources.power.prometheus import PrometheusOptions, PrometheusSource

PDU = """\
# HELP rPDU2OutletMeteredStatusPower The power of the outlet.
# TYPE rPDU2OutletMeteredStatusPower gauge
rPDU2OutletMeteredStatusPower{index="1",name="node-a psu1"} 412
rPDU2OutletMeteredStatusPower{index="2",name="node-a psu2"} 398
rPDU2OutletMeteredStatusPower{index="3",name="node-b"} 0
rPDU2OutletMeteredStatusPowerFactor{index="1"} 0.97
snmp_scrape_duration_seconds 0.1
"""
KEPLER = """\
kepler_node_cpu_joules_total{zone="package",path="intel-rapl:0",node_name="n1"} 51234.5
kepler_node_cpu_joules_total{zone="dram",path="intel-rapl:0:0",node_name="n1"} 8120.25
kepler_node_cpu_watts{zone="package"} 61
"""
NOW = 1_800_000_000.0  # the wall clock


@contextlib.asynccontextmanager
async def meter(body: str, **changes):
    clock = FakeClock()
    wanted = {"kind": Kind.WATTS, "boundary": Boundary.OUTLET, "metric": "rPDU2OutletMeteredStatusPower"} | changes
    async with page_server(body) as page:
        options = PrometheusOptions(url=page.url, **wanted)
        source = PrometheusSource(options, SourceContext("rack3", clock), wall_clock=lambda: NOW + clock.now)
        try:
            yield page, source, clock
        finally:
            await source.aclose()


async def test_a_filter_to_one_series_is_one_device_named_like_the_meter():
    async with meter(PDU, labels={"index": "1"}) as (_page, source, clock):
        reading = await source.read()
        (one,) = reading.readings
        assert isinstance(one, PowerSample)
        assert (one.watts, one.at_seconds) == (412.0, clock.now)
        assert (one.meter.device, one.meter.source, one.meter.boundary) == ("rack3", "rack3", Boundary.OUTLET)
        assert (one.meter.fidelity, one.meter.method) == (Fidelity.LOW, Method.INTEGRATED)
        (info,) = reading.devices
        assert info.name == "rPDU2OutletMeteredStatusPower"
        assert dict(info.details)["series"] == '{index="1", name="node-a psu1"}'


async def test_device_label_makes_one_device_of_each_series_and_an_outlet_may_show_zero():
    async with meter(PDU, device_label="name") as (_page, source, _clock):
        reading = await source.read()
        watts = {one.meter.device: one.watts for one in reading.readings}
        assert watts == {"node-a psu1": 412.0, "node-a psu2": 398.0, "node-b": 0.0}
        assert reading.failures == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, r'3 series match where one is wanted: \{index="1", name="node-a psu1"\}; .*device_label'),
        ({"device_label": "outlet"}, "no label 'outlet'"),
        ({"metric": "twice", "device_label": "pdu"}, "2 series are the same device 'a'"),
    ],
)
async def test_what_could_mean_two_things_is_refused_with_the_series(changes, words):
    body = PDU + 'twice{pdu="a",phase="1"} 1\ntwice{pdu="a",phase="2"} 2\n'
    async with meter(body, **changes) as (_page, source, _clock):
        with pytest.raises(Malformed, match=words):
            await source.read()


@pytest.mark.parametrize(
    ("kind", "scale", "value", "amount"),
    [
        (Kind.WATTS, 10.0, "87", 870.0),  # hundredths of a kW
        (Kind.WATTS, 1e-3, "412500", 412.5),  # mW
        (Kind.JOULES, 1e-6, "5.1e10", 51_000.0),  # microjoules
        (Kind.KWH, 1.0, "7855.1", 7855.1 * 3.6e6),
        (Kind.KWH, 0.1, "12", 1.2 * 3.6e6),  # tenths of a kWh
        (Kind.KWH, 1e-3, "412", 0.412 * 3.6e6),  # Wh
    ],
)
async def test_kind_and_scale_lead_to_base_units(kind, scale, value, amount):
    async with meter(f"m {value}\n", metric="m", kind=kind, scale=scale) as (_page, source, _clock):
        (one,) = (await source.read()).readings
        assert (one.watts if kind is Kind.WATTS else one.joules) == pytest.approx(amount)
        assert isinstance(one, PowerSample if kind is Kind.WATTS else EnergyCounter)


async def test_a_kepler_zone_is_a_counter_of_the_processor():
    changes = {"kind": Kind.JOULES, "boundary": Boundary.CPU, "metric": "kepler_node_cpu_joules_total"}
    async with meter(KEPLER, labels={"zone": "package"}, device="node-a", **changes) as (_page, source, _clock):
        (one,) = (await source.read()).readings
        assert (one.joules, one.meter.device, one.meter.boundary) == (51234.5, "node-a", Boundary.CPU)
        assert (one.meter.fidelity, one.meter.method) == (Fidelity.HIGH, Method.COUNTER)


async def test_a_counter_that_wraps_at_a_known_energy_loses_nothing():
    ledger = Ledger()
    changes = {"kind": Kind.JOULES, "boundary": Boundary.CPU, "metric": "node_rapl_package_joules_total"}
    line = 'node_rapl_package_joules_total{{index="0",path="/sys/class/powercap/intel-rapl:0"}} {}\n'
    async with meter(line.format(262_000.0), wraps_at_joules=262_143.32885, **changes) as (page, source, clock):
        ledger.add_power(await source.read(), 60)
        clock.advance(5)
        page.body = line.format(856.67115)
        ledger.add_power(await source.read(), 60)
    (curve,) = ledger.curves.values()
    assert (curve.line.end_value, curve.resets) == (pytest.approx(1000.0), 0)


async def test_uuids_without_their_prefix_become_those_of_nvml():
    changes = {"metric": "nvidia_smi_power_draw_watts", "boundary": Boundary.GPU}
    body = 'nvidia_smi_power_draw_watts{uuid="5fd4f087-86f3"} 300\nnvidia_smi_power_draw_watts{uuid="a5"} 70\n'
    async with meter(body, device_label="uuid", device_prefix="GPU-", **changes) as (_page, source, _clock):
        assert [one.meter.device for one in (await source.read()).readings] == ["GPU-5fd4f087-86f3", "GPU-a5"]


@pytest.mark.parametrize(
    ("value", "boundary", "kind", "words"),
    [
        ("NaN", Boundary.OUTLET, Malformed, "shows nan"),
        ("+Inf", Boundary.OUTLET, Malformed, "shows inf"),
        ("-1", Boundary.OUTLET, Malformed, "shows -1"),
        ("0", Boundary.HOST, Unavailable, "0 W, which is no measurement"),
        ("0", Boundary.GPU, Unavailable, "0 W, which is no measurement"),
        ("lots", Boundary.HOST, Malformed, "cannot read the line 'm lots'"),
    ],
)
async def test_what_is_no_measurement_is_never_a_number(value, boundary, kind, words):
    async with meter(f"m {value}\n", metric="m", boundary=boundary) as (_page, source, _clock):
        with pytest.raises(kind, match=words):
            await source.read()


async def test_one_bad_device_does_not_hide_the_others():
    body = 'm{o="1"} 100\nm{o="2"} NaN\n'
    async with meter(body, metric="m", device_label="o") as (page, source, _clock):
        reading = await source.read()
        assert [one.meter.device for one in reading.readings] == ["1"]
        assert [(failure.device, type(failure.error)) for failure in reading.failures] == [("2", Malformed)]
        page.body = 'm{o="1"} 100\n'
        (failure,) = (await source.read()).failures
        assert (failure.device, type(failure.error)) == ("2", DeviceLost)


async def test_a_series_that_is_not_there_is_missed_with_a_hint():
    async with meter(PDU, metric="outlet_watts") as (_page, source, _clock):
        with pytest.raises(Unavailable, match=r"does not show outlet_watts.*it shows rPDU2OutletMeteredStatusPower,"):
            await source.read()
    async with meter(PDU, labels={"index": "7"}) as (page, source, _clock):
        with pytest.raises(Unavailable, match=r'labels \{index="7"\} \(the first of 3 is \{index="1"'):
            await source.read()
        page.body = PDU.replace('index="3"', 'index="7"').replace("} 0", "} 5")
        assert (await source.read()).readings[0].watts == 5.0
        page.body = "up 1\n"
        with pytest.raises(DeviceLost, match="nothing on it sounds like power"):
            await source.read()


async def test_the_same_series_twice_is_refused():
    async with meter(PDU + PDU, labels={"index": "1"}) as (_page, source, _clock):
        with pytest.raises(Malformed, match="the same series twice"):
            await source.read()


async def test_bad_lines_of_other_metrics_do_not_matter():
    async with meter('garbage }{\nother{ 1\nm 5\n  m{a="b"} 6 \n', metric="m", device_label="a") as (_p, source, _c):
        with pytest.raises(Malformed, match="no label 'a'"):
            await source.read()


async def test_a_timestamp_on_the_page_places_the_sample_and_a_repeated_one_is_no_new_reading():
    clock_at_start = NOW + 100.0
    line = f"m 412 {round((clock_at_start - 20) * 1000)}\n"
    async with meter(line, metric="m") as (page, source, clock):
        first = await source.read()
        assert first.readings[0].at_seconds == pytest.approx(clock.now - 20, abs=1e-3)
        clock.advance(5)
        assert (await source.read()).readings == first.readings
        page.body = f"m 413 {round(clock_at_start * 1000)}\n"
        assert (await source.read()).readings[0].at_seconds == pytest.approx(clock.now - 5, abs=1e-3)
        page.body = f"m 413 {round((clock_at_start - 400) * 1000)}\n"
        with pytest.raises(Unavailable, match="405 s old"):
            await source.read()


async def test_a_counter_renewed_slowly_is_not_taken_for_no_power_and_double_power():
    ledger = Ledger()
    changes = {"metric": "m", "kind": Kind.JOULES, "boundary": Boundary.HOST, "update_seconds": 30.0}
    async with meter("", period_seconds=15.0, **changes) as (page, source, clock):
        for step in range(9):
            page.body = f"m {1e6 + 9000.0 * (step // 2)}\n"
            with contextlib.suppress(Unavailable):
                ledger.add_power(await source.read(), 3.5 * 15)
            clock.advance(15)
    (curve,) = ledger.curves.values()
    assert curve.line.end_value == pytest.approx(27_000.0)
    assert curve.line.at(curve.line.start_seconds + 45) == pytest.approx(13_500.0)


async def test_a_counter_that_stands_still_is_told():
    async with meter("m 5\n", metric="m", kind=Kind.KWH, boundary=Boundary.HOST) as (_page, source, clock):
        for _ in range(5):
            await source.read()
            clock.advance(5)
        with pytest.raises(Unavailable, match=r"has not changed for 25 s.*coarse steps"):
            await source.read()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (PageFault.HANG, TimedOut),
        (PageFault.STALLS, TimedOut),
        (PageFault.RESET, Unavailable),
        (PageFault.TRUNCATED, Malformed),
        (PageFault.ERROR_500, Malformed),
        (PageFault.UNAUTHORIZED, Refused),
    ],
)
async def test_a_fault_ends_in_time_and_reading_goes_on_after_it(fault, kind):
    async with meter(PDU, labels={"index": "1"}, timeout_seconds=0.2) as (page, source, _clock):
        page.fault = fault
        with pytest.raises(kind):
            await source.read()
        page.fault = PageFault.NONE
        assert (await source.read()).readings[0].watts == 412.0


@pytest.mark.parametrize(
    ("body", "words"),
    [("<html>login</html>", "web page"), ('{"error": "no"}', "JSON"), ("# EOF", "does not show")],
)
async def test_pages_of_another_kind_say_so(body, words):
    async with meter(body) as (_page, source, _clock):
        with pytest.raises((Malformed, Unavailable), match=words):
            await source.read()


async def test_a_rotating_token_is_read_anew_and_never_shown(tmp_path):
    token = tmp_path / "token"
    async with meter(PDU, labels={"index": "1"}, bearer_token_file=str(token)) as (_page, source, _clock):
        with pytest.raises(Refused, match="cannot read the token file"):
            await source.read()
        token.write_text("hunter2\n")
        assert (await source.read()).readings[0].watts == 412.0


def test_the_spec_opens_a_source():
    spec = specs()["prometheus"]
    options = PrometheusOptions(url="http://127.0.0.1:9/metrics", kind=Kind.WATTS, boundary=Boundary.HOST, metric="m")
    source = spec.open(options, SourceContext("psu", FakeClock()))
    assert (source.name, source.period_seconds, source.timeout_seconds) == ("psu", 5.0, 3.0)
    assert not spec.detect


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": 0.0}, "scale"),
        ({"scale": float("inf")}, "scale"),
        ({"metric": 'm{a="b"}'}, "metric must be a bare metric name"),
        ({"metric": ""}, "metric"),
        ({"device": "a", "device_label": "b"}, "device names the only device"),
        ({"update_seconds": 30.0}, "period_seconds must be at least 12"),
        ({"update_seconds": -1.0}, "update_seconds"),
        ({"wraps_at_joules": 5.0}, "wraps_at_joules goes with an energy counter"),
        ({"url": "ftp://127.0.0.1/"}, "url"),
    ],
)
def test_impossible_options_are_refused(changes, words):
    fine = {"url": "http://127.0.0.1:9/metrics", "kind": Kind.WATTS, "boundary": Boundary.HOST, "metric": "m"}
    with pytest.raises(ValueError, match=words):
        PrometheusOptions(**(fine | changes))
