"""`fastcoord decode`: the maps of a .npy file, however large, to a file of points.

The file is mapped into memory and read in place, in pieces; what was read is given back, and results are written as
they come. They take the output's name when all of them are there.
"""

import contextlib
import csv
import inspect
import math
import mmap
import time
import tokenize
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord import decode, grid
from fastcoord._arrays import Shape, maps, pixel_array
from fastcoord._halves import format_of
from fastcoord.grid import Grid
from fastcoord.results import Decoded, Peaks, Status

__all__ = ["GRIDS", "METHODS", "OUTPUTS", "Job", "Report", "grid_named", "mapped", "replaced", "run"]

METHODS: dict[str, Callable[..., Decoded | Peaks]] = {
    "argmax": decode.argmax,
    "center_of_mass": decode.center_of_mass,
    "onehot": decode.onehot,
    "peaks": decode.peaks,
    "soft_argmax": decode.soft_argmax,
}
PIECE = 1 << 25  # bytes of maps that are decoded at once

# What `--grid` may say: a name, and numbers behind a colon where it takes some
GRIDS: dict[str, tuple[str, Callable[..., Grid]]] = {
    "corners": ("", lambda: grid.corners),
    "half": ("", lambda: grid.half),
    "unit": ("", lambda: grid.unit),
    "unit_half": ("", lambda: grid.unit_half),
    "strides": (":STRIDE[,OFFSET]", grid.strides),
    "udp": (":HEIGHT,WIDTH", lambda height, width: grid.udp((height, width))),
    "crop": (":X0,Y0,X1,Y1", lambda x0, y0, x1, y1: grid.crops([x0, y0, x1, y1])),
}


@dataclass(frozen=True)
class Job:
    """What is to be decoded, how, and where to."""

    source: Path
    output: Path
    method: str
    options: Mapping[str, Any]  # of the method, those that were given
    grid: Grid | None = None
    axes: tuple[int, int] = (-2, -1)
    overwrites: bool = False
    plot: Path | None = None


@dataclass(frozen=True)
class Report:
    """What was decoded."""

    maps: int
    height: int
    width: int
    dtype: str
    bytes: int
    seconds: float
    flags: dict[str, int]  # how often each flag of `Status` was set
    peaks: int | None = None  # how many were found, where there can be several

    def __str__(self) -> str:
        maps = f"{self.maps:,} map{'s' * (self.maps != 1)} of {self.height}×{self.width} {self.dtype}"
        flags = "".join(f", {count:,} {name}" for name, count in self.flags.items())
        if self.peaks is not None:
            flags = f", {self.peaks:,} peak{'s' * (self.peaks != 1)}{flags}"
        return f"{maps}, {self.bytes / 1e6:,.1f} MB, in {self.seconds:.2f} s{flags}"


def grid_named(text: str) -> Grid:
    """The grid that `text`, an argument of the command line, names.

    Raises
    ------
    ValueError
        It names none.
    """
    name, _, numbers = text.partition(":")
    if name not in GRIDS:
        raise ValueError(f"expected {', '.join(known + form for known, (form, _make) in GRIDS.items())}; got {text!r}")
    form, make = GRIDS[name]
    try:
        return make(*(float(number) for number in numbers.split(",")) if numbers else ())
    except (TypeError, ValueError):
        raise ValueError(f"expected {name}{form}; got {text!r}") from None


def run(job: Job, advanced: Callable[[int, int], None]) -> Report:
    """Decode, write the output and the picture, and call ``advanced(maps, of)`` after each piece.

    Raises
    ------
    OSError, TypeError, ValueError
        What was asked for cannot be done; the message says why. The output is as it was before.
    """
    start = time.perf_counter()
    _check(job)
    array = mapped(job.source)
    seen = maps("maps", pixel_array("maps", array, halves=True), job.axes)
    batch, count = seen.batch, math.prod(seen.batch)
    moved = np.moveaxis(array, job.axes, (-2, -1))
    options = {**job.options, "grid": job.grid}
    flags: dict[int, int] = {}
    # of no maps: tells what there will be to write, and refuses wrong options at once
    nothing = METHODS[job.method](np.empty((0, seen.height, seen.width), array.dtype), **options)
    peaks = 0 if isinstance(nothing, Peaks) else None
    with replaced(job.output) as unfinished:
        output = OUTPUTS[job.output.suffix.lower()]
        with output(unfinished, batch, _members(nothing)) as write:
            done = 0
            for piece in _pieces(moved):
                decoded = METHODS[job.method](piece, **options)
                size = math.prod(piece.shape[:-2])
                parts = {
                    name: member.reshape((size, *member.shape[piece.ndim - 2 :]))
                    for name, member in decoded._asdict().items()
                    if member is not None
                }
                write(done, parts)
                for status, times in zip(*np.unique(parts["status"][_told(parts)], return_counts=True), strict=True):
                    flags[int(status)] = flags.get(int(status), 0) + int(times)
                if peaks is not None:
                    peaks += int(parts["count"].sum())
                done += size
                _give_back(array)
                advanced(done, count)
        seconds = time.perf_counter() - start
        if job.plot is not None:
            from fastcoord._decode_plot import draw

            with replaced(job.plot) as picture:
                draw(picture, moved, METHODS[job.method], job.options, job.source.name)
    dtype = format_of(array.dtype) or array.dtype.name
    return Report(count, seen.height, seen.width, dtype, array.nbytes, seconds, _by_name(flags), peaks)


def _check(job: Job) -> None:
    """Refuse at once what would fail in the end."""
    if not job.source.is_file():
        raise FileNotFoundError(f"{job.source}: expected a .npy file; there is none")
    if job.output.suffix.lower() not in OUTPUTS:
        raise ValueError(f"{job.output}: expected a name that ends in {', '.join(OUTPUTS)}")
    for path in filter(None, (job.output, job.plot)):
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: expected a file in a folder that exists")
        if path.is_dir():
            raise IsADirectoryError(f"{path}: expected a file; it is a folder")
        if path.exists() and path.samefile(job.source):
            raise ValueError(f"{path}: expected another file than the maps")
        if path.exists() and not job.overwrites:
            raise FileExistsError(f"{path}: exists; --force replaces it")
    if job.plot is not None and job.plot.suffix.lower() != ".png":
        raise ValueError(f"{job.plot}: expected a name that ends in .png")
    known = inspect.signature(METHODS[job.method]).parameters
    for name in job.options:
        if name not in known:
            raise ValueError(f"--{name.replace('_', '-')}: not for --method {job.method}")


def mapped(path: Path) -> NDArray[Any]:
    """The array in the file, in place."""
    with open(path, "rb") as file:
        if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            raise ValueError(f"{path}: expected a .npy file, as numpy.save writes it; it is none")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, SyntaxError, EOFError, tokenize.TokenError) as error:  # of a damaged header, too
        raise ValueError(f"{path}: expected an array of numbers in a .npy file; got: {error}") from None
    return array


def _pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Views of (..., H, W) maps, in the order of their batch, each of at most PIECE bytes or one map."""
    batch = array.shape[:-2]
    if not batch:
        yield array
    if not batch or array.size == 0:
        return
    axis, step = 0, array.nbytes // max(batch[0], 1)
    while step > PIECE and axis < len(batch) - 1:
        axis += 1
        step //= batch[axis]
    length = max(PIECE // max(step, 1), 1)
    for index in np.ndindex(batch[:axis]):
        for first in range(0, batch[axis], length):
            yield array[(*index, slice(first, first + length))]


def _give_back(array: NDArray[Any]) -> None:
    """Let go of what was read of a mapped file: else all of it counts as memory of this process."""
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)


def _by_name(flags: Mapping[int, int]) -> dict[str, int]:
    counts = {flag: sum(times for status, times in flags.items() if status & flag) for flag in Status}
    return {str(flag.name): times for flag, times in counts.items() if times}


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` at the end, or what `path` links to; it is gone if there was no end."""
    path = path.resolve()
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


# Results: each member by its name, for n maps (n, …)

_Parts = Mapping[str, NDArray[Any]]


def _members(result: Decoded | Peaks) -> dict[str, tuple[Shape, np.dtype[Any]]]:
    """The shape, for one map, and the type of each member of a result of one batch axis."""
    return {name: (member.shape[1:], member.dtype) for name, member in result._asdict().items() if member is not None}


def _told(parts: _Parts) -> NDArray[np.bool_]:
    """Which answers say something: of several, those that are peaks, or the first if there is none."""
    if "count" not in parts:
        return np.ones(parts["status"].shape, bool)
    return np.arange(parts["status"].shape[1]) < np.maximum(parts["count"], 1)[:, None]


# Outputs: contexts that give write(number of the first map, parts), called in order

_Write = Callable[[int, _Parts], None]


@contextlib.contextmanager
def _npy(path: Path, batch: Shape, members: Mapping[str, tuple[Shape, np.dtype[Any]]]) -> Iterator[_Write]:
    """The points, (..., 2), or (..., k, 2) where there can be several."""
    shape, number = members["xy"]
    with open(path, "wb") as file:
        header = {"descr": number.str, "fortran_order": False, "shape": (*batch, *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda first, parts: _append(file, parts["xy"])


def _append(file: Any, array: NDArray[Any]) -> None:
    file.write(array.tobytes())


@contextlib.contextmanager
def _npz(path: Path, batch: Shape, members: Mapping[str, tuple[Shape, np.dtype[Any]]]) -> Iterator[_Write]:
    """All members, by name."""
    arrays = {name: np.empty((math.prod(batch), *shape), dtype) for name, (shape, dtype) in members.items()}

    def write(first: int, parts: _Parts) -> None:
        for name, array in arrays.items():
            array[first : first + len(parts[name])] = parts[name]

    yield write
    whole = {name: array.reshape((*batch, *array.shape[1:])) for name, array in arrays.items()}
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **whole)


@contextlib.contextmanager
def _csv(path: Path, batch: Shape, members: Mapping[str, tuple[Shape, np.dtype[Any]]]) -> Iterator[_Write]:
    """A line for each map: its place in the batch, x, y, score, the covariance, the status.

    Where there can be several peaks, a line for each, with its number; for a map with none one line, as for others.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        numbered = ["peak"] if "count" in members else []
        spread = ["var_x", "cov_xy", "var_y"] if "covariance" in members else []
        places_of = [f"index_{axis}" for axis in range(len(batch))]
        lines.writerow([*places_of, *numbered, "x", "y", "score", *spread, "status"])

        def write(first: int, parts: _Parts) -> None:
            told = _told(parts)
            which = np.nonzero(told)  # of the maps, and of the peaks of each
            numbers = [parts["xy"][told], parts["score"][told][:, None]]
            if spread:
                numbers.append(parts["covariance"].reshape(-1, 4)[:, [0, 1, 3]])
            words = np.concatenate(numbers, 1).astype("U32").tolist()  # the shortest that are read as the same numbers
            status = parts["status"][told].tolist()
            names = {flags: Status(flags).name or "" for flags in set(status)}
            indices = [*(np.unravel_index(first + which[0], batch) if batch else ()), *which[1:]]
            places = np.stack(indices, 1).tolist() if indices else [[]] * len(words)
            for place, line, flags in zip(places, words, status, strict=True):
                lines.writerow([*place, *line, names[flags]])

        yield write


OUTPUTS: dict[str, Callable[..., contextlib.AbstractContextManager[_Write]]] = {
    ".csv": _csv,
    ".npy": _npy,
    ".npz": _npz,
}
