"""Who visits which pixel of a Gaussian that is written on a GPU: a warp a map, or a tile of one.

A lane computes the factors of its pixels, groups of four that stand side by side, itself; whether it would be faster to
keep an axis where all lanes can read it was not measured. For `norm="sum"` the warp first adds up both axes.
"""

import functools
from typing import Any

import numpy as np
from numba import cuda

from fastcoord._compile import inlined
from fastcoord._draw_cuda import drawn, position_of_point, type_of_pixels
from fastcoord._gaussian_axis import factors, is_finite, part, placed_axis
from fastcoord._gaussian_options import shape_fitted, sizes_of
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
from fastcoord._launch import described, device_of, require_cuda, stream_of
from fastcoord._placement import numbers_at
from fastcoord._recorded import recall
from fastcoord._vector import convert, like, select
from fastcoord._wide import store_four
from fastcoord.encode._gaussian.formula import added, joined

FOUR = 4  # pixels in a group
SIZES = 8  # numbers of a point

_warp_sum = warp_merge(added)


@inlined
def size_of_point(i: Any, sizes: Any, each: Any, has_each: Any) -> Any:
    """Of point `i`, for x and then for y: the rate of its powers, two numbers, 1/σ, and how far the axis reaches."""
    if has_each:
        return numbers_at(each, np.int64(i) * SIZES)
    return sizes


@inlined
def placed_axes(x: Any, y: Any, layout: Any, size: Any, mode: Any) -> Any:
    """Of both axes of a point the first pixel, that after the last, the centre and the rate; and if there is any pixel.

    Where there is none, there is none on either axis.
    """
    is_here = is_finite(x) and is_finite(y)
    x, y = select(is_here, x, like(x, 0)), select(is_here, y, like(y, 0))
    across_rate, down_rate = (size[0], size[1]), (size[4], size[5])
    left, right, middle, past_middle, has_columns = placed_axis(x, convert(size[3], x), mode, layout.columns)
    top, bottom, centre, past_centre, has_rows = placed_axis(y, convert(size[7], y), mode, layout.rows)
    is_here = is_here and has_columns and has_rows
    right, bottom = right if is_here else left, bottom if is_here else top
    return (left, right, middle, past_middle, across_rate), (top, bottom, centre, past_centre, down_rate), is_here


@inlined
def _share(across_axis: Any, down_axis: Any, is_sum: Any, lane: Any, unit: Any) -> Any:
    """What to multiply all pixels by; for their sum all lanes of the warp meet here."""
    left, right, middle, past_middle, across_rate = across_axis
    top, bottom, centre, past_centre, down_rate = down_axis
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
            across_axis, down_axis, is_here = placed_axes(x, y, layout, size, mode)
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
            across_axis, down_axis, is_here = placed_axes(x, y, layout, size, mode)
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
