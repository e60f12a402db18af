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
    "quantities": (),
    "readings": ("quantities",),
    "units": ("quantities",),
    "snapshot": ("readings", "quantities"),
    "sources": ("readings", "quantities", "units"),
    "ledger": ("readings", "snapshot", "quantities", "units"),
    "economics": ("readings", "snapshot", "quantities", "units", "ledger"),
    "sampler": ("readings", "snapshot", "ledger", "economics"),
    "metrics": ("readings", "snapshot"),
    "config": ("readings", "units"),
    "simulate": ("readings", "quantities", "units", "sources"),
}
COMPOSITION = ("app", "__main__", "docs")  # these put the rooms together and may import all of them
PURE = ("readings", "quantities", "units", "snapshot", "ledger", "economics")
MAX_LINES = 400

MUTABLE_DISPLAYS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
MUTABLE_CALLS = {"dict", "list", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter"}
MUTATORS = {
    *("append", "extend", "insert", "remove", "pop", "popitem", "clear", "update", "setdefault", "add", "discard"),
    *("sort", "reverse", "appendleft", "extendleft", "popleft"),
}
CONVENTIONS = {"__all__", "__slots__", "_fields_"}  # read once by Python and ctypes


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
    """A meter imports only helpers, and a folder's package what lies inside it.

    In `tokens` the sources are the .toml files; the modules there are the one scraper that reads them all.
    """
    if is_helper(imported) or (within(importer, "sources.tokens") and within(imported, "sources.tokens")):
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
        ("sources.tokens.scraper", "sources.tokens.spec", True),
        ("sources.power.nvml", "sources.tokens.spec", False),
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
    found = list(mutable_state(tree_of(file)))
    assert not found, (
        f"{module_name(file)}: {found}. A module-level or class-level container is a constant: named in capitals and"
        " never changed. State needs an owner"
    )


def test_the_mutable_state_rule_itself() -> None:
    code = """
__all__ = ["A"]
TABLE = {"a": 1}
_NAMES: Mapping[str, int] = {"a": 1}
cache = {}
seen: set[str] = set()
by_name = defaultdict(list)
fine = (1, 2)
class K:
    _fields_ = [("a", int)]
    LIMITS = [1]
    things = []
def f(own):
    global counter
    own["a"] = 1
    local = []
    local.append(1)
    TABLE["b"] = 2
    other.TABLE.update(b=2)
    _NAMES |= {}
    del K.LIMITS[0]
"""
    assert [name for name, _ in mutable_state(ast.parse(code))] == [
        "cache",
        "seen",
        "by_name",
        "things",
        "global counter",
        "change of TABLE",
        "change of TABLE",
        "change of _NAMES",
        "change of LIMITS",
    ]


def mutable_state(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(what, line): containers at module or class level that are no constants, `global`, and changes of constants."""
    for body in (tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))):
        for node in body:
            yield from ((name, node.lineno) for name in _containers(node) if not is_constant(name))
    inner = sorted((node for node in ast.walk(tree) if hasattr(node, "lineno")), key=lambda node: node.lineno)
    for node in inner:
        if isinstance(node, ast.Global):
            yield from ((f"global {name}", node.lineno) for name in node.names)
        yield from ((f"change of {name}", node.lineno) for name in _changed(node) if is_constant(name))


def is_constant(name: str) -> bool:
    return name in CONVENTIONS or name.isupper()


def _containers(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign) and _is_container(node.value):
        return [ast.unparse(target) for target in node.targets]
    if isinstance(node, ast.AnnAssign) and node.value is not None and _is_container(node.value):
        return [ast.unparse(node.target)]
    return []


def _is_container(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rsplit(".", maxsplit=1)[-1] in MUTABLE_CALLS
    return isinstance(value, MUTABLE_DISPLAYS)


def _changed(node: ast.AST) -> list[str]:
    """Names (the last part of a dotted one) of containers that a node changes in place."""
    changed: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        changed = [target.value for target in node.targets if isinstance(target, ast.Subscript)]
    elif isinstance(node, ast.AugAssign):
        changed = [node.target.value if isinstance(node.target, ast.Subscript) else node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        changed = [node.func.value]
    return [ast.unparse(name).rsplit(".", maxsplit=1)[-1] for name in changed]
