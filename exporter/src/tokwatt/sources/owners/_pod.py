"""Which pod a server runs in, and what the pods of a node hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tokwatt.readings import GpuHold, ServerGpus


@dataclass(frozen=True, slots=True)
class PodSelector:
    """One pod, or one container of it."""

    namespace: str = field(metadata={"help": "namespace of the pod"})
    name: str = field(metadata={"help": "name of the pod; `*` stands for any text: chat-7d9f8-* of a Deployment"})
    container: str = field(default="*", metadata={"help": "container that holds the GPUs; omit: all of the pod"})

    def matches(self, pod: str) -> bool:
        """Whether `namespace/name` is meant."""
        namespace, _, name = pod.partition("/")
        return namespace == self.namespace and fnmatchcase(name, self.name)

    def __str__(self) -> str:
        container = "" if self.container == "*" else f", container {self.container}"
        return f"pod {self.namespace}/{self.name}{container}"


@dataclass(frozen=True, slots=True)
class PodDevice:
    """One GPU or part of one in one container of a pod."""

    pod: str  # namespace/name
    container: str
    uuid: str  # of the whole GPU
    slices: float | None = None


def gpus_of_pod(wanted: PodSelector, devices: Iterable[PodDevice], by: str) -> ServerGpus:
    """Return what the wanted pod holds, and which other pods hold the same GPUs. `by`: who says so."""
    every = tuple(devices)
    mine = [one for one in every if wanted.matches(one.pod) and fnmatchcase(one.container, wanted.container)]
    pods = sorted({one.pod for one in mine})
    if not pods:
        return ServerGpus(None, f"{by} shows no GPU of {wanted}")
    if len(pods) > 1:
        return ServerGpus(None, f"{by} shows several pods for {wanted}: {', '.join(pods)}")
    holds = []
    for uuid in sorted({one.uuid for one in mine}):
        slices = [one.slices for one in mine if one.uuid == uuid]
        known = [count for count in slices if count is not None]
        others = {one.pod for one in every if one.uuid == uuid} - {pods[0]}
        holds.append(
            GpuHold(
                uuid,
                sum(known) if len(known) == len(slices) else None,
                frozenset({f"pod {pods[0]}"}),
                frozenset(f"pod {pod}" for pod in others),
            )
        )
    return ServerGpus(tuple(holds), f"pod {pods[0]}, by {by}")
