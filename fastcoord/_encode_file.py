"""`fastcoord encode`: the points of a file, of which there may be any number, to a .npy file of maps.

Points are read and maps are written in pieces. The maps take the output's name when all of them are there.
"""

import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord import encode
from fastcoord._arrays import pixel_type, point_array
from fastcoord._decode_file import mapped, replaced
from fastcoord._halves import format_of
from fastcoord.grid import Grid

__all__ = ["INPUTS", "KINDS", "Job", "Report", "run"]

KINDS = "gaussian", "splat", "onehot", "box"  # functions of fastcoord.encode
INPUTS = ".csv", ".npy", ".npz"
PIECE = 1 << 25  # bytes of maps that are made at once, at most, or one map
POINTS = 1 << 16  # that are read at once, at most


@dataclass(frozen=True)
class Job:
    """What is to be encoded, how, and where to."""

    source: Path
    output: Path
    kind: str
    shape: tuple[int, int]
    options: Mapping[str, Any]  # of the kind, those that were given
    dtype: str = "float32"
    grid: Grid | None = None
    overwrites: bool = False


@dataclass(frozen=True)
class Report:
    """What was encoded."""

    maps: int
    missing: int
    height: int
    width: int
    dtype: str
    bytes: int
    seconds: float

    def __str__(self) -> str:
        maps = f"{self.maps:,} map{'s' * (self.maps != 1)} of {self.height}×{self.width} {self.dtype}"
        missing = f", {self.missing:,} of no point" if self.missing else ""
        return f"{maps}, {self.bytes / 1e6:,.1f} MB, in {self.seconds:.2f} s{missing}"


def run(job: Job, advanced: Callable[[int, int], None]) -> Report:
    """Encode, write the output, and call ``advanced(maps, of)`` after each piece.

    Raises
    ------
    OSError, TypeError, ValueError
        What was asked for cannot be done; the message says why. The output is as it was before.
    """
    start = time.perf_counter()
    _check(job)
    function = getattr(encode, job.kind)
    height, width = job.shape
    dtype = pixel_type(job.dtype, halves=True)
    length = min(max(PIECE // (height * width * dtype.itemsize), 1), POINTS)
    batch, pieces = _points(job.source, length)
    options = {**job.options, "shape": job.shape, "grid": job.grid, "dtype": dtype, "return_weight": True}
    function(np.zeros((0, 2), np.float32), **options)  # refuses what it does not take, before the output is made
    count, done, missing = math.prod(batch), 0, 0
    if job.grid is not None and job.grid.batch:
        raise ValueError("--grid: expected one grid for all maps")
    with replaced(job.output) as unfinished, open(unfinished, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(_as_numpy(dtype)), "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (*batch, height, width)})
        for piece in pieces:
            maps, weight = function(piece, **options)
            maps.tofile(file)
            done, missing = done + len(piece), missing + int((weight == 0).sum())
            advanced(done, count)
    size = count * height * width * dtype.itemsize
    name = format_of(dtype) or dtype.name
    return Report(count, missing, height, width, name, size, time.perf_counter() - start)


def _as_numpy(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in a file, of which float16 has one and bfloat16 none."""
    if format_of(dtype) == "bfloat16":
        raise TypeError("--dtype: expected a type that .npy files have; got bfloat16")
    return np.dtype(np.float16) if format_of(dtype) == "float16" else dtype


def _check(job: Job) -> None:
    """Refuse at once what would fail in the end."""
    if not job.source.is_file():
        raise FileNotFoundError(f"{job.source}: expected a file of points; there is none")
    if job.source.suffix.lower() not in INPUTS:
        raise ValueError(f"{job.source}: expected a name that ends in {', '.join(INPUTS)}")
    if job.output.suffix.lower() != ".npy":
        raise ValueError(f"{job.output}: expected a name that ends in .npy")
    if not job.output.parent.is_dir():
        raise FileNotFoundError(f"{job.output}: expected a file in a folder that exists")
    if job.output.is_dir():
        raise IsADirectoryError(f"{job.output}: expected a file; it is a folder")
    if job.output.exists() and job.output.samefile(job.source):
        raise ValueError(f"{job.output}: expected another file than the points")
    if job.output.exists() and not job.overwrites:
        raise FileExistsError(f"{job.output}: exists; --force replaces it")
    _as_numpy(pixel_type(job.dtype, halves=True))
    if not hasattr(encode, job.kind):
        raise ValueError(f"--kind: expected one of {', '.join(kind for kind in KINDS if hasattr(encode, kind))}")


def _points(path: Path, length: int) -> tuple[tuple[int, ...], Iterator[NDArray[Any]]]:
    """The batch shape of the points in a file, and the points (n, 2) in pieces of at most this many."""
    if path.suffix.lower() == ".csv":
        return (sum(1 for _point in _lines(path)),), _of_lines(path, length)
    if path.suffix.lower() == ".npy":
        array = mapped(path)
    else:
        try:
            with np.load(path, allow_pickle=False) as members:
                array = members["xy"]
        except KeyError:
            raise ValueError(f"{path}: expected an array named xy, as `fastcoord decode` writes it") from None
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path}: expected an .npz file, as `fastcoord decode` writes it; got: {error}") from None
    if array.ndim < 1 or array.shape[-1] != 2:
        raise ValueError(f"{path}: expected shape (..., 2), the last axis (x, y); got {array.shape}")
    point_array(str(path), array[..., :0, :] if array.ndim > 1 else array)  # refuses a type
    batch = array.shape[:-1]
    flat = array.reshape(-1, 2)
    return batch, (flat[first : first + length] for first in range(0, len(flat), length))


def _of_lines(path: Path, length: int) -> Iterator[NDArray[Any]]:
    piece: list[tuple[float, float]] = []
    for point in _lines(path):
        piece.append(point)
        if len(piece) == length:
            yield np.array(piece)
            piece = []
    if piece:
        yield np.array(piece)


def _lines(path: Path) -> Iterator[tuple[float, float]]:
    """The points of a .csv file with columns x and y, wherever these stand."""
    with open(path, newline="", encoding="utf-8") as file:
        try:
            lines = csv.reader(file)
            names = next(lines, [])
            if "x" not in names or "y" not in names:
                raise ValueError(f"{path}, line 1: expected names of columns, with x and y; got {','.join(names)!r}")
            columns = names.index("x"), names.index("y")
            for line in lines:
                try:
                    x, y = (float(line[column]) for column in columns)
                except (ValueError, IndexError):
                    got = ",".join(line)
                    raise ValueError(f"{path}, line {lines.line_num}: expected numbers x and y; got {got!r}") from None
                yield x, y
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: expected a .csv file; got: {error}") from None
