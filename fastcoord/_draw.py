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
) -> Any:
    """What an encoder returns, by ``draw(maps, points, weight)``, which writes a map and a weight for each point.

    `shape` and `dtype` are checked already, by `_arrays.canvas` and `_arrays.pixel_type`; the other arguments are here.
    `points` is flat, x and y in turn, in pixels, and `weight` too: 1 where the pixel nearest to the point is on the
    canvas, and 0, over a map of zeros, where it is not. Maps of float16 and bfloat16 are uint16 to `draw`.

    Raises
    ------
    ValueError
        Unless `return_weight`, where that pixel is not on the canvas, before anything is written.
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
    require_grid(grid)
    numbers = None if grid is None else numbers_for(grid, points.dtype, height, width, batch, back=True)
    whole = batch_with_canvas(batch, height, width, axes)
    given_images, given_weight = encoded_members(out) if return_weight and out is not None else (out, None)
    name = "out.maps" if return_weight else "out"
    images = result(name, given_images, whole, dtype, points, library=library)
    weight = result("out.weight", given_weight, batch, _SINGLE, points, images, library=library)
    flat_points = read_only(points.ravel())
    if numbers is not None:
        flat_points = read_only(in_pixels(flat_points, numbers))
    if not return_weight:
        outside = first_outside(flat_points, height, width)
        if outside >= 0:
            where = np.unravel_index(outside, batch) if batch else ()
            raise ValueError(
                f"xy: expected points within half a pixel of a canvas of height {height} and width {width}, or "
                f"return_weight=True; got {points[where].tolist()} at index {tuple(map(int, where))}"
            )
    if math.prod(batch):
        written = flat(weight)
        draw(maps(name, stored(images), axes, for_writing=True), flat_points, written)
        write_back(written, weight)
    if out is None:
        return in_library(library, Encoded(images, weight) if return_weight else images)
    if library is not None:
        for array in (given_images, given_weight)[: 1 + return_weight]:
            library.written(array)
    return out
