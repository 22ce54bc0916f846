"""The architecture's rules about imports: downwards only, pure stages, and each driver in its own place."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pydbsync"

STAGES = ("source", "decode", "route", "plan", "apply")
PURE = ("decode", "route", "plan")
BUILDS_ON = {"apply": {"plan"}}
"""The one arrow between stages: what the plan makes, apply runs; its statements, quoting and table plans are plan's."""
LAYERS = {
    **dict.fromkeys(("__init__", "errors", "gtids", "model", "places", "protocols", "work"), 0),
    **dict.fromkeys(("config", "backoff", "files", "killpoints"), 1),
    **dict.fromkeys(STAGES, 2),
    "engine": 3,
    "sinks": 3,
    "process": 4,
    "ops": 5,
    "ui": 6,
    "commands": 7,
    "cli": 7,
    "__main__": 7,
}

HOMES = {
    "pymysql": {"apply", "ops"},
    "pymysqlreplication": {"ops"},
    "pika": {"source", "ops"},
    "redis": {"sinks", "ops"},
    "urllib3": {"sinks"},
    **{name: {"ui"} for name in ("jinja2", "markupsafe", "starlette", "uvicorn")},
}
IMPURE = {
    "_thread", "asyncio", "concurrent", "http", "multiprocessing", "os", "pathlib", "pika", "pymysql", "select",
    "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time", "urllib.request",
}  # fmt: skip
CLOCKS = {"now", "today", "utcnow"}


def folder_of(module: str) -> str:
    """`pydbsync.apply.catalog` is of the folder `apply`, `pydbsync.process.worker` of itself."""
    room = module.split(".")[1] if "." in module else "__init__"
    return "__init__" if room == "__version__" else room


def layer_of(module: str) -> int:
    return LAYERS[folder_of(module)]


@cache
def imports_of(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Every module that is imported anywhere in the source, with full names; `from a import b` is a.b."""
    parts = module.split(".") if is_package else module.split(".")[:-1]
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found += (f"{base}.{alias.name}" for alias in node.names)
    return found


def faults_of(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What in the source breaks the architecture, as sentences."""
    faults = []
    here = folder_of(module)
    for imported in imports_of(module, source, is_package=is_package):
        top = imported.split(".")[0]
        if top in ("config", "mysql_sync", "binlog_consumer"):
            faults.append(f"{module} imports the operator's {top}")
        if top in HOMES and here not in HOMES[top]:
            faults.append(f"{module} imports {top}, which is for {' and '.join(sorted(HOMES[top]))} alone")
        if here in PURE and any(f"{imported}.".startswith(f"{name}.") for name in IMPURE):
            faults.append(f"{module} imports {imported}, but {here} is pure")
        if top != "pydbsync" or folder_of(imported) == here:
            continue
        if layer_of(imported) > layer_of(module):
            faults.append(f"{module} imports {imported} of a higher layer")
        if here in STAGES and folder_of(imported) in STAGES and folder_of(imported) not in BUILDS_ON.get(here, ()):
            faults.append(f"{module} imports {imported} of another stage")
    if here in PURE:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
                faults.append(f"{module} reads the clock by {node.func.attr}(), but {here} is pure")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
                faults.append(f"{module} opens a file, but {here} is pure")
    return faults


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = sorted(PACKAGE.rglob("*.py"))


def test_a_module_imports_only_what_its_layer_may() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert faults_of(module_of(path), text, is_package=path.name == "__init__.py") == [], module_of(path)


def test_every_room_of_the_package_has_its_layer_and_every_layer_its_room() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders | {path.stem for path in PACKAGE.glob("*.py")} == set(LAYERS)


def circles_of(sources: dict[str, tuple[str, bool]]) -> list[list[str]]:
    """Groups of modules that import each other, straight or by way of others. `sources` has the text of each module and
    whether it is a package; imports for type checking alone count like all others."""
    arrows = {
        module: {
            name
            for imported in imports_of(module, text, is_package=is_package)
            for name in (imported, imported.rpartition(".")[0])
            if name in sources and name != module and not module.startswith(f"{name}.")
        }
        for module, (text, is_package) in sources.items()
    }
    reached: dict[str, set[str]] = {}
    for module, imported_ones in arrows.items():
        seen: set[str] = set()
        left = list(imported_ones)
        while left:
            if (name := left.pop()) not in seen:
                seen.add(name)
                left += arrows[name]
        reached[module] = seen
    groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in arrows if a in reached[a]}
    return sorted(sorted(group) for group in groups)


def test_no_modules_import_each_other() -> None:
    sources = {module_of(path): (path.read_text(encoding="utf-8"), path.name == "__init__.py") for path in MODULES}
    assert circles_of(sources) == []


def test_a_circle_is_found_through_others_and_for_type_checking_alone() -> None:
    texts = {
        "pydbsync.engine.a": "from pydbsync.engine.b import B",
        "pydbsync.engine.b": "from pydbsync.engine import c",
        "pydbsync.engine.c": "if TYPE_CHECKING:\n    from pydbsync.engine.a import A",
        "pydbsync.engine.d": "from pydbsync.engine.a import A",
    }
    found = circles_of({module: (text, False) for module, text in texts.items()})
    assert found == [["pydbsync.engine.a", "pydbsync.engine.b", "pydbsync.engine.c"]]


DRIVERS = ("pymysql", "pymysqlreplication", "pika", "redis", "urllib3")


@pytest.mark.parametrize(
    "room", ["work", "protocols", "engine", "process.status", "process.terminal", "process.metrics"]
)
def test_what_lies_above_the_adapters_needs_no_driver(room: str) -> None:
    """Not even by what it imports: status and metrics can be read where no driver is installed."""
    known = {module_of(path): path for path in MODULES}
    left = [module for module in known if f"{module}.".startswith(f"pydbsync.{room}.")]
    assert left
    seen: set[str] = set()
    while left:
        module = left.pop()
        seen.add(module)
        path = known[module]
        for imported in imports_of(module, path.read_text(encoding="utf-8"), is_package=path.name == "__init__.py"):
            assert imported.split(".")[0] not in DRIVERS, f"{room} needs {imported} through {module}"
            for name in (imported, imported.rpartition(".")[0]):
                if name in known and name not in seen:
                    left.append(name)


def names_of_kinds(source: str) -> list[str]:
    """The classes and type aliases of a module, its own ones too, without the underscore that these begin with."""
    tree = ast.parse(source)
    found = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and _KIND.fullmatch(target.id):
                found.append(target.id)
    return [name.lstrip("_") for name in found]


_KIND = re.compile(r"_?[A-Z]\w*[a-z]\w*")


def test_each_word_is_the_name_of_one_thing() -> None:
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for name in names_of_kinds(path.read_text(encoding="utf-8")):
            homes.setdefault(name, []).append(module_of(path))
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


def test_classes_and_aliases_are_told_from_constants_and_type_variables() -> None:
    source = "A = 1\nMOST = 2\n_T = 3\nRow = dict[int, str]\n_Way: TypeAlias = int\nclass _Row: ...\nlog = 4"
    assert names_of_kinds(source) == ["Row", "Row", "Way"]


PAGE = ROOT / "docs" / "architecture.md"


def names_in_code() -> set[str]:
    """Of rooms, modules, classes, functions and what classes have."""
    found = {part for path in MODULES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
    return found


def test_the_page_about_the_architecture_speaks_of_what_is_there() -> None:
    text = re.sub(r"```.*?```", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    known = names_in_code()
    told = re.findall(r"`([^`]+)`", text)
    folders = (ROOT, *(PACKAGE / room for room in ("", "ops", "ops/capture", "plan", "apply")))
    assert [name for name in told if "/" in name and not any((folder / name).exists() for folder in folders)] == []
    words = (name.removesuffix(".py") for name in told if "/" not in name)
    assert [name for name in words if not set(re.findall(r"\w+", name)) <= known] == []


def test_the_page_has_each_folder_in_its_layer() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## The folders")[2]
    told = {
        name.rstrip("/"): int(layer)
        for names, layer in re.findall(r"^\| (`.+?`) \| (\d) \|", table, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", names)
    }
    assert told == {name: layer for name, layer in LAYERS.items() if not name.startswith("__") and name != "cli"}


ROOMS_OF_CAPTURE = ("binlog", "history", "rows")
"""Each builds on those before it; publishing on none."""


@pytest.mark.parametrize("path", sorted((PACKAGE / "ops" / "capture").glob("*/*.py")), ids=module_of)
def test_the_rooms_of_capture_build_on_each_other_in_one_order(path: Path) -> None:
    rooms = (*ROOMS_OF_CAPTURE, "publish")
    here = path.parent.name
    allowed = {*ROOMS_OF_CAPTURE[: rooms.index(here)], here} if here != "publish" else {here}
    imported = imports_of(module_of(path), path.read_text(encoding="utf-8"), is_package=path.name == "__init__.py")
    inside = [name.split(".")[3] for name in imported if name.startswith("pydbsync.ops.capture.")]
    assert {room for room in inside if room in rooms} <= allowed


@pytest.mark.parametrize("module", ["mysql_sync", "binlog_consumer"])
def test_the_scripts_take_the_configuration_as_data(module: str) -> None:
    path = ROOT / f"{module}.py"
    if path.exists():
        imported = {name.split(".")[0] for name in imports_of(module, path.read_text(encoding="utf-8"))}
        assert "config" not in imported


FAULTS = [
    ("pydbsync.process.worker", "import config", "imports the operator's config"),
    ("pydbsync.process.worker", "from config import db_info", "imports the operator's config"),
    ("pydbsync.process.worker", "import pymysql.cursors", "imports pymysql, which is for apply and ops alone"),
    (
        "pydbsync.apply.connection",
        "def f():\n    from pika import x",
        "imports pika, which is for ops and source alone",
    ),
    ("pydbsync.config.settings", "from pydbsync.engine.pipeline import run", "of a higher layer"),
    ("pydbsync.config.settings", "from pydbsync import process", "of a higher layer"),
    ("pydbsync.model", "from .config.settings import Settings", "of a higher layer"),
    ("pydbsync.decode.values", "from ..process.worker import x", "of a higher layer"),
    ("pydbsync.engine.pipeline", "import pydbsync.ops.verify", "of a higher layer"),
    ("pydbsync.plan.dml", "from pydbsync.decode.values import x", "of another stage"),
    ("pydbsync.plan.dml", "from pydbsync import apply", "of another stage"),
    ("pydbsync.apply.applier", "from pydbsync.source.amqp import AmqpSource", "of another stage"),
    ("pydbsync.plan.dml", "import time", "but plan is pure"),
    ("pydbsync.route.shard", "from urllib.request import urlopen", "but route is pure"),
    ("pydbsync.decode.maxwell", "from datetime import datetime\nx = datetime.now()", "reads the clock"),
    ("pydbsync.decode.maxwell", "open('x')", "opens a file"),
]


@pytest.mark.parametrize(("module", "source", "fault"), FAULTS, ids=[f"{module}: {text}" for module, text, _ in FAULTS])
def test_a_broken_rule_is_found(module: str, source: str, fault: str) -> None:
    found = faults_of(module, source)
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pydbsync.apply.connection", "import pymysql, time, threading\nfrom pydbsync.apply.catalog import read"),
        ("pydbsync.apply.connection", "from .catalog import read\nfrom ..errors import ApplyError"),
        ("pydbsync.ops.capture", "import pika, pymysql, pymysqlreplication\nfrom pydbsync.process.worker import run"),
        (
            "pydbsync.plan.dml",
            "from datetime import timedelta\nfrom pydbsync.model import RowChange\nfrom urllib.parse import quote",
        ),
        ("pydbsync.cli", "from pydbsync.ops import verify\nfrom pydbsync import config, engine"),
        ("pydbsync.engine.pipeline", "from pydbsync.decode.maxwell import decode\nimport pydbsync.protocols"),
    ],
)
def test_a_kept_rule_is_no_fault(module: str, source: str) -> None:
    assert faults_of(module, source) == []
