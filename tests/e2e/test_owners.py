"""Whose energy it is, through /metrics: owners found at run time while processes move, and a GPU of two servers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from support.kubelet_double import KubeletDouble, pod
from support.nvml_double import NvmlDouble
from support.openmetrics import Samples, present, total
from support.processes import poll, running
from support.tokwatt_process import TokwattProcess, running_tokwatt

pytestmark = pytest.mark.e2e

PAGES = Path(__file__).parents[1] / "bench" / "vllm_servers.py"
GIVEN, SPARE = "tokwatt_server_gpu_energy_joules_total", "tokwatt_unattributed_gpu_energy_joules_total"
MEASURED = "tokwatt_gpu_energy_joules_total"


def grown(tokwatt: TokwattProcess, joules: float, **labels: str) -> Samples:
    """Wait until the given energy has grown."""
    before = tokwatt.samples()
    start = total(before, GIVEN, **labels) if present(before, GIVEN, **labels) else 0.0

    def enough() -> Samples | None:
        now = tokwatt.samples()
        return now if present(now, GIVEN, **labels) and total(now, GIVEN, **labels) > start + joules else None

    return poll(enough, f"{joules} J given to {labels}")


def balanced(samples: Samples) -> None:
    assert total(samples, GIVEN) + total(samples, SPARE) == pytest.approx(total(samples, MEASURED), rel=1e-9)


def test_the_processes_of_the_port_own_their_gpus_and_neighbours_keep_theirs(tmp_path: Path) -> None:
    double = NvmlDouble(tmp_path, gpus=2, watts=400)
    with running("pages", [sys.executable, str(PAGES), "1"], tmp_path) as pages:
        pages.wait_until(lambda: "]" in pages.log_text(), "ports")
        (port,) = json.loads(pages.log_text())
        double.set_processes(0, pages.pid)
        double.set_processes(1, os.getpid())  # a neighbour
        search = {"source": "processes", "period_seconds": 0.2}
        server = {"name": "chat", "url": f"http://127.0.0.1:{port}/metrics", "gpus": search}
        with running_tokwatt(
            tmp_path / "run", {"servers": [server], "meters": [{"source": "nvml"}]}, env=double.env()
        ) as t:
            t.wait_ready()
            samples = grown(t, 400, server="chat")
            balanced(samples)
            assert total(samples, SPARE, device=double.uuid(1)) > 0.9 * total(samples, MEASURED, device=double.uuid(1))
            assert total(samples, "tokwatt_source_up", source="gpus of chat", kind="owner") == 1
            (row,) = t.snapshot()["servers"]
            assert [gpu["device"] for gpu in row["gpus"]] == [double.uuid(0)]
            assert f"port {port}: process {pages.pid}" in row["gpus_found_by"]
            double.set_processes(0)
            double.set_processes(1, pages.pid)  # it was restarted on the other GPU
            poll(lambda: t.snapshot()["servers"][0]["gpus"][0]["device"] == double.uuid(1) or None, "the move")
            at_move = t.samples()
            samples = grown(t, 400, server="chat")
            balanced(samples)
            assert total(samples, SPARE, device=double.uuid(0)) > total(at_move, SPARE, device=double.uuid(0))
            assert t.terminate() == 0


def test_without_a_word_the_only_server_is_given_no_neighbours_gpu(tmp_path: Path) -> None:
    double = NvmlDouble(tmp_path, gpus=2, watts=400)
    with running("pages", [sys.executable, str(PAGES), "1"], tmp_path) as pages:
        pages.wait_until(lambda: "]" in pages.log_text(), "ports")
        (port,) = json.loads(pages.log_text())
        double.set_processes(0, pages.pid)
        double.set_processes(1, os.getpid())
        server = {"name": "chat", "url": f"http://127.0.0.1:{port}/metrics"}
        with running_tokwatt(
            tmp_path / "run", {"servers": [server], "meters": [{"source": "nvml"}]}, env=double.env()
        ) as t:
            t.wait_ready()
            samples = grown(t, 400, server="chat")
            balanced(samples)
            assert [gpu["device"] for gpu in t.snapshot()["servers"][0]["gpus"]] == [double.uuid(0)]
            assert f"left out, because other processes compute there: {double.uuid(1)}" in t.child.log_text()


def test_pods_on_one_gpu_by_the_kubelet_with_and_without_a_rule(tmp_path: Path) -> None:
    double = NvmlDouble(tmp_path, gpus=1, watts=400)
    kubelet = KubeletDouble(tmp_path)
    replicas = {name: {"nvidia.com/gpu": [f"{double.uuid(0)}::{number}"]} for number, name in enumerate(("a-0", "b-0"))}
    kubelet.pods = [pod(name, devices) for name, devices in replicas.items()]
    kubelet.start()
    try:
        with running("pages", [sys.executable, str(PAGES), "2"], tmp_path) as pages:
            pages.wait_until(lambda: "]" in pages.log_text(), "ports")
            servers = [
                {
                    "name": name,
                    "url": f"http://127.0.0.1:{port}/metrics",
                    "gpus": {
                        "source": "kubelet",
                        "socket": str(kubelet.socket),
                        "pod": {"namespace": "llm", "name": f"{name}-0"},
                        "period_seconds": 0.2,
                    },
                }
                for name, port in zip("ab", json.loads(pages.log_text()), strict=True)
            ]
            config = {"servers": servers, "meters": [{"source": "nvml"}]}
            with running_tokwatt(tmp_path / "without", config, env=double.env()) as tokwatt:
                tokwatt.wait_ready()
                poll(lambda: total(tokwatt.samples(), SPARE) > 400 or None, "unattributed energy")
                assert not present(tokwatt.samples(), "tokwatt_output_tokens_per_joule")
                assert "no rule divides it" in " ".join(tokwatt.snapshot()["servers"][0]["notes"])
            with running_tokwatt(
                tmp_path / "with", {**config, "sharing": {"gpu": "equal"}}, env=double.env()
            ) as tokwatt:
                tokwatt.wait_ready()
                samples = grown(tokwatt, 400, server="a")
                balanced(samples)
                assert total(samples, GIVEN, server="b") == pytest.approx(total(samples, GIVEN, server="a"), rel=0.05)
                assert present(samples, "tokwatt_meter_info", method="attributed")
    finally:
        kubelet.stop()
