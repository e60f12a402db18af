"""What the chart derives from other files is current, and the generator refuses what it cannot describe."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import tokwatt

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/tokwatt"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chart_generator", ROOT / "helm/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chart_generator"] = module
    spec.loader.exec_module(module)
    return module


def test_readme_schema_rules_and_dashboards_are_current() -> None:
    command = [sys.executable, str(ROOT / "helm/generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == tokwatt.__version__


def test_every_value_is_described(generator: ModuleType) -> None:
    values = generator.read_values((CHART / "values.yaml").read_text())
    readme = (CHART / "README.md").read_text()
    for leaf in generator.leaves(values):
        assert f"`{leaf.path}`" in readme


def test_every_mapping_with_keys_of_its_own_refuses_others() -> None:
    open_on_purpose = {"podSecurityContext", "securityContext", "seccompProfile", "capabilities", "labels"}

    def check(name: str, schema: dict[str, object]) -> None:
        children = schema.get("properties")
        if isinstance(children, dict):
            assert schema["additionalProperties"] is False or name in open_on_purpose, name
            for child, below in children.items():
                check(child, below)

    check("", json.loads((CHART / "values.schema.json").read_text()))


def test_every_value_has_a_feature_file_that_sets_it(generator: ModuleType) -> None:
    values = generator.read_values((CHART / "values.yaml").read_text())
    texts = "\n".join(path.read_text() for path in (CHART / "ci").glob("*-values.yaml"))
    unset = {leaf.name for leaf in generator.leaves(values) if not re.search(rf"\b{leaf.name}:", texts)}
    # safe as they are, read by Helm itself, or set in tests/e2e/test_chart.py
    assert unset <= {
        "runAsNonRoot", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "drop", "type", "enabled", "global",
        "tag", "native", "fullnameOverride", "readinessPath", "runtimeClassName", "visibleDevices", "create",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("# A word.\nword: x\n", {"description": "A word.", "type": "string"}),
        ("# A flag\n# that is off.\nflag: false\n", {"description": "A flag that is off.", "type": "boolean"}),
        ("# A count.\n# @schema {minimum: 1}\nn: 3\n", {"description": "A count.", "type": "integer", "minimum": 1}),
        ("# Anything.\nmap: {}\n", {"description": "Anything.", "type": "object"}),
        ("# far away\n\n# A list.\nitems: []\n", {"description": "A list.", "type": "array"}),
    ],
)
def test_schema_of_a_value(generator: ModuleType, text: str, schema: dict[str, object]) -> None:
    (value,) = generator.read_values(text)
    assert generator.schema_of(value) == schema


def test_a_value_without_a_comment_is_named_with_its_line(generator: ModuleType) -> None:
    with pytest.raises(generator.Undocumented, match=r"line 3: outer\.inner has no comment"):
        generator.read_values("# Outer.\nouter:\n  inner: 1\n")
