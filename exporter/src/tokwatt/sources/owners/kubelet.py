"""GPUs of a pod by the kubelet's PodResources socket: what the device plugin really gave it.

Source: kubernetes/kubelet pkg/apis/podresources/v1/api.proto; device ids: NVIDIA/k8s-device-plugin and
NVIDIA/dcgm-exporter internal/pkg/transformation/kubernetes.go.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokwatt.readings import (
    Malformed,
    OwnerContext,
    OwnerSourceSpec,
    OwnersReading,
    Refused,
    ServerGpus,
    SourceError,
    TimedOut,
    Unavailable,
)
from tokwatt.sources._frame import TimedFrame, above_zero
from tokwatt.sources._worker import Worker
from tokwatt.sources.owners._nvml import ListedGpu, list_gpus, part_of
from tokwatt.sources.owners._pod import PodDevice, PodSelector, gpus_of_pod
from tokwatt.sources.power._nvml_binding import load_binding

_PLAIN, _MIG = "nvidia.com/gpu", "nvidia.com/mig-"
_DRA_DRIVER = "gpu.nvidia.com"
_INSTALL = "pip install 'tokwatt[kubelet]'"


@dataclass(frozen=True, slots=True)
class KubeletOptions:
    """Options of the owner source `kubelet`."""

    pod: PodSelector = field(metadata={"help": "the pod that the server runs in"})
    socket: str = field(
        default="/var/lib/kubelet/pod-resources/kubelet.sock",
        metadata={"help": "the kubelet's PodResources socket; in a container a hostPath"},
    )
    resources: tuple[str, ...] = field(
        default=(), metadata={"help": "resource names of GPUs beside nvidia.com/gpu and nvidia.com/mig-…"}
    )
    period_seconds: float = field(default=10.0, metadata={"help": "time between looks", "unit": "s"})
    timeout_seconds: float = field(default=3.0, metadata={"help": "longest wait for one look", "unit": "s"})

    def __post_init__(self) -> None:
        above_zero(period_seconds=self.period_seconds, timeout_seconds=self.timeout_seconds)


class KubeletOwner(TimedFrame):
    """GPUs of one server's pod. `load` replaces the NVML binding, which is needed for MIG instances only."""

    def __init__(self, options: KubeletOptions, context: OwnerContext, load: Callable[[], Any] = load_binding) -> None:
        super().__init__(context.name, options)
        self.server = context.server
        self._options = options
        self._clock = context.clock
        self._load = load
        self._worker = Worker(context.name, context.clock)
        self._channel: Any = None
        self._list: Any = None
        self._messages: Any = None

    async def read(self) -> OwnersReading:
        """Ask the kubelet once. Raises SourceError subclasses only."""
        answer = await self._ask()
        at_seconds = self._clock()
        held = list(_held(answer, self._options))
        gpus: tuple[ListedGpu, ...] = ()
        if any(not device_id.startswith("GPU-") for _, _, device_id in held):
            with contextlib.suppress(SourceError):  # then the ids themselves must do
                gpus = await self._worker.call(lambda: list_gpus(self._load), self.timeout_seconds / 2)
        return OwnersReading(at_seconds, {self.server: self._find(answer, held, gpus)})

    async def aclose(self) -> None:
        """Close the connection."""
        self._worker.close()
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    def _find(self, answer: Any, held: list[tuple[str, str, str]], gpus: tuple[ListedGpu, ...]) -> ServerGpus:
        wanted = self._options.pod
        devices = []
        for pod, container, device_id in held:
            part = part_of(device_id, gpus)
            if part is not None:
                devices.append(PodDevice(pod, container, part.uuid, part.slices))
            elif wanted.matches(pod):
                return ServerGpus(None, f"pod {pod} holds {device_id}, which NVML does not list here: name the GPU")
        found = gpus_of_pod(wanted, devices, "the kubelet")
        if found.holds is None and any(wanted.matches(pod) for pod in _claims(answer)):
            return ServerGpus(
                None, f"{wanted} has its GPUs by a resource claim (DRA), which is not followed: name them"
            )
        return found

    async def _ask(self) -> Any:
        socket = self._options.socket
        if self._list is None:
            self._connect(socket)
        import grpc  # noqa: PLC0415 - an extra; `_connect` has told where it is missing

        try:
            async with asyncio.timeout(self.timeout_seconds):
                body = await self._list(b"", timeout=self.timeout_seconds)  # an empty request is empty
        except TimeoutError as error:
            raise TimedOut(f"no answer within {self.timeout_seconds:g} s", where=socket) from error
        except grpc.aio.AioRpcError as error:
            raise _explain(error.code().name, str(error.details()), socket) from error
        try:
            return self._messages.response.FromString(body)
        except self._messages.decode_error as error:
            hint = "is this the kubelet's pod-resources socket?"
            raise Malformed(f"the answer cannot be read: {error}", where=socket, hint=hint) from error

    def _connect(self, socket: str) -> None:
        try:
            import grpc  # noqa: PLC0415 - an extra

            from tokwatt.sources.owners._podresources import METHOD, PodResources  # noqa: PLC0415 - needs the extra
        except ImportError as error:
            raise Unavailable(f"{error.name} is not installed", where="kubelet", hint=_INSTALL) from error
        if not Path(socket).exists():
            hint = "mount the host's /var/lib/kubelet/pod-resources, or set `socket`"
            raise Unavailable("no such socket", where=socket, hint=hint)
        self._messages = PodResources()
        self._channel = grpc.aio.insecure_channel(
            f"unix://{socket}"
        )  # what the kubelet offers: file permissions guard it
        self._list = self._channel.unary_unary(METHOD)  # bytes in, bytes out


def _explain(code: str, details: str, socket: str) -> SourceError:
    if code in ("PERMISSION_DENIED", "UNAUTHENTICATED") or "Permission denied" in details:
        return Refused(
            f"{code}: {details}", where=socket, hint="the socket belongs to root: run as root, or mount it so"
        )
    if code == "DEADLINE_EXCEEDED":
        return TimedOut("no answer in time", where=socket)
    if code == "UNIMPLEMENTED":
        return Unavailable("it does not speak PodResources v1", where=socket, hint="Kubernetes 1.20 or later is needed")
    return Unavailable(f"{code}: {details}", where=socket, hint="is this the kubelet's pod-resources socket?")


def _held(answer: Any, options: KubeletOptions) -> Iterator[tuple[str, str, str]]:
    """Pod, container and device id of every GPU that a device plugin gave."""
    for pod in answer.pod_resources:
        for container in pod.containers:
            for devices in container.devices:
                name = devices.resource_name
                if name == _PLAIN or name.startswith((f"{_PLAIN}.", _MIG)) or name in options.resources:
                    yield from ((f"{pod.namespace}/{pod.name}", container.name, one) for one in devices.device_ids)


def _claims(answer: Any) -> Iterator[str]:
    """Pods that hold a GPU by a resource claim."""
    for pod in answer.pod_resources:
        for container in pod.containers:
            for resource in container.dynamic_resources:
                if any(claim.driver_name == _DRA_DRIVER for claim in resource.claim_resources):
                    yield f"{pod.namespace}/{pod.name}"


SPEC = OwnerSourceSpec(
    name="kubelet",
    summary="GPUs of the server's pod, by the kubelet's PodResources socket",
    needs="the extra `kubelet` (grpcio, protobuf), and the socket: root and a hostPath; NVML for MIG instances",
    options=KubeletOptions,
    build=KubeletOwner,
    traps=(
        "hostPath is barred by the baseline and restricted pod security levels: a node agent needs `privileged`.",
        "Resource claims (DRA) are not followed: name such GPUs.",
        "Time slices and MPS show as replicas of one GPU: its energy needs `sharing.gpu`.",
    ),
)
