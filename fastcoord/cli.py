"""The command line: `fastcoord decode`, `encode`, `demo`, `compile` and `info`."""

import argparse
import contextlib
import inspect
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
import numpy as np

import fastcoord
from fastcoord import _encode_file
from fastcoord._compile import cache_folder
from fastcoord._decode_file import GRIDS, METHODS, OUTPUTS, Job, grid_named, run
from fastcoord._fill_cache import COMMON, TYPES, fill

__all__ = ["main"]

_EXTRA = {"rich", "matplotlib", "scipy"}  # the packages of the extra `cli`, for `demo` and pictures

# What LLVM calls the instruction sets that decide how many lanes a register has, widest first.
_LEVELS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sse2": "SSE2", "sve": "SVE", "neon": "NEON"}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status of `fastcoord` with the arguments `argv` (those of this process if None).

    0 if all went well, 1 if not, 2 (by SystemExit) if the arguments are wrong.

    Examples
    --------
    >>> from fastcoord.cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    fastcoord         ...
    0
    """
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "decode":
            return _decode(arguments)
        if arguments.command == "encode":
            return _encode(arguments)
        if arguments.command == "demo":
            return _demo(arguments.plot)
        if arguments.command == "compile":
            return _compile(arguments.types, arguments.all)
        print("\n".join(f"{name:<18}{value}" for name, value in _information()))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        return _failed(f"`fastcoord {arguments.command}` needs {missing}: pip install 'fastcoord[cli]'")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastcoord", description=fastcoord.__doc__)
    parser.add_argument("--version", action="version", version=f"fastcoord {fastcoord.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_decode(commands)
    _add_encode(commands)
    demo = commands.add_parser(
        "demo",
        help="decode and encode every position of a 100×70 image, and the CoordConv paper's squares; check and time it",
        description="Decode and encode every position of a one-hot image of 100×70 pixels, check each answer, and time "
        "it beside NumPy's argmax, the same network in SciPy, and this machine's fastest way to read and write memory. "
        "Then the same with the 3,136 squares of Not-so-Clevr, the data of the CoordConv paper, whose figures for its "
        "trained networks are printed beside. The exit status is 1 if an answer is wrong. Needs 0.6 GB of memory.",
    )
    demo.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="draw images and squares with their true and their decoded coordinates",
    )
    fill = commands.add_parser(
        "compile",
        help="fill the disk cache, so that no later process compiles: for an image build",
        description="Compile every operation as it is without options (no refinement, covariance, window or gradient), "
        "for one thread and for all of them, on contiguous maps of the common "
        f"pixel types ({', '.join(COMMON)}), into the disk cache, whose folder is printed: NUMBA_CACHE_DIR if that is "
        "set. Machine code is for this processor; where images are built on another one, set NUMBA_CPU_NAME and "
        "NUMBA_CPU_FEATURES in both places. CUDA kernels are not compiled. The exit status is 1 if a kernel could not "
        "be stored.",
    )
    which = fill.add_mutually_exclusive_group()
    which.add_argument("--types", nargs="+", choices=TYPES, default=COMMON, metavar="TYPE", help=", ".join(TYPES))
    which.add_argument("--all", action="store_true", help="all pixel types, in every layout that has its own kernel")
    commands.add_parser(
        "info",
        help="print versions, processor, threads, CUDA and the cache folder",
        description="Print what a report of a fault or of a time should say.",
    )
    return parser


# Options of the decoders, which say what else they take: what argparse makes of them
_OPTIONS: dict[str, dict[str, Any]] = {
    "refine": {"metavar": "HOW", "help": "how the position is refined between the pixels"},
    "sigma": {"type": float, "help": "the width of the peaks in pixels"},
    "blur": {"type": int, "help": "the size of a blur in pixels"},
    "compat": {"metavar": "LIBRARY", "help": "the conventions of that library"},
    "k": {"type": int, "help": "how many peaks of a map at most"},
    "radius": {"type": int, "help": "how far round a peak no pixel is greater"},
    "threshold": {"type": float, "help": "a maximum is found where it is greater"},
    "temperature": {"type": float, "help": "what logits are divided by"},
    "window": {"type": int, "help": "how far round the largest pixel others count"},
    "clip_negative": {"action": "store_true", "help": "negative pixels count as 0"},
    "covariance": {"action": "store_true", "help": "the covariance of x and y too, in px²"},
    "nan": {"choices": ("propagate", "ignore"), "help": "what a pixel that is NaN does"},
}


def _add_decode(commands: Any) -> None:
    parser = commands.add_parser(
        "decode",
        help="the points of the maps in a .npy file, however large",
        description="Decode the maps (..., H, W) in a .npy file, which may be larger than the memory, to a file of "
        "points: .csv with a line for each map or peak (its place in the batch, x, y, score, status), .npy with x and "
        "y alone, .npz with xy, score, status, the covariance and the count of peaks, by these names. The options are "
        "those of the functions of fastcoord.decode, whose documentation says more.",
    )
    parser.add_argument("maps", type=Path, metavar="MAPS.npy")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="POINTS", help=", ".join(OUTPUTS))
    parser.add_argument("--method", choices=tuple(METHODS), default="argmax", help="default: %(default)s")
    for name, settings in _OPTIONS.items():
        flag = f"--{name.replace('_', '-')}"
        if "action" not in settings and "choices" not in settings and "metavar" not in settings:
            settings = {**settings, "metavar": "NUMBER"}
        takers = [method for method, function in METHODS.items() if name in inspect.signature(function).parameters]
        if takers:
            help_text = f"{settings['help']} ({', '.join(takers)})"
            parser.add_argument(flag, dest=name, default=None, **{**settings, "help": help_text})
    forms = ", ".join(name + form for name, (form, _make) in GRIDS.items())
    parser.add_argument("--grid", metavar="GRID", help=f"what x and y count instead of pixels: {forms}")
    parser.add_argument(
        "--axes", type=int, nargs=2, default=(-2, -1), metavar=("H", "W"), help="which axes are height and width"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw some of the maps with their points")


def _decode(arguments: argparse.Namespace) -> int:
    if arguments.plot is not None:  # said now, not after the work
        import matplotlib  # noqa: F401
    given = {name: getattr(arguments, name, None) for name in _OPTIONS}
    try:
        job = Job(
            arguments.maps,
            arguments.output,
            arguments.method,
            {name: value for name, value in given.items() if value is not None},
            None if arguments.grid is None else grid_named(arguments.grid),
            tuple(arguments.axes),
            arguments.force,
            arguments.plot,
        )
    except ValueError as error:
        return _failed(f"--grid: {error}")
    try:
        with _progress("decoding") as advanced:
            report = run(job, advanced)
    except (OSError, TypeError, ValueError) as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        return _failed(f"interrupted; {arguments.output} was not written")
    print(f"{arguments.output}: {report}")
    if arguments.plot is not None:
        print(f"Drawn: {arguments.plot}")
    return 0


# Options of `encode`: of which kinds, and what argparse makes of them
_ENCODE_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "sigma": ("gaussian", {"type": float, "help": "the width of the peaks in pixels"}),
    "norm": ("gaussian", {"choices": ("peak", "sum"), "help": "whether the peak or the sum is 1"}),
    "radius": ("gaussian", {"type": float, "help": "beyond so many sigmas from the point all are 0"}),
    "box_size": ("box", {"type": int, "help": "the length of a side in pixels"}),
    "value": ("box", {"type": float, "help": "the pixels of the square"}),
}


def _add_encode(commands: Any) -> None:
    parser = commands.add_parser(
        "encode",
        help="maps of the points in a .csv, .npy or .npz file, to a .npy file",
        description="Encode the points in a file, as `fastcoord decode` writes it, to a .npy file of maps (..., H, W), "
        "which may be larger than the memory: a .csv file with columns x and y, an array (..., 2) in .npy, or xy of a "
        ".npz. A point that is NaN or beyond the border gives a map of zeros. The options are those of the functions "
        "of fastcoord.encode, whose documentation says more.",
    )
    parser.add_argument("points", type=Path, metavar="POINTS", help=", ".join(_encode_file.INPUTS))
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MAPS.npy")
    parser.add_argument("--size", required=True, metavar="WIDTHxHEIGHT", help="of the maps, in pixels: 64x48")
    parser.add_argument("--kind", choices=_encode_file.KINDS, default="gaussian", help="default: %(default)s")
    for name, (taker, settings) in _ENCODE_OPTIONS.items():
        form = {} if "choices" in settings else {"metavar": "NUMBER"}
        described = f"{settings['help']} ({taker})"
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, **{**settings, **form, "help": described})
    parser.add_argument("--dtype", default="float32", metavar="TYPE", help="of the pixels; default: %(default)s")
    forms = ", ".join(name + form for name, (form, _make) in GRIDS.items())
    parser.add_argument("--grid", metavar="GRID", help=f"what x and y count instead of pixels: {forms}")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")


def _encode(arguments: argparse.Namespace) -> int:
    options = {}
    for name, (taker, _settings) in _ENCODE_OPTIONS.items():
        value = getattr(arguments, name)
        if value is not None:
            if arguments.kind != taker:
                return _failed(f"--{name.replace('_', '-')}: not for --kind {arguments.kind}")
            options["size" if name == "box_size" else name] = value
    width, by, height = arguments.size.partition("x")
    if not (by and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        return _failed(f"--size: expected WIDTHxHEIGHT, as 64x48; got {arguments.size!r}")
    try:
        grid = None if arguments.grid is None else grid_named(arguments.grid)
    except ValueError as error:
        return _failed(f"--grid: {error}")
    source, output, shape = arguments.points, arguments.output, (int(height), int(width))
    job = _encode_file.Job(source, output, arguments.kind, shape, options, arguments.dtype, grid, arguments.force)
    try:
        with _progress("encoding") as advanced:
            report = _encode_file.run(job, advanced)
    except (OSError, TypeError, ValueError) as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        return _failed(f"interrupted; {arguments.output} was not written")
    print(f"{arguments.output}: {report}")
    return 0


@contextlib.contextmanager
def _progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """What is called with the maps done, and how many there are: a bar, on a terminal."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield lambda done, count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn("maps"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, count: progress.update(task, completed=done, total=count)


def _demo(plot: Path | None) -> int:
    from fastcoord import _demo

    if plot is not None:  # said now, not after the work
        if plot.suffix.lower() != ".png":
            return _failed(f"--plot: expected a name that ends in .png; got {plot}")
        if not plot.parent.is_dir():
            return _failed(f"--plot: expected a file in an existing folder; got {plot}")
        import matplotlib  # noqa: F401
    results = _demo.run()
    if plot is not None:
        try:
            _demo.draw(plot, results)
        except OSError as error:
            return _failed(f"--plot: {error}")
        print(f"Drawn: {plot}")
    return 0 if results.is_right else 1


def _compile(types: Sequence[str], everything: bool) -> int:
    config: Any = numba.config
    folder = cache_folder()
    if config.DISABLE_JIT:
        return _failed("nothing can be compiled: NUMBA_DISABLE_JIT is set")
    if folder is None:
        return _failed("nothing can be stored: there is no folder that can be written; NUMBA_CACHE_DIR may name one")
    compiled = stored = read = 0
    start = time.perf_counter()
    for done in fill(TYPES if everything else dict.fromkeys(types), everything):
        what = f"{done.compiled} compiled" if done.compiled else "in the cache already"
        print(f"{done.operation:<23}{done.dtype:<10}{done.layout:<15}{done.seconds:7.2f} s  {what}", flush=True)
        compiled, stored, read = compiled + done.compiled, stored + done.stored, read + done.read
    print(f"{compiled} kernels compiled, {stored} stored, {read} read, in {time.perf_counter() - start:.1f} s")
    print(f"cache folder: {folder}")
    if stored < compiled:
        return _failed(f"{compiled - stored} of {compiled} kernels not stored; NUMBA_DEBUG_CACHE=1 says why")
    return 0


def _failed(message: str) -> int:
    print(f"fastcoord: {message}", file=sys.stderr)
    return 1


def _information() -> list[tuple[str, str]]:
    folder = cache_folder()
    threads, layer = _threads()
    return [
        ("fastcoord", f"{fastcoord.__version__} in {Path(fastcoord.__file__).parent}"),
        ("Python", f"{platform.python_version()} ({platform.platform()})"),
        ("NumPy", np.__version__),
        ("Numba", numba.__version__),
        ("llvmlite", version("llvmlite")),
        ("numba-cuda", _version("numba-cuda")),
        ("CPU", _processor()),
        ("compiles for", _target()),
        ("cores", _cores()),
        ("threads", threads),
        ("threading layer", layer),
        ("CUDA", _cuda()),
        ("cache folder", str(folder) if folder else "none that can be written: kernels are compiled in each process"),
    ]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _target() -> str:
    config: Any = numba.config
    if config.DISABLE_JIT:
        return "nothing: NUMBA_DISABLE_JIT is set, every kernel runs in plain Python"
    core: Any = numba.core
    _triple, cpu, features = core.registry.cpu_target.target_context.codegen().magic_tuple()
    enabled = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    level = next((name for feature, name in _LEVELS.items() if feature in enabled), "its baseline only")
    return f"{cpu}, {level}"


def _cores() -> str:
    count = str(os.cpu_count())
    if hasattr(os, "sched_getaffinity"):
        usable = str(len(os.sched_getaffinity(0)))
        if usable != count:
            return f"{count}, of which this process may use {usable}"
    return count


def _threads() -> tuple[str, str]:
    """The number of threads, and what runs them."""
    config: Any = numba.config
    if config.DISABLE_JIT:
        return "1", "none: NUMBA_DISABLE_JIT is set"
    try:
        count = numba.get_num_threads()  # starts them: only then is the layer known
        return f"{count} (at most {config.NUMBA_NUM_THREADS})", str(numba.threading_layer())
    except (ValueError, RuntimeError) as error:  # the layer that was asked for cannot be loaded
        return "none", f"none: {' '.join(str(error).split())}"


def _cuda() -> str:
    if find_spec("numba_cuda") is None:
        return "no: numba-cuda is not installed (pip install 'fastcoord[cuda13]', or cuda12)"
    from numba import cuda

    from fastcoord._launch import require_cuda  # it also sees to it that this is numba-cuda's numba.cuda

    try:
        require_cuda()
    except RuntimeError as error:
        return f"no: {error}"
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0":
        return "simulated"
    devices = [cuda.gpus[number] for number in range(len(cuda.gpus))]
    names = (device.name.decode() if isinstance(device.name, bytes) else device.name for device in devices)
    return ", ".join(
        f"{name} (compute capability {'.'.join(map(str, device.compute_capability))})"
        for name, device in zip(names, devices, strict=True)
    )
