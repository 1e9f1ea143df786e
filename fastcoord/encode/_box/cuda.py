"""Who visits which pixel of a square that is written on a GPU: a warp its zeros, then the square over them.

A pixel of the square is written twice, but the first time it only reaches the cache, and the square is small beside
the map. To make groups of 16 bytes of both at once, a lane would have to ask for each pixel of each group.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import canvas, pixel_value, radius
from fastcoord._draw_cuda import clear, drawn, pixel_of_point, type_of_pixels
from fastcoord._lanes import WARP, column_and_row, first_element, moved
from fastcoord._recorded import recall
from fastcoord._vector import like
from fastcoord.encode._box.formula import NOWHERE, span, within


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
        value: Any,
        reach: int,
    ) -> None:
        lane = cuda.threadIdx.x % WARP
        task = cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP
        i: Any = np.int64(np.uint32(task) // np.uint32(tiles))
        if i < maps:
            tile = task - i * tiles
            point = first_in_points_layout + i
            placement = numbers, each, has_each
            x, y = pixel_of_point(point, points, points_layout, point_unit, layout, first_map + i, *placement)
            is_here = x != NOWHERE and y != NOWHERE
            left, right = span(x, reach, layout.columns)
            top, bottom = span(y, reach, layout.rows)
            bottom = bottom if is_here else top
            zero = like(value, 0)
            begin = tile * tile_pixels
            count = min(layout.rows * layout.columns - begin, tile_pixels)
            first = first_element(first_in_layout + i, layout)
            if items > 1:
                first += begin
                clear(images, whole, first, count, layout.before, items, lane, zero)
                cuda.syncwarp()  # until then another lane may be writing a zero to a pixel of the square
                _column, first_row = column_and_row(begin, layout)
                _column, last_row = column_and_row(begin + count - 1, layout)
                top, bottom = max(top, np.int64(first_row)), min(bottom, np.int64(last_row) + 1)
                hot = lane
                while hot < (bottom - top) * (right - left):
                    down: Any = np.int64(np.uint32(hot) // np.uint32(right - left))
                    pixel = (top + down) * layout.columns + left + hot - down * (right - left) - begin
                    if pixel >= 0 and pixel < count:  # its row may begin before the tile or end after it
                        images[np.uint64(first + pixel)] = value
                    hot += WARP
            else:
                pixel = lane
                column, row = column_and_row(begin + lane, layout)
                while pixel < count:
                    there = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
                    is_hot = within(row, top, bottom) & within(column, left, right)
                    images[np.uint64(there)] = value if is_hot else zero
                    column, row = moved(column, row, layout)
                    pixel += WARP
            if lane == 0 and tile == 0:
                weight[np.uint64(first_map + i)] = 1 if is_here else 0

    return encode


encoders = {items: _encoder(items) for items in (1, 2, 4, 8, 16)}


def box(
    xy: Any, shape: Any, size: Any, value: Any, dtype: Any, axes: Any, grid: Any, return_weight: bool, out: Any
) -> Any:
    """`encode.box` of CUDA arrays, as `_draw_cuda.drawn` says."""

    def call() -> Any:
        height, width = canvas(shape)
        pixels = type_of_pixels(dtype)
        reach = radius("size", size, height, width)
        pixel = pixel_value("value", value, pixels)
        return drawn(encoders, xy, shape, pixels, axes, grid, return_weight, out, pixel, reach)

    return recall(("encode.box", repr((shape, size, value, axes)), dtype, return_weight), grid, xy, out, call)
