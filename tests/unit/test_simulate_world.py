import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from support.simclock import SimClock

from tokwatt.simulate.faults import DEMO_FAULTS, Fault, FaultKind
from tokwatt.simulate.fleet import ServerPlan
from tokwatt.simulate.load import ClosedLoop, Idle, Mix
from tokwatt.simulate.machines import LLAMA_8B_ON_H100, LLAMACPP_1B_ON_CPU
from tokwatt.simulate.meters import HostModel
from tokwatt.simulate.servers import LLAMACPP, VLLM, Behaviour
from tokwatt.simulate.world import World

READ_POWER = bytes([0xDC, 0x01, 0x00, 0x00])


def busy(start_seconds: float, seed: int) -> ClosedLoop:
    return ClosedLoop(Mix(300, 60), start_seconds=start_seconds, users=6, seed=seed)


SMALL_FLEET = (ServerPlan("one", VLLM, "acme/one", LLAMA_8B_ON_H100, busy),)


def world_on(clock: SimClock, fleet: tuple[ServerPlan, ...] | None = SMALL_FLEET, **options: object) -> World:
    return World(fleet, clock=clock, unix_clock=clock.unix, sleep=clock.sleep, **options)  # type: ignore[arg-type]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session:
        yield session


async def fetch(http: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with http.get(url) as answer:
        return answer.status, await answer.text()


def counter(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(name)).rsplit(" ", 1)[1])


async def test_demo_fleet_answers_as_its_engines_do(http):
    clock = SimClock()
    async with world_on(clock, fleet=None) as world:
        clock.now += 30.0
        assert [(server.name, server.engine, len(server.gpus)) for server in world.servers] == [
            ("sim-chat", "vllm", 1),
            ("sim-code", "vllm", 4),
            ("sim-edge", "llamacpp", 1),
            ("sim-guard", "vllm", 1),
        ]
        assert len(world.gpus) == 8
        assert all(gpu.uuid.startswith("GPU-51d00000-") and "(simulated)" in gpu.name for gpu in world.gpus)
        for server in world.servers:
            base = server.url.removesuffix("/metrics")
            status, text = await fetch(http, server.url)
            truth = world.tokens_between(server.name, world.start_seconds, server.sampled_at_seconds[-1])
            if server.engine == VLLM:
                assert counter(text, "vllm:generation_tokens_total") == truth.output_tokens > 0
                assert "simulated" in (await fetch(http, f"{base}/version"))[1]
            else:
                assert counter(text, "llamacpp:tokens_predicted_total") == truth.finished_output_tokens > 0
                assert "simulated" in (await fetch(http, f"{base}/props"))[1]
            assert status == 200
            assert server.model in (await fetch(http, f"{base}/v1/models"))[1]


async def test_same_seed_same_world():
    def story(seed: int) -> list[float]:
        clock = SimClock()
        world = world_on(clock, fleet=None, seed=seed)
        clock.now += 60.0
        start = world.start_seconds
        return [joules for gpu in world.gpus for joules in [world.gpu_joules_between(gpu.uuid, start, clock.now)]]

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_energy_adds_up_from_gpus_to_servers_to_the_host():
    clock = SimClock()
    host = HostModel(base_watts=1000.0, fan_ratio=0.1, psu_efficiency=0.9)
    world = world_on(clock, fleet=None, host=host)
    start, end = world.start_seconds + 10.0, world.start_seconds + 40.0
    clock.now = end
    gpus = {gpu.uuid: world.gpu_joules_between(gpu.uuid, start, end) for gpu in world.gpus}

    for server in world.servers:
        mine = sum(gpus[uuid] for uuid in server.gpus)
        assert mine == pytest.approx(world.energy_between(server.name, start, end).joules)
    assert world.host_joules_between(start, end) == pytest.approx((1000.0 * 30.0 + 1.1 * sum(gpus.values())) / 0.9)
    code = [gpus[uuid] for uuid in world.server("sim-code").gpus]
    assert len(set(code)) == 4
    assert max(code) / min(code) < 1.05


def test_engine_without_gpu_heats_the_host():
    clock = SimClock()
    fleet = (ServerPlan("cpu", LLAMACPP, "acme/1b", LLAMACPP_1B_ON_CPU, busy),)
    world = world_on(clock, fleet, spare_gpus=0, host=HostModel(base_watts=0.0, fan_ratio=0.0, psu_efficiency=1.0))
    clock.now += 20.0
    start = world.start_seconds
    assert world.gpus == ()
    assert world.host_joules_between(start, clock.now) == world.energy_between("cpu", start, clock.now).joules > 20 * 18


async def test_meters_of_the_world_read_its_truth():
    clock = SimClock(0.0)
    world = world_on(clock)
    nvml = world.nvml_binding()
    nvml.nvmlInit()
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    first = nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    clock.now = 60.0
    joules = (nvml.nvmlDeviceGetTotalEnergyConsumption(handle) - first) / 1e3
    assert joules == pytest.approx(world.gpu_joules_between(world.gpus[0].uuid, 0.0, 60.0), abs=0.01)
    reply = await world.bmc_session().command(0x2C, 0x02, READ_POWER)
    assert int.from_bytes(reply.data[1:3], "little") == round(world.host_joules_between(59.0, 60.0))


async def test_crash_refuses_and_comes_back_on_the_same_port_from_zero(http):
    clock = SimClock()
    async with world_on(clock) as world:
        server = world.server("one")
        clock.now += 20.0
        before = counter((await fetch(http, server.url))[1], "vllm:generation_tokens_total")
        await server.crash()
        with pytest.raises(aiohttp.ClientConnectorError):
            await fetch(http, server.url)
        clock.now += 10.0
        await server.come_back()
        clock.now += 1.0
        text = (await fetch(http, server.url))[1]
        assert 0 < counter(text, "vllm:generation_tokens_total") < before
        assert counter(text, "process_start_time_seconds") == pytest.approx(clock.unix() - 1.0)
        total = world.tokens_between("one", world.start_seconds, clock.now).output_tokens
        assert total == before + counter(text, "vllm:generation_tokens_total")
        assert world.energy_between("one", clock.now - 11.0, clock.now - 1.0).busy_seconds == 0.0


async def test_behaviours_of_a_sick_server(http):
    clock = SimClock()
    async with world_on(clock) as world:
        server = world.server("one")
        server.behaviour = Behaviour(status=500)
        assert (await fetch(http, server.url))[0] == 500

        server.behaviour = Behaviour(hangs=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await fetch(http, server.url)


@pytest.mark.parametrize(
    ("behaviour", "sampled_after"),
    [
        (Behaviour(delay_before_seconds=(2.0, 2.0)), 2.0),
        (Behaviour(delay_after_seconds=(2.0, 2.0)), 0.0),
        (Behaviour(delay_before_seconds=(0.5, 0.5), delay_after_seconds=(1.5, 1.5)), 0.5),
    ],
)
async def test_late_answers_hold_the_counters_of_their_sampling(http, behaviour, sampled_after):
    clock = SimClock()
    async with world_on(clock) as world:
        server = world.server("one")
        server.behaviour = behaviour
        asked = clock.now = clock.now + 30.0
        answer = asyncio.create_task(fetch(http, server.url))
        while not answer.done():
            await asyncio.sleep(0.005)  # a real socket lies between
            await clock.advance(0.25)
        sampled = server.sampled_at_seconds[-1]
        assert sampled_after <= sampled - asked <= sampled_after + 1.0
        seen = counter((await answer)[1], "vllm:generation_tokens_total")
        assert seen == world.tokens_between("one", world.start_seconds, sampled).output_tokens


async def test_faults_come_and_go_by_their_script(http):
    clock = SimClock()
    faults = (
        Fault(5.0, FaultKind.ERRORS, "one", lasts_seconds=5.0),
        Fault(20.0, FaultKind.BMC_SILENT, lasts_seconds=5.0),
        Fault(30.0, FaultKind.RESTART, "one"),
        Fault(40.0, FaultKind.GPU_LOST, "GPU-51d00000-0000-4000-8000-000000000000", lasts_seconds=5.0),
    )
    async with world_on(clock, faults=faults) as world:
        nvml = world.nvml_binding()
        nvml.nvmlInit()
        statuses, silent, starts, lost = [], [], [], []
        for _ in range(50):
            await clock.advance(1.0)
            statuses.append((await fetch(http, world.server("one").url))[0])
            silent.append(world.bmc_session().silent)
            starts.append(world.server("one").core.starts)
            try:
                nvml.nvmlDeviceGetHandleByIndex(0)
            except nvml.NVMLError:
                lost.append(True)
        assert statuses == [200] * 4 + [500] * 5 + [200] * 41
        assert silent == [False] * 19 + [True] * 5 + [False] * 26
        assert starts == [1] * 29 + [2] * 21
        assert len(lost) == 5


async def test_fault_of_an_unknown_server_is_named():
    with pytest.raises(ValueError, match="no server 'two', there are one"):
        world_on(SimClock(), faults=(Fault(1.0, FaultKind.HANG, "two"),))
    World(faults=DEMO_FAULTS)


def test_unknown_engine_is_named():
    plan = ServerPlan("x", "tgi", "m", LLAMA_8B_ON_H100, lambda start_seconds, seed: Idle())
    with pytest.raises(ValueError, match="'tgi' is not simulated, choose vllm or llamacpp"):
        world_on(SimClock(), (plan,))


def test_cost_of_the_demo_world(capsys):
    clock = SimClock()
    world = world_on(clock, fleet=None)
    nvml = world.nvml_binding()
    nvml.nvmlInit()
    began = time.process_time()
    for _ in range(120):
        clock.now += 1.0
        for server in world.servers:
            server.metrics_text()
        for gpu in world.gpus:
            nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
        world.bmc_session().watts()
    seconds = time.process_time() - began
    with capsys.disabled():
        print(f"\n[demo world, read every second, without HTTP: {100 * seconds / 120:.2f} % of a core]")
