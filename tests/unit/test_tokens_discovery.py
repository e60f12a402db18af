"""Looking for servers on the usual ports says what is there, and why nothing is."""

from dataclasses import replace

import pytest
from support.captures import body as capture
from support.servers import hang, reply, serving

from tokwatt.sources._http import Http
from tokwatt.sources.tokens import discovery, specs
from tokwatt.sources.tokens.discovery import Found, find_servers, usual_ports


def test_usual_ports_come_from_the_specs() -> None:
    ports = usual_ports(specs())
    assert "/metrics" in ports[8000]
    assert "/metrics" in ports[8080]
    # the destructive /metrics of trtllm-serve is tried after its own page
    assert ports[8000] == ("/prometheus/metrics", "/v1/metrics", "/metrics")


async def test_each_port_is_one_answer() -> None:
    http = Http()
    async with (
        serving(metrics=reply(capture("vllm/0.32.0__idle"))) as vllm,
        serving(prometheus_metrics=reply(capture("llamacpp/b11434__idle"))) as llama,
        serving(metrics=reply(b"node_load1 1\n")) as node,
        serving() as other,
        serving(metrics=hang) as hung,
        serving(metrics=reply(b"<html>")) as web,
    ):
        paths = ("/metrics", "/prometheus/metrics")
        ports = {fake.port: paths for fake in (vllm, llama, node, other, hung, web)} | {1: paths}
        found = {result.url.split(":")[2].split("/")[0]: result for result in await find_servers(http, ports=ports)}
    await http.aclose()
    assert found[str(vllm.port)] == Found(f"http://127.0.0.1:{vllm.port}/metrics", "vllm", "vLLM metrics")
    assert found[str(llama.port)].engine == "llamacpp"
    assert found[str(llama.port)].url.endswith("/prometheus/metrics")
    reasons = {port: result.reason for port, result in found.items() if result.engine is None}
    assert "seen: node_load1" in reasons[str(node.port)]
    assert "HTTP 404" in reasons[str(other.port)]
    assert "no complete answer within 0.7 s" in reasons[str(hung.port)]
    assert "web page" in reasons[str(web.port)]
    assert "cannot connect" in reasons["1"]


async def test_a_server_without_token_counters_is_named_with_what_to_do() -> None:
    http = Http()
    async with (
        serving(metrics=reply(capture("triton_trtllm/0b9d7d5__written-loaded"))) as triton,
        serving(prometheus_metrics=reply(capture("trtllm_1_2/1.1__written-loaded")), metrics=reply(b"[]")) as old,
    ):
        ports = {triton.port: ("/metrics",), old.port: ("/prometheus/metrics", "/metrics")}
        found = {
            int(result.url.split(":")[2].split("/")[0]): result for result in await find_servers(http, ports=ports)
        }
        asked = [request.split(" ")[1] for request in old.requests]
    await http.aclose()
    assert found[triton.port].engine is None
    assert found[triton.port].reason.startswith(
        "Triton with TensorRT-LLM: Triton's TensorRT-LLM backend publishes gauges"
    )
    assert "update TensorRT-LLM beyond 1.2" in found[old.port].reason
    assert asked == ["/prometheus/metrics"]  # reading /metrics would empty the server's queue


async def test_a_server_without_a_metrics_page_is_known_by_another_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    http = Http()
    async with serving(api_version=reply(b'{"version": "0.31.0"}')) as fake, serving() as other:
        known = {"ollama": replace(specs()["ollama"], default_ports=(fake.port, other.port))}
        monkeypatch.setattr(discovery, "specs", lambda: known)
        found, nothing = sorted(await find_servers(http), key=lambda result: "Ollama has" not in result.reason)
    await http.aclose()
    assert found.engine is None
    assert "Ollama: Ollama has no metrics page" in found.reason
    assert "engine: litellm" in found.reason
    assert "HTTP 404" in nothing.reason
