"""Who visits which pixel of a point that is spread over four pixels on a GPU: a warp its zeros, then four lanes those.

A pixel of the point is written twice, but the first time it only reaches the cache.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import pixel_type
from fastcoord._draw_cuda import clear, drawn, position_of_point
from fastcoord._lanes import WARP, column_and_row, first_element, moved
from fastcoord._recorded import recall
from fastcoord._vector import like
from fastcoord.encode._splat.formula import NOWHERE, corner, nearest, pixel, share

FOUR = 4  # pixels that share a point


def _encoder(items: int) -> Any:
    """A kernel for pixels side by side, of which a group has so many `items`; for pixels anywhere if that is 1."""

    @cuda.jit  # type: ignore[untyped-decorator]
    def encode(
        images: Any,
        whole: Any,
        layout: Any,
        points: Any,
        points_layout: Any,
        weight: Any,
        first_map: int,
        first_in_layout: int,
        first_in_points_layout: int,
        maps: int,
        tiles: int,
        tile_pixels: int,
        point_unit: Any,
        numbers: Any,
        each: Any,
        has_each: bool,
        unit: Any,
    ) -> None:
        lane = cuda.threadIdx.x % WARP
        task = cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP
        i: Any = np.int64(np.uint32(task) // np.uint32(tiles))
        if i < maps:
            tile = task - i * tiles
            point = first_in_points_layout + i
            placement = numbers, each, has_each
            x, y = position_of_point(point, points, points_layout, point_unit, first_map + i, *placement)
            is_here = nearest(x, layout.columns) != NOWHERE and nearest(y, layout.rows) != NOWHERE
            left, across = corner(x, is_here)
            top, down = corner(y, is_here)
            zero = like(unit, 0)
            begin = tile * tile_pixels
            count = min(layout.rows * layout.columns - begin, tile_pixels)
            first = first_element(first_in_layout + i, layout)
            if items > 1:
                first += begin
                clear(images, whole, first, count, layout.before, items, lane, zero)
                cuda.syncwarp()  # until then another lane may be writing a zero to one of the four
                column, row = left + lane % 2, top + lane // 2
                is_on_canvas = column >= 0 and column < layout.columns and row >= 0 and row < layout.rows
                if lane < FOUR and is_here and is_on_canvas:
                    position = row * layout.columns + column - begin
                    if position >= 0 and position < count:
                        images[np.uint64(first + position)] = pixel(share(across, down, lane % 2, lane // 2), unit)
            else:
                position = lane
                column, row = column_and_row(begin + lane, layout)
                while position < count:
                    there = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
                    part = share(across, down, column - left, row - top)
                    images[np.uint64(there)] = pixel(part, unit) if is_here else zero
                    column, row = moved(column, row, layout)
                    position += WARP
            if lane == 0 and tile == 0:
                weight[np.uint64(first_map + i)] = 1 if is_here else 0

    return encode


encoders = {items: _encoder(items) for items in (1, 2, 4, 8, 16)}


def splat(xy: Any, shape: Any, dtype: Any, axes: Any, grid: Any, return_weight: bool, out: Any) -> Any:
    """`encode.splat` of CUDA arrays, as `_draw_cuda.drawn` says."""

    def call() -> Any:
        return drawn(encoders, xy, shape, pixel_type(dtype), axes, grid, return_weight, out, 1)

    return recall(("encode.splat", repr((shape, axes)), dtype, return_weight), grid, xy, out, call)
