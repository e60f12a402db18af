"""How `servers[].gpus` is written: what is found out at run time, and mistakes in it."""

from __future__ import annotations

import pytest

from tokwatt.app.build import Workshop
from tokwatt.config import Config, ConfigError, GpuSelection, load_config
from tokwatt.sources.owners._pod import PodSelector
from tokwatt.sources.owners._port import PortOptions
from tokwatt.sources.owners.kubelet import KubeletOptions
from tokwatt.sources.owners.named import NamedOptions

WORKSHOP = Workshop()


def load(gpus: str, more: str = "") -> Config:
    text = f"servers:\n  - name: chat\n    url: http://127.0.0.1:8000/metrics\n    gpus: {gpus}\n{more}"
    return load_config(text, "t.yml", power_specs={}, engines=(), owner_specs=WORKSHOP.owner_specs)[0]


def search(gpus: str):
    return load(gpus).servers[0].gpus.search


def mistake(gpus: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(gpus)
    (only,) = caught.value.mistakes
    return str(only)


def test_processes_with_and_without_options():
    assert search("processes").options == PortOptions()
    found = search("{source: processes, port: 9000, proc_root: /host/proc}")
    assert (found.source, found.options) == ("processes", PortOptions(port=9000, proc_root="/host/proc"))


def test_a_pod_by_the_kubelet_and_by_dcgm_exporter():
    found = search("{source: kubelet, pod: {namespace: llm, name: 'chat-*'}, socket: /run/k.sock}")
    assert found.options == KubeletOptions(PodSelector("llm", "chat-*"), "/run/k.sock")
    found = search(
        "{source: dcgm, pod: {namespace: llm, name: chat-0, container: vllm}, url: 'http://node:9400/metrics'}"
    )
    assert (found.options.url, found.options.pod.container) == ("http://node:9400/metrics", "vllm")


def test_mig_uuids_in_a_list_are_looked_up():
    assert search("[MIG-1, GPU-2, 0]").options == NamedOptions(("MIG-1", "GPU-2", "0"))
    assert load("[GPU-2, 0]").servers[0].gpus == GpuSelection(devices=("GPU-2", 0))


def test_the_only_server_that_says_nothing_shares_with_nobody():
    text = "servers: [{name: chat, url: 'http://127.0.0.1:8000'}]"
    config, _ = load_config(text, "t.yml", power_specs={}, engines=(), owner_specs=WORKSHOP.owner_specs)
    assert config.servers[0].gpus.search.source == "lone"
    assert load("all").servers[0].gpus == GpuSelection(every=True)
    two = load("all", "  - {name: b, url: 'http://127.0.0.1:8001'}\n")
    assert two.servers[1].gpus == GpuSelection()


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ("kubelet", "t.yml:4: servers[0].gpus: kubelet needs pod; write {source: kubelet, pod: ...}"),
        ("procs", "write all, none, processes, or a list"),
        ("lone", "cannot be text 'lone'"),
        (
            "{pod: {namespace: a, name: b}}",
            "servers[0].gpus.source: required key is missing; one of dcgm, kubelet, processes",
        ),
        ("{source: kublet, pod: {}}", "unknown owner source 'kublet'; did you mean kubelet?"),
        ("{source: kubelet, pod: {namespace: a}}", "servers[0].gpus.pod.name: required key is missing"),
        ("{source: processes, prot: 1}", "servers[0].gpus.prot: unknown key; did you mean port?"),
        ("{source: processes, port: 70000}", "must be at most 65535"),
        ("{source: dcgm, pod: {namespace: a, name: b}, url: 'ftp://x'}", "servers[0].gpus.url"),
    ],
)
def test_mistakes(gpus, said):
    assert said in mistake(gpus)


def test_names_of_owner_sources_are_tokwatts_own():
    with pytest.raises(ConfigError, match="begins with 'gpus of '"):
        load_config("servers: [{name: gpus of chat, url: 'http://h'}]", "t.yml", power_specs={}, engines=())
