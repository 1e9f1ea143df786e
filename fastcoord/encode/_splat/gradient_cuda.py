"""Who reads which pixel of the gradient of `encode.splat` on a GPU: four lanes of a warp the four round a point."""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._draw_cuda import position_of_point
from fastcoord._lanes import WARP, first_element, warp_sums
from fastcoord._pull_cuda import pixels_a_unit, pulled_back
from fastcoord._vector import convert, like
from fastcoord.encode._splat.formula import NOWHERE, corner, nearest, slopes

FOUR = 4  # pixels that share a point


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
) -> None:
    """The gradient of each point; each has a map."""
    lane = cuda.threadIdx.x % WARP
    i: Any = np.int64(cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP)
    if i < count:  # the same for a warp
        placement = numbers, each, has_each
        point = first_in_points_layout + i
        x, y = position_of_point(point, points, points_layout, point_unit, first_map + i, *placement)
        is_here = nearest(x, layout.columns) != NOWHERE and nearest(y, layout.rows) != NOWHERE
        left, across = corner(x, is_here)
        top, down = corner(y, is_here)
        first = first_element(first_in_layout + i, layout)
        column, row = left + lane % 2, top + lane // 2
        is_on_canvas = column >= 0 and column < layout.columns and row >= 0 and row < layout.rows
        sums = like(x, 0), like(x, 0)
        if lane < FOUR and is_here and is_on_canvas:
            value = images[np.uint64(first + row * layout.row_stride + column * layout.column_stride)]
            to_x, to_y = slopes(across, down, lane % 2, lane // 2)
            sums = convert(value, x) * to_x, convert(value, x) * to_y
        sums = warp_sums(sums)
        if lane == 0:
            by_x, by_y = pixels_a_unit(first_map + i, *placement)
            written[np.uint64(2 * (first_map + i))] = sums[0] * by_x
            written[np.uint64(2 * (first_map + i) + 1)] = sums[1] * by_y


def vjp(grad_maps: Any, xy: Any, axes: Any, grid: Any, out: Any) -> Any:
    """`encode.splat_vjp` of CUDA arrays, as `_pull_cuda.pulled_back` says."""
    return pulled_back(differentiate, grad_maps, xy, axes, grid, out)
