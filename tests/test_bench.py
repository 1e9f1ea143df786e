"""The machinery of the benchmarks: what is measured is what is meant, and tables say what is stored. No speed."""

import copy
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from bench import ceiling, goals, machine, measure, peak, report, results, startup, throughput
from bench.bench_refine import METHODS
from bench.peers import Peer
from bench.settings import QUICK
from bench.workloads import ARGMAX, CROP, DECODE, ENCODE, MASSES, NHWC, REFINE, SHAPES, SOFT_ARGMAX, SPOTS, Workload
from fastcoord import _ceiling


class Clock:
    """A clock that the calls themselves move on."""

    def __init__(self, monkeypatch):
        self.now, self.called = 0.0, []
        monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def call(self, name, *durations):
        """A call that takes these times in turn."""
        turns = iter(durations * 1000)

        def run():
            self.called.append(name)
            self.now += next(turns)

        return run


def test_rounds_rotate_and_count_the_second_call_only(monkeypatch):
    clock = Clock(monkeypatch)
    race = measure.Interleaved({"a": clock.call("a", 100, 1), "b": clock.call("b", 100, 2), "c": clock.call("c", 9, 3)})
    for _ in range(4):
        race.round()
    assert race.seconds == {"a": [1] * 4, "b": [2] * 4, "c": [3] * 4}
    assert "".join(clock.called) == "aabbcc" + "bbccaa" + "ccaabb" + "aabbcc"


def test_measured_fills_its_budget(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {"a": clock.call("a", 0.5), "b": clock.call("b", 1.0)}
    assert {name: len(times) for name, times in measure.measured(calls, budget=30, least=3).items()} == {
        "a": 10,
        "b": 10,
    }
    assert len(measure.measured(calls, budget=0, least=3)["a"]) == 3
    own = measure.measured({"a": lambda: 7.5}, budget=0, least=2, clock=lambda call: call())
    assert own == {"a": [7.5, 7.5]}


class Benchmark:
    """What `throughput.run` uses of pytest-benchmark's fixture."""

    def __init__(self):
        self.extra_info = {}
        self.stats = SimpleNamespace(stats=SimpleNamespace(data=[]))

    def pedantic(self, call, setup=None, rounds=1):
        for _ in range(rounds):
            if setup is not None:
                setup()
            start = measure.time.perf_counter()  # Clock's, where there is one
            result = call()
            self.stats.stats.data.append(measure.time.perf_counter() - start)
        return result


def test_summary():
    found = measure.summary([3, 1, 2, 5, 4], scale=10)
    assert found == {"median": 30, "q1": 20, "q3": 40, "least": 10, "rounds": 5, "seconds": [30, 10, 20, 50, 40]}
    assert measure.summary([2.0])["q3"] == 2


def row(monkeypatch, workload=DECODE[0], operation="decode.onehot", seconds=2.0):
    """The stored figures of an operation that takes `seconds` where the best ceiling takes one."""
    clock = Clock(monkeypatch)
    benchmark = Benchmark()
    throughput.run(
        benchmark,
        QUICK,
        operation,
        workload,
        with_out=clock.call("out", seconds),
        allocating=clock.call("new", 4),
        ceilings={"slow": clock.call("slow", 3), "fast": clock.call("fast", 1)},
        peers={"NumPy": Peer(clock.call("peer", 1), lambda answer: answer, scale=10)},
    )
    return benchmark.extra_info


def test_fraction_of_the_ceiling(monkeypatch):
    found = row(monkeypatch)
    assert found["ceiling"]["best"] == "fast"
    assert found["operations"]["out="]["fraction_of_ceiling"] == 0.5
    assert found["operations"]["allocating"]["fraction_of_ceiling"] == 0.25
    assert found["operations"]["out="]["gigabytes_per_second"] == measure.rounded(16384 * 4096 * 4 / 2e9)
    assert found["peers"]["NumPy"]["median"] == 10
    assert found["ceiling"]["of"]["slow"]["seconds"] == [3] * QUICK.least
    assert found["operations"]["out="]["rounds"] == QUICK.least


def test_wrong_peers_are_not_timed():
    right = Peer(lambda: np.arange(3), lambda answer: answer)
    throughput.check_peers({"some": right}, np.arange(8))
    with pytest.raises(AssertionError, match="some"):
        throughput.check_peers({"some": right}, np.arange(1, 9))


@pytest.mark.parametrize("name", ceiling.writers())
@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000, _ceiling.TASK + 1])
def test_a_writer_writes_all_and_nothing_else(name, size):
    memory = np.full(size + 75, 7, np.uint8)
    ceiling.writers()[name](memory[5 : 5 + size])
    assert (memory[:5] == 7).all()
    assert not memory[5 : 5 + size].any()
    assert (memory[5 + size :] == 7).all()


@pytest.mark.parametrize("size", [1, 15, 16, 4096, 4097, 70000])
def test_row_sums(size):
    values = np.random.default_rng(size).integers(9, size=size).astype(np.float32)
    padded = np.concatenate([values, np.zeros(-size % 4096, np.float32)]).reshape(-1, 4096)
    np.testing.assert_array_equal(ceiling.row_sums(values).sum(axis=1), padded.sum(axis=1))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
def test_every_reader_and_writer_takes_a_while(dtype):
    array = np.ones((3, 70, 100), dtype)
    for calls in (ceiling.reading(array), ceiling.writing(array)):
        taken = measure.measured(calls, budget=0, least=2)
        assert len(taken) >= 6
        assert all(seconds > 0 for times in taken.values() for seconds in times)
    assert not array.any()
    assert ("float32 row sum" in ceiling.readers(dtype)) == (dtype == "float32")


def test_a_ceiling_has_as_many_bytes(monkeypatch):
    seen = []
    monkeypatch.setattr(ceiling, "writers", lambda: {"one": seen.append})
    crop = np.zeros((4, 20, 30), np.uint16)[:, 2:-2, 3:-3]
    ceiling.writing(crop)["one"]()
    assert seen[0].nbytes == crop.nbytes
    assert seen[0].flags.c_contiguous


@pytest.fixture
def small_shapes(monkeypatch):
    for label, shape in SHAPES.items():
        monkeypatch.setitem(SHAPES, label, (2, 3, 8, 12) if len(shape) == 4 else (6, 10, 12))


@pytest.mark.parametrize("workload", DECODE, ids=str)
def test_workloads_are_the_same_each_time(workload, small_shapes):
    images = workload.images()
    np.testing.assert_array_equal(images, workload.images())
    maps = workload.maps_last(images)
    assert maps.shape == workload.shape
    assert images.dtype == workload.dtype
    assert images.nbytes == workload.nbytes
    assert images.flags.c_contiguous == (workload.content != CROP)
    assert (workload.content == NHWC) == (images.shape != workload.shape)


@pytest.mark.parametrize("workload", [w for w in DECODE if w.content != "random"], ids=str)
def test_points_are_where_the_ones_are(workload, small_shapes):
    maps = workload.maps_last(workload.images())
    *batch, y, x = np.nonzero(maps == 1)
    np.testing.assert_array_equal(workload.points()[tuple(batch)], np.stack([x, y], axis=-1))
    assert len(x) == workload.maps


@pytest.mark.parametrize(
    "chosen", [("decode", DECODE[0]), ("encode", ENCODE[3]), ("encode", Workload("D1", content=NHWC))]
)
def test_a_benchmark_of_a_small_array(chosen, small_shapes, monkeypatch):
    from bench import bench_onehot

    room, workload = chosen
    benchmark = Benchmark()
    getattr(bench_onehot, f"bench_{room}")(benchmark, QUICK._replace(budget=0), workload)
    assert benchmark.extra_info["operation"] == f"{room}.onehot"
    assert benchmark.extra_info["peers"].keys() >= (
        {"NumPy argmax"} if room == "decode" else {"NumPy zeros", "NumPy fill"}
    )


@pytest.mark.parametrize("refine", ["quarter", "dark"])
def test_a_benchmark_of_refinements(refine, small_shapes):
    from bench import bench_refine

    benchmark = Benchmark()
    bench_refine.bench_refine(benchmark, QUICK._replace(budget=0), REFINE[0], refine)
    assert benchmark.extra_info["operation"] == f"decode.argmax {refine}"
    assert len(benchmark.extra_info["peers"]) == 1


def test_accuracy_is_measured_and_judged(monkeypatch):
    from bench.accuracy import __main__ as accuracy

    monkeypatch.setattr(accuracy, "SIGMAS", (2.0,))
    monkeypatch.setattr(accuracy, "NOISES", (0.0, 0.05))
    rows = list(accuracy.measured(20))  # few pixels, for the kernels of one thread
    assert len(accuracy.table(rows).splitlines()) == 2 + len(accuracy.METHODS)
    errors = {(row["method"], row["noise"]): row["rms"] for row in rows}
    assert errors["gaussian", 0] < 1e-3 < errors["quarter", 0] < errors["argmax", 0]
    assert 0.5 < errors["gaussian", 0.05] / accuracy.bound(0.05) < 1.5
    assert not accuracy.missed([{"method": "gaussian", "sigma": 1, "noise": 0.01, "rms": 0.0081, "of_bound": 1.02}])
    for bad in ({"rms": 0.0081, "of_bound": 1.06}, {"rms": 0.0011, "of_bound": None}):
        assert len(accuracy.missed([{"method": "gaussian", "sigma": 1, "noise": 0, **bad}])) == 1


@pytest.mark.parametrize("workload", [ENCODE[0], ENCODE[3], Workload("D1", content=NHWC)], ids=str)
def test_a_benchmark_of_squares(workload, small_shapes):
    from bench import bench_box

    benchmark = Benchmark()
    bench_box.bench_box(benchmark, QUICK._replace(budget=0), workload)
    assert benchmark.extra_info["operation"] == "encode.box"
    assert benchmark.extra_info["peers"].keys() == {"NumPy fill and slices", "NumPy compare"}


def test_a_start_is_timed_in_a_process_of_its_own(tmp_path):
    assert 0.05 < startup.seconds("time.sleep(0.1)", str(tmp_path)) < 60
    with pytest.raises(RuntimeError, match="no_such_module"):
        startup.seconds("import no_such_module", str(tmp_path))


def test_names_of_machines():
    assert machine.name("AMD EPYC", "znver5") == "amd-epyc-zen5"
    assert machine.name("Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz", "icelake-server") == (
        "intel-xeon-platinum-8370c-icelake-server"
    )


@pytest.fixture
def found(monkeypatch):
    """Stored figures of a machine: one benchmark of each kind."""
    calls = {"decode.onehot": measure.summary([5e-6]), "decode.onehot, out=": measure.summary([11e-6])}
    warm = startup.first_result("decode.onehot", "serial", startup.WARM)
    starts = {startup.NUMBA: [0.4], startup.FASTCOORD: [0.5], warm: [0.9]}
    return {
        "machine": {
            "name": "some-cpu",
            "cpu": "Some CPU",
            "target": "some",
            "threads": 2,
            "threading_layer": "omp",
            "load": 0.1,
            "date": "2026-01-31",
            "command": "python -m bench",
            "revision": "abc1234",
            "python": "3.11.7",
            "versions": {"fastcoord": "0.1.0", "torch": None},
        },
        "benchmarks": {
            "slow": row(monkeypatch),
            "fast": row(monkeypatch, Workload("N1"), seconds=1.0),
            "latency": {"kind": "latency", "calls": calls},
            "startup": {"kind": "startup", "starts": {name: measure.summary(s) for name, s in starts.items()}},
        },
    }


def test_stored_figures_come_back(found, tmp_path):
    path = tmp_path / "folder" / "some-cpu.json"
    results.store(found, path)
    assert results.load(path) == found
    assert '"seconds": [2.0, 2.0, 2.0, 2.0, 2.0]' in path.read_text()


def test_tables(found):
    made = report.tables(found)
    assert made.keys() == {"decode.onehot", "proof", "latency", "startup", "goals"}
    assert "| `decode.onehot` | 3136×64×64 | 1000 | 100% of the ceiling |" in made["proof"]
    lines = made["decode.onehot"].splitlines()
    assert lines[2].startswith(
        "| 16384×64×64 | float32 | 2000 | 0% | 0.1 | 1000 (fast) | 0.50 | **0.95 missed** | 4000 |"
    )
    assert lines[2].endswith("| 5.00× |")
    assert "| 1.00 | 0.95 |" in lines[3]
    assert "2 threads" in lines[-1]
    assert "abc1234" in lines[-1]
    assert "torch" not in lines[-1]


def test_goals(found):
    lines = {line.split("|")[1].strip(): line for line in report.tables(found)["goals"].splitlines() if "|" in line}
    size = "64×64 float32 one-hot, fraction of the ceiling"
    assert lines[f"`decode.onehot`, 16384×{size}"].endswith("| ≥ 0.95 | **0.50 missed** |")
    assert lines[f"`decode.onehot`, 3136×{size}"].endswith("| ≥ 0.95 | 1.00 |")
    assert lines[f"`encode.onehot`, 3136×{size}"].endswith("| not measured |")
    assert lines["`decode.onehot`, one 64×64 image"].endswith("| ≤ 10 µs | 5.00 µs |")
    assert lines["`decode.onehot`, one 64×64 image, `out=`"].endswith("| ≤ 10 µs | **11.00 µs missed** |")
    assert lines["`import fastcoord`, against `import numba`"].endswith("| ≤ 1.3 × | 1.25 × |")
    warm = "import and first result of `decode.onehot` (serial kernel), warm cache, beyond `import numba`"
    assert lines[warm].endswith("| ≤ 0.6 s | 0.50 s |")


def test_each_goal_has_a_benchmark():
    of = {
        "decode.onehot": DECODE,
        "decode.argmax": ARGMAX,
        "decode.center_of_mass": MASSES,
        "decode.soft_argmax": SOFT_ARGMAX,
        "decode.peaks": SPOTS,
    }
    of |= {f"decode.argmax {refine}": REFINE for refine in METHODS}
    for goal in goals.FRACTIONS:
        workloads = of.get(goal.operation, ENCODE)
        measured = {(workload.label, workload.dtype, workload.content) for workload in workloads}
        assert {(label, dtype, goal.content) for label in goal.labels for dtype in goal.dtypes} <= measured


def test_readme_is_written_and_checked(found, tmp_path, capsys):
    stored, readme = tmp_path / "some-cpu.json", tmp_path / "README.md"
    results.store(found, stored)
    options = ["--results", str(stored)]
    marked = "<!-- table: decode.onehot -->\nold\n<!-- end -->\n\n<!-- table: goals some-cpu -->\n<!-- end -->"
    readme.write_text(f"Before\n\n{marked}\nAfter\n")
    assert report.main(["--check", str(readme), *options]) == 1
    assert "-old" in capsys.readouterr().out
    assert report.main(["--write", str(readme), *options]) == 0
    written = readme.read_text()
    assert written.startswith("Before\n\n<!-- table: decode.onehot -->\n\n| maps |")
    assert written.endswith("<!-- end -->\nAfter\n")
    assert report.main(["--check", str(readme), *options]) == 0
    changed = copy.deepcopy(found)
    changed["machine"]["revision"] = "fffffff"
    results.store(changed, stored)
    assert report.main(["--check", str(readme), *options]) == 1
    readme.write_text("<!-- table: decode.nothing -->\n<!-- end -->\n")
    with pytest.raises(KeyError, match=r"decode\.nothing"):
        report.main(["--check", str(readme), *options])


def test_the_quick_benchmarks_are_collected():
    command = [sys.executable, "-m", "bench", "--quick", "--collect-only", "-q"]
    done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in (
        "decode[3136x64x64-float32-one-hot]",
        "encode[3136x64x64-uint8-one-hot]",
        "box[3136x64x64-uint8-one-hot]",
        "latency",
        "startup",
    ):
        assert f"::bench_{name}" in done.stdout
    assert "4096x4096" not in done.stdout  # its reference alone takes seconds


def test_multiply_adds_are_made(monkeypatch):
    before = peak.work()
    monkeypatch.setattr(peak, "STEPS", 2 * peak.STEPS)
    assert peak.work() == 2 * before
    monkeypatch.setattr(peak, "STEPS", 3)
    lanes = np.full_like(peak.blank(), 2)
    peak.multiply_adds(lanes)
    np.testing.assert_allclose(lanes, peak.CHAINS * (1 + 0.999**3), rtol=1e-5)


def test_a_benchmark_of_a_small_network():
    from bench import bench_network
    from bench.network_workloads import NetworkWorkload

    benchmark = Benchmark()
    workload = NetworkWorkload(5, 2, 3, 3, {"of the multiply-adds": 1e9, "of the read ceiling": 0}, height=8, width=12)
    bench_network.bench_network(benchmark, QUICK._replace(budget=0), workload)
    row = benchmark.extra_info
    assert workload.multiply_adds == 5 * 2 * 3 * 9 * 8 * 12
    assert row["figures"]["of the multiply-adds"] > 0
    found = {"benchmarks": {"one": row}}
    line = report.networks(found).splitlines()[-1]
    assert line.startswith("| 5×2×8×12, 3 features of 3×3 |")
    assert line.count(report.MISSED) == 1
    goals_of_networks = [line for line in report.all_goals(found).splitlines() if "features of 3×3" in line]
    assert [report.MISSED in line for line in goals_of_networks] == [True, False]


def test_tables_of_a_gpu():
    machine = {"name": "a-gpu", "gpu": "A GPU", "driver": "1", "cuda": "2", "date": "3", "command": "4"}
    machine |= {"revision": "5", "python": "6", "versions": {"numba": "7", "cupy": None}}
    row = {
        "kind": "gpu",
        "operation": "decode.argmax",
        "label": "D1",
        "shape": [64, 17, 64, 48],
        "dtype": "float32",
        "graph": {"median": 1e-5},
        "called": {"median": 2e-5},
        "gigabytes_per_second": 1337.0,
        "fraction": 0.5,
        "bandwidth": "read",
        "goal": 0.9,
        "peers": {"PyTorch": {"median": 1e-4}},
    }
    slow = {**row, "label": "eight D2", "graph": None}
    other = {**row, "label": "D2", "gigabytes_per_second": 1338.0}
    host = {"kind": "gpu host", "title": "decode.argmax, out=", "goal": 15e-6, "median": 20e-6}
    found = {"machine": machine, "benchmarks": {"a": row, "b": slow, "c": host, "d": other}}
    tables = report.tables(found)
    assert "| 10.0 | 1338 | 0.50 (read) |  | PyTorch 5.0× |" in tables["gpu"]  # no goal is about it
    assert "| 10.0 | 1337 | 0.50 (read) | ≤ 12 µs | PyTorch 5.0× |" in tables["gpu"]
    assert "| 20.0 | 1337 | 0.50 (read) | **≥ 0.90 missed** | PyTorch 5.0× |" in tables["gpu"]
    assert "| decode.argmax, out= | 20.0 | **≤ 15 missed** |" in tables["gpu-latency"]
    assert "A GPU, driver 1, CUDA 2, 3, `4`, revision 5; Python 6, numba 7." in tables["gpu"]
    assert set(tables) == {"gpu", "gpu-latency"}


def test_what_is_measured_on_a_gpu_can_be_listed(monkeypatch):
    pytest.importorskip("torch")
    from bench.gpu import table, timing

    monkeypatch.setattr(timing, "DEVICE", "cpu")
    works = {(work.operation, work.label, work.dtype) for work in table.chosen(is_quick=False)}
    assert {(name, "eight D2", "float32") for name in ("decode.argmax refine=dark", "encode.splat")} <= works
    assert {name for name, _label, dtype in works if dtype == "uint8" and "encode" in name} == {
        "encode.onehot",
        "encode.box",
    }
