"""Everything that can go wrong around the exporter, one fault at a time, against the real program.

While a fault lasts, `/metrics` answers at once, says which source is down and why, and every other source goes on.
Afterwards the source is back and no total has lost or gained anything.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.bmc_double import PASSWORD, USER, BmcDouble
from support.faulty_server import Fault, FaultyServer, running_faulty_server
from support.nvml_double import DRIVER_NOT_LOADED, LOST, NO_PERMISSION, NvmlDouble
from support.openmetrics import Samples, classic_samples, present, total
from support.processes import poll
from support.prometheus import check_metrics
from support.tokwatt_process import TokwattProcess, running_tokwatt

pytestmark = pytest.mark.e2e

HOST_WATTS = 900
SOURCES = ("chat", "nvml", "bmc1")
TIMEOUT_SECONDS = 1.0
ANSWER_SECONDS = 0.05
# A scrape that waits for a source lasts as long as that source's timeout. The rest is a busy machine's scheduler.
WORST_ANSWER_SECONDS = TIMEOUT_SECONDS / 2
PEAK_MEMORY_BYTES = 300 * 1024 * 1024

SERVER_FAULTS = {
    Fault.DOWN: "unavailable",
    Fault.CLOSES: "unavailable",
    Fault.HUNG: "timeout",
    Fault.STALLS: "timeout",
    Fault.ERROR_500: "malformed",
    Fault.LOADING_503: "unavailable",
    Fault.UNAUTHORIZED: "refused",
    Fault.REDIRECT: "malformed",
    Fault.HTML: "malformed",
    Fault.EMPTY: "malformed",
    Fault.BINARY: "malformed",
    Fault.TRUNCATED: "malformed",
    Fault.HUGE: "malformed",
    Fault.NAN: "malformed",
    Fault.NEGATIVE: "malformed",
    Fault.DUPLICATE: "malformed",
}


@dataclass(slots=True)
class Watch:
    """What 20 scrapes a second saw."""

    seconds: list[float] = field(default_factory=list)
    pages: list[Samples] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Every scrape was answered, and at once."""
        assert not self.failures
        assert len(self.seconds) > 5
        slow = [seconds for seconds in self.seconds if seconds > ANSWER_SECONDS]
        summary = f"{len(slow)} of {len(self.seconds)} over {ANSWER_SECONDS} s, worst {max(self.seconds):.3f} s"
        assert statistics.median(self.seconds) < ANSWER_SECONDS, summary
        assert len(slow) <= max(1, len(self.seconds) // 20), summary
        assert max(self.seconds) < WORST_ANSWER_SECONDS, summary


@contextlib.contextmanager
def watching(tokwatt: TokwattProcess) -> Iterator[Watch]:
    """Scrape 20 times a second while the block runs."""
    watch = Watch()
    stopped = threading.Event()

    def scrape() -> None:
        while not stopped.wait(0.05):
            begun = time.monotonic()
            try:
                text = tokwatt.metrics_text()
            except OSError as error:
                watch.failures.append(repr(error))
                continue
            watch.seconds.append(time.monotonic() - begun)
            watch.pages.append(classic_samples(text))

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stopped.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Rig:
    """One exporter with one source of each kind, all well."""

    tokwatt: TokwattProcess
    server: FaultyServer
    nvml: NvmlDouble
    bmc: BmcDouble

    def errors(self, source: str, reason: str) -> float:
        samples = self.tokwatt.samples()
        labels = {"source": source, "reason": reason}
        return total(samples, "tokwatt_source_errors_total", **labels) if counted(samples, source, reason) else 0.0

    def is_up(self, source: str) -> bool:
        return total(self.tokwatt.samples(), "tokwatt_source_up", source=source) == 1

    def settled_tokens(self) -> tuple[float, float]:
        """(total, truth) of output tokens, the server at rest and read since."""
        self.server.rest()
        seen = self.server.requests
        poll(lambda: self.server.requests >= seen + 2, "two reads of the server", 10)
        time.sleep(0.2)  # the tick that read it publishes
        return total(self.tokwatt.samples(), "tokwatt_output_tokens_total"), self.server.counters()[2]


def counted(samples: Samples, source: str, reason: str) -> bool:
    return present(samples, "tokwatt_source_errors_total", source=source, reason=reason)


def config(server: FaultyServer, bmc: BmcDouble, password_file: Path) -> dict[str, Any]:
    return {
        "tick_seconds": 0.5,
        "window_seconds": 10,
        "servers": [{"name": "chat", "url": server.url, "engine": "vllm", "timeout_seconds": TIMEOUT_SECONDS}],
        "meters": [
            {"source": "nvml"},
            {
                "source": "ipmi",
                "name": "bmc1",
                "host": "127.0.0.1",
                "port": bmc.port,
                "username": USER,
                "password_file": str(password_file),
                "period_seconds": 1,
                "timeout_seconds": TIMEOUT_SECONDS,
            },
        ],
        "prices": {"electricity": {"dollars_per_kwh": 0.17}},
    }


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    work = tmp_path_factory.mktemp("bad-input")
    password_file = work / "password"
    password_file.write_text(PASSWORD)
    nvml = NvmlDouble(work, gpus=2, watts=300)
    with (
        running_faulty_server() as server,
        BmcDouble(work, watts=HOST_WATTS) as bmc,
        running_tokwatt(work, config(server, bmc, password_file), env=nvml.env()) as tokwatt,
    ):
        tokwatt.wait_ready()
        yield Rig(tokwatt, server, nvml, bmc)
        check_metrics(tokwatt.metrics_text())
        assert peak_memory_bytes(tokwatt.child.pid) < PEAK_MEMORY_BYTES
        assert "Traceback" not in tokwatt.child.log_text()
        assert PASSWORD not in tokwatt.child.log_text()
        assert tokwatt.terminate() == 0


@contextlib.contextmanager
def fault(rig: Rig, source: str, reason: str, begin: Callable[[], None], end: Callable[[], None]) -> Iterator[Watch]:
    """Let a fault last until it shows, and a few reads more; then heal it and wait until it is gone.

    Checks what holds for every fault. The block runs while the fault lasts.
    """
    poll(lambda: all(map(rig.is_up, SOURCES)), "all sources up before the fault", 30)
    before, truth_before = rig.settled_tokens()
    errors_before = rig.errors(source, reason)
    rig.server.work()
    with watching(rig.tokwatt) as watch:
        begin()
        try:
            poll(lambda: not rig.is_up(source), f"{source} down", 20)
            poll(lambda: rig.errors(source, reason) > errors_before, f"{source} {reason}", 10)
            time.sleep(2 * TIMEOUT_SECONDS)
            down = rig.tokwatt.samples()
            yield watch
        finally:
            end()
        poll(lambda: rig.is_up(source), f"{source} up again", 40)
    watch.check()
    for other in SOURCES:
        if other != source:
            assert total(down, "tokwatt_source_up", source=other) == 1, f"{other} suffered from a fault of {source}"
    health = next(one for one in rig.tokwatt.snapshot()["sources"] if one["source"] == source)
    assert health["reason"] == "", "the reason goes with the fault"
    after, truth_after = rig.settled_tokens()
    assert after - before == truth_after - truth_before, "tokens were lost or counted twice"
    assert_never_fell(watch.pages)


def assert_never_fell(pages: list[Samples]) -> None:
    highest: dict[Any, float] = {}
    for page in pages:
        for key, value in page.items():
            if key[0].startswith("tokwatt_") and key[0].endswith("_total"):
                assert value >= highest.get(key, 0.0) - 1e-9, f"{key} fell from {highest[key]} to {value}"
                highest[key] = value


def peak_memory_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


@pytest.mark.parametrize("kind", list(SERVER_FAULTS))
def test_server_fault(rig: Rig, kind: Fault) -> None:
    def begin() -> None:
        rig.server.fault = kind

    def end() -> None:
        rig.server.fault = Fault.NONE

    with fault(rig, "chat", SERVER_FAULTS[kind], begin, end):
        message = next(one for one in rig.tokwatt.snapshot()["sources"] if one["source"] == "chat")["message"]
        assert str(rig.server.port) in message, f"the message does not say where: {message}"


@pytest.mark.parametrize(("code", "reason"), [(NO_PERMISSION, "refused"), (LOST, "lost")])
def test_gpu_fault(rig: Rig, code: int, reason: str) -> None:
    """Both GPUs fail, then answer again. Their counters ran on, and what they counted is real."""

    def set_both(value: int) -> None:
        for gpu in (0, 1):
            rig.nvml.set_code(gpu, value)

    joules_before, begun = total(rig.tokwatt.samples(), "tokwatt_gpu_energy_joules_total"), time.monotonic()
    with fault(rig, "nvml", reason, lambda: set_both(code), lambda: set_both(0)):
        pass
    gained = total(rig.tokwatt.samples(), "tokwatt_gpu_energy_joules_total") - joules_before
    truth = sum(rig.nvml.joules(gpu, begun, time.monotonic()) for gpu in (0, 1))
    assert gained == pytest.approx(truth, abs=600 * 1.5)  # two GPUs of 300 W, up to three ticks apart


def test_one_gpu_lost_leaves_the_other(rig: Rig) -> None:
    errors_before = rig.errors("nvml", "lost")
    rig.nvml.set_code(1, LOST)
    try:
        poll(lambda: rig.errors("nvml", "lost") > errors_before, "error of the lost GPU", 10)
        first = total(rig.tokwatt.samples(), "tokwatt_gpu_energy_joules_total", device=NvmlDouble.uuid(0))
        time.sleep(2)
        assert total(rig.tokwatt.samples(), "tokwatt_gpu_energy_joules_total", device=NvmlDouble.uuid(0)) > first
        assert rig.is_up("chat")
    finally:
        rig.nvml.set_code(1, 0)


def test_hung_driver_blocks_nothing_else(rig: Rig) -> None:
    with fault(rig, "nvml", "timeout", rig.nvml.hang, rig.nvml.release):
        pass


def test_bmc_silent_for_20_seconds(rig: Rig) -> None:
    """A power gauge's gap is not filled: the total gains no more than was really used, and the gap is told."""
    samples = rig.tokwatt.samples()
    joules_before, begun = total(samples, "tokwatt_host_energy_joules_total"), time.monotonic()
    gap_before = total(samples, "tokwatt_gap_seconds_total", source="bmc1")
    with fault(rig, "bmc1", "timeout", lambda: rig.bmc.set(silent=True), lambda: rig.bmc.set(silent=False)):
        time.sleep(17)
        during = rig.tokwatt.samples()

    def gap_told() -> bool:
        return total(rig.tokwatt.samples(), "tokwatt_gap_seconds_total", source="bmc1") > gap_before + 15

    poll(gap_told, "gap of the silent BMC", 20)
    samples = rig.tokwatt.samples()
    gained = total(samples, "tokwatt_host_energy_joules_total") - joules_before
    used = HOST_WATTS * (time.monotonic() - begun)
    assert 0 < gained < used - HOST_WATTS * 15
    assert not present(during, "tokwatt_output_tokens_per_joule", server="chat", boundary="host")


def test_a_reload_with_a_mistake_keeps_the_running_config(rig: Rig) -> None:
    file = rig.tokwatt.config_file
    good = file.read_text()
    try:
        file.write_text(good + "\ntick_secnods: 3\n")
        rig.tokwatt.reload()
        poll(lambda: total(rig.tokwatt.samples(), "tokwatt_config_last_reload_successful") == 0, "refused reload", 10)
        assert all(map(rig.is_up, SOURCES))
    finally:
        file.write_text(good)
    rig.tokwatt.reload()
    poll(lambda: total(rig.tokwatt.samples(), "tokwatt_config_last_reload_successful") == 1, "good reload", 10)


@pytest.mark.parametrize("cause", ["wrong password", "no driver", "driver not loaded", "nothing works"])
def test_fault_from_the_start(tmp_path: Path, cause: str) -> None:
    """The exporter starts anyway, serves what it can and says what it cannot."""
    password_file = tmp_path / "password"
    password_file.write_text("wrong-" + PASSWORD if cause in ("wrong password", "nothing works") else PASSWORD)
    nvml = NvmlDouble(tmp_path, gpus=1)
    env: Mapping[str, str] = nvml.env()
    if cause in ("driver not loaded", "nothing works"):
        nvml.set_init_code(DRIVER_NOT_LOADED)
    if cause == "no driver":
        env = {"LD_LIBRARY_PATH": str(tmp_path)}
    wanted = {
        "wrong password": {"bmc1": "refused"},
        "no driver": {"nvml": "unavailable"},
        "driver not loaded": {"nvml": "unavailable"},
        "nothing works": {"bmc1": "refused", "nvml": "unavailable", "chat": "unavailable"},
    }[cause]
    with running_faulty_server() as server, BmcDouble(tmp_path) as bmc:
        if "chat" in wanted:
            server.fault = Fault.DOWN
        with running_tokwatt(tmp_path, config(server, bmc, password_file), env=env) as tokwatt:
            for source, reason in wanted.items():
                poll(
                    lambda source=source, reason=reason: counted(tokwatt.samples(), source, reason),
                    f"{reason} of {source}",
                    20,
                )
            with watching(tokwatt) as watch:
                time.sleep(2)
            watch.check()
            samples = tokwatt.samples()
            for source in SOURCES:
                assert total(samples, "tokwatt_source_up", source=source) == (0 if source in wanted else 1)
            check_metrics(tokwatt.metrics_text())
            assert PASSWORD not in tokwatt.child.log_text()
            assert tokwatt.terminate() == 0
