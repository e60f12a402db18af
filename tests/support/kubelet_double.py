"""A kubelet's PodResources service on a unix socket, for tests: a real gRPC server, its messages encoded by hand.

Field numbers are those of kubernetes/kubelet pkg/apis/podresources/v1/api.proto, written down here a second time so
that the reader is not checked against itself.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

METHOD = "/v1.PodResourcesLister/List"


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def pod(
    name: str,
    devices: Mapping[str, Sequence[str]] | None = None,
    *,
    namespace: str = "llm",
    container: str = "vllm",
    claims: Sequence[str] = (),
) -> bytes:
    """One PodResources. `devices`: ids by resource name; `claims`: drivers of dynamic resources."""
    inside = _field(1, container)
    for resource, ids in (devices or {}).items():
        topology = _field(3, _field(1, _varint(0)))  # NUMA topology: a field that nobody reads
        inside += _field(2, _field(1, resource) + b"".join(_field(2, one) for one in ids) + topology)
    inside += b"\x18\x05"  # cpu_ids = 5, unpacked
    for driver in claims:
        inside += _field(5, _field(2, "claim") + _field(4, _field(2, driver) + _field(3, "node") + _field(4, "gpu-0")))
    return _field(1, name) + _field(2, namespace) + _field(3, inside)


class KubeletDouble:
    """The service. `pods`, `code` (an error to answer with), `body` and `hang` may change at any time."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "kubelet.sock"
        self.pods: list[bytes] = []
        self.body: bytes | None = None
        self.code: grpc.StatusCode | None = None
        self.method = METHOD
        self.calls = 0
        self._release = threading.Event()
        self._release.set()
        self._server: Any = None

    def start(self) -> None:
        """Listen."""
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((_Handler(self),))
        assert self._server.add_insecure_port(f"unix://{self.socket}")
        self._server.start()

    def stop(self) -> None:
        """Stop listening; the socket is gone."""
        self._release.set()
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None

    def hang(self) -> None:
        """Take calls and do not answer."""
        self._release.clear()

    def list(self, _request: bytes, context: Any) -> bytes:
        self.calls += 1
        self._release.wait(10)
        if self.code is not None:
            context.abort(self.code, "as the test wants it")
        return b"".join(_field(1, one) for one in self.pods) if self.body is None else self.body


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, double: KubeletDouble) -> None:
        self._double = double

    def service(self, details: Any) -> Any:
        if details.method != self._double.method:
            return None
        return grpc.unary_unary_rpc_method_handler(self._double.list)  # bytes in, bytes out
