"""The arrows between the rooms, read from the source by its syntax tree, and what follows from them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tokwatt

PACKAGE = Path(tokwatt.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Room -> what it may import of ours. A name allows the module and everything inside it; a room may import itself.
ARROWS: dict[str, tuple[str, ...]] = {
    "__init__": (),
    "readings": (),
    "units": (),
    "snapshot": ("readings",),
    "sources": ("readings", "units"),
    "ledger": ("readings", "snapshot", "units"),
    "economics": ("readings", "snapshot", "units", "ledger"),
    "sampler": ("readings", "snapshot", "ledger", "economics"),
    "metrics": ("readings", "snapshot"),
    "config": ("readings", "units"),
    "simulate": ("readings", "units", "sources"),
}
COMPOSITION = ("app", "__main__", "docs")  # these put the rooms together and may import all of them
PURE = ("readings", "units", "snapshot", "ledger", "economics")
MAX_LINES = 400

MUTABLE_DISPLAYS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
MUTABLE_CALLS = {"dict", "list", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter"}
READ_ONLY_ANNOTATIONS = ("Mapping[", "Sequence[", "Collection[", "Set[", "Final")


def module_name(file: Path) -> str:
    """Dotted name inside the package: "sources.power.nvml"; "__init__" for the package itself."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def room_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def is_module(dotted: str) -> bool:
    path = PACKAGE.joinpath(*dotted.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def own_imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, module of ours without the `tokwatt.` in front) for every import, at any depth of the code."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno}: relative import; write the whole path"
            base = node.module or ""
            for alias in node.names:
                longer = f"{base}.{alias.name}"
                yield from _ours(node.lineno, longer if is_module(longer.removeprefix("tokwatt.")) else base)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _ours(node.lineno, alias.name)


def _ours(line: int, dotted: str) -> Iterator[tuple[int, str]]:
    if dotted == "tokwatt":
        yield line, "__init__"
    elif dotted.startswith("tokwatt."):
        yield line, dotted.removeprefix("tokwatt.")


def within(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(f"{allowed}.")


def is_helper(module: str) -> bool:
    """A `_`-prefixed module, which sources may share; `__init__` and `__main__` are none."""
    last = module.rsplit(".", maxsplit=1)[-1]
    return last.startswith("_") and not last.startswith("__")


def allowed(importer: str, imported: str) -> bool:
    """True when this arrow may exist. The package's own `__version__` is open to all."""
    room = room_of(importer)
    if room in COMPOSITION:
        return imported != "app" or room in ("app", "__main__")
    if imported == "__init__":
        return room not in PURE
    if room == "sources" and within(imported, "sources"):
        return source_arrow(importer, imported)
    return room_of(imported) == room or any(within(imported, name) for name in ARROWS[room])


def source_arrow(importer: str, imported: str) -> bool:
    """A source imports only helpers; the package of a folder may collect what lies inside it."""
    if is_helper(imported):
        return True
    is_package = PACKAGE.joinpath(*importer.split("."), "__init__.py").exists()
    return is_package and within(imported, importer)


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_imports_follow_the_arrows(file: Path) -> None:
    importer = module_name(file)
    room = room_of(importer)
    assert room in ARROWS or room in COMPOSITION, f"{room}: a new room; give it its arrows in this test"
    wrong = [f"line {line}: {target}" for line, target in own_imports(file) if not allowed(importer, target)]
    assert not wrong, f"tokwatt.{importer} may import {ARROWS.get(room)} but imports {wrong}"


@pytest.mark.parametrize(
    ("importer", "imported", "verdict"),
    [
        ("snapshot", "readings", True),
        ("readings", "units", False),
        ("ledger.totals", "ledger.series", True),
        ("ledger", "economics", False),
        ("economics", "ledger", True),
        ("metrics", "economics", False),
        ("sources.power.nvml", "sources._worker", True),
        ("sources.power.nvml", "sources.power._ipmi_wire", True),
        ("sources.power.nvml", "sources.power.rapl", False),
        ("sources.power", "sources.power.nvml", True),
        ("sources.power.nvml", "config", False),
        ("simulate.meters", "sources.power.nvml", True),
        ("config", "sources.power", False),
        ("sampler", "app", False),
        ("app.main", "simulate.real", True),
        ("__main__", "app", True),
        ("docs", "app", False),
        ("ledger", "__init__", False),
        ("metrics.catalogue", "__init__", True),
    ],
)
def test_the_arrow_rule_itself(importer: str, imported: str, verdict: bool) -> None:
    assert allowed(importer, imported) is verdict


@pytest.mark.parametrize("module", [room for room in PURE if is_module(room)])
def test_pure_rooms_load_no_io_library(module: str) -> None:
    script = (
        f"import sys, tokwatt.{module}; "
        "print(*sorted({'aiohttp', 'prometheus_client', 'yaml', 'asyncio', 'pynvml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("file", [file for file in FILES if room_of(module_name(file)) in PURE], ids=module_name)
def test_pure_rooms_read_no_clock(file: Path) -> None:
    clocks = [
        node.lineno
        for node in ast.walk(tree_of(file))
        if (isinstance(node, ast.Import) and {alias.name for alias in node.names} & {"time", "datetime"})
        or (isinstance(node, ast.ImportFrom) and node.module in {"time", "datetime"})
    ]
    assert not clocks, f"{module_name(file)} imports a clock in lines {clocks}: time arrives in the reading"


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_modules_stay_readable(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{module_name(file)} has {lines} lines; split it by subject"


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_no_mutable_state_at_module_level(file: Path) -> None:
    found = list(mutable_globals(tree_of(file)))
    assert not found, (
        f"{module_name(file)}: {found}. Use a tuple, frozenset or MappingProxyType, annotate a constant as"
        " Mapping/Sequence/Final, or give the state an owner"
    )


def test_the_mutable_state_rule_itself() -> None:
    code = """
A = {}
B: dict[str, int] = {}
C: Mapping[str, int] = {"a": 1}
D = MappingProxyType({"a": 1})
E = (1, 2)
F: Final = [1]
G = frozenset({1})
H = defaultdict(list)
I: list[int] = []
__all__ = ["A"]
def f():
    global J
class K:
    L = []
    M: ClassVar[Mapping[str, int]] = {}
"""
    assert [name for name, _ in mutable_globals(ast.parse(code))] == ["A", "B", "H", "I", "global J", "L"]


def mutable_globals(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(name, line) of module-level and class-level names bound to something that could be changed, and `global`."""
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    found = [(node, name) for body in bodies[:1] for node in body for name in _mutable_names(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            found.extend((node, f"global {name}") for name in node.names)
    found += [(node, name) for body in bodies[1:] for node in body for name in _mutable_names(node)]
    for node, name in found:
        if name != "__all__":
            yield name, node.lineno


def _mutable_names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign) and _is_mutable(node.value):
        return [ast.unparse(target) for target in node.targets]
    if isinstance(node, ast.AnnAssign) and node.value is not None and _is_mutable(node.value):
        annotation = ast.unparse(node.annotation)
        if not any(word in annotation for word in READ_ONLY_ANNOTATIONS):
            return [ast.unparse(node.target)]
    return []


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rsplit(".", maxsplit=1)[-1] in MUTABLE_CALLS
    return isinstance(value, MUTABLE_DISPLAYS)
