"""The double that misbehaves does so, and is well again afterwards: a test that trusts it must not pass for nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from support.faulty_server import MODEL, Fault, FaultyServer, running_faulty_server
from support.openmetrics import classic_samples, total
from support.processes import poll


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyServer]:
    with running_faulty_server() as running:
        poll(lambda: raw_get(running.port), "answer", 5)
        yield running


def raw_get(port: int, limit: int = 1 << 17, seconds: float = 0.4) -> bytes:
    """Bytes the server sends to one GET, at most `limit`; b"" when it refuses or says nothing in time."""
    received = b""
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            while len(received) < limit and (part := connection.recv(1 << 16)):
                received += part
    except OSError:
        pass
    return received


@pytest.mark.parametrize(
    ("fault", "sign"),
    [
        (Fault.HUNG, b""),
        (Fault.CLOSES, b""),
        (Fault.DOWN, b""),
        (Fault.ERROR_500, b"HTTP/1.1 500 "),
        (Fault.LOADING_503, b"HTTP/1.1 503 "),
        (Fault.UNAUTHORIZED, b"HTTP/1.1 401 "),
        (Fault.REDIRECT, b"\r\nLocation: http://127.0.0.1:"),
        (Fault.HTML, b"<!doctype html>"),
        (Fault.EMPTY, b"Content-Length: 0\r\n"),
        (Fault.BINARY, bytes(range(256))),
        (Fault.HUGE, b"Content-Length: 104857600\r\n"),
        (Fault.NAN, b"} NaN\n"),
        (Fault.NEGATIVE, b"} -5\n"),
        (Fault.STALLS, b"vllm:prompt_tokens_total{"),
        (Fault.TRUNCATED, b"vllm:prompt_tokens_total{"),
    ],
)
def test_fault_shows_on_the_wire_and_passes(server: FaultyServer, fault: Fault, sign: bytes) -> None:
    server.fault = fault
    if fault == Fault.DOWN:
        poll(lambda: not raw_get(server.port), "refusal", 5)
    sent = raw_get(server.port)
    assert sign in sent
    assert bool(sent) == bool(sign)
    server.fault = Fault.NONE
    healthy = poll(lambda: raw_get(server.port), "healthy answer", 5)
    samples = classic_samples(healthy.split(b"\r\n\r\n", 1)[1].decode())
    assert total(samples, "vllm:generation_tokens_total", model_name=MODEL) >= 0


@pytest.mark.parametrize("fault", [Fault.STALLS, Fault.TRUNCATED])
def test_a_cut_answer_is_shorter_than_it_promises(server: FaultyServer, fault: Fault) -> None:
    server.fault = fault
    head, body = raw_get(server.port).split(b"\r\n\r\n", 1)
    server.fault = Fault.NONE
    promised = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < promised


def test_duplicate_sends_every_series_twice(server: FaultyServer) -> None:
    server.fault = Fault.DUPLICATE
    body = raw_get(server.port).split(b"\r\n\r\n", 1)[1]
    server.fault = Fault.NONE
    assert body.count(b"vllm:generation_tokens_total{") == 2
