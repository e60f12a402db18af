"""The command line: exit codes, and what a person or a script reads."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support import captures, nvml_double
from support.nvml_double import NvmlDouble
from support.servers import reply, serving

from tokwatt.app import detect as detecting
from tokwatt.app.build import Workshop
from tokwatt.app.cli import main
from tokwatt.app.probe import as_json, as_text, probe, succeeded
from tokwatt.config import Config, GpuSearch, GpuSelection, MeterConfig, ServerConfig
from tokwatt.config.reference import render_reference
from tokwatt.sources import responses
from tokwatt.sources.owners._port import PortOptions
from tokwatt.sources.owners.named import NamedOptions
from tokwatt.sources.power.nvml import NvmlOptions
from tokwatt.sources.tokens.discovery import Found

GOOD = "servers:\n  - {name: chat, url: 'http://127.0.0.1:8000/metrics'}\nmeters: [{source: nvml}]\n"
BAD = "servers:\n  - {name: chat, url: 'http://127.0.0.1:8000/metrics', egnine: vllm}\n"


def written(folder: Path, text: str) -> str:
    file = folder / "tokwatt.yml"
    file.write_text(text)
    return str(file)


def test_check_of_a_valid_file(tmp_path, capsys):
    assert main(["check", written(tmp_path, GOOD)]) == 0
    assert "valid: 1 servers, 1 meters" in capsys.readouterr().out


def test_check_of_a_mistake_names_file_line_key_and_suggestion(tmp_path, capsys):
    assert main(["check", written(tmp_path, BAD)]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/tokwatt.yml:2: servers[0].egnine: unknown key; did you mean engine?" in said


FRONT = """servers:
  - {name: front, url: "http://127.0.0.1:8000", engine: dynamo_frontend}
  - {name: worker, url: "http://127.0.0.1:8081", engine: dynamo_vllm}
meters: []
"""


def test_a_frontend_beside_its_workers_is_refused_unless_it_is_said_to_be_separate(tmp_path, capsys):
    assert main(["check", written(tmp_path, FRONT)]) == 2
    said = capsys.readouterr().err
    assert "tokwatt.yml:2: servers[0].engine: stands in front of worker and counts the same tokens again" in said
    assert "separate: true" in said
    assert main(["check", written(tmp_path, FRONT.replace("_frontend}", "_frontend, separate: true}"))]) == 0


def test_check_for_scripts(tmp_path, capsys):
    assert main(["check", "--json", written(tmp_path, BAD)]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["valid"] is False
    assert (report["mistakes"][0]["line"], report["mistakes"][0]["key"]) == (2, "servers[0].egnine")


def test_a_missing_file_is_a_mistake_too(tmp_path, capsys):
    assert main(["run", "--config", str(tmp_path / "none.yml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["rnu"], ["run", "--listen", "nonsense"], ["check"]])
def test_wrong_use_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_sources_lists_every_source_and_what_it_needs(capsys):
    assert main(["sources", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"vllm", "llamacpp"} <= {source["engine"] for source in report["tokens"]}
    assert {"nvml", "ipmi"} <= {source["source"] for source in report["power"]}
    keys = {source["source"]: source["keys"] for source in report["prices"] + report["responses"]}
    assert set(keys) == {"file", "promql", "tariff", "responses"}
    assert keys["tariff"] == ["prices.electricity.tariff"]
    assert all(source["needs"] for kind in ("power", "owners", "prices", "responses") for source in report[kind])
    assert main(["sources"]) == 0
    text = capsys.readouterr().out
    assert "llamacpp" in text
    assert all(key in text for of_source in keys.values() for key in of_source)


def test_the_keys_of_listed_sources_are_keys_of_the_configuration():
    workshop = Workshop()
    reference = render_reference(workshop.power_specs, workshop.engines, workshop.owner_specs)
    keys = [key for spec in (*workshop.price_specs.values(), responses.SPEC) for key in spec.keys]
    for key in keys:  # a server's own capacity has the keys of the common one
        assert f"`{key.replace('servers[]', 'prices')}`" in reference


async def test_probe_tells_who_counts_again():
    front = reply(captures.body("dynamo_frontend/1.6.1__written-loaded"))
    worker = reply(captures.body("dynamo_vllm/1.6.1__written-settled"))
    async with serving(metrics=front) as one, serving(metrics=worker) as two:
        servers = (ServerConfig("front", one.url), ServerConfig("worker", two.url))
        workshop = Workshop()
        rows, _ = await probe(Config(servers=servers, meters=()), workshop)
        quiet, _ = await probe(Config(servers=(replace(servers[0], separate=True), servers[1]), meters=()), workshop)
        await workshop.aclose()
    assert rows[0].items[-1] == "COUNTED TWICE: its tokens are those of worker too"
    assert not any("TWICE" in item for row in (rows[1], *quiet) for item in row.items)


async def test_without_a_config_workers_are_taken_and_their_frontend_is_left_out(monkeypatch):
    front, worker = "http://127.0.0.1:8000/metrics", "http://127.0.0.1:8081/metrics"
    found = (Found(front, "dynamo_frontend", "x"), Found(worker, "dynamo_vllm", "x"), Found("u", None, "nobody there"))

    async def find(http):
        return found

    monkeypatch.setattr(detecting, "find_servers", find)
    workshop = Workshop()
    config, tried = await detecting.detect(Config(meters=()), workshop)
    await workshop.aclose()
    assert [server.url for server in config.servers] == [worker]
    reasons = {item.where: item.reason for item in tried if not item.found}
    assert reasons[front] == f"left out: dynamo_frontend counts again what {worker} count"
    assert reasons["u"] == "nobody there"


async def test_probe_tells_readings_and_reasons():
    page = reply(captures.body("vllm/0.32.0__after"))
    workshop = Workshop()
    async with serving(
        metrics=page, version=reply(b'{"version": "0.32.0"}', content_type="application/json")
    ) as server:
        config = Config(
            servers=(ServerConfig("chat", server.url), ServerConfig("gone", "http://127.0.0.1:1/metrics")),
            meters=(MeterConfig("nvml", "nvml", NvmlOptions()),),
        )
        rows, tried = await probe(config, workshop)
    await workshop.aclose()
    found = {row.source: row for row in rows}
    assert found["chat"].ok
    assert "engine vllm 0.32.0" in found["chat"].items
    assert "output 1,730 (tiny-llama)" in found["chat"].items
    assert not found["gone"].ok
    assert "cannot connect" in found["gone"].items[0]
    assert not succeeded(rows)
    text = as_text(rows, tried)
    assert "FAILED" in text
    assert max(map(len, text.splitlines())) < 200
    assert json.loads(json.dumps(as_json(rows, tried)))["sources"][0]["source"] == "chat"


@pytest.mark.skipif(not nvml_double.have_compiler(), reason="gcc builds the stand-in driver")
async def test_probe_prints_whose_the_gpus_are_and_how_that_was_found(tmp_path, monkeypatch):
    double = NvmlDouble(tmp_path, gpus=3)
    nvml_double.load_into_this_process()
    monkeypatch.setenv("NVML_DOUBLE_STATE", str(double.path))
    double.set_processes(1, os.getpid())
    double.set_mig(2, 3, 4)
    page = reply(captures.body("vllm/0.32.0__after"))
    workshop = Workshop()
    mig = NamedOptions((NvmlDouble.slice_uuid(2, 0),))
    async with serving(metrics=page) as server:
        servers = (
            ServerConfig("chat", server.url, gpus=GpuSelection(search=GpuSearch("processes", PortOptions()))),
            ServerConfig("code", server.url, gpus=GpuSelection(devices=(0,))),
            ServerConfig("embed", server.url, gpus=GpuSelection(search=GpuSearch("named", mig))),
        )
        config = Config(servers=servers, meters=(MeterConfig("nvml", "nvml", NvmlOptions()),))
        rows, tried = await probe(config, workshop)
    await workshop.aclose()
    text = as_text(rows, tried)
    owned = {row["source"]: row for row in as_json(rows, tried)["sources"] if row["kind"] == "owner"}
    assert owned["gpus of chat"]["gpus"] == ({"device": NvmlDouble.uuid(1), "part_ratio": 1.0, "rule": ""},)
    assert f"process {os.getpid()} (" in owned["gpus of chat"]["items"][0]
    assert owned["gpus of code"]["gpus"][0]["device"] == NvmlDouble.uuid(0)
    assert owned["gpus of embed"]["gpus"][0]["part_ratio"] is None
    assert any("no rule divides it" in item for item in owned["gpus of embed"]["items"])
    assert f"{NvmlDouble.uuid(1)} (NVIDIA H100 80GB HBM3, index 1)" in " ".join(text.split())
    assert not succeeded(rows)  # the energy of a MIG instance is nobody's without a rule
