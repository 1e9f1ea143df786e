"""`fastcoord compile`: what it compiled no later process compiles, and it says so when nothing can be stored."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import fastcoord as fc
from fastcoord import _compile, _fill_cache, cli
from tests.operations import FUNCTIONS

ROOT = Path(fc.__file__).parent.parent
CALLED = [*map(str, FUNCTIONS), "CoordNet.onehot", "CoordNet.box"]


def process(code, cache, *arguments):
    """A finished process of its own that keeps its machine code in `cache`, or where this one does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTHON"))}
    environment |= {"NUMBA_CACHE_DIR": str(cache or numba.config.CACHE_DIR), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", f"import sys; {code}", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def compile_(cache, *arguments, before=""):
    return process(
        f"{before}from fastcoord.cli import main; sys.exit(main(['compile', *sys.argv[1:]]))", cache, *arguments
    )


# What users call: small and large, on contiguous arrays of bytes.
_USE = """
import json
import numpy as np
import fastcoord as fc
from fastcoord import _compile, _fill_cache

def use(draws, networks):
    for maps in (1, 200):
        images = np.ones((maps, 70, 90), np.uint8)
        fc.decode.onehot(images)
        fc.decode.onehot(images.view(bool))
        for net in networks:
            net(images)
            net(images.view(bool))
        for dtype in ("float32", "float64", "int64"):
            xy = np.ones((maps, 2), dtype)
            for draw in draws:
                draw(xy, shape=(70, 90), dtype="uint8")
                draw(xy, shape=(70, 90), dtype="uint8", return_weight=True)
                draw(xy, shape=(70, 90), dtype="uint8", grid=fc.grid.strides(1))
                draw(xy, shape=(70, 90), dtype="uint8", out=images)
                draw(xy, shape=(70, 90), dtype=bool)
                xy.flags.writeable = False
    fc.decode.onehot(np.zeros((1024, 1024), np.uint8))
"""

# Prints for each kernel that was reached how many signatures came from disk and how many did not
_USE_ONEHOT = f"""{_USE}
use([fc.encode.onehot], [])
answer = {{}}
for name, module in list(sys.modules.items()):
    if name.startswith("fastcoord."):
        for value in vars(module).values():
            if isinstance(value, _compile.Kernel):
                for kind in ("serial", "parallel"):
                    stats = getattr(value, kind).stats
                    hits, misses = sum(stats.cache_hits.values()), sum(stats.cache_misses.values())
                    if hits or misses:
                        answer[f"{{name}}.{{value.function.__name__}}.{{kind}}"] = [hits, misses]
print(json.dumps(answer))
"""

# Prints how often kernels were compiled, stored or read: by `fastcoord compile`, and in use after that
_USE_ALL = f"""{_USE}
list(_fill_cache.fill(("uint8",)))
filled = _compile.counts()
use([fc.encode.onehot, fc.encode.box], [fc.CoordNet.onehot_decoder(70, 90), fc.CoordNet.box_decoder(70, 90)])
fc.datasets.not_so_clevr("uniform")
print(json.dumps([filled, _compile.counts()]))
"""


def test_no_later_process_compiles(tmp_path):
    cache = tmp_path / "cache"
    names = ["decode.onehot", "encode.onehot"]  # what the others have is compiled by others' tests too
    few = f"from fastcoord import _fill_cache as f; f.CALLS = {{name: f.CALLS[name] for name in {names}}}; "
    filled = compile_(cache, "--types", "uint8", before=few)
    assert filled.returncode == 0, filled.stderr
    assert filled.stderr == ""
    *lines, total, place = filled.stdout.splitlines()
    expected = [[name, "uint8", layout] for name in names for layout in ("contiguous", "one large map")]
    assert [re.split("  +", line)[:3] for line in lines] == expected
    compiled, stored, read = map(int, re.match(r"(\d+) kernels compiled, (\d+) stored, (\d+) read, in", total).groups())
    assert compiled == stored >= 2 * len(names)
    assert read == 0
    folder = Path(place.removeprefix("cache folder: "))
    assert folder.parent == cache
    assert len(list(folder.iterdir())) == stored

    used = process(_USE_ONEHOT, cache)
    assert used.returncode == 0, used.stderr
    found = json.loads(used.stdout)
    for room in ("decode._onehot", "encode._onehot"):
        for kind in ("serial", "parallel"):
            assert any(f".{room}.cpu." in name and name.endswith(kind) for name in found), (room, kind)
    assert all(misses == 0 for _hits, misses in found.values()), found
    assert len(list(folder.iterdir())) == stored

    again = compile_(cache, "--types", "uint8", before=few)
    assert again.returncode == 0
    assert f"0 kernels compiled, 0 stored, {stored} read" in again.stdout
    assert again.stdout.count("in the cache already") == 2 * len(names)


def test_each_call_that_users_make_is_among_those_compiled():
    used = process(_USE_ALL, None)
    assert used.returncode == 0, used.stderr
    filled, after = json.loads(used.stdout)
    assert filled[0] + filled[2] >= 2 * len(CALLED)
    assert after == filled


def test_without_a_folder_it_fails_before_the_work(tmp_path):
    no_folder = tmp_path / "file"
    no_folder.touch()
    failed = compile_(no_folder)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("fastcoord: nothing can be stored: ")
    assert "NUMBA_CACHE_DIR" in failed.stderr


def test_what_could_not_be_stored_is_a_failure(tmp_path):
    spoil = (
        "from fastcoord import _compile, _fill_cache; _compile._written = lambda *arguments: False; "
        "_fill_cache.CALLS = {'encode.onehot': _fill_cache.CALLS['encode.onehot']}; "
    )
    failed = compile_(tmp_path, "--types", "bool", before=spoil)
    assert failed.returncode == 1
    compiled = int(re.search(r"^(\d+) kernels compiled, 0 stored, 0 read", failed.stdout, re.MULTILINE)[1])
    assert compiled > 0
    assert failed.stderr == (f"fastcoord: {compiled} of {compiled} kernels not stored; NUMBA_DEBUG_CACHE=1 says why\n")


@pytest.mark.small
def test_every_function_is_called():
    assert list(_fill_cache.CALLS) == CALLED


@pytest.mark.small
@pytest.mark.parametrize("everything", [False, True])
def test_calls_of_every_type_size_and_layout(monkeypatch, everything):
    seen = []
    monkeypatch.setattr(_fill_cache, "CALLS", {"see": seen.append, "see again": lambda given: None})
    done = list(_fill_cache.fill(("float32", "bool"), everything))
    layouts = ["contiguous", "one large map", "rows apart", "pixels apart", "wide"][: None if everything else 2]
    expected = [(dtype, layout) for dtype in ("float32", "bool") for layout in layouts]
    assert [(d.operation, d.dtype, d.layout) for d in done] == [
        (name, *rest) for name in ("see", "see again") for rest in expected
    ]
    assert all((d.compiled, d.stored, d.read) == (0, 0, 0) for d in done)
    assert [given.maps.dtype.name for given in seen] == [dtype for dtype, _ in expected for _size in range(2)]
    for one, many in zip(seen[::2], seen[1::2], strict=True):
        if one.maps.shape == many.maps.shape == (1, 640, 640):
            continue
        assert one.maps[0].size < 4 * _compile.SERIAL_LIMIT  # as the encoders count work: in words of 4 bytes
        assert one.maps.size * 8 < 4 * _compile.SERIAL_LIMIT
        assert many.maps.size >= 4 * _compile.SERIAL_LIMIT
        assert [xy.dtype.name for xy in many.points] == ["float32", "float64"]
        assert many.canvas == {"shape": many.maps.shape[1:], "dtype": many.maps.dtype, "out": many.maps}


@pytest.mark.small
def test_uncompiled_there_is_nothing_to_store(monkeypatch, capsys):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert cli.main(["compile"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "fastcoord: nothing can be compiled: NUMBA_DISABLE_JIT is set\n"


@pytest.mark.small
@pytest.mark.parametrize(
    "arguments", [["--types"], ["--types", "float8"], ["--types", "uint8", "--all"], ["--some"], ["uint8"]]
)
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compile", *arguments])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: fastcoord")


@pytest.mark.small
def test_pixel_types_are_those_of_the_operations():
    for dtype in _fill_cache.TYPES:
        assert fc.encode.onehot([0, 0], shape=(1, 1), dtype=dtype).dtype == np.dtype(dtype)
    assert set(_fill_cache.COMMON) < set(_fill_cache.TYPES)
