"""Checks of Kubernetes objects that need no cluster: API schemas, custom resources, Pod Security.

Imports the packages of the group `chart` inside functions: they are not there in `make check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

OLDEST, NEWEST = "1.28", "1.37"  # what the chart supports, and the newest schemas there are
RESTRICTED_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)


def validate(item: Mapping[str, Any]) -> None:
    """Check one object: against the API schemas, unknown keys refused, or as a custom resource. Raises."""
    import kubernetes_validate  # noqa: PLC0415

    if item["apiVersion"] == "monitoring.coreos.com/v1":
        validate_monitoring(item)
        return
    for version in (OLDEST, NEWEST):
        kubernetes_validate.validate(item, version, strict=True)


def validate_monitoring(item: Mapping[str, Any]) -> None:
    """Check a resource of the Prometheus operator. Its models drop unknown keys, so what they keep is compared."""
    from cloudcoil.models.prometheus_operator import v1  # noqa: PLC0415

    model = getattr(v1, item["kind"]).model_validate(item)
    kept = model.model_dump(by_alias=True, exclude_unset=True, mode="json")
    lost = list(lost_keys(item, kept, ""))
    assert not lost, f"{item['kind']}: the operator knows no {', '.join(lost)}"


def lost_keys(given: Any, kept: Any, path: str) -> Iterator[str]:
    """Paths that are in `given` and not in `kept`."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        for key, value in given.items():
            if key in kept:
                yield from lost_keys(value, kept[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(given, list) and isinstance(kept, list):
        for index, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost_keys(one, other, f"{path}[{index}]")


def restricted_violations(pod: Mapping[str, Any], *, container: str | None = None) -> list[str]:
    """What the Pod Security standard "restricted" (kubernetes.io, version 1.37) forbids in a pod's spec.

    `container`: judge only this container by what stands at itself, as is fair to a sidecar in another's pod.
    """
    found = [] if container else list(_pod_violations(pod))
    above = {} if container else pod.get("securityContext", {})
    for item in [*pod.get("initContainers", []), *pod["containers"]]:
        if container in (None, item["name"]):
            found += [f"{item['name']}: {text}" for text in _container_violations(item, above)]
    return found


def _pod_violations(pod: Mapping[str, Any]) -> Iterator[str]:
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    for volume in pod.get("volumes", []):
        if kinds := set(volume) - {"name"} - RESTRICTED_VOLUMES:
            yield f"volume {volume['name']}: {', '.join(kinds)}"
    if pod.get("securityContext", {}).get("sysctls"):
        yield "sysctls"


def _container_violations(container: Mapping[str, Any], above: Mapping[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    both = {**above, **own}
    capabilities = own.get("capabilities", {})
    rules = {
        "privileged": not own.get("privileged"),
        "allowPrivilegeEscalation is not false": own.get("allowPrivilegeEscalation") is False,
        "capabilities are not all dropped": "ALL" in capabilities.get("drop", []),
        "adds capabilities": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot is not true": both.get("runAsNonRoot") is True,
        "runs as root": both.get("runAsUser") != 0,
        "no seccomp profile": both.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
        "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
    }
    yield from (text for text, kept in rules.items() if not kept)
