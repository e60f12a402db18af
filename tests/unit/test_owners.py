"""Which GPUs are a server's, found out at run time: real processes, a real gRPC server, dcgm-exporter's pages."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import nvml_double
from support.kubelet_double import KubeletDouble, pod
from support.nvml_double import NvmlDouble
from support.page_server import PageFault, page_server

from tokwatt.readings import GpuHold, OwnerContext, Refused, ServerGpus, SourceError, TimedOut, Unavailable
from tokwatt.sources import owners
from tokwatt.sources.owners import lone, named, processes
from tokwatt.sources.owners._nvml import ListedGpu, MigInstance, PartOfGpu, part_of
from tokwatt.sources.owners._pod import PodSelector
from tokwatt.sources.owners._port import PortOptions
from tokwatt.sources.owners._proc import Proc
from tokwatt.sources.owners.dcgm import DcgmOwner, DcgmOwnerOptions
from tokwatt.sources.owners.kubelet import KubeletOptions, KubeletOwner
from tokwatt.sources.owners.named import NamedOptions

PAGES = Path(__file__).parents[1] / "fixtures/dcgm"
GPU0, GPU1 = NvmlDouble.uuid(0), NvmlDouble.uuid(1)
needs_driver = pytest.mark.skipif(not nvml_double.have_compiler(), reason="gcc builds the stand-in driver")


def context(url: str = "", server: str = "chat") -> OwnerContext:
    return OwnerContext(f"gpus of {server}", server, url, time.monotonic)


def devices(gpus: ServerGpus) -> list[str]:
    return [hold.device for hold in gpus.holds or ()]


def test_every_file_of_the_room_declares_a_spec():
    specs = owners.specs()
    assert set(specs) == {"dcgm", "kubelet", "lone", "named", "processes"}
    assert [name for name, spec in specs.items() if spec.configured] == ["dcgm", "kubelet", "processes"]
    for spec in specs.values():
        with pytest.raises(TypeError):
            spec.open(object(), context())


# A server: listens on a port of its own and starts a worker; prints the port, its own PID and the worker's.
SERVER = """
import os, socket, subprocess, sys, time
listener = socket.create_server(("127.0.0.1", 0))
worker = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print(listener.getsockname()[1], os.getpid(), worker.pid, flush=True)
sys.stdin.read()
worker.stdin.close()
worker.wait()
"""
# A launcher: starts a router, which listens, and a shard beside it; prints the port and both PIDs.
LAUNCHER = """
import subprocess, sys
code = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
code += "print(s.getsockname()[1], flush=True); sys.stdin.read()"
router = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
shard = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
print(router.stdout.readline().strip(), router.pid, shard.pid, flush=True)
sys.stdin.read()
for child in (router, shard):
    child.stdin.close()
    child.wait()
"""


@contextlib.contextmanager
def running(code: str):
    """Run a program that prints numbers in its first line; ends it by closing its input."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield [int(number) for number in child.stdout.readline().split()]
        finally:
            child.stdin.close()
            child.wait(30)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Make stand-in drivers. The last one made is the one that NVML opens."""
    nvml_double.load_into_this_process()

    def make(**settings) -> NvmlDouble:
        double = NvmlDouble(tmp_path, **settings)
        monkeypatch.setenv("NVML_DOUBLE_STATE", str(double.path))
        return double

    return make


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}/metrics"


@needs_driver
class TestProcesses:
    def test_the_gpus_of_the_processes_behind_the_port(self, driver):
        double = driver(gpus=3)
        with running(SERVER) as (port, server, worker), running(SERVER) as (_, stranger, _other):
            double.set_processes(0, worker)
            double.set_processes(1, server, stranger)
            double.set_processes(2, stranger)
            found = processes.find(PortOptions(), url_of(port), Proc())
            assert devices(found) == [GPU0, GPU1]
            assert found.holds[0].own == {f"process {worker}"}
            assert found.holds[0].others == frozenset()
            assert found.holds[1].others == {f"process {stranger}"}
            assert f"port {port}: process {server} (" in found.how

    def test_a_launcher_that_started_the_listener_and_the_workers(self, driver):
        double = driver(gpus=2)
        with running(LAUNCHER) as (port, router, shard), running(SERVER) as (_, stranger, _worker):
            double.set_processes(0, shard)
            double.set_processes(1, stranger)
            found = processes.find(PortOptions(), url_of(port), Proc())
            assert devices(found) == [GPU0]
            assert f"process {router} (" in found.how
            assert "and what else" in found.how

    def test_nobody_listens(self, driver):
        driver()
        with running(SERVER) as (port, *_):
            pass
        found = processes.find(PortOptions(), url_of(port), Proc())
        assert found.holds is None
        assert found.how == f"no process of this machine listens on port {port}"

    def test_a_server_that_computes_on_no_gpu(self, driver):
        driver()
        with running(SERVER) as (port, *_):
            found = processes.find(PortOptions(port=port), "", Proc())
        assert found.holds == ()
        assert "none of which computes on a GPU" in found.how

    def test_pids_of_another_namespace_are_not_believed(self, driver):
        double = driver()
        with running(SERVER) as (port, *_):
            double.set_processes(0, 2**22 + 1)  # above the kernel's highest PID
            found = processes.find(PortOptions(), url_of(port), Proc())
        assert found.holds is None
        assert "NVML's PIDs are not visible here: set `hostPID: true`" in found.how

    def test_a_driver_that_lists_no_processes(self, driver):
        double = driver(gpus=1)
        double.set_code(0, nvml_double.NOT_SUPPORTED, "processes")
        with running(SERVER) as (port, *_):
            assert processes.find(PortOptions(), url_of(port), Proc()).holds is None
            assert lone.find(PortOptions(), url_of(port), Proc()).but == ()

    def test_the_mig_instance_on_which_it_computes(self, driver):
        double = driver(gpus=1)
        double.set_mig(0, 3, 2, 2)
        with running(SERVER) as (port, server, worker), running(SERVER) as (_, stranger, _other):
            double.set_processes(0, mig={worker: 0, server: 0, stranger: 1})
            found = processes.find(PortOptions(), url_of(port), Proc())
        (hold,) = found.holds
        assert (hold.device, hold.mig_slices, hold.others) == (GPU0, 3.0, {f"process {stranger}"})

    def test_a_lost_gpu_does_not_hide_the_others(self, driver):
        double = driver(gpus=2)
        with running(SERVER) as (port, server, _):
            double.set_processes(1, server)
            double.set_code(0, nvml_double.LOST)
            assert devices(processes.find(PortOptions(), url_of(port), Proc())) == [GPU1]

    def test_a_name_that_cannot_be_resolved_and_a_server_without_an_address(self, driver):
        driver()
        with pytest.raises(Unavailable, match=r"port"):
            processes.find(PortOptions(), "", Proc())
        with pytest.raises(Unavailable, match="cannot be resolved"):
            processes.find(PortOptions(), "http://no-such-host.invalid:1/metrics", Proc())

    async def test_it_is_read_as_a_source(self, driver):
        double = driver(gpus=1)
        with running(SERVER) as (port, server, _):
            double.set_processes(0, server)
            source = owners.specs()["processes"].open(PortOptions(), context(url_of(port)))
            try:
                reading = await source.read()
            finally:
                await source.aclose()
        assert devices(reading.servers["chat"]) == [GPU0]


@needs_driver
class TestTheOnlyServer:
    def test_it_owns_every_gpu_while_nobody_computes(self, driver):
        driver(gpus=2)
        with running(SERVER) as (port, *_):
            found = lone.find(PortOptions(), url_of(port), Proc())
        assert (found.holds, found.but) == ((), ())

    def test_it_owns_every_gpu_while_nobody_else_computes(self, driver):
        double = driver(gpus=2)
        with running(SERVER) as (port, _, worker):
            double.set_processes(1, worker)
            found = lone.find(PortOptions(), url_of(port), Proc())
        assert found.but == ()
        assert devices(found) == [GPU1]

    def test_neighbours_gpus_are_never_counted(self, driver):
        double = driver(gpus=3)
        with running(SERVER) as (port, _, worker), running(SERVER) as (_, stranger, _other):
            double.set_processes(0, worker)
            double.set_processes(1, stranger)
            found = lone.find(PortOptions(), url_of(port), Proc())
        assert devices(found) == [GPU0]
        assert found.but is None
        assert f"left out, because other processes compute there: {GPU1}" in found.how

    def test_processes_that_nobody_can_place_leave_it_without_a_gpu(self, driver):
        double = driver(gpus=2)
        double.set_processes(0, 2**22 + 1)
        with running(SERVER) as (port, *_):
            found = lone.find(PortOptions(), url_of(port), Proc())
        assert found.holds is None
        assert "name its GPUs in `gpus`" in found.how

    def test_without_nvml_every_measured_gpu_is_its_own(self):
        def no_binding():
            raise Unavailable("the NVML binding is not installed", where="pynvml")

        found = lone.find(PortOptions(), url_of(1), Proc(), no_binding)
        assert (found.holds, found.but) == ((), ())

    def test_nvml_that_fails_is_no_reason_to_own_anything(self, driver):
        driver().set_init_code(nvml_double.VERSION_MISMATCH)
        with pytest.raises(Unavailable, match="code 18"):
            lone.find(PortOptions(), url_of(1), Proc())


@pytest.fixture
def procfs(tmp_path):
    """A written /proc: `procfs(pid, parent, name, sockets=(), files=(), uid=0, cgroup="/a")`."""
    root = tmp_path / "proc"
    (root / "self" / "net").mkdir(parents=True)
    (root / "self" / "net" / "tcp").write_text("  sl  local_address rem_address   st tx_queue rx_queue ...\n")

    def write(pid, parent, name, *, sockets=(), files=(), uid=1000, cgroup="0::/a\n"):
        folder = root / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0\n")
        (folder / "status").write_text(f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (folder / "cgroup").write_text(cgroup)
        for number, target in enumerate([*(f"socket:[{inode}]" for inode in sockets), *files]):
            (folder / "fd" / str(number)).symlink_to(target)
        return pid

    def listen(port, inode, uid=1000):
        line = (
            f"   0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 {uid:5d} 0 {inode} 1\n"
        )
        with (root / "self" / "net" / "tcp").open("a") as table:
            table.write(line)

    write.listen = listen
    write.options = PortOptions(proc_root=str(root))
    return write


@needs_driver
class TestWhatProcShows:
    def test_a_pid_that_is_equal_by_chance_is_not_believed(self, driver, procfs):
        double = driver(gpus=2)
        procfs.listen(8000, 555)
        procfs(10, 1, "vllm", sockets=[555])
        double.set_processes(0, 10)
        double.set_processes(1, 4242)  # not visible: NVML speaks of another namespace
        assert processes.find(procfs.options, url_of(8000), Proc(procfs.options.proc_root)).holds is None
        assert lone.find(procfs.options, url_of(8000), Proc(procfs.options.proc_root)).holds is None
        procfs(11, 10, "worker", files=["/dev/nvidia0"])
        double.set_processes(0, 11)
        assert devices(processes.find(procfs.options, url_of(8000), Proc(procfs.options.proc_root))) == [GPU0]

    def test_a_listener_whose_files_are_hidden_is_told_by_its_user(self, driver, procfs):
        """As for an exporter with an account of its own."""
        double = driver(gpus=2)
        procfs.listen(8000, 555, uid=1000)
        procfs(10, 1, "vllm", uid=1000)
        procfs(20, 1, "training", uid=2000)
        double.set_processes(0, 10)
        found = lone.find(procfs.options, url_of(8000), Proc(procfs.options.proc_root))
        assert devices(found) == [GPU0]
        assert "CAP_SYS_PTRACE" in found.how
        assert found.but == ()
        double.set_processes(1, 20)
        assert lone.find(procfs.options, url_of(8000), Proc(procfs.options.proc_root)).but is None
        assert processes.find(procfs.options, url_of(8000), Proc(procfs.options.proc_root)).holds is None

    def test_a_proxy_in_front_of_the_container(self, driver, procfs):
        driver()
        procfs.listen(8000, 555)
        procfs(10, 1, "docker-proxy", sockets=[555])
        found = processes.find(procfs.options, url_of(8000), Proc(procfs.options.proc_root))
        assert found.holds is None
        assert "forwarded by 10 (docker-proxy)" in found.how

    @pytest.mark.parametrize(
        ("parent", "cgroup"), [("bash", "0::/a\n"), ("containerd-shim", "0::/a\n"), ("my-agent", "0::/b\n")]
    )
    def test_what_a_shell_or_another_container_started_is_no_relative(self, driver, procfs, parent, cgroup):
        double = driver(gpus=1)
        procfs.listen(8000, 555)
        procfs(5, 1, parent, cgroup=cgroup)
        procfs(10, 5, "server", sockets=[555])
        procfs(11, 5, "neighbour")
        double.set_processes(0, 11)
        assert processes.find(procfs.options, url_of(8000), Proc(procfs.options.proc_root)).holds == ()

    def test_names_with_parentheses_and_the_mps_server(self, driver, procfs):
        double = driver(gpus=1)
        procfs.listen(8000, 555)
        procfs(10, 1, "server (v) 2)", sockets=[555])
        procfs(11, 10, "w) S 1 (", files=["/dev/nvidia0"])
        procfs(30, 1, "nvidia-cuda-mps-server")
        double.set_processes(0, 11, 30)
        (hold,) = processes.find(procfs.options, url_of(8000), Proc(procfs.options.proc_root)).holds
        assert hold.others == frozenset()


@needs_driver
class TestNamed:
    def test_mig_instances_are_parts_of_their_gpu(self, driver):
        double = driver(gpus=2)
        double.set_mig(1, 3, 2, 1)
        options = NamedOptions((NvmlDouble.slice_uuid(1, 0), NvmlDouble.slice_uuid(1, 2), "0"))
        found = named.find(options, "chat")
        assert found.holds == (
            GpuHold(GPU1, 4.0, frozenset({"chat"})),
            GpuHold(GPU0, None, frozenset({"chat"})),
        )

    def test_one_that_is_not_there(self, driver):
        driver()
        found = named.find(NamedOptions(("MIG-7",)), "chat")
        assert found.holds is None
        assert "NVML lists no MIG-7" in found.how


LISTED = (
    ListedGpu("GPU-a", 0, 1, (MigInstance("MIG-1", 3, 0, 3.0), MigInstance("MIG-2", 5, 0, 2.0)), None),
    ListedGpu("GPU-b", 1, 0, (), None),
)


@pytest.mark.parametrize(
    ("device_id", "part"),
    [
        ("GPU-a", PartOfGpu("GPU-a")),
        ("GPU-elsewhere::3", PartOfGpu("GPU-elsewhere")),  # a time slice
        ("MIG-2", PartOfGpu("GPU-a", 2.0)),
        ("MIG-2::0", PartOfGpu("GPU-a", 2.0)),
        ("MIG-9", None),
        ("nvidia0", PartOfGpu("GPU-b")),  # GKE: by the device file's number, not NVML's index
        ("nvidia1/gi5", PartOfGpu("GPU-a", 2.0)),
        ("nvidia1/gi5/vgpu1", PartOfGpu("GPU-a", 2.0)),
        ("nvidia0/vgpu2", PartOfGpu("GPU-b")),
        ("nvidia7", None),
        ("rubbish", None),
    ],
)
def test_the_gpu_behind_a_device_id(device_id, part):
    assert part_of(device_id, LISTED) == part


@given(st.text(max_size=30))
def test_no_device_id_breaks_it(device_id):
    part_of(device_id, LISTED)


@pytest.fixture
def kubelet(tmp_path):
    double = KubeletDouble(tmp_path)
    double.start()
    yield double
    double.stop()


async def ask(double: KubeletDouble, name: str = "chat-0", *, load=None, timeout: float = 3.0, **more) -> ServerGpus:
    selector = PodSelector("llm", name, **{key: more.pop(key) for key in ("container",) if key in more})
    options = KubeletOptions(selector, str(double.socket), timeout_seconds=timeout, **more)
    source = KubeletOwner(options, context(), load or _no_nvml)
    try:
        return (await source.read()).servers["chat"]
    finally:
        await source.aclose()


def _no_nvml():
    raise Unavailable("no NVML in this test")


class TestKubelet:
    async def test_the_gpus_of_the_pod(self, kubelet):
        kubelet.pods = [
            pod("chat-0", {"nvidia.com/gpu": ["GPU-b", "GPU-a"], "intel.com/nic": ["eth1"]}),
            pod("other", {"nvidia.com/gpu": ["GPU-c"]}),
            pod("chat-0", {"nvidia.com/gpu": ["GPU-d"]}, namespace="elsewhere"),
        ]
        found = await ask(kubelet)
        assert found.holds == (
            GpuHold("GPU-a", None, frozenset({"pod llm/chat-0"})),
            GpuHold("GPU-b", None, frozenset({"pod llm/chat-0"})),
        )
        assert found.how == "pod llm/chat-0, by the kubelet"

    async def test_pods_that_share_a_gpu_by_time_slices(self, kubelet):
        kubelet.pods = [
            pod("chat-0", {"nvidia.com/gpu.shared": ["GPU-a::0"]}),
            pod("code-0", {"nvidia.com/gpu": ["GPU-a::1", "GPU-b::0"]}),
        ]
        (hold,) = (await ask(kubelet)).holds
        assert (hold.device, hold.others) == ("GPU-a", {"pod llm/code-0"})

    @needs_driver
    async def test_mig_instances(self, kubelet, driver):
        double = driver(gpus=1)
        double.set_mig(0, 3, 4)
        kubelet.pods = [
            pod("chat-0", {"nvidia.com/mig-3g.40gb": [NvmlDouble.slice_uuid(0, 0)]}),
            pod("code-0", {"nvidia.com/mig-4g.40gb": [NvmlDouble.slice_uuid(0, 1)]}),
        ]
        (hold,) = (await ask(kubelet, load=lambda: pynvml)).holds
        assert (hold.device, hold.mig_slices, hold.others) == (GPU0, 3.0, {"pod llm/code-0"})
        found = await ask(kubelet)
        assert found.holds is None
        assert "which NVML does not list here: name the GPU" in found.how

    async def test_the_pod_of_a_deployment_by_a_pattern(self, kubelet):
        kubelet.pods = [pod("chat-7d9f8-xk2lp", {"nvidia.com/gpu": ["GPU-a"]}), pod("chatty-0", {})]
        assert devices(await ask(kubelet, "chat-*")) == ["GPU-a"]
        kubelet.pods.append(pod("chat-7d9f8-zzzzz", {"nvidia.com/gpu": ["GPU-b"]}))
        found = await ask(kubelet, "chat-*")
        assert found.holds is None
        assert "several pods" in found.how

    async def test_one_container_and_another_resource(self, kubelet):
        kubelet.pods = [
            pod("chat-0", {"example.com/gpu": ["GPU-a"]}, container="engine"),
            pod("chat-0", {"nvidia.com/gpu": ["GPU-b"]}, container="embedder"),
        ]
        assert devices(await ask(kubelet, container="embedder")) == ["GPU-b"]
        assert devices(await ask(kubelet, container="engine", resources=("example.com/gpu",))) == ["GPU-a"]

    async def test_no_such_pod_and_resource_claims(self, kubelet):
        found = await ask(kubelet)
        assert (found.holds, found.how) == (None, "the kubelet shows no GPU of pod llm/chat-0")
        kubelet.pods = [pod("chat-0", claims=["gpu.nvidia.com"])]
        assert "by a resource claim (DRA), which is not followed" in (await ask(kubelet)).how

    @pytest.mark.parametrize(
        ("code", "error", "said"),
        [
            (grpc.StatusCode.PERMISSION_DENIED, Refused, "run as root"),
            (grpc.StatusCode.UNAVAILABLE, Unavailable, "is this the kubelet"),
        ],
    )
    async def test_an_error_says_what_to_do(self, kubelet, code, error, said):
        kubelet.code = code
        with pytest.raises(error, match=said):
            await ask(kubelet)

    async def test_an_older_kubelet_a_hang_and_rubbish(self, kubelet):
        kubelet.method = "/v1alpha1.PodResourcesLister/List"
        with pytest.raises(Unavailable, match="does not speak PodResources v1"):
            await ask(kubelet)
        kubelet.method = "/v1.PodResourcesLister/List"
        kubelet.body = b"\xff\xff\xff rubbish"
        with pytest.raises(SourceError, match="the answer cannot be read"):
            await ask(kubelet)
        kubelet.hang()
        with pytest.raises(TimedOut):
            await ask(kubelet, timeout=0.3)

    async def test_it_finds_a_kubelet_that_starts_again(self, tmp_path):
        double = KubeletDouble(tmp_path)
        source = KubeletOwner(KubeletOptions(PodSelector("llm", "chat-0"), str(double.socket)), context())
        with pytest.raises(Unavailable, match="no such socket"):
            await source.read()
        for gpu in ("GPU-a", "GPU-b"):
            double.pods = [pod("chat-0", {"nvidia.com/gpu": [gpu]})]
            double.start()
            reading = await _until_answered(source)
            assert devices(reading.servers["chat"]) == [gpu]
            double.stop()
        await source.aclose()


async def _until_answered(source: KubeletOwner):
    for _ in range(100):
        with contextlib.suppress(SourceError):
            return await source.read()
        time.sleep(0.05)
    raise AssertionError("the kubelet is not found again")


@contextlib.asynccontextmanager
async def dcgm_owner(body: str, name: str = "chat-0"):
    async with page_server(body) as page:
        source = DcgmOwner(DcgmOwnerOptions(url=page.url, pod=PodSelector("llm", name)), context())
        try:
            yield page, source
        finally:
            await source.aclose()


REAL0, REAL1 = "GPU-5fd4f087-86f3-7a43-b711-4771313afc50", "GPU-9e5b1c22-61bf-5124-a0a9-079af1b65cc6"


def labelled(pods: dict[tuple[str, str], str], label: str = "pod") -> str:
    return "".join(
        f'DCGM_FI_DEV_POWER_USAGE{{UUID="{uuid}",{label}="{name}",namespace="llm",container="vllm"{more}}} 300\n'
        for (uuid, name), more in pods.items()
    )


class TestDcgm:
    async def test_pods_that_share_a_gpu(self):
        async with dcgm_owner((PAGES / "shared.prom").read_text()) as (_, source):
            found = (await source.read()).servers["chat"]
        assert found.holds == (GpuHold(REAL0, None, frozenset({"pod llm/chat-0"}), frozenset({"pod llm/chat-1"})),)
        assert found.how == "pod llm/chat-0, by dcgm-exporter"

    async def test_mig_instances_of_one_board_count_their_slices_once(self):
        body = labelled(
            {
                (REAL0, "chat-0"): ',GPU_I_ID="1",GPU_I_PROFILE="3g.40gb"',
                (REAL0, "code-0"): ',GPU_I_ID="2",GPU_I_PROFILE="4g.40gb"',
            }
        )
        body += body.replace("POWER_USAGE", "GPU_UTIL")
        async with dcgm_owner(body) as (_, source):
            (hold,) = (await source.read()).servers["chat"].holds
        assert (hold.device, hold.mig_slices, hold.others) == (REAL0, 3.0, {"pod llm/code-0"})

    @pytest.mark.parametrize("label", ["pod", "exported_pod", "pod_name"])
    async def test_a_pod_that_moves(self, label):
        async with dcgm_owner(labelled({(REAL0, "chat-0"): ""}, label)) as (page, source):
            assert devices((await source.read()).servers["chat"]) == [REAL0]
            page.body = labelled({(REAL1, "chat-0"): ""}, label)
            assert devices((await source.read()).servers["chat"]) == [REAL1]
            page.body = labelled({(REAL1, "code-0"): ""}, label)
            assert (await source.read()).servers["chat"].holds is None

    async def test_a_page_without_pods_or_gpus_says_what_to_do(self):
        async with dcgm_owner('DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a"} 300\n') as (page, source):
            with pytest.raises(Unavailable, match="start dcgm-exporter with --kubernetes"):
                await source.read()
            page.body = "up 1\n"
            with pytest.raises(Unavailable, match="the page shows no GPU"):
                await source.read()
            page.fault = PageFault.ERROR_500
            with pytest.raises(SourceError):
                await source.read()
