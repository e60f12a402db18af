"""What the exporter itself costs: CPU share, memory, scrape latency, requests a second. Run by `make bench`.

8 inference servers with pages of real vLLM size, 8 GPUs behind the C double of NVML, 1 s ticks. Figures, no verdicts:
they belong to the machine they were taken on.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.nvml_double import NvmlDouble
from support.ports import free_port
from support.processes import Child, running
from support.tokwatt_process import running_tokwatt
from support.tools import ToolMissing, find

HERE = Path(__file__).parent
SERVERS = 8
GPUS = 8
SECONDS = 30
SCRAPERS = 50


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid: int) -> float:
    """Peak resident memory of a process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def say(what: str, value: str) -> None:
    """Print one figure."""
    print(f"{what:<62} {value}", flush=True)


def cpu_share(pid: int, seconds: float) -> float:
    """CPU share of one core over some time, in percent."""
    before, started = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - started)


def requests_per_second(url: str) -> float | None:
    """Keep-alive requests a second by wrk; None where wrk is not installed."""
    try:
        wrk = find("wrk")
    except ToolMissing:
        return None
    output = subprocess.run([wrk, "-t1", "-c16", "-d5s", url], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    return float(found[1]) if found else None


def bench(work: Path) -> None:
    """Take all figures."""
    double = NvmlDouble(work, gpus=GPUS, watts=400)
    servers = Child("vllm servers", [sys.executable, str(HERE / "vllm_servers.py"), str(SERVERS)], work / "servers.log")
    try:
        servers.wait_until(lambda: "]" in servers.log_text(), "ports", 10)
        ports = json.loads(servers.log_text().strip().splitlines()[-1])
        config = {
            "servers": [
                {"name": f"server-{i}", "url": f"http://127.0.0.1:{port}/metrics", "gpus": [i]}
                for i, port in enumerate(ports)
            ],
            "meters": [{"source": "nvml"}],
            "prices": {"capacity": {"dollars_per_gpu_hour": 2.5}, "electricity": {"dollars_per_kwh": 0.17}},
        }
        with running_tokwatt(work / "tokwatt", config, env=double.env()) as tokwatt:
            tokwatt.wait_ready()
            time.sleep(5)
            pid = tokwatt.child.pid
            page = tokwatt.metrics_text()
            say(
                "page",
                f"{len(page) / 1024:.1f} KiB, {sum(not line.startswith('#') for line in page.splitlines())} samples",
            )
            say(f"CPU share of one core, nobody scraping, {SECONDS} s", f"{cpu_share(pid, SECONDS):.2f} %")
            scrapers = subprocess.Popen(
                [sys.executable, str(HERE / "scrapers.py"), tokwatt.url + "/metrics", str(SCRAPERS), str(SECONDS)],
                stdout=subprocess.PIPE,
                text=True,
            )
            share = cpu_share(pid, SECONDS)
            times = json.loads(scrapers.communicate()[0])
            say(f"CPU share with {SCRAPERS} scrapers at 1 s each", f"{share:.2f} %")
            latencies = ", ".join(f"{name} {times[name]:.2f}" for name in ("p50", "p90", "p99", "max"))
            say(f"/metrics latency then, {times['scrapes']} scrapes, ms", latencies)
            say("peak resident memory", f"{peak_mib(pid):.1f} MiB")
            rate = requests_per_second(tokwatt.url + "/metrics")
            say("requests a second (wrk, 16 connections)", "wrk not installed" if rate is None else f"{rate:,.0f}")
            say("peak resident memory after that", f"{peak_mib(pid):.1f} MiB")
    finally:
        servers.stop()
    peer(work)


def peer(work: Path) -> None:
    """Take the same figures of node_exporter, a Go exporter, where it is installed."""
    try:
        program = find("node-exporter")
    except ToolMissing as missing:
        say("node_exporter", str(missing))
        return
    address = f"127.0.0.1:{free_port()}"
    with running("node_exporter", [program, f"--web.listen-address={address}"], work) as child:
        child.wait_for_url(f"http://{address}/metrics")
        rate = requests_per_second(f"http://{address}/metrics")
        say(
            "node_exporter: requests a second (wrk, 16 connections)",
            "wrk not installed" if rate is None else f"{rate:,.0f}",
        )
        say("node_exporter: peak resident memory", f"{peak_mib(child.pid):.1f} MiB")


if __name__ == "__main__":
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        bench(Path(folder))
