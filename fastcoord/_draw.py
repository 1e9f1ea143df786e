"""One map for each point, on the CPU: the door that the encoders share, with every check before any work."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcoord._arrays import (
    Maps,
    batch_with_canvas,
    encoded_members,
    flat,
    maps,
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
from fastcoord.grid import numbers_for, require_grid
from fastcoord.results import Encoded

_SINGLE = np.dtype(np.float32)


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
) -> Any:
    """What an encoder returns, by ``draw(maps, points, weight)``, which writes a map and a weight for each point.

    `shape` and `dtype` are checked already, by `_arrays.canvas` and `_arrays.pixel_type`; the other arguments are here.
    `points` is flat, x and y in turn, in pixels, and `weight` too: 1 where the pixel nearest to the point is on the
    canvas, and 0, over a map of zeros, where it is not. Maps of float16 and bfloat16 are uint16 to `draw`. With
    `may_be_outside` only points that are not finite are missing. If it `joins` them, all points of the last batch axis
    have one map.

    Raises
    ------
    ValueError
        Unless `return_weight`, where a point is missing, before anything is written.
    MemoryError
        There is no memory for the result.
    TypeError, ValueError
        As the encoders say.
    """
    library = library_of(xy)
    points = point_array("xy", xy)
    if library is not None:
        library.require_dtype(dtype)
    elif dtype == FORMATS["bfloat16"] and out is None:
        numpy_bfloat16()  # raises where NumPy has none
    height, width = shape
    batch = points.shape[:-1]
    if joins and not batch:
        raise ValueError(f"xy: expected shape (..., P, 2), with reduce={joins!r}; got {points.shape}")
    of_maps = batch[:-1] if joins else batch
    require_grid(grid)
    numbers = None if grid is None else numbers_for(grid, points.dtype, height, width, of_maps, back=True)
    if joins and numbers is not None and numbers.size > NUMBERS:  # those of a map, for each of its points
        numbers = np.repeat(numbers.reshape(-1, NUMBERS), batch[-1], axis=0).reshape(-1)
    whole = batch_with_canvas(of_maps, height, width, axes)
    given_images, given_weight = encoded_members(out) if return_weight and out is not None else (out, None)
    name = "out.maps" if return_weight else "out"
    try:
        images = result(name, given_images, whole, dtype, points, library=library)
    except MemoryError:
        gigabytes = math.prod(whole) * dtype.itemsize / 1e9
        raise MemoryError(f"shape: maps of shape {whole} take {gigabytes:,.1f} GB, which are not there") from None
    weight = result("out.weight", given_weight, batch, _SINGLE, points, images, library=library)
    flat_points = read_only(points.ravel())
    if numbers is not None:
        flat_points = read_only(in_pixels(flat_points, numbers))
    if not return_weight:
        if may_be_outside:
            is_finite = np.isfinite(flat_points)
            outside, expected = -1 if is_finite.all() else int(is_finite.argmin()) // 2, "finite points"
        else:
            outside = first_outside(flat_points, height, width)
            expected = f"points within half a pixel of a canvas of height {height} and width {width}"
        if outside >= 0:
            where = np.unravel_index(outside, batch) if batch else ()
            raise ValueError(
                f"xy: expected {expected}, or return_weight=True; got {points[where].tolist()} at index "
                f"{tuple(map(int, where))}"
            )
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
