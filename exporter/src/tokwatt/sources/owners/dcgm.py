"""GPUs of a pod by the labels of a running dcgm-exporter.

Source: NVIDIA/dcgm-exporter (internal/pkg/transformation/kubernetes.go): labels pod, namespace, container, vgpu.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tokwatt.readings import OwnerContext, OwnerSourceSpec, OwnersReading, Unavailable
from tokwatt.sources.owners._pod import PodDevice, PodSelector, gpus_of_pod
from tokwatt.sources.power._samples import Sample, samples_of
from tokwatt.sources.power._web import WebOptions, WebSource
from tokwatt.units import mig_slices_of

# Families that a usual counters file holds; pods are on every one of a GPU's series.
_FAMILIES = (
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_BOARD_POWER_WATTS",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_SM_CLOCK",
)
_UUID, _POD, _NAMESPACE, _CONTAINER = (
    ("UUID", "uuid"),
    ("pod", "exported_pod", "pod_name"),
    ("namespace", "exported_namespace", "pod_namespace"),
    ("container", "exported_container", "container_name"),
)
_HINT = "the url must be dcgm-exporter's metrics page, usually http://HOST:9400/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class DcgmOwnerOptions(WebOptions):
    """Options of the owner source `dcgm`."""

    pod: PodSelector = field(metadata={"help": "the pod that the server runs in"})
    url: str = field(default="http://127.0.0.1:9400/metrics", metadata={"help": "dcgm-exporter's metrics page"})
    period_seconds: float = field(default=15.0, metadata={"help": "time between looks", "unit": "s"})


class DcgmOwner(WebSource):
    """GPUs of one server's pod."""

    def __init__(self, options: DcgmOwnerOptions, context: OwnerContext) -> None:
        super().__init__(options, context)
        self.server = context.server
        self._pod = options.pod

    async def read(self) -> OwnersReading:
        """Read the page once. Raises SourceError subclasses only."""
        answer, at_seconds = await self._web.page(self.timeout_seconds, _HINT)
        samples = [sample for family in _FAMILIES for sample in samples_of(answer.body, family, self._web.where)]
        if not samples:
            hint = f"its counters file must hold one of {', '.join(_FAMILIES)}"
            raise Unavailable("the page shows no GPU", where=self._web.where, hint=hint)
        devices = list(_devices(samples))
        if not devices:
            hint = "start dcgm-exporter with --kubernetes, and mount the kubelet's pod-resources folder into it"
            raise Unavailable("no series names a pod", where=self._web.where, hint=hint)
        return OwnersReading(at_seconds, {self.server: gpus_of_pod(self._pod, devices, "dcgm-exporter")})


def _devices(samples: list[Sample]) -> Iterator[PodDevice]:
    seen: set[tuple[str, ...]] = set()
    for sample in samples:
        uuid, pod, namespace, container = (
            _label(sample.labels, names) for names in (_UUID, _POD, _NAMESPACE, _CONTAINER)
        )
        instance, profile = sample.labels.get("GPU_I_ID", ""), sample.labels.get("GPU_I_PROFILE", "")
        key = (uuid, pod, namespace, container, instance)
        if uuid and pod and key not in seen:
            seen.add(key)  # one per GPU or instance and container: several families show it
            yield PodDevice(f"{namespace}/{pod}", container, uuid, mig_slices_of(profile) if profile else None)


def _label(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


SPEC = OwnerSourceSpec(
    name="dcgm",
    summary="GPUs of the server's pod, by the labels of a running dcgm-exporter",
    needs="dcgm-exporter with --kubernetes on the node; no device and no host access for tokwatt",
    options=DcgmOwnerOptions,
    build=DcgmOwner,
    traps=(
        "Of pods that share a GPU by time slices it names one, unless it runs with --kubernetes-virtual-gpus.",
        "A pod that has gone keeps its GPUs for up to dcgm-exporter's own 30 s.",
    ),
)
