"""Who visits which pixel of a heatmap on a GPU.

A map is read by one warp, or by one block if it is larger, in groups of 16 bytes; what fills no group at either end of
a map, windows, and maps whose pixels do not stand side by side, are read pixel by pixel. The moments are taken about
the top left pixel first. Where a covariance is wanted the map is read once more, about the pixel nearest to its centre
of mass, and where the sums exceed their type once more, each pixel made smaller.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import Maps
from fastcoord._compile import inlined
from fastcoord._decode_cuda import decoded
from fastcoord._launch import (
    FULL_WARP,
    GROUP,
    WARP,
    block_merge,
    column_and_row,
    first_element,
    flat_memory,
    launch,
    layouts,
    load_four,
    load_sixteen,
    next_pixel,
    warp_merge,
    words,
)
from fastcoord._placement_cuda import placed
from fastcoord._vector import convert, like
from fastcoord.decode._center_of_mass.formula import (
    HUGE,
    TINY,
    absorb_pixel,
    compared_type,
    counted,
    finish,
    is_finite,
    larger,
    limits,
    mean,
    merge_keeping,
    nearest,
    nothing,
    number_type,
    past,
    status_of,
    total,
)
from fastcoord.results import Decoded

FOUR = 4  # floats in a group; to load four groups at once takes 94 registers
THREADS = 256  # in a block
FACTS = 12  # numbers of a map, of which the gradient is made
WARP_PIXELS = 1 << 12  # the largest map that one warp reads; not measured
PLAIN = 16  # pixels that are added up before what rounding takes is kept
NOWHERE = np.int32((1 << 31) - 1)
DONE, CENTERED, SMALLER = 0, 1, 2  # what a warp or a block does next


@inlined
def _larger(a: Any, b: Any) -> Any:
    return larger(a, b, NOWHERE)


@inlined
def _absorb(moments: Any, value: Any, column: Any, row: Any, about: Any) -> Any:
    """The moments after one more pixel; `about`: their centre, what a pixel is times, and the limits of `counted`."""
    center_x, center_y, times, least, of_nan = about
    number = counted(convert(value, times), least, of_nan) * times
    return absorb_pixel(moments, number, convert(column - center_x, times), convert(row - center_y, times))


@inlined
def _absorb_four(moments: Any, values: Any, column: Any, row: Any, layout: Any, about: Any) -> Any:
    a, b, c, d = values
    moments = _absorb(moments, a, column, row, about)
    column, row = next_pixel(column, row, layout)
    moments = _absorb(moments, b, column, row, about)
    column, row = next_pixel(column, row, layout)
    moments = _absorb(moments, c, column, row, about)
    column, row = next_pixel(column, row, layout)
    moments = _absorb(moments, d, column, row, about)
    column, row = next_pixel(column, row, layout)
    return moments, column, row


@inlined
def _absorb_sixteen(moments: Any, values: Any, column: Any, row: Any, layout: Any, about: Any) -> Any:
    moments, column, row = _absorb_four(moments, values[:4], column, row, layout, about)
    moments, column, row = _absorb_four(moments, values[4:8], column, row, layout, about)
    moments, column, row = _absorb_four(moments, values[8:12], column, row, layout, about)
    return _absorb_four(moments, values[12:], column, row, layout, about)


def _by_groups(load: Any, absorb_group: Any, items: int) -> Any:
    """How a lane adds up a map whose pixels stand side by side, `items` of them in a group."""

    @inlined
    def visit(images: Any, first: int, layout: Any, lane: int, lanes: int, about: Any) -> Any:
        zero = like(about[2], 0)
        kept = nothing(zero) + nothing(zero)
        pixels = layout.rows * layout.columns
        head = min((layout.before - first) & (items - 1), pixels)  # pixels before the first group
        groups = (pixels - head) // items
        tail = pixels - head - groups * items
        if lane < head + tail:
            pixel = lane if lane < head else pixels - tail + lane - head
            column, row = column_and_row(pixel, layout)
            one = _absorb(nothing(zero), images[np.uint64(first + pixel)], column, row, about)
            kept = merge_keeping(kept, one + nothing(zero))
        start = first + head
        group = lane
        while group < groups:
            some = nothing(zero)
            if items == FOUR:  # two groups of four floats; one of bytes has more values
                # Beyond the last group it is the last one again: no branch stands between the loads.
                a = load(images, start + items * group)
                b = load(images, start + items * min(group + lanes, groups - 1))
                for values in (a, b):
                    if group < groups:
                        column, row = column_and_row(head + group * items, layout)
                        some, _column, _row = absorb_group(some, values, column, row, layout, about)
                    group += lanes
            else:
                column, row = column_and_row(head + group * items, layout)
                values = load(images, start + items * group)
                some, _column, _row = absorb_group(some, values, column, row, layout, about)
                group += lanes
            kept = merge_keeping(kept, some + nothing(zero))
        return kept

    return visit


@inlined
def _place_in(region: Any, pixel: Any) -> Any:
    """The column and the row, in the map, of a pixel of a region (top, left, rows, columns) of it."""
    top, left, _rows, columns = region
    row: Any = np.uint32(pixel) // np.uint32(columns)
    return np.int32(left + pixel - np.int64(row) * columns), np.int32(top + row)


@inlined
def _element(first: Any, layout: Any, column: Any, row: Any) -> Any:
    return np.uint64(first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride)


@inlined
def _by_pixels(images: Any, first: int, layout: Any, region: Any, lane: int, lanes: int, about: Any) -> Any:
    """How a lane adds up a region of a map with any strides and any type of pixels."""
    zero = like(about[2], 0)
    kept = nothing(zero) + nothing(zero)
    pixels = region[2] * region[3]
    pixel = lane
    while pixel < pixels:
        some = nothing(zero)
        for _ in range(PLAIN):
            if pixel < pixels:
                column, row = _place_in(region, pixel)
                some = _absorb(some, images[_element(first, layout, column, row)], column, row, about)
            pixel += lanes
        kept = merge_keeping(kept, some + nothing(zero))
    return kept


@inlined
def _search(images: Any, first: int, layout: Any, lane: int, lanes: int, compared: Any) -> Any:
    """How a lane looks for the largest pixel."""
    found = like(compared, 0), NOWHERE, np.int32(0)
    region = 0, 0, layout.rows, layout.columns
    pixels = layout.rows * layout.columns
    pixel = lane
    while pixel < pixels:
        column, row = _place_in(region, pixel)
        value = convert(images[_element(first, layout, column, row)], compared)
        is_nan = value != value
        found = _larger(found, (value, NOWHERE if is_nan else np.int32(pixel), np.int32(1 if is_nan else 0)))
        pixel += lanes
    return found


def _same_for_all(has_blocks: bool) -> Any:
    """How the first lane tells three integers to all that merge."""
    if has_blocks:

        @cuda.jit(device=True)  # type: ignore[untyped-decorator]
        def told(a: Any, b: Any, c: Any) -> Any:
            shared = cuda.shared.array(3, np.int32)
            if cuda.threadIdx.x == 0:
                shared[0], shared[1], shared[2] = a, b, c
            cuda.syncthreads()
            a, b, c = shared[0], shared[1], shared[2]
            cuda.syncthreads()
            return a, b, c

    else:

        @cuda.jit(device=True)  # type: ignore[untyped-decorator]
        def told(a: Any, b: Any, c: Any) -> Any:
            return (
                cuda.shfl_sync(FULL_WARP, np.int32(a), 0),
                cuda.shfl_sync(FULL_WARP, np.int32(b), 0),
                cuda.shfl_sync(FULL_WARP, np.int32(c), 0),
            )

    return told


def _decoder(visit: Any, has_blocks: bool) -> Any:
    """A kernel with one block a map, or with one warp a map and so several maps a block."""
    merged = (block_merge if has_blocks else warp_merge)(merge_keeping)
    found_by_all = (block_merge if has_blocks else warp_merge)(_larger)
    told = _same_for_all(has_blocks)

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(
        images: Any,
        layout: Any,
        first_map: int,
        maps: int,
        unit: Any,
        compared: Any,
        window_rows: int,
        window_columns: int,
        least: Any,
        of_nan: Any,
        numbers: Any,
        each: Any,
        has_each: bool,
        has_covariance: bool,
        xy: Any,
        score: Any,
        covariance: Any,
        status: Any,
        facts: Any,
        has_facts: bool,
    ) -> None:
        if has_blocks:
            lane, lanes, i = cuda.threadIdx.x, cuda.blockDim.x, cuda.blockIdx.x
        else:
            lane, lanes = cuda.threadIdx.x % WARP, WARP
            i = cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP
        if i < maps:  # the same for all that merge
            first = first_element(i, layout)
            top, left, rows, columns, spoils = 0, 0, layout.rows, layout.columns, np.int32(0)
            if window_rows >= 0:
                _value, position, has_nan = found_by_all(_search(images, first, layout, lane, lanes, compared))
                position, spoils, _none = told(position, has_nan, 0)
                column, row = column_and_row(position, layout)
                top, left = max(row - window_rows, 0), max(column - window_columns, 0)
                rows = min(row + window_rows + 1, layout.rows) - top
                columns = min(column + window_columns + 1, layout.columns) - left
                if position == NOWHERE:
                    top, left, rows, columns = 0, 0, 0, 1
            center_x, center_y, times = np.int32(0), np.int32(0), unit
            following, is_centered = np.int32(SMALLER), False
            moments = nothing(like(unit, 0))
            while following != DONE:
                about = center_x, center_y, times, least, of_nan
                if window_rows >= 0:
                    region = top, left, rows, columns
                    kept = _by_pixels(images, first, layout, region, lane, lanes, about)
                else:
                    kept = visit(images, first, layout, lane, lanes, about)
                moments = total(merged(kept))
                following = np.int32(DONE)
                if times == unit and not is_finite(moments):
                    following = np.int32(SMALLER)
                elif has_covariance and not is_centered and status_of(moments[0]) == 0:
                    following = np.int32(CENTERED)
                    x, y = mean(moments, convert(center_x, unit), convert(center_y, unit))
                    center_x, center_y = nearest(x, layout.columns, center_x), nearest(y, layout.rows, center_y)
                following, center_x, center_y = told(following, center_x, center_y)
                if following == SMALLER:
                    times = like(unit, TINY)
                is_centered = is_centered or following == CENTERED
            if lane == 0:
                if spoils != 0:
                    moments = moments[0] + of_nan, moments[1], moments[2], moments[3], moments[4], moments[5]
                x, y, xx, xy_, yy, flags = finish(moments, convert(center_x, unit), convert(center_y, unit))
                at = first_map + i
                from_x, from_y = past(x, center_x), past(y, center_y)
                x, y = placed(x, y, at, numbers, each, has_each)
                xy[np.uint64(2 * at)] = x
                xy[np.uint64(2 * at + 1)] = y
                score[np.uint64(at)] = moments[0] if times == unit else moments[0] * like(unit, HUGE)
                status[np.uint64(at)] = flags
                if has_facts:  # of which the gradient is made
                    mass = moments[0]
                    place = FACTS * at
                    facts[np.uint64(place)] = mass if times == unit else mass * like(unit, HUGE)
                    facts[np.uint64(place + 1)], facts[np.uint64(place + 2)] = from_x, from_y
                    facts[np.uint64(place + 3)] = xx
                    facts[np.uint64(place + 4)] = xy_
                    facts[np.uint64(place + 5)] = yy
                    facts[np.uint64(place + 6)], facts[np.uint64(place + 7)] = center_x, center_y
                    facts[np.uint64(place + 8)], facts[np.uint64(place + 9)] = left, left + columns
                    facts[np.uint64(place + 10)], facts[np.uint64(place + 11)] = top, top + rows
                elif has_covariance:
                    covariance[np.uint64(4 * at)] = xx
                    covariance[np.uint64(4 * at + 1)] = xy_
                    covariance[np.uint64(4 * at + 2)] = xy_
                    covariance[np.uint64(4 * at + 3)] = yy

    return decode


@inlined
def _whole(images: Any, first: int, layout: Any, lane: int, lanes: int, about: Any) -> Any:
    """How a lane adds up a whole map that has no groups."""
    return _by_pixels(images, first, layout, (0, 0, layout.rows, layout.columns), lane, lanes, about)


_FLOATS, _BYTES = _by_groups(load_four, _absorb_four, FOUR), _by_groups(load_sixteen, _absorb_sixteen, 16)
by_warps = {4: _decoder(_FLOATS, False), 16: _decoder(_BYTES, False), 1: _decoder(_whole, False)}
by_blocks = {4: _decoder(_FLOATS, True), 16: _decoder(_BYTES, True), 1: _decoder(_whole, True)}


def center_of_mass(
    heatmaps: Any,
    window: tuple[int, int] | None,
    clip_negative: bool,
    skips_nan: bool,
    axes: Any,
    grid: Any,
    out: Any,
    covariance: bool,
) -> Decoded:
    """`decode.center_of_mass` of CUDA arrays, as `_decode_cuda.decoded` says."""

    def launch_all(read: Maps, array: Any, placement: Any, written: Any) -> None:
        xy, score, spread, status = written
        arrays = xy, score, score if spread is None else spread, status, score, False
        launch_decoders(read, array, window, clip_negative, skips_nan, placement, covariance, arrays)

    return decoded("heatmaps", heatmaps, axes, grid, out, launch_all, covariance)


def launch_decoders(
    read: Maps,
    array: Any,
    window: tuple[int, int] | None,
    clip_negative: bool,
    skips_nan: bool,
    placement: Any,
    covariance: bool,
    arrays: tuple[Any, ...],
) -> None:
    """Launch the kernels that write `arrays`, their last arguments."""
    dtype, height, width = read.memory.dtype, read.height, read.width
    is_whole = read.column_stride == 1 and read.row_stride == width
    has_groups = is_whole and (dtype.itemsize == 1 or dtype == np.float32) and read.memory.nbytes >= 2 * GROUP
    items = GROUP // dtype.itemsize if has_groups else 1
    if height * width <= WARP_PIXELS:
        decode, lanes, maps_in_block = by_warps[items], WARP, THREADS // WARP
    else:
        decode, lanes, maps_in_block = by_blocks[items], THREADS, 1
    memory = flat_memory("heatmaps", read.memory, array)
    _words, before = words(read.memory, array)
    number = number_type(dtype, height, width)
    options = (
        *(number(1), compared_type(dtype)(1), *((-1, -1) if window is None else window)),
        *(number(limit) for limit in limits(clip_negative, skips_nan)),
    )
    blocks = -(-read.count // maps_in_block)
    for order, layout in enumerate(layouts(read, before, lanes * items)):
        maps = layout, order * read.count, read.count
        launch(decode, blocks, THREADS, array, memory, *maps, *options, *placement, covariance, *arrays)
