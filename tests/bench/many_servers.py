"""What reading 1,000 inference servers once a second costs one exporter: `python tests/bench/many_servers.py [COUNT]`.

The pages (54 kB each, counters moving) come from other processes over loopback. Figures of the whole exporter, no
verdicts: they belong to the machine they were taken on. Stops by itself after about a minute.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.nvml_double import NvmlDouble
from support.processes import Child
from support.tokwatt_process import TokwattProcess, running_tokwatt

HERE = Path(__file__).parent
COUNT = 1000
PROCESSES = 2
SETTLE_SECONDS = 10
SECONDS = 20


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    """Peak resident memory of a process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def reads_of(tokwatt: TokwattProcess) -> tuple[int, int, float]:
    """How many servers are up, how many are not, and the age of the oldest reading in seconds."""
    samples = [
        (name, labels, value) for name, labels, value in parsed(tokwatt.metrics_text()) if 'kind="tokens"' in labels
    ]
    up = sum(value == 1 for name, _, value in samples if name == "tokwatt_source_up")
    down = sum(value == 0 for name, _, value in samples if name == "tokwatt_source_up")
    ages = [time.time() - value for name, _, value in samples if name.endswith("last_success_timestamp_seconds")]
    return up, down, max(ages, default=float("nan"))


def parsed(text: str) -> list[tuple[str, str, float]]:
    """Split a page of this exporter into (name, labels, value)."""
    found = re.findall(r"^(\w+)\{([^\n]*)\} ([^ \n]+)$", text, re.MULTILINE)
    return [(name, labels, float(value)) for name, labels, value in found]


def served(ports: list[int]) -> int:
    """Pages served so far, told by one port of each process."""
    total = 0
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/served", timeout=10) as answer:
            total += int(answer.read())
    return total


def config_of(ports: list[int]) -> dict[str, Any]:
    """One server for each port, one GPU for the first of them."""
    servers: list[dict[str, Any]] = [
        {"name": f"server-{number:04}", "url": f"http://127.0.0.1:{port}/metrics", "engine": "vllm"}
        for number, port in enumerate(ports)
    ]
    servers[0]["gpus"] = [0]
    return {"servers": servers, "meters": [{"source": "nvml"}]}


def bench(work: Path, count: int) -> None:
    """Start everything, let it settle, and take the figures."""
    pages = [
        Child(f"pages {n}", [sys.executable, str(HERE / "page_servers.py"), str(count // PROCESSES)], work / f"{n}.log")
        for n in range(PROCESSES)
    ]
    try:
        ports: list[int] = []
        for child in pages:
            child.wait_until(lambda child=child: "]" in child.log_text(), "ports", 30)
            ports += json.loads(child.log_text().strip().splitlines()[-1])
        double = NvmlDouble(work, gpus=1, watts=400)
        with running_tokwatt(work / "tokwatt", config_of(ports), env=double.env()) as tokwatt:
            tokwatt.wait_ready(60.0)
            time.sleep(SETTLE_SECONDS)
            pid = tokwatt.child.pid
            firsts = ports[:: count // PROCESSES]
            before, reads, started = cpu_seconds(pid), served(firsts), time.monotonic()
            time.sleep(SECONDS)
            seconds = time.monotonic() - started
            share = 100 * (cpu_seconds(pid) - before) / seconds
            rate = (served(firsts) - reads) / seconds
            up, down, oldest = reads_of(tokwatt)
            print(f"{rate:.0f} pages read a second; {up} servers up, {down} down, oldest reading {oldest:.1f} s")
            print(f"CPU share of one core {share:.1f} %, peak memory {peak_mib(pid):.0f} MiB")
            print(f"its page {len(tokwatt.metrics_text()) / 2**20:.1f} MiB")
            print(tokwatt.child.log_tail(3))
    finally:
        for child in pages:
            child.stop()


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * wanted + 1024), hard))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}, {wanted} servers")
    with tempfile.TemporaryDirectory() as folder:
        bench(Path(folder), wanted)
