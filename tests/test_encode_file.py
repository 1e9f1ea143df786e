"""`fastcoord encode`: what it writes is what the functions return, and what fails leaves nothing behind."""

import io
import os
import subprocess
import sys

import numba
import numpy as np
import pytest

import fastcoord as fc
from fastcoord import _encode_file, cli
from tests import cases

pytestmark = pytest.mark.small


@pytest.fixture
def points(tmp_path, monkeypatch):
    """(4, 3, 2) points in files of each form, which are encoded in pieces of five; one is missing."""
    points = cases.points_within((4, 3), 6, 7, "float32")
    points[1, 2] = np.nan
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_encode_file, "POINTS", 5)
    np.save("points.npy", points)
    np.savez("points.npz", xy=points, score=np.ones((4, 3)))
    lines = [f"{i},{x},{y}" for i, (x, y) in enumerate(points.reshape(-1, 2).tolist())]
    (tmp_path / "points.csv").write_text("index_0,x,y\n" + "\n".join(lines) + "\n")
    return points


def encoded(*arguments):
    return cli.main(["encode", *arguments, "--size", "7x6", "-o", "maps.npy"])


@pytest.mark.parametrize("suffix", ["csv", "npy", "npz"])
@pytest.mark.parametrize(
    ("kind", "flags", "options"),
    [
        ("splat", [], {}),
        ("onehot", ["--dtype", "uint8"], {"dtype": "uint8"}),
        ("onehot", ["--dtype", "float16"], {"dtype": "float16"}),
        ("box", ["--box-size", "3", "--value", "0.5"], {"size": 3, "value": 0.5}),
        ("splat", ["--grid", "strides:2,-1"], {"grid": fc.grid.strides(2, -1)}),
        (
            "gaussian",
            ["--sigma", "1.5", "--norm", "sum", "--radius", "2.5"],
            {"sigma": 1.5, "norm": "sum", "radius": 2.5},
        ),
    ],
)
def test_maps(points, suffix, kind, flags, options, tmp_path, capsys):
    before = sorted(path.name for path in tmp_path.iterdir())
    assert encoded(f"points.{suffix}", "--kind", kind, *flags) == 0
    wanted = getattr(fc.encode, kind)(points, shape=(6, 7), return_weight=True, **options)
    maps = np.load("maps.npy")
    assert maps.dtype == wanted.maps.dtype
    assert maps.shape == ((12, 6, 7) if suffix == "csv" else (4, 3, 6, 7))
    np.testing.assert_allclose(maps.reshape(wanted.maps.shape), wanted.maps, rtol=0, atol=1e-6)
    said = capsys.readouterr()
    assert said.out.startswith(f"maps.npy: 12 maps of 6×7 {maps.dtype}, 0.0 MB, in ")
    assert said.out.endswith(f" s, {int((wanted.weight == 0).sum())} of no point\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "maps.npy"])


def test_there_and_back(points):
    assert encoded("points.npy", "--kind", "splat") == 0
    assert cli.main(["decode", "maps.npy", "-o", "again.csv", "--method", "center_of_mass"]) == 0
    assert encoded("again.csv", "--kind", "splat", "--force") == 0
    assert np.load("maps.npy").shape == (12, 6, 7)


@pytest.mark.parametrize("shape", [(2,), (0, 2), (3, 0, 2), (1, 2)])
def test_shapes(points, shape):
    np.save("points.npy", np.ones(shape))
    assert encoded("points.npy", "--kind", "splat") == 0
    np.testing.assert_array_equal(np.load("maps.npy"), fc.encode.splat(np.ones(shape), shape=(6, 7)))


def test_a_file_of_columns_alone(points, tmp_path):
    (tmp_path / "points.csv").write_text("x,y\n")
    assert encoded("points.csv", "--kind", "splat") == 0
    assert np.load("maps.npy").shape == (0, 6, 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv"], "none.csv: expected a file of points; there is none"),
        (["text.txt"], "text.txt: expected a name that ends in .csv, .npy, .npz"),
        (["bad.csv"], "bad.csv, line 3: expected numbers x and y; got '1,a'"),
        (["short.csv"], "short.csv, line 2: expected numbers x and y; got '1'"),
        (["names.csv"], "names.csv, line 1: expected names of columns, with x and y; got '1,2'"),
        (["bytes.csv"], "bytes.csv: expected a .csv file; got: "),
        (["three.npy"], "three.npy: expected shape (..., 2), the last axis (x, y); got (4, 3)"),
        (["complex.npy"], "complex.npy: expected an integer type"),
        (["names.npz"], "names.npz: expected an array named xy"),
        (["text.npz"], "text.npz: expected an .npz file"),
        (["points.npy", "-o", "maps.npz"], "maps.npz: expected a name that ends in .npy"),
        (["points.npy", "-o", "nowhere/maps.npy"], "nowhere/maps.npy: expected a file in a folder that exists"),
        (["points.npy", "-o", "folder.npy"], "folder.npy: expected a file; it is a folder"),
        (["points.npy", "-o", "three.npy"], "three.npy: exists; --force replaces it"),
        (["points.npy", "-o", "points.npy", "--force"], "points.npy: expected another file than the points"),
        (["points.npy", "--size", "7"], "--size: expected WIDTHxHEIGHT, as 64x48; got '7'"),
        (["points.npy", "--size", "0x5"], "--size: expected WIDTHxHEIGHT, as 64x48; got '0x5'"),
        (["points.npy", "--sigma", "2"], "--sigma: not for --kind splat"),
        (["points.npy", "--grid", "pixels"], "--grid: expected corners"),
        (["points.npy", "--dtype", "complex64"], "dtype: expected bool"),
        (["points.npy", "--dtype", "bfloat16"], "--dtype: expected a type that .npy files have; got bfloat16"),
        (["points.npy", "--kind", "box", "--box-size", "2"], "size: expected an odd integer"),
    ],
)
def test_what_is_refused(points, arguments, said, tmp_path, capsys):
    for name, text in {
        "text.txt": "x,y\n",
        "text.npz": "x,y\n",
        "bad.csv": "x,y\n1,2\n1,a\n",
        "short.csv": "x,y\n1\n",
        "names.csv": "1,2\n",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "bytes.csv").write_bytes(b"x,y\n\xff,2\n")
    (tmp_path / "folder.npy").mkdir()
    np.save("three.npy", np.zeros((4, 3)))
    np.save("complex.npy", np.zeros((4, 2), complex))
    np.savez("names.npz", points=np.zeros((4, 2)))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    rest = {"--size": "7x6", "-o": "maps.npy", "--kind": "splat"}
    given = [word for pair in rest.items() if pair[0] not in arguments for word in pair]
    assert cli.main(["encode", *arguments, *given]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"fastcoord: {said}")
    assert captured.err.count("\n") == 1
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no space left")])
def test_what_stops_halfway_leaves_everything_as_it_was(points, error, tmp_path, monkeypatch, capsys):
    calls = []

    def splat(piece, **options):
        calls.append(piece)
        if len(calls) == 3:
            raise error
        return fc.encode.onehot(piece, **options)

    monkeypatch.setattr(_encode_file.encode, "splat", splat)
    (tmp_path / "maps.npy").write_text("old")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert encoded("points.csv", "--kind", "splat", "--force") == 1
    assert capsys.readouterr().err.startswith("fastcoord: ")
    assert (tmp_path / "maps.npy").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_an_output_that_is_a_link_stays_one(points, command, is_there, tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target.npy", tmp_path / "link.npy"
    if is_there:
        target.write_text("old")
    link.symlink_to(target)
    if command == "encode":
        arguments = ["points.npy", "--size", "7x6", "--kind", "splat"]
    else:
        np.save("given.npy", np.ones((3, 4, 5)))
        arguments = ["given.npy"]
    assert cli.main([command, *arguments, "-o", "link.npy", "--force"]) == 0
    assert link.is_symlink()
    assert np.load(target).shape == ((4, 3, 6, 7) if command == "encode" else (3, 2))
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["target.npy"]


def test_progress(points, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert encoded("points.csv", "--kind", "splat") == 0
    assert "encoding" in sys.stderr.getvalue()
    steps = []
    job = _encode_file.Job(*map(_encode_file.Path, ("points.csv", "others.npy")), "splat", (6, 7), {})
    _encode_file.run(job, lambda done, count: steps.append((done, count)))
    assert steps == [(5, 12), (10, 12), (12, 12)]


_LARGE = """
import resource, sys
from fastcoord.cli import main
main(["encode", "points.npy", "-o", "warm.npy", "--size", "128x128", "--kind", "splat"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert main(["encode", "many.npy", "-o", "maps.npy", "--size", "128x128", "--kind", "splat"]) == 0
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="takes a minute uncompiled")
def test_memory_does_not_grow_with_the_file(points, tmp_path):
    np.save("many.npy", np.ones((4800, 2), np.float32))  # 300 MB of maps
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _LARGE]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout.split()[-1]) < 4 * (1 << 25)
