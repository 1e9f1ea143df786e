"""The house's rules, as far as a program can check them.

Each rule is a function from a source to what is wrong in it, and is tried on a bad source too.
"""

import ast
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastcoord as fc
from tests.operations import OPERATIONS

ROOT = Path(fc.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
# A room is a folder whose name begins with an underscore, in a folder of public names; or that of the class CoordNet
ROOMS = [*sorted(path.parent for path in ROOT.glob("*/_*/__init__.py")), ROOT / "network"]
PARTS = ("__init__.py", "formula.py", "cpu.py", "cuda.py", "reference.py")
LONGEST = 700  # lines
UNFINISHED: dict[Path, list[str]] = {}  # what is not written yet, by room

pytestmark = pytest.mark.small


def module_of(path: Path) -> str:
    """``fastcoord.decode._onehot.cpu``."""
    return ".".join(("fastcoord", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def imported(tree: ast.AST, package: str = "") -> Iterator[str]:
    """The absolute name of each module, or member of a module, that a source imports anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = package.split(".")[: -(node.level - 1) or None] if node.level else []
            module = ".".join((*here, *([node.module] if node.module else [])))
            yield from (f"{module}.{name.name}" for name in node.names)


def is_within(name: str, modules: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the modules, or in one of them."""
    return any(name == module or name.startswith(module + ".") for module in modules)


# Who may import what

_ALLOWED = {
    "reference.py": ("numpy",),
    "formula.py": (
        *("numpy", "typing", "collections.abc"),
        *(
            "fastcoord._compile",
            "fastcoord._vector",
            "fastcoord._exponential",
            "fastcoord._reciprocal",
            "fastcoord._moments",
            "fastcoord._points",
            "fastcoord._placement",
            "fastcoord._refinement",
            "fastcoord._largest",
            "fastcoord._gaussian_axis",
            "fastcoord.results",
        ),
    ),
}
_FORBIDDEN = {"cpu.py": ("math", "cmath"), "cuda.py": ("math", "cmath")}


def wrong_imports(source: str, name: str, package: str = "fastcoord.room._operation") -> list[str]:
    """What a room's file of this name imports and must not."""
    names = imported(ast.parse(source), package)
    allowed, forbidden = _ALLOWED.get(name), _FORBIDDEN.get(name, ())
    return [n for n in names if is_within(n, forbidden) or (allowed and not is_within(n, allowed))]


def other_rooms(source: str, package: str, rooms: list[str]) -> list[str]:
    """The imports from rooms other than the one at `package`."""
    return [
        name
        for name in imported(ast.parse(source), package)
        if is_within(name, tuple(rooms)) and not is_within(name, (package,))
    ]


_ROOM_FILES = [pytest.param(path, id=module_of(path)) for room in ROOMS for path in sorted(room.glob("*.py"))]


@pytest.mark.parametrize("name", ["_refinement.py", "_largest.py", "_gaussian_axis.py"])
def test_imports_of_mathematics_that_rooms_share(name):
    assert not wrong_imports((ROOT / name).read_text(), "formula.py", "fastcoord")


@pytest.mark.parametrize("path", _ROOM_FILES)
def test_imports_of_a_room(path):
    source, package = path.read_text(), module_of(path.parent / "__init__.py")
    assert not wrong_imports(source, path.name, package)
    assert not other_rooms(source, package, [module_of(room / "__init__.py") for room in ROOMS])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("reference.py", "import scipy.ndimage"),
        ("reference.py", "from fastcoord.results import Status"),
        ("reference.py", "def f():\n    from .formula import response"),
        ("formula.py", "import numba"),
        ("formula.py", "from math import sqrt"),
        ("formula.py", "from fastcoord import _arrays"),
        ("formula.py", "from fastcoord._launch import WARP"),
        ("formula.py", "from . import cpu"),
        ("cpu.py", "import math"),
        ("cuda.py", "from math import sqrt"),
    ],
)
def test_a_wrong_import_is_found(name, line):
    assert len(wrong_imports(line, name)) == 1


def test_an_import_from_another_room_is_found():
    rooms = ["fastcoord.decode._onehot", "fastcoord.encode._onehot"]
    for line in (
        "from fastcoord.encode._onehot.formula import response",
        "from fastcoord.encode import _onehot",
        "import fastcoord.encode._onehot.cpu",
        "from ...encode._onehot import cpu",
    ):
        assert other_rooms(line, rooms[0], rooms), line
    assert not other_rooms("from fastcoord.decode._onehot import cpu\nfrom .formula import finish", rooms[0], rooms)


# What stands where


def numbers_and_math(source: str) -> list[str]:
    """Float literals, and calls of `math` and of NumPy's functions that compute, in a kernel file."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            wrong.append(f"line {node.lineno}: {node.value}")
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node).split(".")[0] in ("math", "cmath"):
            wrong.append(f"line {node.lineno}: {ast.unparse(node)}")
    return wrong


def compilers(source: str) -> list[str]:
    """Where a source asks Numba to compile: ``numba.njit``, ``jit`` and their like, or ``cuda.jit``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in _COMPILE:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numba":
            found += [f"{node.module}.{name.name}" for name in node.names if name.name in _COMPILE]
    return found


_COMPILE = ("njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc", "jit_module", "jitclass")


# All files of a room but those of the mathematics, and the door: who visits which pixel may stand in several
_MATHEMATICS = ("formula.py", "reference.py", "__init__.py")
_VISITORS = [param for param in _ROOM_FILES if param.values[0].name not in _MATHEMATICS]
_VISITORS += [pytest.param(ROOT / name, id=name) for name in ("_window.py", "_window_cuda.py", "_largest_search.py")]


@pytest.mark.parametrize("path", _VISITORS)
def test_kernels_hold_no_numbers(path):
    assert not numbers_and_math(path.read_text())


@pytest.mark.parametrize(
    "source", ["x = 0.5", "x = 1e9", "x = -1.0", "x = 1j", "y = math.sqrt(x)", "f = math.exp", "x = float(2) * 2.0"]
)
def test_numbers_in_kernels_are_found(source):
    assert numbers_and_math(source)
    assert not numbers_and_math("x = 1 << 18\ny = like(x, 1)\nmathematics(x)")


@pytest.mark.parametrize("path", [pytest.param(path, id=module_of(path)) for path in SOURCES])
def test_one_place_compiles(path):
    found = compilers(path.read_text())
    if path == ROOT / "_compile.py":
        assert set(found) == {"numba.njit"}
    elif path.name.endswith("cuda.py") or path.name in {"_launch.py", "_lanes.py"}:
        assert set(found) <= {"cuda.jit"}
    else:
        assert not found


@pytest.mark.parametrize(
    "source",
    ["from numba import njit, prange", "@numba.jit\ndef f(): pass", "@nb.njit(parallel=True)\ndef f(): pass"]
    + ["from numba.cuda import jit", "numba.vectorize(f)", "@cuda.jit\ndef f(): pass"],
)
def test_another_place_that_compiles_is_found(source):
    assert len(compilers(source)) == 1
    assert not compilers("from numba import prange\nfrom fastcoord._compile import inlined, kernel")


@pytest.mark.parametrize("path", [pytest.param(path, id=module_of(path)) for path in SOURCES])
def test_files_are_short_and_named(path):
    assert len(path.read_text().splitlines()) <= LONGEST
    assert path.stem.strip("_") not in ("utils", "util", "helpers", "common", "misc")


# Rooms


def missing_parts(room: Path) -> list[str]:
    """Which of its files a room lacks."""
    return [name for name in PARTS if not (room / name).is_file()]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: f"{room.parent.name}{room.name}")
def test_each_room_has_its_parts(room):
    missing = missing_parts(room)
    assert missing == UNFINISHED.get(room, [])
    lines = {name: len((room / name).read_text().splitlines()) for name in PARTS if name not in missing}
    assert lines["reference.py"] < lines["cpu.py"] + lines.get("cuda.py", 0)


def test_a_missing_part_is_found(tmp_path):
    for name in PARTS[:-2]:
        (tmp_path / name).touch()
    assert missing_parts(tmp_path) == ["cuda.py", "reference.py"]


def not_in_table(namespace: str, names: list[str], table: list[str]) -> list[str]:
    """The public names of a namespace that are no operation of the table, nor the gradient of one."""
    return [name for name in names if f"{namespace}.{name.removesuffix('_vjp')}" not in table]


def test_each_public_function_is_in_the_table():
    table = [operation.name for operation in OPERATIONS]
    for namespace in ("decode", "encode"):
        module = getattr(fc, namespace)
        assert not not_in_table(namespace, module.__all__, table)
        for name in module.__all__:
            assert getattr(module, name).__module__ == f"fastcoord.{namespace}._{name.removesuffix('_vjp')}"
    for operation in OPERATIONS:
        namespace, name = operation.name.split(".")
        if namespace == "CoordNet":
            assert type(operation.function.__self__) is fc.CoordNet
        else:
            assert getattr(getattr(fc, namespace), name) is operation.function
    rooms = {f"{room.parent.name}.{room.name[1:]}" for room in ROOMS if room.name != "network"}
    assert {name for name in table if not name.startswith("CoordNet.")} == rooms
    assert fc.CoordNet.__module__ == "fastcoord.network"
    assert not_in_table("decode", ["onehot", "argmax"], ["decode.onehot", "encode.argmax"]) == ["argmax"]


# Import

_HEAVY = (
    "torch",
    "scipy",
    "matplotlib",
    "rich",
    "cupy",
    "jax",
    "numba.cuda",
    "numba_cuda",
    "cuda",
    "llvmlite.ir.tests",
)
_LIGHT = """
import json, sys
import numpy, numba.core.event
before = set(sys.modules)  # Numba imports SciPy where there is one
with numba.core.event.install_recorder("numba:compile") as compilations:
    import fastcoord
    at_first = sorted(set(sys.modules) - before)
    for namespace in (fastcoord.decode, fastcoord.encode):
        assert set(namespace.__all__) <= set(dir(namespace))
        for name in namespace.__all__:
            getattr(namespace, name)
from fastcoord._compile import Kernel
kernels = [
    value
    for name, module in sys.modules.items()
    if name.startswith("fastcoord.")
    for value in vars(module).values()
    if isinstance(value, Kernel)
]
made = []
for kernel in kernels:
    for slot in ("serial", "parallel", "_run"):
        try:
            object.__getattribute__(kernel, slot)
            made.append(f"{kernel.function.__qualname__}.{slot}")
        except AttributeError:
            pass
print(json.dumps([at_first, sorted(set(sys.modules) - before), len(compilations.buffer), len(kernels), made]))
"""


def heavy(modules: list[str]) -> list[str]:
    """Those that an import of fastcoord must not bring."""
    return [name for name in modules if is_within(name, _HEAVY)]


def test_import_is_light(tmp_path):
    cache = tmp_path / "cache"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT.parent)}
    command = [sys.executable, "-c", textwrap.dedent(_LIGHT)]
    process = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    at_first, modules, compilations, kernels, made = json.loads(process.stdout)
    assert "fastcoord.decode._onehot.cpu" in modules
    assert not [name for name in at_first if name.startswith(("fastcoord.decode._", "fastcoord.encode._"))]
    assert not heavy(modules)
    assert kernels >= 2
    assert made == []
    assert compilations == 0
    assert not cache.exists()


def test_a_name_that_is_no_operation():
    for namespace in (fc.decode, fc.encode):
        with pytest.raises(AttributeError, match=rf"module '{namespace.__name__}' has no attribute 'gauss'"):
            namespace.gauss  # noqa: B018


def test_a_heavy_import_is_found():
    assert heavy(["fastcoord", "numba.cuda.api", "torch", "torchvision"]) == ["numba.cuda.api", "torch"]
