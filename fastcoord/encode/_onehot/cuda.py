"""Who visits which pixel of a one-hot image that is written on a GPU: a warp its zeros, then one lane the hot pixel."""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import pixel_value
from fastcoord._draw_cuda import clear, drawn, pixel_of_point, type_of_pixels
from fastcoord._lanes import WARP, column_and_row, first_element, moved
from fastcoord._recorded import recall
from fastcoord._vector import convert
from fastcoord.encode._onehot.formula import NOWHERE, response


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
            x, y = pixel_of_point(point, points, points_layout, point_unit, layout, first_map + i, *placement)
            is_here = x != NOWHERE and y != NOWHERE
            value, zero = convert(response(x, y, x, y), unit) * unit, convert(0, unit)
            begin = tile * tile_pixels
            count = min(layout.rows * layout.columns - begin, tile_pixels)
            hot = y * layout.columns + x - begin if is_here else np.int64(NOWHERE)
            first = first_element(first_in_layout + i, layout)
            if items > 1:
                first += begin
                clear(images, whole, first, count, layout.before, items, lane, zero)
                cuda.syncwarp()  # until then another lane may be writing a zero to the hot pixel
                if lane == 0 and hot >= 0 and hot < count:
                    images[np.uint64(first + hot)] = value
            else:
                pixel = lane
                column, row = column_and_row(begin + lane, layout)
                while pixel < count:
                    there = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
                    images[np.uint64(there)] = value if pixel == hot else zero
                    column, row = moved(column, row, layout)
                    pixel += WARP
            if lane == 0 and tile == 0:
                weight[np.uint64(first_map + i)] = 1 if is_here else 0

    return encode


encoders = {items: _encoder(items) for items in (1, 2, 4, 8, 16)}


def onehot(xy: Any, shape: Any, dtype: Any, axes: Any, grid: Any, return_weight: bool, out: Any) -> Any:
    """`encode.onehot` of CUDA arrays, as `_draw_cuda.drawn` says."""

    def call() -> Any:
        pixels = type_of_pixels(dtype)
        return drawn(encoders, xy, shape, pixels, axes, grid, return_weight, out, pixel_value("1", 1, pixels))

    return recall(("encode.onehot", repr((shape, axes)), dtype, return_weight), grid, xy, out, call)
