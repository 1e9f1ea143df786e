"""Gaussians on a GPU: the numbers of each point, where its axes are, and their sums over the lanes of a warp."""

import functools
from typing import Any

import numpy as np
from numba import cuda

from fastcoord._compile import inlined
from fastcoord._gaussian_axis import distances, factors, moments, placed_point
from fastcoord._gaussian_options import shape_fitted, sizes_of
from fastcoord._lanes import WARP, warp_share, warp_sums
from fastcoord._launch import described, device_of, require_cuda, stream_of
from fastcoord._placement import numbers_at
from fastcoord._vector import convert

SIZES = 8  # numbers of a point


@inlined
def size_of_point(i: Any, sizes: Any, each: Any, has_each: Any) -> Any:
    """Of point `i`, for x and then for y: the rate of its powers, two numbers, 1/σ, and how far the axis reaches."""
    if has_each:
        return numbers_at(each, np.int64(i) * SIZES)
    return sizes


@inlined
def axes_of_point(x: Any, y: Any, columns: Any, rows: Any, size: Any, mode: Any) -> Any:
    """As `_gaussian_axis.placed_point`, each axis with the rate of its powers."""
    reach_x, reach_y = convert(size[3], x), convert(size[7], y)
    placed = placed_point(x, y, columns, rows, reach_x, reach_y, mode)
    left, right, middle, past_middle, top, bottom, centre, past_centre, has_pixels = placed
    across, down = (left, right, middle, past_middle), (top, bottom, centre, past_centre)
    return (*across, (size[0], size[1])), (*down, (size[4], size[5])), has_pixels


@inlined
def axis_sums(axis: Any, lane: Any, nil: Any) -> Any:
    """The sum of the factors of an axis, and of these times their distances from the centre. The whole warp meets here.

    For a scalar `nil` that is 0.
    """
    first, end, middle, past_middle, rate = axis
    total, pull = nil, nil
    k = first + lane
    while k < end:
        found = factors(nil, k, first, end, middle, past_middle, rate)
        total, pull = total + found, pull + moments(found, distances(nil, k, middle, past_middle))
        k += WARP
    return warp_share(warp_sums((total, pull)))


# On the host


def sizes_on_device(xy: Any, sigmas: Any, within: float | None, working: Any, mode: int) -> tuple[Any, Any, bool]:
    """What `size_of_point` takes: the numbers for all points, those of each, and whether there are these."""
    require_cuda()
    numbers, reaches = sizes_of(sigmas, shape_fitted(sigmas, described("xy", xy)), within, working, mode)
    sizes = np.concatenate([numbers.reshape(-1, 2, 3), reaches.astype(working).reshape(-1, 2, 1)], -1).reshape(-1)
    for_all = tuple(sizes[:SIZES])
    with device_of(xy):
        if sizes.size == SIZES:
            return for_all, _nothing(str(cuda.get_current_device().uuid), working), False
        return for_all, cuda.to_device(sizes, stream=cuda.external_stream(stream_of(xy))), True


@functools.cache
def _nothing(device: str, working: Any) -> Any:
    """Memory of a type, for a kernel that does not read it."""
    return cuda.device_array(1, working)
