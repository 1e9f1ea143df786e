"""How kernels are compiled and kept on disk, on a small package around copies of _compile.py and _threads.py.

Nearly every check runs in new processes, since that is where a cache goes wrong.
"""

import compileall
import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest

SOURCES = [Path(__file__).parent.parent / "fastcoord" / name for name in ("_compile.py", "_threads.py")]

FORMULA = """
from fastcoord._compile import inlined

@inlined
def scaled(value):
    return value * 2
"""

CPU = """
import numba
import numpy as np
from fastcoord._compile import inlined, kernel
from fastcoord.formula import scaled

@kernel
def sums(maps, out):
    for b in numba.prange(maps.shape[0]):
        total = np.float32(0)
        for i in range(maps.shape[1]):
            total += scaled(maps[b, i])
        out[b] = total

def weighted(weight):
    @inlined
    def weigh(value):
        return value * np.float32(weight)

    @kernel
    def sums(maps, out):
        for b in numba.prange(maps.shape[0]):
            total = np.float32(0)
            for i in range(maps.shape[1]):
                total += weigh(maps[b, i])
            out[b] = total

    return sums

three, four = weighted(3), weighted(4)
"""

# `call` gives what the kernel makes of 33 ones, 66 unless said, and how many signatures came from disk.
PRELUDE = """
import json, os
from pathlib import Path
import numba
import numpy as np
from fastcoord import _compile, cpu

def call(variant="serial", kernel=cpu.sums, dtype=np.float32):
    out = np.full(8, np.nan, np.float32)
    compiled = getattr(kernel, variant)
    compiled(np.ones((8, 33), dtype), out)
    assert (out == out[0]).all()
    return [float(out[0]), sum(compiled.stats.cache_hits.values())]
"""

COMPILED, READ = [66.0, 0], [66.0, 1]


def start(package: Path, body: str, cache: Path | None, prelude: str = PRELUDE, **settings: str) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTHON"))}
    # Python trusts its own compiled files by second and size: an edit within a second would not be seen.
    environment |= {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_NUM_THREADS": "2"}
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    source = f"{prelude}\n{textwrap.dedent(body)}\nprint(json.dumps(answer))"
    return subprocess.Popen(
        [sys.executable, "-c", source],
        cwd=package.parent,
        env=environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> Any:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err == ""  # no warning either
    return json.loads(out)


def run(package: Path, body: str, cache: Path | None = None, prelude: str = PRELUDE, **settings: str) -> Any:
    """`answer`, as `body` leaves it in a new process."""
    return finish(start(package, body, cache, prelude, **settings))


def files(cache: Path) -> list[Path]:
    """Everything that is kept, whatever it is."""
    return sorted(path for path in cache.rglob("*") if path.is_file())


def write_package(folder: Path) -> Path:
    package = folder / "source" / "fastcoord"
    package.mkdir(parents=True)
    for source in SOURCES:
        shutil.copy(source, package)
    (package / "__init__.py").touch()
    (package / "formula.py").write_text(FORMULA)
    (package / "cpu.py").write_text(CPU)
    return package.parent


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that a test may edit; it starts without anything compiled."""
    return write_package(tmp_path)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A package that nobody edits, and what its kernel left on disk."""
    package = write_package(tmp_path_factory.mktemp("compiled"))
    cache = package.parent / "cache"
    assert run(package, "answer = call('serial'), call('parallel')", cache) == [COMPILED, COMPILED]
    return package, cache


@pytest.fixture
def cache(compiled: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of what the kernel of `compiled` left on disk."""
    return shutil.copytree(compiled[1], tmp_path / "cache")


def test_nothing_is_compiled_or_written_at_import(package, tmp_path):
    body = """
    import json
    import numba.core.event
    with numba.core.event.install_recorder("numba:compile") as compilations:
        from fastcoord import _compile, cpu
    empty = []
    for name in ("serial", "parallel", "_run"):
        try:
            object.__getattribute__(cpu.sums, name)
        except AttributeError:
            empty.append(name)
    answer = [len(compilations.buffer), empty, str(_compile.cache_folder())]
    """
    count, empty, folder = run(package, body, tmp_path / "new", prelude="")
    assert count == 0
    assert empty == ["serial", "parallel", "_run"]
    assert Path(folder).parent == tmp_path / "new"
    assert not (tmp_path / "new").exists()
    assert not (package / "fastcoord" / "__pycache__").exists()


def test_a_second_process_reads_both_variants(compiled, cache):
    serial, parallel = sorted(files(cache), key=lambda path: "parallel" in path.name)
    assert serial.name.startswith("sums-serial-")
    assert parallel.name.startswith("sums-parallel-")
    body = """
    answer = [call("serial"), call("parallel")]
    cpu.sums.serial.recompile()  # Numba's word for a global that has changed: the file is no longer good
    answer.append(sum(cpu.sums.serial.stats.cache_misses.values()))
    """
    assert run(compiled[0], body, cache) == [READ, READ, 1]
    assert files(cache) == [parallel, serial]


def test_variants_agree_to_the_bit(compiled, cache):
    body = """
    maps = np.random.default_rng(0).normal(size=(37, 41)).astype(np.float32)
    results = []
    for threads in 1, 2:
        numba.set_num_threads(threads)
        for work in 0, _compile.SERIAL_LIMIT - 1, _compile.SERIAL_LIMIT:
            out = np.empty(37, np.float32)
            cpu.sums(work, maps, out)
            results.append(out.tobytes().hex())
    ran = [list(getattr(cpu.sums, variant).overloads) != [] for variant in ("serial", "parallel")]
    answer = [len(set(results)), ran]
    """
    assert run(compiled[0], body, cache) == [1, [True, True]]


def test_work_decides_the_variant(compiled, cache):
    body = """
    maps, out = np.ones((8, 33), np.float32), np.empty(8, np.float32)
    cpu.sums(_compile.SERIAL_LIMIT - 1, maps, out)
    cpu.three(_compile.SERIAL_LIMIT, maps, out)
    answer = [[len(getattr(kernel, variant).overloads) for variant in ("serial", "parallel")]
              for kernel in (cpu.sums, cpu.three)]
    """
    assert run(compiled[0], body, cache) == [[1, 0], [0, 1]]


def test_an_edit_in_another_module_is_never_answered_stale(package, tmp_path):
    cache, formula = tmp_path / "cache", package / "fastcoord" / "formula.py"
    assert run(package, "answer = call()", cache) == COMPILED
    assert run(package, "answer = call()", cache, NUMBA_CPU_NAME="generic") == COMPILED
    old = files(cache)
    assert len(old) == 2  # one target's file does not push out another's
    formula.write_text(FORMULA.replace("2", "3"))
    assert run(package, "answer = call()", cache) == [99.0, 0]
    new = files(cache)
    assert len(new) == 1
    assert new[0] not in old  # what came from the old sources is gone
    formula.write_text(FORMULA)
    assert run(package, "answer = call()", cache) == COMPILED


def test_an_edit_after_the_import_is_not_saved(package, tmp_path):
    body = """
    formula = Path(_compile.__file__).parent / "formula.py"
    formula.write_text(formula.read_text().replace("2", "3"))
    answer = call()
    """
    assert run(package, body, tmp_path / "cache") == COMPILED
    assert files(tmp_path) == files(package)
    assert run(package, "answer = call()", tmp_path / "cache") == [99.0, 0]


def test_damaged_files_are_compiled_again(compiled, cache):
    body = """
    [path] = _compile.cache_folder().glob("sums-serial-*")
    whole = path.read_bytes()
    note = whole.index(b"total")  # a variable's name in Numba's notes: without a checksum nobody would see
    answer = []
    for damaged in whole[: len(whole) // 2], whole[:20], b"", whole[:note] + b"u" + whole[note + 1 :]:
        path.write_bytes(damaged)
        answer.append([call(kernel=_compile.kernel(cpu.sums.function)) for _ in range(2)])
    """
    assert run(compiled[0], body, cache) == [[COMPILED, READ]] * 4
    assert run(compiled[0], "answer = call()", cache) == READ


def test_eight_processes_at_once(compiled, tmp_path):
    cache = tmp_path / "empty"
    processes = [start(compiled[0], "answer = call()", cache) for _ in range(8)]
    assert all(finish(process)[0] == 66.0 for process in processes)
    assert [path.suffix for path in files(cache)] == [".kernel"]
    assert run(compiled[0], "answer = call()", cache) == READ


def test_no_folder_to_write_in(compiled, tmp_path):
    (tmp_path / "file").touch()
    assert run(compiled[0], "answer = call(), _compile.cache_folder()", tmp_path / "file" / "cache") == [COMPILED, None]


def test_full_disk_and_interrupt_leave_nothing_behind(compiled, tmp_path):
    body = """
    import errno
    write, replace = Path.write_bytes, os.replace

    def write_half(path, content):
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupt(source, target):
        raise KeyboardInterrupt

    Path.write_bytes = write_half
    answer = [call()]
    Path.write_bytes, os.replace = write, interrupt
    try:
        call(dtype=np.int32)
    except KeyboardInterrupt:
        answer.append("interrupted")
    answer.append(call(dtype=np.int32))
    """
    assert run(compiled[0], body, tmp_path / "cache") == [COMPILED, "interrupted", COMPILED]
    assert files(tmp_path) == []


def test_folders_are_tried_in_order(package, tmp_path):
    home = tmp_path / "home"
    settings = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "LOCALAPPDATA": str(home)}
    in_package = package / "fastcoord" / "__pycache__"
    body = "answer = call(), str(_compile.cache_folder())"
    result, folder = run(package, body, **settings)
    assert result == COMPILED
    assert [path.parent for path in files(in_package)] == [Path(folder)]
    assert not home.exists()
    shutil.rmtree(in_package)
    in_package.touch()  # nobody, not even root, can write below a file
    result, folder = run(package, body, **settings)
    assert result == COMPILED
    assert [path.parent for path in files(home)] == [Path(folder)]
    assert run(package, "answer = call()", **settings) == READ


@pytest.mark.parametrize("kind", ["zip", "pyc"])
def test_without_sources_nothing_is_kept(package, tmp_path, kind):
    if kind == "zip":
        archive = tmp_path / "package.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for path in files(package):
                file.write(path, path.relative_to(package))
        package = archive
    else:
        compileall.compile_dir(package, quiet=2, legacy=True)
        for path in package.rglob("*.py"):
            path.unlink()
    body = "answer = call(), _compile.cache_folder()"
    assert run(package, body, tmp_path / "cache") == [COMPILED, None]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("setting", ["NUMBA_BOUNDSCHECK", "NUMBA_OPT", "NUMBA_LOOP_VECTORIZE", "PYTHONOPTIMIZE"])
def test_settings_that_change_the_code_have_files_of_their_own(compiled, cache, setting):
    value = "0" if setting == "NUMBA_LOOP_VECTORIZE" else "1"
    before = files(cache)
    assert run(compiled[0], "answer = call()", cache, **{setting: value}) == COMPILED
    assert len(files(cache)) == len(before) + 1
    assert set(files(cache)) > set(before)


def test_uncompiled(compiled, tmp_path):
    body = """
    maps, out = np.ones((8, 33), np.float32), np.empty(8, np.float32)
    answer = []
    for work in 0, _compile.SERIAL_LIMIT:
        cpu.sums(work, maps, out)
        answer.append(out.tolist() == [66] * 8)
    answer.append(cpu.sums.serial is cpu.sums.parallel is cpu.sums.function)
    answer.append(type(cpu.scaled) is type(_compile.inlined))
    """
    assert run(compiled[0], body, tmp_path / "cache", NUMBA_DISABLE_JIT="1") == [True] * 4
    assert files(tmp_path) == []


def test_closures_are_told_apart_by_their_constants(package, tmp_path):
    cache = tmp_path / "cache"
    three = "answer = call(kernel=cpu.three) + [k.fndesc.mangled_name for k in cpu.three.serial.overloads.values()]"
    four = three.replace("three", "four")
    *first, symbol_of_three = run(package, three, cache)
    *second, symbol_of_four = run(package, four, cache)
    assert first == [99.0, 0]
    assert second == [132.0, 0]
    # Two processes count alike. With one symbol for both, a third process that reads both can run the wrong one.
    assert symbol_of_three != symbol_of_four
    both = "answer = call(kernel=cpu.three), call(kernel=cpu.four)"
    assert run(package, both, cache) == [[99.0, 1], [132.0, 1]]


def test_what_the_sources_do_not_tell_is_not_kept(package, tmp_path):
    body = """
    kernel = cpu.weighted(np.random.default_rng(0).integers(5, 6))  # a NumPy scalar is as good a constant as any

    def outside(maps, out):
        for b in range(maps.shape[0]):
            out[b] = 66

    answer = [call(kernel=kernel), call(kernel=_compile.kernel(outside))]
    """
    assert run(package, body, tmp_path / "cache") == [[165.0, 0], COMPILED]
    assert len(files(tmp_path / "cache")) == 1


def test_python_threads_may_call_at_once(compiled, cache):
    body = """
    from concurrent.futures import ThreadPoolExecutor
    maps = np.ones((64, 33), np.float32)

    def work(_):
        out = np.empty(64, np.float32)
        for _ in range(200):
            cpu.sums(_compile.SERIAL_LIMIT, maps, out)
        return bool((out == 66).all())

    with ThreadPoolExecutor(4) as pool:
        answer = list(pool.map(work, range(4))) + [numba.threading_layer()]
    """
    assert run(compiled[0], body, cache, NUMBA_THREADING_LAYER="workqueue") == [True] * 4 + ["workqueue"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_survives(compiled, cache):
    body = """
    import warnings
    maps, out = np.ones((8, 33), np.float32), np.empty(8, np.float32)
    cpu.sums(_compile.SERIAL_LIMIT, maps, out)
    out[:] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python ≥ 3.12: other threads are running
        child = os.fork()
    if child == 0:
        cpu.sums(_compile.SERIAL_LIMIT, maps, out)
        os._exit(0 if (out == 66).all() else 1)
    answer = os.waitpid(child, 0)[1]
    """
    assert run(compiled[0], body, cache) == 0
