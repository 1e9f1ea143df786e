"""`fastcoord decode`: what it writes is what the functions return, and what fails leaves nothing behind."""

import csv
import io
import os
import subprocess
import sys

import numba
import numpy as np
import pytest

import fastcoord as fc
from fastcoord import _decode_file, cli
from tests import cases

pytestmark = pytest.mark.small


@pytest.fixture
def maps(tmp_path, monkeypatch):
    """(4, 3, 6, 7) heatmaps in a file, which is decoded in pieces of two maps; the one of all zeros is flagged."""
    maps = cases.dense((4, 3, 6, 7))
    maps[1, 2] = 0
    maps[2, 0, 3, 3] = np.nan
    np.save(tmp_path / "maps.npy", maps)
    monkeypatch.setattr(_decode_file, "PIECE", 2 * maps[0, 0].nbytes)
    monkeypatch.chdir(tmp_path)
    return maps


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def refused(capsys, *arguments):
    """What the command says of these arguments, on its one line."""
    assert cli.main(["decode", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fastcoord: ")
    assert captured.err.count("\n") == 1
    return captured.err


def only(folder, *names):
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_csv(maps, tmp_path, capsys):
    assert cli.main(["decode", "maps.npy", "-o", "points.csv", "--threshold", "0.5"]) == 0
    wanted = fc.decode.argmax(maps, threshold=0.5)
    lines = read_csv("points.csv")
    assert list(lines[0]) == ["index_0", "index_1", "x", "y", "score", "status"]
    assert len(lines) == 12
    for line, index in zip(lines, np.ndindex(4, 3), strict=True):
        assert (int(line["index_0"]), int(line["index_1"])) == index
        numbers = np.array([line["x"], line["y"], line["score"]], np.float32)
        np.testing.assert_array_equal(numbers, [*wanted.xy[index], wanted.score[index]])
        assert line["status"] == (fc.Status(int(wanted.status[index])).name or "")
    assert lines[5]["status"] == "EMPTY|TIE"
    assert lines[6]["status"] == "NAN"
    said = capsys.readouterr()
    assert said.out.startswith("points.csv: 12 maps of 6×7 float32, 0.0 MB, in ")
    assert said.out.endswith("1 EMPTY, 1 NAN, 1 TIE\n")
    assert said.err == ""
    only(tmp_path, "maps.npy", "points.csv")


@pytest.mark.parametrize("method", _decode_file.METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "bool"])
def test_arrays(maps, method, dtype):
    array = np.nan_to_num(maps * 50).astype(dtype)
    np.save("maps.npy", array)
    wanted = getattr(fc.decode, method)(array)
    for suffix in ("npy", "npz"):
        assert cli.main(["decode", "maps.npy", "-o", f"points.{suffix}", "--method", method]) == 0
    points, members = np.load("points.npy"), np.load("points.npz")
    assert points.dtype == wanted.xy.dtype
    np.testing.assert_array_equal(points, wanted.xy)
    assert sorted(members) == sorted(name for name, member in wanted._asdict().items() if member is not None)
    for name in members:
        assert members[name].dtype == getattr(wanted, name).dtype
        np.testing.assert_array_equal(members[name], getattr(wanted, name))


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((6, 7), {}),
        ((0, 6, 7), {}),
        ((2, 0, 6, 7), {}),
        ((1, 6, 7), {}),
        ((5, 6, 7), {}),
        ((1, 1, 5, 6, 7), {}),
        ((3, 1, 6, 7), {}),
        ((4, 6, 7, 3), {"axes": (1, 2)}),
        ((6, 4, 7), {"axes": (0, -1)}),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_shapes_and_axes(maps, shape, options, order):
    array = np.asarray(cases.dense(shape), order=order)
    np.save("maps.npy", array)
    axes = [str(axis) for axis in options.get("axes", (-2, -1))]
    wanted = fc.decode.argmax(array, **options)
    for suffix in ("npy", "npz", "csv"):
        assert cli.main(["decode", "maps.npy", "-o", f"points.{suffix}", "--axes", *axes]) == 0
    np.testing.assert_array_equal(np.load("points.npy"), wanted.xy)
    np.testing.assert_array_equal(np.load("points.npz")["score"], wanted.score)
    assert len(read_csv("points.csv")) == wanted.score.size


def test_peaks(maps, capsys):
    command = ["decode", "maps.npy", "--method", "peaks", "--k", "3", "--threshold", "0.4", "--radius", "2", "-o"]
    assert cli.main([*command, "peaks.csv", "--plot", "peaks.png"]) == cli.main([*command, "peaks.npz"]) == 0
    wanted = fc.decode.peaks(maps, k=3, threshold=0.4, radius=2)
    count = wanted.count.reshape(-1)
    assert count.min() == 0 < count.max() == 3
    assert f", {count.sum()} peaks, " in capsys.readouterr().out
    members = np.load("peaks.npz")
    for name, member in wanted._asdict().items():
        np.testing.assert_array_equal(members[name], member)
    lines = read_csv("peaks.csv")
    assert list(lines[0]) == ["index_0", "index_1", "peak", "x", "y", "score", "status"]
    assert len(lines) == np.maximum(count, 1).sum()
    for line in lines:
        at = int(line["index_0"]), int(line["index_1"]), int(line["peak"])
        assert line["status"] == (fc.Status(int(wanted.status[at])).name or "")
        point = np.array([line["x"], line["y"], line["score"]], np.float32)
        np.testing.assert_array_equal(point, [*wanted.xy[at], wanted.score[at]])


def test_wrong_options_are_refused_before_the_work(maps, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_decode_file, "_pieces", lambda array: pytest.fail("the maps were read"))
    said = refused(capsys, "maps.npy", "-o", "points.npz", "--method", "peaks", "--k", "0")
    assert "k: expected an integer from 1" in said
    only(tmp_path, "maps.npy")


def covariant(heatmaps, *, covariance=False, threshold=None, grid=None):
    """A decoder with a covariance."""
    found = fc.decode.argmax(heatmaps, threshold=threshold, grid=grid)
    spread = np.arange(4, dtype=np.float32).reshape(2, 2) + found.score[..., None, None]
    return found._replace(covariance=spread if covariance else None)


def test_covariance(maps, monkeypatch):
    monkeypatch.setitem(_decode_file.METHODS, "covariant", covariant)
    command = ["decode", "maps.npy", "--method", "covariant", "--covariance", "-o"]
    assert cli.main([*command, "points.csv"]) == cli.main([*command, "points.npz"]) == 0
    wanted = covariant(maps, covariance=True).covariance
    np.testing.assert_array_equal(np.load("points.npz")["covariance"], wanted)
    lines = read_csv("points.csv")
    assert list(lines[0])[2:] == ["x", "y", "score", "var_x", "cov_xy", "var_y", "status"]
    found = np.array([[line["var_x"], line["cov_xy"], line["var_y"]] for line in lines], np.float32)
    np.testing.assert_array_equal(found, wanted.reshape(-1, 4)[:, [0, 1, 3]])


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        *((name, getattr(fc.grid, name)) for name in ("corners", "half", "unit", "unit_half")),
        ("strides:4", fc.grid.strides(4)),
        ("strides:4,-1.5", fc.grid.strides(4, -1.5)),
        ("udp:256,192", fc.grid.udp((256, 192))),
        ("crop:-3,2,40.5,90", fc.grid.crops([-3, 2, 40.5, 90])),
    ],
)
def test_grids(maps, text, grid):
    assert cli.main(["decode", "maps.npy", "-o", "points.npy", "--grid", text]) == 0
    np.testing.assert_array_equal(np.load("points.npy"), fc.decode.argmax(maps, grid=grid).xy)


@pytest.mark.parametrize("text", ["pixels", "corners:3", "strides", "strides:", "strides:x", "strides:0", "crop:1,2,3"])
def test_what_is_no_grid(maps, text, tmp_path, capsys):
    assert f"--grid: expected {text.split(':')[0] if text != 'pixels' else 'corners, '}" in refused(
        capsys, "maps.npy", "-o", "points.npy", "--grid", text
    )
    only(tmp_path, "maps.npy")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.npy", "-o", "p.csv"], "none.npy: expected a .npy file; there is none"),
        (["text.npy", "-o", "p.csv"], "text.npy: expected a .npy file, as numpy.save writes it; it is none"),
        (["objects.npy", "-o", "p.csv"], "objects.npy: expected an array of numbers in a .npy file; got: "),
        (["short.npy", "-o", "p.csv"], "short.npy: expected an array of numbers in a .npy file; got: "),
        (["line.npy", "-o", "p.csv"], "maps: expected at least 2 axes (..., H, W); got shape (3,)"),
        (["complex.npy", "-o", "p.csv"], "maps: expected bool, "),
        (["maps.npy", "-o", "p.txt"], "p.txt: expected a name that ends in .csv, .npy, .npz"),
        (["maps.npy", "-o", "nowhere/p.csv"], "nowhere/p.csv: expected a file in a folder that exists"),
        (["maps.npy", "-o", "folder.csv"], "folder.csv: expected a file; it is a folder"),
        (["maps.npy", "-o", "line.npy"], "line.npy: exists; --force replaces it"),
        (["maps.npy", "-o", "maps.npy", "--force"], "maps.npy: expected another file than the maps"),
        (["maps.npy", "-o", "p.csv", "--axes", "1", "1"], "axes: expected two different axes; got (1, 1)"),
        (["maps.npy", "-o", "p.csv", "--axes", "1", "4"], "axes: expected axes of an array with 4 axes; got (1, 4)"),
        (["maps.npy", "-o", "p.csv", "--refine", "much"], "refine: expected one of "),
        (["maps.npy", "-o", "p.csv", "--threshold", "nan"], "threshold: expected a number that is not NaN; got nan"),
        (
            ["maps.npy", "-o", "p.csv", "--method", "onehot", "--threshold", "1"],
            "--threshold: not for --method onehot",
        ),
        (["maps.npy", "-o", "p.csv", "--plot", "p.jpeg"], "p.jpeg: expected a name that ends in .png"),
        (["maps.npy", "-o", "p.csv", "--plot", "nowhere/p.png"], "nowhere/p.png: expected a file in a folder"),
    ],
)
def test_what_is_refused(maps, arguments, said, tmp_path, capsys):
    (tmp_path / "text.npy").write_text("x, y")
    (tmp_path / "folder.csv").mkdir()
    np.save("objects.npy", np.array([None]), allow_pickle=True)
    np.save("line.npy", np.zeros(3))
    np.save("complex.npy", np.zeros((2, 3, 3), complex))
    (tmp_path / "short.npy").write_bytes((tmp_path / "maps.npy").read_bytes()[:-8])
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert refused(capsys, *arguments).startswith(f"fastcoord: {said}")
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_force(maps, tmp_path):
    (tmp_path / "points.npy").write_text("old")
    assert cli.main(["decode", "maps.npy", "-o", "points.npy", "--force"]) == 0
    assert np.load("points.npy").shape == (4, 3, 2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no space left"), MemoryError])
@pytest.mark.parametrize("suffix", ["csv", "npy", "npz"])
def test_what_stops_halfway_leaves_everything_as_it_was(maps, error, suffix, tmp_path, monkeypatch, capsys):
    calls = []

    def decode(piece, **options):
        calls.append(piece)
        if len(calls) == 3:
            raise error
        return fc.decode.argmax(piece, **options)

    monkeypatch.setitem(_decode_file.METHODS, "argmax", decode)
    output = tmp_path / f"points.{suffix}"
    for content in (None, "old"):
        calls.clear()
        if content is not None:
            output.write_text(content)
        command = ["decode", "maps.npy", "-o", str(output), "--force"]
        if error is MemoryError:
            with pytest.raises(MemoryError):
                cli.main(command)
        else:
            assert cli.main(command) == 1
            assert capsys.readouterr().err.startswith("fastcoord: ")
        only(tmp_path, "maps.npy", *([output.name] if content else []))
    assert output.read_text() == "old"


def test_pieces_are_bounded_and_in_order(maps, monkeypatch):
    for shape in ((7, 4, 5), (2, 3, 4, 5), (1, 1, 9, 4, 5), (3, 2, 5, 4, 5), (4, 5)):
        array = np.arange(np.prod(shape)).reshape(shape)
        for most in (1, 2, 3, 7, 100):
            monkeypatch.setattr(_decode_file, "PIECE", most * 4 * 5 * array.itemsize)
            pieces = list(_decode_file._pieces(array))
            assert all(piece.nbytes <= _decode_file.PIECE for piece in pieces)
            np.testing.assert_array_equal(np.concatenate([piece.reshape(-1) for piece in pieces]), array.reshape(-1))
            if most == 100:
                assert len(pieces) == 1


def test_progress(maps, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert cli.main(["decode", "maps.npy", "-o", "points.csv"]) == 0
    shown = sys.stderr.getvalue()
    assert "decoding" in shown
    assert "maps" in shown
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "rich", None)
    assert cli.main(["decode", "maps.npy", "-o", "points.npy"]) == 0
    assert sys.stderr.getvalue() == ""
    steps = []
    job = _decode_file.Job(*map(_decode_file.Path, ("maps.npy", "points.npz")), "argmax", {})
    _decode_file.run(job, lambda done, count: steps.append((done, count)))
    assert steps == [(done, 12) for done in (2, 3, 5, 6, 8, 9, 11, 12)]


def test_plot(maps, tmp_path, monkeypatch, capsys):
    from matplotlib.figure import Figure

    saved = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: saved.append(figure) or save(figure, path))
    monkeypatch.setitem(_decode_file.METHODS, "covariant", covariant)
    command = ["decode", "maps.npy", "-o", "points.csv", "--plot", "maps.png", "--method", "covariant", "--covariance"]
    assert cli.main([*command, "--grid", "corners"]) == 0
    assert capsys.readouterr().out.endswith("Drawn: maps.png\n")
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
    only(tmp_path, "maps.npy", "maps.png", "points.csv")
    wanted = fc.decode.argmax(maps).xy.reshape(-1, 2)
    panels = saved[0].axes
    assert len(panels) == 12
    for panel, point in zip(panels, wanted, strict=True):  # in pixels, whatever the grid
        for line in panel.lines:
            np.testing.assert_array_equal(np.ravel(line.get_data()), point)
        assert len(panel.patches) == (not np.isnan(point).any())
        np.testing.assert_array_equal([panel.get_xlim(), panel.get_ylim()], [(-0.5, 6.5), (5.5, -0.5)])


@pytest.mark.parametrize("shape", [(5, 9), (0, 4, 5), (1, 1, 300)])
def test_plot_of_few_or_long_maps(maps, shape):
    np.save("maps.npy", np.zeros(shape, np.uint8))
    assert cli.main(["decode", "maps.npy", "-o", "points.csv", "--plot", "maps.png"]) == 0


def test_plot_without_matplotlib(maps, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["decode", "maps.npy", "-o", "points.csv", "--plot", "maps.png"]) == 1
    assert capsys.readouterr().err == "fastcoord: `fastcoord decode` needs matplotlib: pip install 'fastcoord[cli]'\n"
    only(tmp_path, "maps.npy")


_LARGE = """
import resource, sys
from fastcoord.cli import main
main(["decode", "maps.npy", "-o", "warm.npz"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert main(["decode", sys.argv[1], "-o", "points.npy"]) == 0
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="takes a minute uncompiled")
def test_memory_does_not_grow_with_the_file(maps, tmp_path):
    # 300 MB, with holes: no disk is used
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, (4800, 128, 128))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _LARGE, "large.npy"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout.split()[-1]) < 3 * (1 << 25)
