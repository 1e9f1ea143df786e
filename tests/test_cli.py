"""The command line says what it measured and checked, and says so in its exit status; and the ceilings behind it."""

import os
import platform
import re
import subprocess
import sys
from types import SimpleNamespace

import numba
import numpy as np
import pytest

import fastcoord as fc
from fastcoord import _ceiling, cli

BYTES = 7000 * 70 * 100 * 4
SQUARES = 3136 * 64 * 64


def fastcoord(*arguments, code="from fastcoord.cli import main; sys.exit(main(sys.argv[1:]))"):
    """A finished process of the command, after lines of Python that may spoil its surroundings."""
    command = [sys.executable, "-c", f"import sys; {code}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "100"})


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A finished demo and its picture."""
    picture = tmp_path_factory.mktemp("demo") / "demo.png"
    command = [sys.executable, "-m", "fastcoord", "demo", "--plot", str(picture)]
    finished = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "100"}
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return finished.stdout, picture


BEGINNING_OF_SQUARES = "Not-so-Clevr"


def halves(output):
    """What the demo says of the post's images, and of the squares."""
    first, second = output.split(BEGINNING_OF_SQUARES)[:2]
    return first, BEGINNING_OF_SQUARES + second


def rows(output):
    """The numbers of a table: milliseconds, GB/s, fraction of the ceiling, times as long as decode."""
    found = {}
    for line in output.splitlines():
        cells = [cell.strip() for cell in re.split("[│|]", line)[1:-1]]
        if len(cells) == 5 and cells[3].endswith(("read", "write")):
            milliseconds, speed, share, times = cells[1:]
            assert re.fullmatch(r"[\d,]+\.\d\d", milliseconds), line
            fraction, direction = share.split()
            found[cells[0]] = (
                float(milliseconds.replace(",", "")),
                float(speed),
                float(fraction),
                direction,
                float(times.replace(",", "")) if times else None,
            )
    return found


def test_demo_is_right(demo):
    assert "7,000 images of 100×70 pixels, float32, 196 MB" in demo[0]
    assert "decoded: 7,000 of 7,000 exactly right" in demo[0]
    assert "encoded: 7,000 of 7,000 exactly right" in demo[0]
    assert "timed on 100 images and scaled to 7,000" in demo[0]


def test_demo_is_right_about_squares(demo):
    squares = " ".join(halves(demo[0])[1].split())
    assert "3,136 images of 64×64 pixels, uint8, 13 MB" in squares
    for name, count in {
        "all": "3,136",
        "uniform, train": "2,368",
        "uniform, validation": "768",
        "quadrant, train": "2,407",
        "quadrant, validation": "729",
    }.items():
        assert f" {name}: decoded {count} of {count}, drawn {count} of {count} exactly right" in squares


def test_demo_tells_the_papers_figures_from_those_measured(demo):
    """What was measured, with parameters as `CoordNet` has them; then the paper's, with their source and doubts."""
    squares = halves(demo[0])[1]
    measured, paper = squares.split("The paper:")
    net = fc.CoordNet.box_decoder(64, 64)
    numbers = net.weight.size + net.bias.size + net.readout.size + net.offset.size
    assert re.search(rf"│ +CoordNet +│ +{numbers} │ +none │ +100 % │ +100 % │", measured)
    assert re.search(r"│ +encode.box +│ +none │ +none │ +IoU 1 │ +IoU 1 │", measured)
    assert "CoordConv" not in measured
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in paper.splitlines() if line.startswith("│")]
    assert [line[0] for line in lines if any(line)].count("CoordConv") == 3
    # what is known by memory alone is marked: all figures of tests but those that the authors' article gives
    unmarked = {cell for line in lines for cell in line[3:] if cell and not cell.endswith("²")}
    assert unmarked == {"100 %", "≤ 86 %"}
    assert all(not line[1] or line[1].endswith(("¹", "²")) for line in lines)
    assert "arXiv 1807.03247" in paper
    assert "not measured here" in paper
    assert "² recalled from the paper, not looked up again" in paper


@pytest.mark.parametrize("half", [0, 1], ids=["images", "squares"])
def test_demo_tables_are_consistent(demo, half):
    output = halves(demo[0])[half]
    ceilings = {kind: float(re.search(rf"{kind} ceiling: ([\d.]+) GB/s", output)[1]) for kind in ("read", "write")}
    table = rows(output)
    names = (["decode", "argmax", "post,", "encode,"], ["CoordNet", "argmax,", "encode,"])[half]
    assert [name.split()[1] for name in table] == names
    decode = next(iter(table.values()))[0]
    for name, (milliseconds, speed, fraction, direction, times) in table.items():
        assert speed == pytest.approx((BYTES, SQUARES)[half] / milliseconds / 1e6, rel=0.02, abs=0.06)
        assert fraction == pytest.approx(speed / ceilings[direction], rel=0.05, abs=0.01)
        assert direction == ("write" if "encode" in name else "read")
        assert (times is None) == ("encode" in name)
        if times is not None:
            assert times == pytest.approx(milliseconds / decode, rel=0.02, abs=0.06)


def test_demo_draws_a_picture(demo):
    matplotlib_image = pytest.importorskip("matplotlib.image")
    output, picture = demo
    assert f"Drawn: {picture}" in output.replace("\n", "")
    pixels = (matplotlib_image.imread(picture)[..., :3] * 255).round().astype(int)
    assert pixels.shape[0] > 600
    assert pixels.shape[1] > 1000
    colours = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    share = {tuple(map(int, colour)): n / pixels[..., 0].size for colour, n in zip(*colours, strict=True)}
    assert len(share) > 50
    assert share[0, 0, 0] > 0.1  # the images
    assert share[255, 255, 255] > 0.2  # the page
    assert share[31, 119, 180] > 1e-4  # true
    assert share[214, 39, 40] > 1e-4  # decoded


@pytest.fixture
def few_images(monkeypatch):
    """Of the post's images."""
    from fastcoord import _demo

    for name, value in {"HEIGHT": 7, "WIDTH": 10, "POSITIONS": 70, "PIECE": 20, "SCIPY_IMAGES": 7}.items():
        monkeypatch.setattr(_demo, name, value)


@pytest.mark.parametrize("wrong", ["decode", "encode"])
def test_demo_notices_a_wrong_answer(wrong, few_images, monkeypatch, capsys):
    from fastcoord import _demo

    def decode(images):
        decoded = fc.decode.onehot(images)
        decoded.xy[0] += wrong == "decode"
        return decoded

    def encode(xy, **options):
        maps = fc.encode.onehot(np.minimum(xy, (9, 6)), **options)
        maps[-1, 0, 0] += wrong == "encode"
        return maps

    monkeypatch.setattr(_demo, "decode", SimpleNamespace(onehot=decode))
    monkeypatch.setattr(_demo, "encode", SimpleNamespace(onehot=encode))
    assert cli.main(["demo"]) == 1
    first, squares = halves(capsys.readouterr().out)
    assert f"{wrong}d: 66 of 70 exactly right" in first
    assert "WRONG" in first
    assert "WRONG" not in squares


@pytest.mark.parametrize("wrong", ["decoded", "drawn", "nowhere"])
def test_demo_notices_a_wrong_square(wrong, few_images, monkeypatch, capsys):
    from fastcoord import _demo_squares

    class CoordNet(fc.CoordNet):
        def __call__(self, images):
            xy = super().__call__(images)
            xy[-1] += {"decoded": 2**-18, "drawn": 0, "nowhere": 100}[wrong]
            return xy

    def box(xy, *, out, **options):
        result = fc.encode.box(xy, out=out, **options)
        getattr(out, "maps", out)[-1, 0, 0] ^= wrong == "drawn"
        return result

    monkeypatch.setattr(_demo_squares, "CoordNet", CoordNet)
    monkeypatch.setattr(_demo_squares, "encode", SimpleNamespace(box=box))
    assert cli.main(["demo"]) == 1
    first, squares = halves(capsys.readouterr().out)
    squares = " ".join(squares.split())
    decoded = "728" if wrong != "drawn" else "729"
    drawn = "729" if wrong == "decoded" else "728"
    assert f"quadrant, validation: decoded {decoded} of 729, drawn {drawn} of 729" in squares
    assert "WRONG" in squares
    assert "WRONG" not in first


@pytest.mark.small
@pytest.mark.parametrize("package", ["rich", "scipy", "matplotlib"])
def test_demo_without_the_extra(package, tmp_path):
    code = f"sys.modules['{package}'] = None; from fastcoord.cli import main; sys.exit(main(sys.argv[1:]))"
    finished = fastcoord("demo", "--plot", tmp_path / "demo.png", code=code)
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert finished.stderr == f"fastcoord: `fastcoord demo` needs {package}: pip install 'fastcoord[cli]'\n"


@pytest.mark.small
def test_another_missing_module_is_not_blamed_on_the_extra():
    code = (
        "sys.modules['fastcoord._demo'] = None; from fastcoord.cli import main; import fastcoord; "
        "sys.exit(main(sys.argv[1:]))"
    )
    finished = fastcoord("demo", code=code)
    assert finished.returncode == 1
    assert "Traceback" in finished.stderr
    assert "pip install" not in finished.stderr


@pytest.mark.small
@pytest.mark.parametrize("name", ["demo.jpeg", "demo", "nowhere/demo.png"])
def test_plot_is_checked_before_the_work(name, tmp_path, capsys):
    assert cli.main(["demo", "--plot", str(tmp_path / name)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fastcoord: --plot: expected a ")
    assert name in captured.err


@pytest.mark.small
def test_info(capsys):
    assert cli.main(["info"]) == 0
    said = {line[:18].strip(): line[18:].strip() for line in capsys.readouterr().out.splitlines()}
    assert list(said) == [
        "fastcoord", "Python", "NumPy", "Numba", "llvmlite", "numba-cuda", "CPU", "compiles for", "cores", "threads",
        "threading layer", "CUDA", "cache folder",
    ]  # fmt: skip
    assert all(said.values())
    assert said["fastcoord"].startswith(fc.__version__)
    assert said["Python"].startswith(platform.python_version())
    assert said["NumPy"] == np.__version__
    assert said["Numba"] == numba.__version__
    assert said["CUDA"].startswith("no: ") or "compute capability" in said["CUDA"]
    if not numba.config.DISABLE_JIT:
        assert int(said["threads"].split()[0]) == numba.get_num_threads()
        assert said["threading layer"] in ("omp", "tbb", "workqueue")


def test_info_needs_no_extra():
    code = "sys.modules.update(rich=None, scipy=None, matplotlib=None, numba_cuda=None); "
    code += "from fastcoord.cli import main; sys.exit(main(sys.argv[1:]))"
    finished = fastcoord("info", code=code)
    assert finished.returncode == 0, finished.stderr


def test_info_without_a_threading_layer():
    code = "import os; os.environ['NUMBA_THREADING_LAYER'] = 'none of these'; "
    code += "from fastcoord.cli import main; sys.exit(main(sys.argv[1:]))"
    finished = fastcoord("info", code=code)
    assert finished.returncode == 0, finished.stderr
    assert re.search(r"^threading layer   none: \S", finished.stdout, re.MULTILINE)


@pytest.mark.small
def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"fastcoord {fc.__version__}\n"


@pytest.mark.small
@pytest.mark.parametrize("arguments", [[], ["decode"], ["info", "more"], ["demo", "--plot"]])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: fastcoord")


@pytest.mark.small
@pytest.mark.parametrize("name", _ceiling.writers())
@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("offset", [0, 5])
def test_a_writer_writes_all_and_nothing_else(name, size, offset):
    memory = np.full(size + offset + 70, 7, np.uint8)
    _ceiling.writers()[name](memory[offset : offset + size])
    assert (memory[:offset] == 7).all()
    assert not memory[offset : offset + size].any()
    assert (memory[offset + size :] == 7).all()


@pytest.mark.parametrize("name", [name for name in _ceiling.readers() if name != "numpy max"])
@pytest.mark.parametrize("size", [1, 64, 700, _ceiling.TASK + 1])
def test_a_reader_reads_every_byte(name, size, monkeypatch):
    sinks = []

    def empty(*arguments):
        sinks.append(np.zeros(*arguments))
        return sinks[-1]

    octets = np.zeros(size, np.uint8)
    monkeypatch.setattr(_ceiling.np, "empty", empty)
    for place in {0, size // 3, size // 2, size - 1}:
        octets[place] = 1
        _ceiling.readers()[name](octets)
        octets[place] = 0
        assert sinks[-1].tolist() == [task == place // _ceiling.TASK for task in range(len(sinks[-1]))]


@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
def test_ceilings_are_medians_of_all(dtype):
    array = np.ones((40, 64, 64), dtype)
    read, write = _ceiling.read_ceiling(array), _ceiling.write_ceiling(array)
    assert read.keys() == _ceiling.readers().keys()
    assert write.keys() == _ceiling.writers().keys()
    assert all(0 < seconds < 1 for seconds in (*read.values(), *write.values()))
    assert not array.any()


def test_ceilings_need_contiguous_arrays():
    with pytest.raises(ValueError, match="array: expected a contiguous array; got strides"):
        _ceiling.read_ceiling(np.ones((8, 8))[:, ::2])
