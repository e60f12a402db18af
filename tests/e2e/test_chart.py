"""The Helm chart in the real Helm engine: what it renders is valid, safe, stable, and starts the exporter as it is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import tools
from support.helm import (
    CHART,
    CI_VALUES,
    EXAMPLE,
    ROOT,
    SAMPLE_DASHBOARD,
    SAMPLE_RULES,
    Release,
    complaint,
    copy_chart,
    lint,
    package,
    render,
)
from support.kubernetes import restricted_violations, validate, validate_monitoring

from tokwatt.app.cli import main

pytestmark = pytest.mark.e2e

LONGEST_RELEASE = "a-release-whose-name-is-as-long-as-helm-allows-it-now"
EVERYTHING = {
    "monitor": {"enabled": True},
    "rules": {"enabled": True},
    "dashboards": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "secrets": [{"name": "bmc"}],
    "web": {"secret": "web"},
}


@pytest.fixture(scope="module", autouse=True)
def needed() -> None:
    tools.need_group("helm_python", "kubernetes_validate", "cloudcoil.models.prometheus_operator", group="chart")


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_chart(tmp_path_factory.mktemp("chart"), samples=True)


def values_of(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


@pytest.fixture(params=CI_VALUES, ids=lambda path: path.name.removesuffix("-values.yaml"))
def feature(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Values of one feature."""
    return values_of(request.param)


def test_each_feature_renders_valid_objects(chart: Path, feature: dict[str, Any]) -> None:
    release = render(chart, feature)
    assert release.objects
    for item in release.objects:
        validate(item)
        assert item["metadata"]["namespace"] == "ns"


def test_each_feature_lints_without_a_warning(chart: Path, feature: dict[str, Any]) -> None:
    assert lint(chart, feature) == []


def test_each_feature_changes_what_is_rendered(chart: Path, feature: dict[str, Any]) -> None:
    assert render(chart, feature).objects != render(chart).objects


def test_each_feature_passes_pod_security_restricted(chart: Path, feature: dict[str, Any]) -> None:
    for workload in render(chart, feature).of("Deployment", "DaemonSet"):
        pod = workload["spec"]["template"]["spec"]
        assert restricted_violations(pod) == []
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert "nvidia.com/gpu" not in json.dumps(container.get("resources", {}))


def test_no_feature_asks_for_rights_in_the_cluster(chart: Path, feature: dict[str, Any]) -> None:
    kinds = {item["kind"] for item in render(chart, feature).objects}
    assert not {kind for kind in kinds if "Role" in kind or kind.startswith("Cluster") or kind == "Secret"}


def values_in(page: Path) -> list[dict[str, Any]]:
    """The YAML blocks of a page that are values of this chart."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    read = [yaml.safe_load(block) for block in blocks if "{{" not in block]
    own = [block for block in read if isinstance(block, dict) and "config" in block]
    return own + [block["tokwatt"] for block in read if isinstance(block, dict) and "tokwatt" in block]


@pytest.mark.parametrize(("page", "count"), [(ROOT / "docs/install.md", 3), (CHART / "README.md", 3)])
def test_values_to_copy_from_the_documentation_work(
    chart: Path, page: Path, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = values_in(page)
    assert len(found) == count
    for values in found:
        release = render(chart, values)
        for item in release.objects:
            validate(item)
        assert main(["check", str(config_file(release, tmp_path))]) == 0, capsys.readouterr().err


def config_file(release: Release, tmp_path: Path) -> Path:
    """The rendered configuration, with its secrets in a folder of the test."""
    (config,) = [item for item in release.of("ConfigMap") if "tokwatt.yaml" in item["data"]]
    for secret in ("secrets/bmc/password", "secrets/vllm.token/token", "ca/ca.crt"):
        (tmp_path / secret).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / secret).write_text("x")
    text = config["data"]["tokwatt.yaml"]
    text = text.replace("/etc/tokwatt/secrets", f"{tmp_path}/secrets").replace("/etc/company-ca", f"{tmp_path}/ca")
    (tmp_path / "tokwatt.yaml").write_text(text)
    return tmp_path / "tokwatt.yaml"


def test_each_configuration_is_one_the_exporter_takes(
    chart: Path,
    feature: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    release = render(chart, feature)
    if feature.get("demo"):
        assert not release.of("ConfigMap")
        return
    monkeypatch.setenv("BMC_PASSWORD", "x")
    assert main(["check", str(config_file(release, tmp_path))]) == 0, capsys.readouterr().err


def test_the_default_values_install_and_say_what_to_do_next(chart: Path) -> None:
    release = render(chart)
    assert {item["kind"] for item in release.objects} == {"ConfigMap", "Deployment", "Service", "ServiceAccount"}
    assert lint(chart, {}) == []
    assert "`config` is empty" in release.notes
    assert "monitor.enabled: true" in release.notes


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"configs": {}}, "configs"),
        ({"mode": "daemonset"}, "mode"),
        ({"replicas": 2}, "replicas"),
        ({"replicaCount": 1}, "replicaCount"),
        ({"image": {"tags": "1"}}, "tags"),
        ({"image": {"tag": 1.2}}, "image/tag"),
        ({"image": {"digest": "sha256:12"}}, "image/digest"),
        ({"monitor": {"enable": True}}, "enable"),
        ({"monitor": {"interval": "15 s"}}, "monitor/interval"),
        ({"rules": {"enabled": "yes"}}, "rules/enabled"),
        ({"secrets": [{"secretName": "bmc"}]}, "secrets/0"),
        ({"secrets": {"bmc": {}}}, "secrets"),
        ({"nvidia": {"enabled": True, "gpus": 1}}, "gpus"),
        ({"probes": {"readinessPath": "/metrics"}}, "probes/readinessPath"),
        ({"service": {"port": 0}}, "service/port"),
        ({"serviceAccount": {"automount": True}}, "automount"),
        ({"logLevel": "trace"}, "logLevel"),
        ({"mode": "sidecar", "demo": True}, "demo: true needs a pod"),
        ({"web": {"tls": True}}, "web.tls: true needs web.secret"),
        ({"config": {"pue": 1}, "configText": "pue: 1"}, "not both"),
    ],
)
def test_a_mistake_in_the_values_is_refused(chart: Path, values: dict[str, Any], named: str) -> None:
    assert named in complaint(chart, values)


@pytest.mark.parametrize("part", ["rules", "dashboards"])
def test_a_chart_without_rule_or_dashboard_files_says_so(part: str, tmp_path: Path) -> None:
    said = complaint(copy_chart(tmp_path, samples=False), {part: {"enabled": True}})
    assert f"{part}.enabled: this build of the chart carries no" in said


def workloads(chart: Path) -> Iterator[tuple[str, Release]]:
    for mode in ("central", "agent"):
        yield mode, render(chart, {"mode": mode, **EVERYTHING})


def test_selectors_find_the_pods_and_nothing_finds_an_unknown_port(chart: Path) -> None:
    for mode, release in workloads(chart):
        (workload,) = release.of("Deployment", "DaemonSet")
        labels = release.pod()["metadata"]["labels"]
        service, policy = release.one("Service"), release.one("NetworkPolicy")
        monitor = release.one("ServiceMonitor" if mode == "central" else "PodMonitor")
        for selector in (workload["spec"]["selector"], policy["spec"]["podSelector"]):
            assert selector["matchLabels"].items() <= labels.items()
        assert service["spec"]["selector"].items() <= labels.items()
        selected = service["metadata"]["labels"] if mode == "central" else labels
        assert monitor["spec"]["selector"]["matchLabels"].items() <= selected.items()
        names = {port["name"] for port in release.container()["ports"]}
        (service_port,) = service["spec"]["ports"]
        assert service_port["targetPort"] in names
        (endpoint,) = monitor["spec"]["endpoints" if mode == "central" else "podMetricsEndpoints"]
        assert endpoint["port"] in ({service_port["name"]} if mode == "central" else names)
        assert policy["spec"]["ingress"][0]["ports"][0]["port"] in names


def test_selectors_outlive_an_upgrade(chart: Path, tmp_path: Path) -> None:
    later = shutil.copytree(chart, tmp_path / "tokwatt")
    text = (later / "Chart.yaml").read_text()
    version = yaml.safe_load(text)["version"]
    (later / "Chart.yaml").write_text(text.replace(version, "99.1.0"))
    for mode in ("central", "agent"):
        values = {"mode": mode, "image": {"tag": "x"}, "labels": {"team": "a"}, "podLabels": {"b": "c"}, **EVERYTHING}
        now, then = render(chart, {"mode": mode, **EVERYTHING}), render(later, values)
        for kind in ("Deployment", "DaemonSet", "Service", "NetworkPolicy", "ServiceMonitor", "PodMonitor"):
            assert [selector_of(item) for item in now.of(kind)] == [selector_of(item) for item in then.of(kind)]


def selector_of(item: Mapping[str, Any]) -> object:
    return item["spec"].get("selector", item["spec"].get("podSelector"))


def names_of(release: Release) -> set[tuple[str, str]]:
    return {(item["kind"], item["metadata"]["name"]) for item in release.objects}


@pytest.mark.parametrize("mode", ["central", "agent", "sidecar"])
def test_two_releases_share_a_namespace(chart: Path, mode: str) -> None:
    values = {"mode": mode, **EVERYTHING}
    one, other = render(chart, values, name="one"), render(chart, values, name="other")
    assert not names_of(one) & names_of(other)
    for first, second in zip(one.objects, other.objects, strict=True):
        if selector_of(first) if "spec" in first else None:
            assert selector_of(first) != selector_of(second)


@pytest.mark.parametrize("values", [{}, values_of(CHART / "ci/names-values.yaml"), {"fullnameOverride": "n" * 63}])
@pytest.mark.parametrize("mode", ["central", "agent", "sidecar"])
def test_names_and_labels_stay_within_63_characters(chart: Path, values: dict[str, Any], mode: str) -> None:
    release = render(chart, {**values, **EVERYTHING, "mode": mode}, name=LONGEST_RELEASE)
    assert len(names_of(release)) == len(release.objects), "what is cut off must not be all that tells two names apart"
    for item in release.objects:
        validate(item)
        labels = item["metadata"]["labels"]
        for text in (item["metadata"]["name"], *labels.values()):
            assert len(text) <= 63
            assert not text.endswith("-")
    for workload in release.of("Deployment", "DaemonSet"):
        for volume in workload["spec"]["template"]["spec"]["volumes"]:
            assert len(volume["name"]) <= 63


def test_long_names_that_differ_at_the_end_stay_different(chart: Path) -> None:
    values = values_of(CHART / "ci/names-values.yaml") | {"dashboards": {"enabled": True}}
    stem = LONGEST_RELEASE[:-1]
    assert not names_of(render(chart, values, name=f"{stem}1")) & names_of(render(chart, values, name=f"{stem}2"))


def test_a_changed_configuration_starts_new_pods_and_nothing_else_does(chart: Path) -> None:
    def checksum(**values: object) -> str:
        return str(render(chart, values).pod()["metadata"]["annotations"]["checksum/config"])

    config = {"prices": {"pue": 1.2}}
    assert checksum(config=config) != checksum(config={"prices": {"pue": 1.3}})
    assert checksum(config=config) == checksum(config=config, monitor={"enabled": True})


def test_text_configuration_arrives_letter_by_letter(chart: Path) -> None:
    text = "  # indented first line\nprices: {pue: 1.10}   # as written\n\n# {{ not a template }}\n"
    release = render(chart, {"configText": text})
    assert release.one("ConfigMap")["data"]["tokwatt.yaml"] == text


def probe_paths(container: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: container[key].get("httpGet", {}).get("path", "tcp")
        for key in ("startupProbe", "livenessProbe", "readinessProbe")
        if key in container
    }


@pytest.mark.parametrize(
    ("values", "ready"),
    [
        ({}, "/readyz"),
        ({"mode": "agent"}, "/healthz"),
        ({"mode": "agent", "probes": {"readinessPath": "/readyz"}}, "/readyz"),
        ({"web": {"secret": "w"}}, "/healthz"),
        ({"probes": {"kind": "tcp"}}, "tcp"),
        ({"probes": {"kind": "none"}}, None),
    ],
)
def test_readiness_by_mode(chart: Path, values: dict[str, Any], ready: str | None) -> None:
    container = render(chart, values).container()
    assert probe_paths(container).get("readinessProbe") == ready
    if ready is None:
        assert probe_paths(container) == {}


@pytest.mark.parametrize("mode", ["central", "agent", "sidecar"])
def test_every_target_has_the_job_that_the_alerts_rely_on(chart: Path, mode: str) -> None:
    own = {"sourceLabels": ["__meta_kubernetes_namespace"], "targetLabel": "team"}
    values = {"mode": mode, "monitor": {"enabled": True, "relabelings": [own]}}
    (monitor,) = render(chart, values).of("ServiceMonitor", "PodMonitor")
    (endpoint,) = monitor["spec"]["endpoints" if mode == "central" else "podMetricsEndpoints"]
    assert {"targetLabel": "job", "replacement": "tokwatt"} in endpoint["relabelings"]
    assert endpoint["relabelings"][-1] == own


def test_a_pod_that_is_not_ready_stays_reachable(chart: Path) -> None:
    for _, release in workloads(chart):
        assert release.one("Service")["spec"]["publishNotReadyAddresses"] is True


def test_never_two_exporters_at_once(chart: Path) -> None:
    spec = render(chart).one("Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_agent_sees_the_gpus_without_taking_one(chart: Path) -> None:
    release = render(chart, values_of(CHART / "ci/agent-values.yaml"))
    environment = {item["name"]: item["value"] for item in release.container()["env"]}
    assert environment == {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "utility"}
    assert release.pod()["spec"]["runtimeClassName"] == "nvidia"
    assert "resources" not in release.container()


def test_every_mount_has_its_volume_and_secrets_lie_where_the_configuration_says(chart: Path) -> None:
    for name in ("central", "secrets", "web", "volumes"):
        release = render(chart, values_of(CHART / f"ci/{name}-values.yaml"))
        volumes = {volume["name"] for volume in release.pod()["spec"]["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in release.container()["volumeMounts"]}
        assert set(mounts) == volumes
        text = release.one("ConfigMap")["data"]["tokwatt.yaml"]
        for line in text.splitlines():
            key, _, path = line.strip().removeprefix("- ").partition(": ")
            if key.endswith("_file"):
                assert str(Path(path).parent) in mounts.values()


def promtool_accepts(rule: Mapping[str, Any], tmp_path: Path) -> None:
    tools.need("promtool")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rule["spec"]))
    done = subprocess.run(
        [tools.find("promtool"), "check", "rules", str(tmp_path / "rules.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_arrive_unchanged(chart: Path, tmp_path: Path) -> None:
    rule = render(chart, values_of(CHART / "ci/rules-values.yaml")).one("PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert yaml.safe_load(SAMPLE_RULES)["groups"][0] in rule["spec"]["groups"]
    groups = [group["name"] for group in rule["spec"]["groups"]]
    assert len(groups) == len(set(groups))
    promtool_accepts(rule, tmp_path)


def test_dashboards_arrive_unchanged(chart: Path) -> None:
    release = render(chart, values_of(CHART / "ci/dashboards-values.yaml"))
    boards = [item for item in release.of("ConfigMap") if "tokwatt.yaml" not in item["data"]]
    assert len(boards) == len(list((chart / "files/dashboards").glob("*.json")))
    shown = {name: text for item in boards for name, text in item["data"].items()}
    assert shown["sample_1.json"] == SAMPLE_DASHBOARD.strip()
    for item in boards:
        assert item["metadata"]["labels"]["dashboards"] == "inference"
        assert "grafana_dashboard" not in item["metadata"]["labels"]
        assert len(json.dumps(item)) < 2**20, "a ConfigMap holds 1 MiB"
        json.loads(next(iter(item["data"].values())))


@pytest.fixture
def host(chart: Path, tmp_path: Path) -> Path:
    """The example chart, with its dependency in place as `helm dependency build` would put it."""
    copy = shutil.copytree(EXAMPLE, tmp_path / "inference")
    shutil.copytree(chart, copy / "charts/tokwatt")
    return copy


def sidecar_pod(release: Release) -> dict[str, Any]:
    return dict(release.one("Deployment")["spec"]["template"])


@pytest.mark.parametrize("native", [False, True])
def test_sidecar_lives_in_a_host_chart(host: Path, native: bool) -> None:
    values = {"tokwatt": {"sidecar": {"native": native}, "monitor": {"enabled": True}, "secrets": [{"name": "bmc"}]}}
    assert lint(host, values) == []
    release = render(host, values)
    for item in release.objects:
        validate(item)
    pod = sidecar_pod(release)
    spec = pod["spec"]
    (sidecar,) = [item for item in spec["initContainers" if native else "containers"] if item["name"] == "tokwatt"]
    assert sidecar.get("restartPolicy") == ("Always" if native else None)
    assert restricted_violations(spec, container="tokwatt") == []
    assert {mount["name"] for mount in sidecar["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    config = next(volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume)
    assert config == release.one("ConfigMap")["metadata"]["name"]
    selector = release.one("PodMonitor")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= pod["metadata"]["labels"].items()


def test_sidecar_never_decides_whether_the_inference_server_is_ready(host: Path) -> None:
    for values in ({}, {"tokwatt": {"probes": {"readinessPath": "/readyz"}}}):
        (sidecar,) = [c for c in sidecar_pod(render(host, values))["spec"]["containers"] if c["name"] == "tokwatt"]
        assert probe_paths(sidecar) == {"livenessProbe": "/healthz"}


def test_sidecar_can_be_switched_off(host: Path) -> None:
    release = render(host, {"tokwatt": {"enabled": False}})
    assert [item["kind"] for item in release.objects] == ["Deployment"]
    assert [container["name"] for container in sidecar_pod(release)["spec"]["containers"]] == ["vllm"]


def test_a_mistake_in_the_sidecars_values_is_refused_in_the_host_chart(host: Path) -> None:
    assert "configs" in complaint(host, {"tokwatt": {"configs": {}}})


def test_mode_sidecar_by_itself_runs_nothing(chart: Path) -> None:
    release = render(chart, {"mode": "sidecar", **EVERYTHING})
    assert {item["kind"] for item in release.objects} == {"ConfigMap", "PodMonitor", "PrometheusRule"}


def test_the_package_holds_what_helm_needs_and_no_test_values(tmp_path: Path) -> None:
    archive = package(CHART, tmp_path)
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert archive.name == f"tokwatt-{version}.tgz"
    with tarfile.open(archive) as packed:
        names = {name.removeprefix("tokwatt/") for name in packed.getnames()}
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "templates/_sidecar.tpl"} <= names
    assert not [name for name in names if name.startswith("ci/")]
    assert archive.stat().st_size < 700_000, "Helm keeps a release in a Secret of at most 1 MiB"


@pytest.mark.parametrize(
    "break_it",
    [
        {"hostNetwork": True},
        {"volumes": [{"name": "sys", "hostPath": {"path": "/sys"}}]},
        {"securityContext": {"runAsUser": 0}, "containers": [{"name": "c"}]},
    ],
)
def test_the_pod_security_check_sees_a_violation(chart: Path, break_it: Mapping[str, Any]) -> None:
    pod = render(chart).pod()["spec"]
    assert restricted_violations(pod) == []
    assert restricted_violations({**pod, **break_it}) != []


def test_the_custom_resource_check_sees_a_typo(chart: Path) -> None:
    monitor = render(chart, {"monitor": {"enabled": True}}).one("ServiceMonitor")
    endpoint = {**monitor["spec"]["endpoints"][0], "scrapeEvery": "15s"}
    with pytest.raises(AssertionError, match="scrapeEvery"):
        validate_monitoring({**monitor, "spec": {**monitor["spec"], "endpoints": [endpoint]}})
    with pytest.raises(ValueError, match="interval"):
        validate_monitoring({**monitor, "spec": {**monitor["spec"], "endpoints": [{"interval": "fast"}]}})
