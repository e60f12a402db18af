"""What is shipped: the wheel holds the package and its data, installs alone, and has the command."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import tokwatt

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "exporter/src/tokwatt"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    script = (
        "import os, sys; os.chdir(sys.argv[1]); "
        "from hatchling.build import build_sdist, build_wheel; build_wheel(sys.argv[2]); build_sdist(sys.argv[2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT), str(folder)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def wheel_names(folder: Path) -> set[str]:
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def test_wheel_holds_every_file_of_the_package_and_nothing_else(built: Path) -> None:
    shipped = {name for name in wheel_names(built) if ".dist-info/" not in name}
    in_tree = {
        f"tokwatt/{file.relative_to(PACKAGE)}"
        for file in PACKAGE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert shipped == in_tree
    assert "tokwatt/py.typed" in shipped


def test_wheel_brings_the_licence_and_the_command(built: Path) -> None:
    names = wheel_names(built)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        assert "tokwatt = tokwatt.__main__:main" in wheel.read(entry_points).decode()


def test_source_distribution_can_build_itself(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.split("/", maxsplit=1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "exporter/src/tokwatt/__init__.py"} <= names
    assert not [name for name in names if name.startswith(("tests/", ".venv", ".ci/"))]


def test_wheel_imports_without_the_source_tree(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tokwatt, pkgutil; "
        "found = pkgutil.walk_packages(tokwatt.__path__, 'tokwatt.'); "
        "[__import__(module.name) for module in found if not module.name.endswith('__main__')]; "
        "print(tokwatt.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "tokwatt/__init__.py"


def test_one_version_everywhere() -> None:
    assert importlib.metadata.version("tokwatt") == tokwatt.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc|\.dev)\d+)?", tokwatt.__version__)


def test_every_runtime_dependency_has_a_floor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [item for extra in project["optional-dependencies"].values() for item in extra]
    loose = [
        item for item in project["dependencies"] + optional if not item.startswith("tokwatt[") and ">=" not in item
    ]
    assert not loose
