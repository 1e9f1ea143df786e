"""``python -m bench.gpu``: operations on a GPU beside its bandwidth and other libraries, in bench/results/<gpu>.json.

What fails is told and left out, and the rest goes on. The file is written after each operation.
"""

import argparse
import datetime
import functools
import importlib.metadata
import platform
import re
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench import results
from bench.gpu import ceilings, table
from bench.gpu.timing import buffers_for, host_seconds, seconds
from bench.machine import RESULTS, revision

CEILING_BYTES = 1 << 30
PACKAGES = (
    "fastcoord",
    "numba",
    "numba-cuda",
    "cuda-core",
    "numpy",
    "torch",
    "triton",
    "cupy-cuda13x",
    "nvidia-nvjitlink",
)
COMPILED, COMPILED_OPERATIONS = ("D1", "eight D2"), ("decode.argmax", "decode.soft_argmax")  # it takes seconds


class Run:
    """What was measured, what failed, and the time left."""

    def __init__(self, path: Path, machine: dict[str, Any], limit: float) -> None:
        self.path, self.limit, self.start = path, limit, time.perf_counter()
        self.found: dict[str, Any] = {"machine": machine, "benchmarks": {}, "failures": {}}

    def guarded(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """What `call` returns; None where it fails or the time is over."""
        if time.perf_counter() - self.start > self.limit:
            self.found["failures"][name] = "left out: the time was over"
            return None
        try:
            return call(*arguments)
        except Exception as error:
            said = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            self.found["failures"][name] = said
            print(f"FAILED {name}: {said}")
            if "PyTorch" not in name and "torch.compile" not in name:
                print("".join(traceback.format_tb(error.__traceback__)[-3:]), flush=True)
            return None

    def keep(self, name: str, row: dict[str, Any], line: str) -> None:
        self.found["benchmarks"][name] = row
        results.store(self.found, self.path)
        print(f"{time.perf_counter() - self.start:5.1f} s  {line}", flush=True)


def machine(command: str) -> dict[str, Any]:
    """The GPU, its driver, the versions, the date, the command and the revision of the sources."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": re.sub(r"[^a-z0-9]+", "-", properties.name.lower()).strip("-"),
        "gpu": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "cache": properties.L2_cache_size,
        "memory": properties.total_memory,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": command,
        "revision": revision(),
    }


def _driver() -> str | None:
    found = re.search(r"Module\s+(?:for \S+\s+)?([\d.]+)", _text(Path("/proc/driver/nvidia/version")))
    return found[1] if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _summary(times: list[float] | None) -> dict[str, Any] | None:
    if not times:
        return None
    quarters = statistics.quantiles(times, n=4)
    return {"median": statistics.median(times), "q1": quarters[0], "q3": quarters[2], "rounds": len(times)}


def measure_ceilings(run: Run, budget: float) -> dict[str, Any]:
    """The bandwidths, by kind: those of large arrays, and of arrays as large as D1, which are read in turn."""
    small = 4 * functools.reduce(lambda a, b: a * b, table.SHAPES["D1"])
    found = {}
    for kind, nbytes in (("read", CEILING_BYTES), ("write", CEILING_BYTES), ("copy", CEILING_BYTES), ("read", small),
                         ("write", small)):  # fmt: skip
        name = kind if nbytes == CEILING_BYTES else f"{kind} D1"
        ceiling = run.guarded(name, ceilings.measured, kind, nbytes, budget, run.guarded)
        if ceiling:
            found[name] = ceiling
            line = f"{name:8} {ceiling['gigabytes_per_second']:7.0f} GB/s  {ceiling['best']}"
            run.keep(f"ceiling, {name}", {"kind": "gpu ceiling", "title": name, **ceiling}, line)
            for each, figures in ceiling["all"].items():
                print(f"           {figures['gigabytes_per_second']:7.0f} GB/s  {each}")
    return found


def measure(run: Run, work: table.Work, bandwidths: dict[str, Any], budget: float) -> None:
    """Time the work, its peers but those of torch.compile, and keep them."""
    inputs = [work.make() for _ in range(buffers_for(work.nbytes))]
    outs = [work.call(each) for each in inputs]
    is_right = None if work.is_right is None else run.guarded(f"{work.name}, check", work.is_right, outs[0], inputs[0])
    calls = [functools.partial(work.call, each, out=out) for each, out in zip(inputs, outs, strict=True)]
    graph = _summary(run.guarded(f"{work.name}, graph", seconds, calls, budget, True))
    called = _summary(run.guarded(f"{work.name}, called", seconds, calls, budget, False))
    peers = {}
    if work.in_torch is not None:
        rivals = [functools.partial(work.in_torch, each) for each in inputs]
        peers["PyTorch, graph"] = _summary(run.guarded(f"{work.name}, PyTorch graph", seconds, rivals, budget, True))
        peers["PyTorch"] = _summary(run.guarded(f"{work.name}, PyTorch", seconds, rivals, budget, False))
    if work.cupy is not None:
        finders = run.guarded(f"{work.name}, CuPy", lambda: [work.cupy(each) for each in inputs])
        if finders:
            peers["CuPy"] = _summary(run.guarded(f"{work.name}, CuPy", seconds, finders, budget, False))
    best = graph or called
    if best is None:
        return
    rate = work.nbytes / best["median"] / 1e9
    ceiling = bandwidths.get(work.bandwidth)
    fraction = rate / ceiling["gigabytes_per_second"] if ceiling else None
    row = {
        "kind": "gpu", "operation": work.operation, "label": work.label, "shape": work.shape, "dtype": work.dtype,
        "bytes": work.nbytes, "bandwidth": work.bandwidth, "is_right": is_right, "graph": graph, "called": called,
        "gigabytes_per_second": rate, "fraction": fraction, "goal": work.goal, "buffers": len(inputs),
        "peers": {name: times for name, times in peers.items() if times}, **work.options,
    }  # fmt: skip
    shown = "" if fraction is None else f" {fraction:5.2f} of {work.bandwidth} (goal {work.goal or '—'})"
    others = ", ".join(f"{name} {times['median'] / best['median']:.1f}×" for name, times in row["peers"].items())
    wrong = "" if is_right in (None, True) else "  WRONG"
    by_events = f"{1e6 * called['median']:9.1f}" if called else "        —"
    run.keep(
        work.name, row, f"{work.name:45} {1e6 * best['median']:9.1f} µs, called {by_events} {shown}  {others}{wrong}"
    )


def measure_compiled(run: Run, work: table.Work, budget: float) -> None:
    """Add torch.compile's time to what was kept."""
    row = run.found["benchmarks"].get(work.name)
    if row is None or work.in_torch is None:
        return
    torch.compiler.reset()
    function = torch.compile(work.in_torch, dynamic=False)
    inputs = [work.make() for _ in range(buffers_for(work.nbytes))]
    calls = [functools.partial(function, each) for each in inputs]
    for name, in_graph in (("torch.compile, graph", True), ("torch.compile", False)):
        times = _summary(run.guarded(f"{work.name}, {name}", seconds, calls, budget, in_graph))
        if times:
            row["peers"][name] = times
            ours = row["graph" if in_graph else "called"] or row["called"]
            run.keep(work.name, row, f"{work.name}: {name} {times['median'] / ours['median']:.1f}×")


def measure_host(run: Run, title: str, call: Callable[[], Any], goal: float | None) -> None:
    times = _summary(run.guarded(title, host_seconds, call))
    if times:
        shown = f" (goal {1e6 * goal:.0f})" if goal else ""
        run.keep(title, {"kind": "gpu host", "title": title, "goal": goal, **times},
                 f"{title:45} {1e6 * times['median']:8.2f} µs of the host{shown}")  # fmt: skip


def host_calls() -> list[tuple[str, Callable[[], Any], float | None]]:
    """A call of each kind on small tensors: the GPU is faster than the host then."""
    import fastcoord as fc

    maps = table.one_hot_maps((1, 17, 64, 48), torch.float32)
    points = table.random_points((1, 17, 64, 48))
    calls: list[tuple[str, Callable[[], Any], float | None]] = []
    for name, function, first in (
        ("decode.argmax", fc.decode.argmax, maps),
        ("decode.onehot", fc.decode.onehot, maps),
        ("encode.onehot", functools.partial(fc.encode.onehot, shape=(64, 48)), points),
        ("encode.box", functools.partial(fc.encode.box, shape=(64, 48)), points),
    ):
        try:
            out = function(first)
        except Exception as error:
            print(f"FAILED {name}: {error}")
            continue
        calls.append((f"{name}, out=", functools.partial(function, first, out=out), 15e-6))
        calls.append((name, functools.partial(function, first), 25e-6))
    calls.append(("PyTorch max", lambda: maps.flatten(-2).max(-1), None))
    calls.append(("PyTorch zero_", points.zero_, None))
    return calls


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer maps and rounds: under a minute and a half")
    parser.add_argument("--store", type=Path, help="the file for the figures (default: bench/results/<gpu>.json)")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="begin nothing after so many (default: %(default)s)"
    )
    parser.add_argument("-k", dest="only", default="", help="only operations whose name holds this")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("needs a GPU and a PyTorch with CUDA")
        return 1
    torch.backends.cudnn.allow_tf32 = False  # a network is computed in float32 here
    torch.manual_seed(20180724)
    about = machine(" ".join(["python -m bench.gpu", *sys.argv[1:]]))
    run = Run(given.store or RESULTS / f"{about['name']}{'-quick' if given.quick else ''}.json", about, given.seconds)
    print(about, flush=True)
    budget = 0.1 if given.quick else 0.2
    bandwidths = measure_ceilings(run, budget / 2)
    works = [work for work in table.chosen(given.quick) if given.only in work.name]
    for work in works:
        run.guarded(work.name, measure, run, work, bandwidths, budget)
        torch.cuda.empty_cache()
    for title, call, goal in run.guarded("host", host_calls) or []:
        if given.only in title:
            measure_host(run, title, call, goal)
    for work in works:
        if work.label in COMPILED and work.dtype == "float32" and work.operation in COMPILED_OPERATIONS:
            run.guarded(f"{work.name}, torch.compile", measure_compiled, run, work, budget)
    print(f"stored in {run.path}; failed or left out: {len(run.found['failures'])}")
    for name, reason in run.found["failures"].items():
        print(f"  {name}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
