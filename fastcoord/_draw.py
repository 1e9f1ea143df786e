"""One map for each point, on the CPU: the doors of encoders and of their gradients, every check before any work."""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord._arrays import (
    Maps,
    batch_with_canvas,
    encoded_members,
    flat,
    maps,
    pixel_array,
    point_array,
    read_only,
    result,
    stored,
    write_back,
)
from fastcoord._halves import FORMATS
from fastcoord._libraries import in_library, library_of, numpy_bfloat16
from fastcoord._placement import NUMBERS
from fastcoord._points import first_outside, in_pixels
from fastcoord.grid import Grid, numbers_for, require_grid
from fastcoord.results import Encoded

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def drawn(
    xy: Any,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    axes: Any,
    grid: Any,
    return_weight: bool,
    out: Any,
    draw: Callable[[Maps, Any, Any], None],
    *,
    may_be_outside: bool = False,
    joins: str | None = None,
    members: int = 0,
) -> Any:
    """What an encoder returns, by ``draw(maps, points, weight)``, which writes a map and a weight for each point.

    `shape` and `dtype` are checked already, by `_arrays.canvas` and `_arrays.pixel_type`; the other arguments are here.
    `points` is flat, x and y in turn, in pixels, and `weight` too: 1 where the pixel nearest to the point is on the
    canvas, and 0, over a map of zeros, where it is not. Maps of float16 and bfloat16 are uint16 to `draw`. With
    `may_be_outside` only points that are not finite are missing. If it `joins` them, all points of the last batch axis
    have one map. With `members` there are so many maps for each point, one after the other.

    Raises
    ------
    ValueError
        Unless `return_weight`, where a point is missing, before anything is written.
    MemoryError
        There is no memory for the result.
    TypeError, ValueError
        As the encoders say.
    """
    library, points = checked_points(xy, dtype, out)
    height, width = shape
    batch = points.shape[:-1]
    of_maps = _batch_of_maps(points, joins)
    require_grid(grid)
    numbers = None if grid is None else way_back(grid, points, height, width, of_maps)
    if members:
        of_maps = (*of_maps, members)
    whole = batch_with_canvas(of_maps, height, width, axes)
    given_images, given_weight = encoded_members(out) if return_weight and out is not None else (out, None)
    name = "out.maps" if return_weight else "out"
    images = allocated(name, given_images, whole, dtype, points, library=library)
    weight = result("out.weight", given_weight, batch, _SINGLE, points, images, library=library)
    flat_points = read_only(points.ravel())
    if numbers is not None:
        flat_points = read_only(in_pixels(flat_points, numbers))
    if not return_weight:
        require_here(points, flat_points, None if may_be_outside else shape)
    if math.prod(of_maps):
        written = flat(weight)
        draw(maps(name, stored(images), axes, for_writing=True), flat_points, written)
        write_back(written, weight)
    if out is None:
        return in_library(library, Encoded(images, weight) if return_weight else images)
    if library is not None:
        for array in (given_images, given_weight)[: 1 + return_weight]:
            library.written(array)
    return out


def checked_points(xy: Any, dtype: np.dtype[Any], out: Any) -> tuple[Any, NDArray[Any]]:
    """The library of `xy`, None for NumPy, which must have pixels of type `dtype`; and the points as an array."""
    library = library_of(xy)
    points = point_array("xy", xy)
    if library is not None:
        library.require_dtype(dtype)
    elif dtype == FORMATS["bfloat16"] and out is None:
        numpy_bfloat16()  # raises where NumPy has none
    return library, points


def allocated(
    name: str,
    given: Any,
    whole: tuple[int, ...],
    dtype: np.dtype[Any],
    *others: NDArray[Any],
    library: Any,
    described: str = "maps",
) -> NDArray[Any]:
    """The array to write into, `given` or new, as `_arrays.result` says; or a MemoryError."""
    size = math.prod(whole) * dtype.itemsize
    try:
        if size > sys.maxsize:  # more than NumPy can count
            raise MemoryError
        return result(name, given, whole, dtype, *others, library=library)
    except MemoryError:
        size_in_words = f"{described} of shape {whole} take {size / 1e9:,.1f} GB"
        raise MemoryError(f"shape: {size_in_words}, which are not there") from None


def require_here(points: NDArray[Any], flat_points: NDArray[Any], shape: tuple[int, int] | None) -> None:
    """Refuse points that are not on a canvas of this `shape`, or where it is None those that are not finite."""
    if shape is None:
        is_finite = np.isfinite(flat_points)
        outside, expected = -1 if is_finite.all() else int(is_finite.argmin()) // 2, "finite points"
    else:
        outside = first_outside(flat_points, *shape)
        expected = f"points within half a pixel of a canvas of height {shape[0]} and width {shape[1]}"
    if outside >= 0:
        batch = points.shape[:-1]
        where = np.unravel_index(outside, batch) if batch else ()
        raise ValueError(
            f"xy: expected {expected}, or return_weight=True; got {points[where].tolist()} at index "
            f"{tuple(map(int, where))}"
        )


def pulled_back(
    grad_maps: Any,
    xy: Any,
    axes: Any,
    grid: Any,
    out: Any,
    pull: Callable[[Maps, Any, Any], None],
    *,
    joins: str | None = None,
) -> Any:
    """What the gradient of an encoder returns, by ``pull(maps, points, written)``: two numbers for each point.

    `maps` are the gradients with respect to the maps, `points` and `joins` as for `drawn`; `written` is flat, and
    counts in pixels.

    Raises
    ------
    TypeError, ValueError
        As the gradients say.
    """
    library = library_of(xy)
    points = point_array("xy", xy)
    if library_of(grad_maps) is not library and not isinstance(grad_maps, (list, tuple)):
        raise TypeError(f"grad_maps: expected an array of the library of xy; got {type(grad_maps).__qualname__}")
    array = pixel_array("grad_maps", grad_maps)
    if array.dtype not in (_SINGLE, _DOUBLE):
        raise TypeError(f"grad_maps: expected float32 or float64; got {array.dtype.name}")
    read = maps("grad_maps", array, axes)
    of_maps = _batch_of_maps(points, joins)
    if read.batch != of_maps:
        raise ValueError(f"grad_maps: expected maps of batch shape {of_maps}; got {read.batch}")
    require_grid(grid)
    gradient = result("out", out, points.shape, points.dtype, points, array, library=library)
    flat_points, scale = read_only(points.ravel()), None
    if grid is not None:
        back = way_back(grid, points, read.height, read.width, of_maps)
        flat_points = read_only(in_pixels(flat_points, back))
        numbers = back.reshape(-1, 2, NUMBERS // 2)
        scale = numbers[..., 0] / numbers[..., 2]
    written = flat(gradient)
    if written.size:
        pull(read, flat_points, written)
    if scale is not None:
        written.reshape(-1, 2)[...] *= scale
    write_back(written, gradient)
    if out is None:
        return in_library(library, gradient)
    if library is not None:
        library.written(out)
    return out


def _batch_of_maps(points: NDArray[Any], joins: str | None) -> tuple[int, ...]:
    batch: tuple[int, ...] = points.shape[: -2 if joins else -1]
    if joins and points.ndim < 2:
        raise ValueError(f"xy: expected shape (..., P, 2), with reduce={joins!r}; got {points.shape}")
    return batch


def way_back(grid: Grid, points: NDArray[Any], height: int, width: int, of_maps: tuple[int, ...]) -> NDArray[Any]:
    """The numbers of the grid's way to pixels: of all points, or of each."""
    numbers = numbers_for(grid, points.dtype, height, width, of_maps, back=True)
    in_map = math.prod(points.shape[len(of_maps) : -1])
    if numbers.size == NUMBERS or in_map == 1:
        return numbers
    return np.repeat(numbers.reshape(-1, NUMBERS), in_map, axis=0).reshape(-1)
