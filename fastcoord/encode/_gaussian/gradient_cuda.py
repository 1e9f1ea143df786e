"""Who reads which pixel of the gradient of `encode.gaussian` on a GPU: a warp the map of a point, row by row."""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._draw_cuda import position_of_point
from fastcoord._gaussian_axis import distances, factors, part
from fastcoord._gaussian_cuda import axes_of_point, axis_sums, size_of_point, sizes_on_device
from fastcoord._lanes import WARP, first_element, warp_sums
from fastcoord._launch import described
from fastcoord._pull_cuda import pixels_a_unit, pulled_back
from fastcoord._vector import convert
from fastcoord.encode._gaussian.formula import slopes


@cuda.jit  # type: ignore[untyped-decorator]
def differentiate(
    images: Any,
    layout: Any,
    points: Any,
    points_layout: Any,
    written: Any,
    first_map: int,
    first_in_layout: int,
    first_in_points_layout: int,
    points_in_map: int,
    count: int,
    point_unit: Any,
    unit: Any,
    numbers: Any,
    each: Any,
    has_each: bool,
    sizes: Any,
    each_sizes: Any,
    has_sizes: bool,
    mode: int,
    is_sum: bool,
) -> None:
    """The gradient of each point; so many have a map together."""
    lane = cuda.threadIdx.x % WARP
    i: Any = np.int64(cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP)
    if i < count:  # the same for a warp
        in_run: Any = np.int64(np.uint32(i) // np.uint32(points_in_map))
        at, number = first_map + in_run, first_map * points_in_map + i
        placement = numbers, each, has_each
        point = first_in_points_layout + i
        x, y = position_of_point(point, points, points_layout, point_unit, at, *placement)
        size = size_of_point(number, sizes, each_sizes, has_sizes)
        across_axis, down_axis, _is_here = axes_of_point(x, y, layout.columns, layout.rows, size, mode)
        left, right, middle, past_middle, across_rate = across_axis
        top, bottom, centre, past_centre, down_rate = down_axis
        nil = unit - unit
        shares, means = (unit, unit), (nil, nil)
        if is_sum:
            (across_total, across_pull), (down_total, down_pull) = (
                axis_sums(across_axis, lane, nil),
                axis_sums(down_axis, lane, nil),
            )
            shares = part(across_total), part(down_total)
            means = across_pull * shares[0], down_pull * shares[1]
        first = first_element(first_in_layout + in_run, layout)
        sums = nil, nil
        for row in range(top, bottom):
            down = factors(nil, row, top, bottom, centre, past_centre, down_rate) * shares[1]
            pulled_down = slopes(down, distances(nil, row, centre, past_centre), means[1], size[6])
            drawn, pulled = nil, nil
            k = left + lane
            while k < right:
                value = images[np.uint64(first + row * layout.row_stride + k * layout.column_stride)]
                across = factors(nil, k, left, right, middle, past_middle, across_rate) * shares[0]
                drawn += value * across
                pulled += value * slopes(across, distances(nil, k, middle, past_middle), means[0], size[2])
                k += WARP
            sums = sums[0] + pulled * down, sums[1] + drawn * pulled_down
        sums = warp_sums(sums)
        if lane == 0:
            by_x, by_y = pixels_a_unit(at, *placement)
            written[np.uint64(2 * number)] = convert(sums[0], by_x) * by_x
            written[np.uint64(2 * number + 1)] = convert(sums[1], by_y) * by_y


def vjp(
    grad_maps: Any,
    xy: Any,
    sigmas: Any,
    within: float | None,
    mode: int,
    is_sum: bool,
    reduce: str | None,
    axes: Any,
    grid: Any,
    out: Any,
) -> Any:
    """`encode.gaussian_vjp` of CUDA arrays, as `_pull_cuda.pulled_back` says."""
    dtype = described("grad_maps", grad_maps).dtype
    working = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    sizes = sizes_on_device(xy, sigmas, within, working, mode)
    return pulled_back(differentiate, grad_maps, xy, axes, grid, out, *sizes, mode, is_sum, joins=reduce)
