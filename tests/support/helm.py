"""The chart, rendered by the real Helm engine. Imports it inside functions: it is not there in `make check`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/tokwatt"
EXAMPLE = ROOT / "helm/examples/sidecar"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))

SAMPLE_RULES = """\
groups:
  - name: sample
    interval: 30s
    rules:
      - record: model:tokwatt_output_tokens:rate5m
        expr: sum by (model) (rate(tokwatt_output_tokens_total[5m]))
      - alert: SampleDown
        expr: tokwatt_source_up == 0
        for: 5m
        labels: {severity: warning}
        annotations: {summary: 'source {{ $labels.source }}: {{ $value | humanize }}'}
"""
SAMPLE_DASHBOARD = '{"title": "Sample", "panels": [{"targets": [{"legendFormat": "{{server}}"}]}]}\n'
SAMPLES = (
    ("rules/sample.yml", SAMPLE_RULES),
    ("dashboards/sample_1.json", SAMPLE_DASHBOARD),
    ("dashboards/sample_2.json", SAMPLE_DASHBOARD),
)


@dataclass(frozen=True, slots=True)
class Release:
    """What Helm would send to the cluster."""

    objects: tuple[Mapping[str, Any], ...]
    notes: str

    def of(self, *kinds: str) -> list[Mapping[str, Any]]:
        return [item for item in self.objects if item["kind"] in kinds]

    def one(self, kind: str) -> Mapping[str, Any]:
        found = self.of(kind)
        assert len(found) == 1, [item["kind"] for item in self.objects]
        return found[0]

    def pod(self) -> Mapping[str, Any]:
        """The pod template of the only workload."""
        (workload,) = self.of("Deployment", "DaemonSet")
        template: Mapping[str, Any] = workload["spec"]["template"]
        return template

    def container(self) -> Mapping[str, Any]:
        (container,) = self.pod()["spec"]["containers"]
        return dict(container)


def copy_chart(folder: Path, *, samples: bool) -> Path:
    """The chart of the tree; with samples also a rule file and a dashboard, else none at all."""
    copy = folder / "tokwatt"
    shutil.copytree(CHART, copy)
    if samples:
        for name, text in SAMPLES:
            (copy / "files" / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / "files" / name).write_text(text)
    else:
        shutil.rmtree(copy / "files", ignore_errors=True)
    return copy


def render(
    chart: Path, values: Mapping[str, Any] | None = None, *, name: str = "rel", namespace: str = "ns"
) -> Release:
    """Render with Helm. Raises its HelmError for values or templates that it refuses."""
    import helm_python  # noqa: PLC0415

    rendered = helm_python.Chart.load(chart).render(dict(values or {}), name=name, namespace=namespace)
    objects: list[Mapping[str, Any]] = []
    for path, text in rendered.items():
        if path.endswith(".yaml"):
            objects += [item for item in yaml.load_all(text, Loader=UniqueKeys) if item]
    notes = next((text for path, text in rendered.items() if path.endswith("tokwatt/templates/NOTES.txt")), "")
    return Release(tuple(objects), notes)


def lint(chart: Path, values: Mapping[str, Any]) -> Sequence[str]:
    """What `helm lint --strict` would fail for: errors and warnings."""
    import helm_python  # noqa: PLC0415

    report = helm_python.lint(chart, dict(values), strict=True)
    warning = 2
    return [*report["errors"], *(str(item) for item in report["messages"] if item["severity"] >= warning)]


def complaint(chart: Path, values: Mapping[str, Any]) -> str:
    """What Helm says when it refuses these values."""
    import helm_python  # noqa: PLC0415

    with pytest.raises(helm_python.HelmError) as refused:
        render(chart, values)
    return str(refused.value)


def package(chart: Path, folder: Path) -> Path:
    """The archive of `helm package`."""
    import helm_python  # noqa: PLC0415

    return Path(helm_python.package(chart, destination=folder))


class UniqueKeys(yaml.SafeLoader):
    """YAML as the Kubernetes API reads it: a key given twice is an error, not the last one's win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key twice in {keys}, {node.start_mark}"
        return super().construct_mapping(node, deep=deep)
