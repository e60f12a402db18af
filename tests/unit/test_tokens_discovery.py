"""Looking for servers on the usual ports says what is there, and why nothing is."""

from support.captures import body as capture
from support.servers import hang, reply, serving

from tokwatt.sources._http import Http
from tokwatt.sources.tokens import specs
from tokwatt.sources.tokens.discovery import Found, find_servers, usual_ports


def test_usual_ports_come_from_the_specs() -> None:
    ports = usual_ports(specs())
    assert "/metrics" in ports[8000]
    assert "/metrics" in ports[8080]


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
