"""Who visits which pixel of the discs round points on a GPU: a warp the zeros of a map, then the square round its disc.

A pixel of the disc is written twice, but the first time it only reaches the cache. Offsets on all pixels, and maps
whose pixels do not stand side by side, are written pixel by pixel.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._draw_cuda import clear, drawn, position_of_point
from fastcoord._lanes import WARP, column_and_row, first_element, moved
from fastcoord._recorded import recall
from fastcoord._vector import convert, is_finite, like
from fastcoord.encode._offsets.formula import DISC, has_pixels, held, is_inside, near


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
        members: int,
        radius: Any,
        scale: Any,
        is_whole: bool,
    ) -> None:
        lane = cuda.threadIdx.x % WARP
        task = cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP
        i: Any = np.int64(np.uint32(task) // np.uint32(tiles))
        if i < maps:
            tile = task - i * tiles
            number: Any = np.int64(np.uint32(first_map + i) // np.uint32(members))
            kind = 3 - members + first_map + i - number * members  # without the disc, those after it
            point: Any = np.int64(np.uint32(first_in_points_layout + i) // np.uint32(members))
            placement = numbers, each, has_each
            x, y = position_of_point(point, points, points_layout, point_unit, number, *placement)
            x, y = convert(x, radius), convert(y, radius)
            is_here = is_finite(x) and is_finite(y)
            x, y = x if is_here else like(x, 0), y if is_here else like(y, 0)
            is_here = is_here and (is_whole or has_pixels(x, y, radius, layout.columns, layout.rows))
            is_everywhere = is_whole and kind != DISC
            zero = like(unit, 0)
            begin = tile * tile_pixels
            count = min(layout.rows * layout.columns - begin, tile_pixels)
            first = first_element(first_in_layout + i, layout)
            if items > 1 and not is_everywhere:
                first += begin
                clear(images, whole, first, count, layout.before, items, lane, zero)
                cuda.syncwarp()  # until then another lane may be writing a zero to one of the disc
                left, right = near(x, radius, layout.columns)
                top, bottom = near(y, radius, layout.rows)
                # No row of another tile: else a large map would take as many steps as tiles by pixels of a disc
                top = max(top, np.int64(np.uint32(begin) // np.uint32(layout.columns)))
                bottom = min(bottom, np.int64(np.uint32(begin + count - 1) // np.uint32(layout.columns)) + 1)
                wide = max(right - left, 1)
                pixels_near = wide * max(bottom - top, 0) if is_here else 0
                k: Any = np.int64(lane)
                while k < pixels_near:
                    down: Any = np.int64(np.uint32(k) // np.uint32(wide))
                    column, row = left + k - down * wide, top + down
                    position = row * layout.columns + column - begin
                    if position >= 0 and position < count and is_inside(x - like(x, column), y - like(y, row), radius):
                        images[np.uint64(first + position)] = held(kind, zero, column, row, x, y, scale, unit)
                    k += WARP
            else:
                position = lane
                column, row = column_and_row(begin + lane, layout)
                while position < count:
                    there = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
                    is_hot = is_everywhere or is_inside(x - like(x, column), y - like(y, row), radius)
                    value = held(kind, zero, column, row, x, y, scale, unit)
                    images[np.uint64(there)] = value if is_here and is_hot else zero
                    column, row = moved(column, row, layout)
                    position += WARP
            if lane == 0 and tile == 0 and first_map + i == number * members:
                weight[np.uint64(number)] = 1 if is_here else 0

    return encode


# As many items as groups of 16 bytes have: of float64, of float32
encoders = {items: _encoder(items) for items in (1, 2, 4)}


def offsets(
    xy: Any,
    shape: Any,
    members: int,
    radius: float,
    scale: float,
    is_whole: bool,
    dtype: Any,
    axes: Any,
    grid: Any,
    return_weight: bool,
    out: Any,
) -> Any:
    """`encode.offsets` of CUDA arrays, as `_draw_cuda.drawn` says; the numbers are those of the CPU's kernel."""

    def call() -> Any:
        numbers = members, np.float64(radius), np.float64(scale), is_whole
        return drawn(encoders, xy, shape, dtype, axes, grid, return_weight, out, 1, *numbers, members=members)

    key = "encode.offsets", repr((shape, members, radius, scale, is_whole, axes)), dtype, return_weight
    return recall(key, grid, xy, out, call)
