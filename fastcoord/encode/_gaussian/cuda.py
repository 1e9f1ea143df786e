"""Who visits which pixel of a Gaussian that is written on a GPU: a warp a map, or a tile of one.

A lane computes the factors of its pixels, groups of four that stand side by side, itself; whether it would be faster to
keep an axis where all lanes can read it was not measured. For `norm="sum"` the warp first adds up both axes.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._draw_cuda import drawn, position_of_point, type_of_pixels
from fastcoord._gaussian_axis import factors, is_finite, part, placed_axis
from fastcoord._lanes import (
    WARP,
    column_and_row,
    first_element,
    lone_pixel,
    moved,
    next_pixel,
    warp_merge,
    warp_share,
)
from fastcoord._recorded import recall
from fastcoord._vector import convert, like, select
from fastcoord._wide import store_four
from fastcoord.encode._gaussian.formula import added

FOUR = 4  # pixels in a group

_warp_sum = warp_merge(added)


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
        rates: Any,
        reaches: Any,
        mode: int,
        is_sum: bool,
    ) -> None:
        lane = cuda.threadIdx.x % WARP
        task = cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP
        i: Any = np.int64(np.uint32(task) // np.uint32(tiles))
        if i < maps:
            tile = task - i * tiles
            point = first_in_points_layout + i
            placement = numbers, each, has_each
            x, y = position_of_point(point, points, points_layout, point_unit, first_map + i, *placement)
            is_here = is_finite(x) and is_finite(y)
            x, y = select(is_here, x, like(x, 0)), select(is_here, y, like(y, 0))
            across_rate, down_rate = (rates[0], rates[1]), (rates[2], rates[3])
            left, right, middle, past_middle, has_columns = placed_axis(x, convert(reaches[0], x), mode, layout.columns)
            top, bottom, centre, past_centre, has_rows = placed_axis(y, convert(reaches[1], y), mode, layout.rows)
            is_here = is_here and has_columns and has_rows
            bottom = bottom if is_here else top
            share, nil = unit, unit - unit
            if is_sum:
                totals = nil, nil
                k = left + lane
                while k < right:
                    totals = totals[0] + factors(nil, k, left, right, middle, past_middle, across_rate), totals[1]
                    k += WARP
                k = top + lane
                while k < bottom:
                    totals = totals[0], totals[1] + factors(nil, k, top, bottom, centre, past_centre, down_rate)
                    k += WARP
                totals = warp_share(_warp_sum(totals))
                share = part(totals[0]) * part(totals[1])
            begin = tile * tile_pixels
            count = min(layout.rows * layout.columns - begin, tile_pixels)
            first = first_element(first_in_layout + i, layout)
            head, groups, tail = 0, 0, count
            if items > 1:
                first += begin
                head = min((layout.before - first) & (items - 1), count)
                groups = (count - head) // items
                tail = count - head - groups * items
                if lane < head + tail:
                    position = lone_pixel(lane, head, groups, items)
                    column, row = column_and_row(begin + position, layout)
                    across = factors(nil, column, left, right, middle, past_middle, across_rate)
                    down = factors(nil, row, top, bottom, centre, past_centre, down_rate) * share
                    images[np.uint64(first + position)] = across * down
                group = lane
                while group < groups:
                    position = head + group * items
                    column, row = column_and_row(begin + position, layout)
                    down = factors(nil, row, top, bottom, centre, past_centre, down_rate) * share
                    a = factors(nil, column, left, right, middle, past_middle, across_rate) * down
                    on, below = next_pixel(column, row, layout)
                    if below != row:
                        down = factors(nil, below, top, bottom, centre, past_centre, down_rate) * share
                    b = factors(nil, on, left, right, middle, past_middle, across_rate) * down
                    column, row = next_pixel(on, below, layout)
                    if below != row:
                        down = factors(nil, row, top, bottom, centre, past_centre, down_rate) * share
                    c = factors(nil, column, left, right, middle, past_middle, across_rate) * down
                    on, below = next_pixel(column, row, layout)
                    if below != row:
                        down = factors(nil, below, top, bottom, centre, past_centre, down_rate) * share
                    d = factors(nil, on, left, right, middle, past_middle, across_rate) * down
                    store_four(images, first + position, a, b, c, d)
                    group += WARP
            else:
                position = lane
                column, row = column_and_row(begin + lane, layout)
                while position < count:
                    there = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
                    across = factors(nil, column, left, right, middle, past_middle, across_rate)
                    down = factors(nil, row, top, bottom, centre, past_centre, down_rate) * share
                    images[np.uint64(there)] = across * down
                    column, row = moved(column, row, layout)
                    position += WARP
            if lane == 0 and tile == 0:
                weight[np.uint64(first_map + i)] = 1 if is_here else 0

    return encode


# Groups of two float64 are written one by one: each takes a power of 14 terms
encoders = {1: _encoder(1), FOUR: _encoder(FOUR)}
encoders[2] = encoders[1]


def gaussian(
    xy: Any,
    shape: Any,
    rates: Any,
    reaches: Any,
    mode: int,
    is_sum: bool,
    dtype: Any,
    axes: Any,
    grid: Any,
    return_weight: bool,
    out: Any,
) -> Any:
    """`encode.gaussian` of CUDA arrays, as `_draw_cuda.drawn` says; `rates` and `reaches` are those of all points."""

    def call() -> Any:
        numbers = rates, reaches, mode, is_sum
        return drawn(encoders, xy, shape, type_of_pixels(dtype), axes, grid, return_weight, out, 1, *numbers)

    key = "encode.gaussian", repr((shape, rates, reaches, mode, is_sum, axes))
    return recall((*key, dtype, return_weight), grid, xy, out, call)
