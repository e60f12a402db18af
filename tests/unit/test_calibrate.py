"""`tokwatt calibrate` on a machine whose seconds and joules per token are known, on a clock that the test owns."""

from __future__ import annotations

import asyncio
import json
import random
import textwrap

import pytest
from support.machine_double import JOULES, SECONDS, DoubleBmc, DoubleGpu, DoubleServer, MachineDouble, Work
from support.simclock import SimClock

from tokwatt.app.calibrate import CalibrationError, Campaign, Limits, Outcome
from tokwatt.app.calibrate_readings import Readings
from tokwatt.app.calibrate_report import as_json, as_text
from tokwatt.config import load_config
from tokwatt.economics.plan import Pace, Plan, ServerPlan
from tokwatt.readings import GpuHold, OwnersReading, PowerSource, Refused, ServerGpus, Unavailable
from tokwatt.snapshot import Given

QUICK = Limits(seconds=150.0, prompt_tokens=512, answer_tokens=128)


class Owner:
    """Finds the server's GPU, once it is asked."""

    name, server, period_seconds, timeout_seconds = "gpus of chat", "chat", 10.0, 1.0

    def __init__(self, clock: SimClock, device: str) -> None:
        self.clock, self.device, self.closed = clock, device, False

    async def read(self) -> OwnersReading:
        return OwnersReading(self.clock(), {"chat": ServerGpus((GpuHold(self.device),), "by the test")})

    async def aclose(self) -> None:
        self.closed = True


class Rig:
    """A machine, its meters and a campaign, all on one clock."""

    def __init__(self, *, bmc: bool = False, meters: bool = True, **machine: object) -> None:
        self.clock = SimClock()
        self.machine = MachineDouble(self.clock, **machine)  # type: ignore[arg-type]
        self.gpu = DoubleGpu(self.machine)
        self.said: list[str] = []
        power: list[PowerSource] = [self.gpu] if meters else []
        if bmc:
            power.append(DoubleBmc(self.machine))
        plan = Plan((ServerPlan("chat", all_gpus=True),), paces={"nvml": Pace(0.1, 1), "bmc1": Pace(1, 1)})
        self.readings = Readings("chat", DoubleServer(self.machine), power, plan, self.clock, self.clock.sleep)

    async def run(self, limits: Limits = QUICK, *, force: bool = False, seed: int = 7) -> Outcome:
        campaign = Campaign(
            self.readings,
            self.machine,
            limits,
            clock=self.clock,
            sleep=self.clock.sleep,
            say=self.said.append,
            rng=random.Random(seed),
            force=force,
        )
        task = asyncio.create_task(campaign.run())
        while not task.done():
            await self.clock.advance_to_next()
        await self.readings.aclose()
        return task.result()


async def test_joules_and_seconds_per_token_come_out_within_a_few_percent() -> None:
    rig = Rig(jitter=0.03)
    outcome = await rig.run()
    times, energy = outcome.seconds, outcome.joules[Given.GPU]
    assert times.per_prefill_token.value == pytest.approx(SECONDS.prefill_token, rel=0.03)
    assert times.decode_token(1).value == pytest.approx(SECONDS.step + SECONDS.token, rel=0.02)
    assert energy.per_prefill_token.value == pytest.approx(JOULES.prefill_token, rel=0.03)
    assert energy.decode_token(1).value == pytest.approx(JOULES.step + JOULES.token, rel=0.02)
    assert energy.decode_token(4).value == pytest.approx(JOULES.step / 4 + JOULES.token, rel=0.03)
    ratio = energy.decode_to_prefill(4)
    assert ratio is not None
    assert ratio.value == pytest.approx((JOULES.step / 4 + JOULES.token) / JOULES.prefill_token, rel=0.04)
    assert outcome.idle[Given.GPU].watts == pytest.approx(90, rel=0.01)
    assert (outcome.at_once, outcome.disturbed) == (4, 0)
    assert outcome.took_seconds <= QUICK.seconds


async def test_gpus_that_are_found_at_run_time_count_as_configured_ones() -> None:
    rig = Rig()
    device = (await rig.gpu.read()).readings[0].meter.device
    owner = Owner(rig.clock, device)
    plan = Plan((ServerPlan("chat", found_gpus=True),), paces={"nvml": Pace(0.1, 1)})
    server = DoubleServer(rig.machine)
    rig.readings = Readings("chat", server, [rig.gpu], plan, rig.clock, rig.clock.sleep, [owner])
    outcome = await rig.run()
    assert outcome.joules[Given.GPU].per_prefill_token.value == pytest.approx(JOULES.prefill_token, rel=0.03)
    assert owner.closed


async def test_intervals_hold_the_truth_and_are_narrow() -> None:
    """Five machines with 5 % of jitter in every step. `pytest -s` prints the table of docs/calibrate.md."""
    truths = {
        "prefill token": JOULES.prefill_token,
        "decode token, alone": JOULES.step + JOULES.token,
        "decode token, 4 at once": JOULES.step / 4 + JOULES.token,
        "decode to prefill, 4 at once": (JOULES.step / 4 + JOULES.token) / JOULES.prefill_token,
    }
    errors: dict[str, list[float]] = {name: [] for name in truths}
    widths: dict[str, list[float]] = {name: [] for name in truths}
    inside = 0
    for seed in range(5):
        energy = (await Rig(jitter=0.05, seed=seed).run(seed=seed)).joules[Given.GPU]
        found = (
            energy.per_prefill_token,
            energy.decode_token(1),
            energy.decode_token(4),
            energy.decode_to_prefill(4),
        )
        for (name, truth), estimate in zip(truths.items(), found, strict=True):
            assert estimate is not None
            inside += abs(estimate.value - truth) <= estimate.half_width
            errors[name].append(abs(estimate.value / truth - 1))
            widths[name].append(estimate.error_ratio or 0.0)
    for name in truths:
        typical = sorted(errors[name])[2]
        print(f"{name}: median {typical:.2%}, worst {max(errors[name]):.2%}, ± {sorted(widths[name])[2]:.2%}")
    print(f"truth inside the 90 % interval: {inside} of {5 * len(truths)}")
    assert inside >= 15, "of 20; 18 are expected"
    assert max(max(each) for each in widths.values()) < 0.02, "an interval that says nothing would hold anything"
    assert max(max(each) for each in errors.values()) < 0.02


async def test_a_slow_meter_is_waited_for_and_its_boundary_measured_too() -> None:
    outcome = await Rig(bmc=True).run(Limits(seconds=400.0, prompt_tokens=512, answer_tokens=128))
    host = outcome.joules[Given.HOST]
    # the host draws 200 W more, all the time: in busy time they belong to the work
    per_token = JOULES.prefill_token + 200 * SECONDS.prefill_token
    step = JOULES.step + JOULES.token + 200 * (SECONDS.step + SECONDS.token)
    assert host.per_prefill_token.value == pytest.approx(per_token, rel=0.05)
    assert host.decode_token(1).value == pytest.approx(step, rel=0.03)
    assert outcome.idle[Given.HOST].watts == pytest.approx(290, rel=0.01)


async def test_a_machine_with_two_slots_is_told_apart_from_one_with_four() -> None:
    outcome = await Rig(slots=2).run()
    assert outcome.at_once == 2
    expected = JOULES.step / 2 + JOULES.token
    assert outcome.joules[Given.GPU].decode_token(2).value == pytest.approx(expected, rel=0.03)


async def test_no_prompt_begins_like_another_and_no_limit_is_passed() -> None:
    rig = Rig()
    limits = Limits(seconds=150.0, requests=200, tokens=60_000, prompt_tokens=512, answer_tokens=64)
    outcome = await rig.run(limits)
    beginnings = [tuple(prompt.split()[:6]) for prompt in rig.machine.prompts]
    assert len(set(beginnings)) == len(beginnings)
    assert outcome.requests == rig.machine.requests <= limits.requests
    assert outcome.prompt_tokens + outcome.output_tokens <= limits.tokens


async def test_without_a_meter_there_are_seconds_and_no_joules() -> None:
    outcome = await Rig(meters=False).run()
    assert outcome.joules == {}
    assert outcome.seconds.per_prefill_token.value == pytest.approx(SECONDS.prefill_token, rel=0.01)
    assert "no joules" in as_text("chat", outcome)


async def test_a_meter_that_fails_leaves_its_boundary_out() -> None:
    rig = Rig()
    rig.gpu.trouble = Unavailable("driver gone")
    outcome = await rig.run()
    assert outcome.joules == {}
    assert outcome.troubles == {"nvml": "driver gone"}


class TestRefusals:
    async def test_a_busy_server_is_not_measured(self) -> None:
        rig = Rig()
        others = asyncio.create_task(rig.machine.complete("somebody else", 100_000))
        await rig.clock.settle()
        with pytest.raises(CalibrationError, match="1 requests run"):
            await rig.run()
        others.cancel()
        assert rig.machine.requests == 1, "nothing was sent"

    async def test_unless_forced(self) -> None:
        rig = Rig()
        rig.machine.running = 1
        assert (await rig.run(force=True)).joules

    async def test_tokens_of_others_are_seen_by_the_counters(self) -> None:
        rig = Rig()

        async def others() -> None:
            while True:
                await rig.clock.sleep(0.5)
                if rig.machine.requests:
                    rig.machine.count_for_others(500)

        task = asyncio.create_task(others())
        with pytest.raises(CalibrationError, match="others use the server"):
            await rig.run()
        task.cancel()

    async def test_a_server_too_slow_for_the_time_says_how_much_it_needs(self) -> None:
        rig = Rig(seconds=Work(0.1, 0.01, 0.5, 0.1))
        with pytest.raises(CalibrationError, match=r"--seconds \d+ or more"):
            await rig.run()

    async def test_more_tokens_than_allowed_are_not_sent(self) -> None:
        rig = Rig()
        with pytest.raises(CalibrationError, match="shorter --prompt-tokens"):
            await rig.run(Limits(seconds=150.0, tokens=500, prompt_tokens=512, answer_tokens=64))

    async def test_a_request_that_is_refused_ends_it_with_the_servers_words(self) -> None:
        rig = Rig()
        rig.machine.trouble = Refused("HTTP 401", hint="give the key's file with --api-key-file")
        with pytest.raises(Refused, match="api-key-file"):
            await rig.run()


async def test_the_report_says_what_it_means_and_how_to_use_it() -> None:
    outcome = await Rig().run()
    text = as_text("chat", outcome)
    assert "idle power (gpu): 90.0 W" in text
    assert "decode token, 4 at once" in text
    assert "phases: {method: weights, decode_to_prefill: 42.8" in text
    advice = text[text.index("  servers:") :]
    config, _ = load_config(
        textwrap.dedent(advice).replace("- name: chat", "- name: chat\n    url: http://127.0.0.1:8000/metrics"),
        "advice.yml",
        power_specs={},
        engines=(),
    )
    assert config.servers[0].phases.decode_to_prefill == pytest.approx(42.86, rel=0.01), "its advice is a configuration"
    said = json.loads(json.dumps(as_json("chat", outcome)))
    assert said["joules"]["gpu"]["per_prefill_token"]["value"] == pytest.approx(0.063, rel=0.02)
    assert said["decode_to_prefill"]["gpu"]["value"] == pytest.approx((10.2 / 4 + 0.15) / 0.063, rel=0.02)
    assert len(said["blocks"]) == 18
