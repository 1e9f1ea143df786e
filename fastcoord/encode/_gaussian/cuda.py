"""Who visits which pixel of a Gaussian that is written on a GPU: a warp a map, or a tile of one.

A lane computes the factors of its pixels, groups of four that stand side by side, itself; whether it would be faster to
keep an axis where all lanes can read it was not measured. For `norm="sum"` the warp first adds up both axes.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._compile import inlined
from fastcoord._draw_cuda import drawn, position_of_point, type_of_pixels
from fastcoord._gaussian_axis import factors, part
from fastcoord._gaussian_cuda import axes_of_point, axis_sums, size_of_point, sizes_on_device
from fastcoord._lanes import (
    WARP,
    column_and_row,
    first_element,
    lone_pixel,
    moved,
    next_pixel,
)
from fastcoord._launch import described
from fastcoord._recorded import recall
from fastcoord._wide import store_four
from fastcoord.encode._gaussian.formula import joined

FOUR = 4  # pixels in a group


@inlined
def _share(across_axis: Any, down_axis: Any, is_sum: Any, lane: Any, unit: Any) -> Any:
    """What to multiply all pixels by; for their sum the whole warp meets here."""
    share = unit
    if is_sum:
        nil = unit - unit
        share = part(axis_sums(across_axis, lane, nil)[0]) * part(axis_sums(down_axis, lane, nil)[0])
    return share


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
        sizes: Any,
        each_sizes: Any,
        has_sizes: bool,
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
            size = size_of_point(first_map + i, sizes, each_sizes, has_sizes)
            across_axis, down_axis, is_here = axes_of_point(x, y, layout.columns, layout.rows, size, mode)
            share = _share(across_axis, down_axis, is_sum, lane, unit)
            left, right, middle, past_middle, across_rate = across_axis
            top, bottom, centre, past_centre, down_rate = down_axis
            nil = unit - unit
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


@cuda.jit  # type: ignore[untyped-decorator]
def join(
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
    sizes: Any,
    each_sizes: Any,
    has_sizes: bool,
    mode: int,
    is_sum: bool,
    points_in_map: int,
    adds: bool,
) -> None:
    """Several points in a map: each lane joins one after the other into its own pixels, which the caches keep."""
    lane = cuda.threadIdx.x % WARP
    task = cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP
    i: Any = np.int64(np.uint32(task) // np.uint32(tiles))
    if i < maps:
        tile = task - i * tiles
        begin = tile * tile_pixels
        count = min(layout.rows * layout.columns - begin, tile_pixels)
        first = first_element(first_in_layout + i, layout)
        nil = unit - unit
        position = lane
        column, row = column_and_row(begin + lane, layout)
        while position < count:
            images[np.uint64(first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride)] = nil
            column, row = moved(column, row, layout)
            position += WARP
        for p in range(points_in_map):
            number = (first_map + i) * points_in_map + p
            point = first_in_points_layout + i * points_in_map + p
            x, y = position_of_point(point, points, points_layout, point_unit, first_map + i, numbers, each, has_each)
            size = size_of_point(number, sizes, each_sizes, has_sizes)
            across_axis, down_axis, is_here = axes_of_point(x, y, layout.columns, layout.rows, size, mode)
            share = _share(across_axis, down_axis, is_sum, lane, unit)
            left, right, middle, past_middle, across_rate = across_axis
            top, bottom, centre, past_centre, down_rate = down_axis
            position = lane
            column, row = column_and_row(begin + lane, layout)
            while position < count:
                if column >= left and column < right and row >= top and row < bottom:
                    there = np.uint64(
                        first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
                    )
                    across = factors(nil, column, left, right, middle, past_middle, across_rate)
                    down = factors(nil, row, top, bottom, centre, past_centre, down_rate) * share
                    images[there] = joined(images[there], across * down, adds)
                column, row = moved(column, row, layout)
                position += WARP
            if lane == 0 and tile == 0:
                weight[np.uint64(number)] = 1 if is_here else 0


# Groups of two float64 are written one by one: each takes a power of 14 terms
encoders = {1: _encoder(1), FOUR: _encoder(FOUR)}
encoders[2] = encoders[1]


joiners = dict.fromkeys((1, 2, FOUR), join)


def gaussian(
    xy: Any,
    shape: Any,
    sigmas: Any,
    within: float | None,
    working: Any,
    mode: int,
    is_sum: bool,
    reduce: str | None,
    dtype: Any,
    axes: Any,
    grid: Any,
    return_weight: bool,
    out: Any,
) -> Any:
    """`encode.gaussian` of CUDA arrays, as `_draw_cuda.drawn` says; the options are those of the CPU's kernel."""

    def call() -> Any:
        sizes = sizes_on_device(xy, sigmas, within, working, mode)
        options: tuple[Any, ...] = (*sizes, mode, is_sum)
        if reduce is not None:
            points_in_map = described("xy", xy).shape[-2:-1]
            options = *options, points_in_map[0] if points_in_map else 1, reduce == "sum"
        where = xy, shape, type_of_pixels(dtype), axes, grid, return_weight, out
        return drawn(encoders if reduce is None else joiners, *where, 1, *options, joins=reduce)

    key = None
    if np.ndim(sigmas) <= 1:  # else its numbers are copied to the device
        key = "encode.gaussian", repr((shape, sigmas, within, mode, is_sum, reduce, axes)), dtype, return_weight
    return recall(key, grid, xy, out, call)
