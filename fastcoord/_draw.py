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
    result,
    write_back,
)
from fastcoord._points import first_outside
from fastcoord.results import Encoded

_SINGLE = np.dtype(np.float32)


def drawn(
    xy: Any,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    axes: Any,
    return_weight: bool,
    out: Any,
    draw: Callable[[Maps, Any, Any], None],
) -> Any:
    """What an encoder returns, by ``draw(maps, points, weight)``, which writes a map and a weight for each point.

    `shape` and `dtype` are checked already, by `_arrays.canvas` and `_arrays.pixel_type`; the other arguments are here.
    `points` is flat, x and y in turn, and `weight` too: 1 where the pixel nearest to the point is on the canvas, and 0,
    over a map of zeros, where it is not.

    Raises
    ------
    ValueError
        Unless `return_weight`, where that pixel is not on the canvas, before anything is written.
    TypeError, ValueError
        As the encoders say.
    """
    points = point_array("xy", xy)
    height, width = shape
    batch = points.shape[:-1]
    whole = batch_with_canvas(batch, height, width, axes)
    if return_weight and out is not None:
        images, weight = encoded_members(out)
        images = result("out.maps", images, whole, dtype, points)
        weight = result("out.weight", weight, batch, _SINGLE, points, images)
    else:
        images = result("out", out, whole, dtype, points)
        weight = np.empty(batch, np.float32)
    flat_points = points.reshape(-1)
    flat_points.flags.writeable = False  # one type, and so one compilation, for all
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
        draw(maps("out", images, axes, for_writing=True), flat_points, written)
        write_back(written, weight)
    if not return_weight:
        return images
    return Encoded(images, weight) if out is None else out
