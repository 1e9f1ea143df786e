"""Who visits which pixel of a heatmap on a GPU.

A map is read by one warp, or by one block if it is larger, twice, or three times for second moments: for the largest
pixel, for the mass and the mean, for the moments about the mean. What is read again comes from the caches. Groups are
of 16 bytes; what fills none at either end of a map, and maps whose pixels do not stand side by side, are read pixel by
pixel, as are windows.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import Maps
from fastcoord._compile import inlined
from fastcoord._decode_cuda import decoded
from fastcoord._exponential import rate
from fastcoord._launch import (
    GROUP,
    WARP,
    Layout,
    block_merge,
    block_share,
    column_and_row,
    first_element,
    flat_memory,
    launch,
    layouts,
    load_four,
    load_sixteen,
    moved,
    next_pixel,
    warp_merge,
    warp_share,
    words,
)
from fastcoord._placement_cuda import placed
from fastcoord._reciprocal import reciprocal
from fastcoord._vector import convert, like, maximum, select
from fastcoord.decode._soft_argmax.formula import (
    INFINITY,
    NO_NUMBER,
    absorb,
    absorb_pixel,
    add_kept,
    all_of,
    finish,
    keep,
    keep_first,
    merge_kept,
    nearest,
    no_second,
    nothing,
    weight,
)
from fastcoord.results import Decoded

AHEAD = 4  # groups of floats that a lane loads before it looks at them
THREADS = 256  # in a block
WARP_PIXELS = 1 << 12  # the largest map that one warp reads; not measured
NOWHERE = np.int32((1 << 31) - 1)


# What is done at a pixel: absorb(sums, value, position, column, row, given), given is of all pixels alike


@inlined
def _find(found: Any, value: Any, position: Any, column: Any, row: Any, given: Any) -> Any:
    """The largest value, where it is first, and whether there is NaN."""
    largest, first, is_spoilt = found
    is_greater = value > largest
    is_first = (value == largest) & (position < first)
    return (
        maximum(value, largest),
        select(is_greater | is_first, position, first),
        select(value != value, like(position, 1), is_spoilt),
    )


@inlined
def _merge_found(a: Any, b: Any) -> Any:
    found = _find(a, b[0], b[1], b[1], b[1], a)
    return found[0], found[1], maximum(a[2], b[2])


@inlined
def _keep_found(kept: Any, found: Any) -> Any:
    return found


@inlined
def _absorb_first(sums: Any, value: Any, position: Any, column: Any, row: Any, given: Any) -> Any:
    unit = given[0]
    w = weight(value, given[0], (given[1], given[2]))
    return absorb(sums, w, convert(column, unit), convert(row, unit))


@inlined
def _absorb_second(sums: Any, value: Any, position: Any, column: Any, row: Any, given: Any) -> Any:
    unit = given[0]
    w = weight(value, given[0], (given[1], given[2]))
    return absorb_pixel(sums, w, convert(column, unit) - given[3], convert(row, unit) - given[4])


def _visitor(load: Any, items: int, absorb_one: Any, keep_block: Any, is_block_new: bool) -> Any:
    """How a lane visits a map whose pixels stand side by side, `items` of them in a group.

    `is_block_new`: the sums of some groups are kept by themselves, from `nil` on; else they are added to what there is.
    """

    @inlined
    def absorb_next(sums: Any, value: Any, position: Any, column: Any, row: Any, layout: Any, given: Any) -> Any:
        sums = absorb_one(sums, convert(value, given[0]), np.int32(position), column, row, given)
        column, row = next_pixel(column, row, layout)
        return sums, column, row

    @inlined
    def absorb_four(sums: Any, values: Any, position: Any, column: Any, row: Any, layout: Any, given: Any) -> Any:
        a, b, c, d = values
        sums, column, row = absorb_next(sums, a, position, column, row, layout, given)
        sums, column, row = absorb_next(sums, b, position + 1, column, row, layout, given)
        sums, column, row = absorb_next(sums, c, position + 2, column, row, layout, given)
        return absorb_next(sums, d, position + 3, column, row, layout, given)

    @inlined
    def visit(images: Any, first: int, layout: Any, lane: int, lanes: int, given: Any, nil: Any, kept: Any) -> Any:
        pixels = layout.rows * layout.columns
        head = min((layout.before - first) & (items - 1), pixels)  # pixels before the first group
        groups = (pixels - head) // items
        tail = pixels - head - groups * items
        if lane < head + tail:
            position = lane if lane < head else pixels - tail + lane - head
            column, row = column_and_row(position, layout)
            value = images[np.uint64(first + position)]
            sums = nil if is_block_new else kept
            sums, _column, _row = absorb_next(sums, value, position, column, row, layout, given)
            kept = keep_block(kept, sums)
        start = first + head
        column, row = column_and_row(head + lane * items, layout)
        group = lane
        while group < groups:
            sums = nil if is_block_new else kept
            position = head + group * items
            if items == AHEAD:  # four groups of four floats; one of bytes has as many values
                # Beyond the last group it is the last one again: no branch stands between the loads.
                a = load(images, start + items * group)
                b = load(images, start + items * min(group + lanes, groups - 1))
                c = load(images, start + items * min(group + 2 * lanes, groups - 1))
                d = load(images, start + items * min(group + 3 * lanes, groups - 1))
                for values in (a, b, c, d):
                    if group < groups:
                        position = head + group * items
                        sums, _column, _row = absorb_four(sums, values, position, column, row, layout, given)
                    group += lanes
                    column, row = moved(column, row, layout)
            else:
                values = load(images, start + items * group)
                sums, x, y = absorb_four(sums, values[:4], position, column, row, layout, given)
                sums, x, y = absorb_four(sums, values[4:8], position + 4, x, y, layout, given)
                sums, x, y = absorb_four(sums, values[8:12], position + 8, x, y, layout, given)
                sums, _column, _row = absorb_four(sums, values[12:], position + 12, x, y, layout, given)
                group += lanes
                column, row = moved(column, row, layout)
            kept = keep_block(kept, sums)
        return kept

    @inlined
    def visit_pixels(
        images: Any, first: int, layout: Any, lane: int, lanes: int, given: Any, nil: Any, kept: Any
    ) -> Any:
        pixels = layout.rows * layout.columns
        column, row = column_and_row(lane, layout)
        position = lane
        while position < pixels:
            sums = nil if is_block_new else kept
            at = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
            value = convert(images[np.uint64(at)], given[0])
            kept = keep_block(kept, absorb_one(sums, value, np.int32(position), column, row, given))
            column, row = moved(column, row, layout)
            position += lanes
        return kept

    return visit if items > 1 else visit_pixels


@inlined
def part_of(layout: Any, rows: Any, columns: Any, lanes: Any) -> Any:
    """The layout of so many rows and columns of a map that are visited pixel by pixel."""
    quotient: Any = np.uint32(lanes) // np.uint32(columns)
    rows_on: Any = np.int64(quotient)
    return Layout(
        layout.start,
        layout.outer_stride,
        layout.inner_count,
        layout.inner_stride,
        layout.row_stride,
        layout.column_stride,
        rows,
        columns,
        layout.before,
        lanes - rows_on * columns,
        rows_on,
    )


@inlined
def where(has_blocks: bool) -> Any:
    """The lane, how many there are, and the number of their map."""
    if has_blocks:
        return cuda.threadIdx.x, cuda.blockDim.x, cuda.blockIdx.x
    return (
        cuda.threadIdx.x % WARP,
        WARP,
        cuda.blockIdx.x * (cuda.blockDim.x // WARP) + cuda.threadIdx.x // WARP,
    )


def finder(load: Any, items: int, has_blocks: bool, has_window: bool) -> Any:
    """How the lanes of a map find its largest pixel and its first moments."""
    merged = block_merge if has_blocks else warp_merge
    share = block_share if has_blocks else warp_share
    merge_found, merge_first = merged(_merge_found), merged(add_kept)
    search = _visitor(load, items, _find, _keep_found, False)
    sum_first = _visitor(load, 1 if has_window else items, _absorb_first, keep_first, True)

    @inlined
    def find(images: Any, first: int, layout: Any, lane: int, lanes: int, window: int, rate: Any) -> Any:
        """The largest pixel, the part of the map that counts, and in lane 0 its mass and its first moments.

        The part is its first element, its first column and row, and its layout; moments are about its corner.
        """
        factor, least = rate
        nil = factor - factor
        nobody = like(factor, -INFINITY), NOWHERE, np.int32(0)
        given = (factor, factor, least, nil, nil)
        found = share(merge_found(search(images, first, layout, lane, lanes, given, nobody, nobody)))
        left: Any = np.int64(0)
        top: Any = np.int64(0)
        area = layout
        if has_window:
            # there is no first one if all are NaN
            column, row = column_and_row(min(found[1], layout.rows * layout.columns - 1), layout)
            left, top = max(column - window, 0), max(row - window, 0)
            columns = min(column + window + 1, layout.columns) - left
            area = part_of(layout, min(row + window + 1, layout.rows) - top, columns, lanes)
            first += top * layout.row_stride + left * layout.column_stride
        given = (found[0], factor, least, nil, nil)
        none = nothing(nil)
        kept = merge_first(sum_first(images, first, area, lane, lanes, given, none, none + none))
        mass = select(found[0] == like(factor, -INFINITY), nil, kept[0] + kept[3])
        mass = select(found[2] != 0, like(mass, NO_NUMBER), mass)
        return found[0], first, left, top, area, mass, kept[1] + kept[4], kept[2] + kept[5]

    return find


def _decoder(load: Any, items: int, has_blocks: bool, has_covariance: bool, has_window: bool) -> Any:
    """A kernel with one block a map, or with one warp a map and so several maps a block."""
    find = finder(load, items, has_blocks, has_window)
    share = block_share if has_blocks else warp_share
    merge_second = (block_merge if has_blocks else warp_merge)(merge_kept)
    sum_second = _visitor(load, 1 if has_window else items, _absorb_second, keep, True)

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(
        images: Any,
        layout: Any,
        first_map: int,
        maps: int,
        window: int,
        rate: Any,
        numbers: Any,
        each: Any,
        has_each: bool,
        xy: Any,
        score: Any,
        spread: Any,
        status: Any,
    ) -> None:
        lane, lanes, i = where(has_blocks)
        if i < maps:  # the same for all that merge
            factor, least = rate
            nil = factor - factor
            first = first_element(i, layout)
            greatest, first, left, top, area, mass, x, y = find(images, first, layout, lane, lanes, window, rate)
            centre_x, centre_y = nil, nil
            second = no_second(nil)
            if has_covariance:
                mass, x, y = share((mass, x, y))
                part = reciprocal(mass)
                centre_x, centre_y = nearest(x * part), nearest(y * part)
                given = (greatest, factor, least, centre_x, centre_y)
                sums = sum_second(images, first, area, lane, lanes, given, second, second + second)
                second = all_of(merge_second(sums))
                x, y = second[1], second[2]
            if lane == 0:
                right, down = centre_x + convert(left, factor), centre_y + convert(top, factor)
                state = (greatest, mass, right, down, x, y, second[3], second[4], second[5])
                x, y, probability, xx, of_xy, yy, flags = finish(state)
                x, y = placed(x, y, first_map + i, numbers, each, has_each)
                at = np.uint64(first_map + i)
                xy[np.uint64(2 * (first_map + i))] = x
                xy[np.uint64(2 * (first_map + i) + 1)] = y
                score[at] = probability
                status[at] = flags
                if has_covariance:
                    spread[np.uint64(4 * (first_map + i))] = xx
                    spread[np.uint64(4 * (first_map + i) + 1)] = of_xy
                    spread[np.uint64(4 * (first_map + i) + 2)] = of_xy
                    spread[np.uint64(4 * (first_map + i) + 3)] = yy

    return decode


_LOADS = {4: load_four, 16: load_sixteen, 1: load_four}  # the last one is not used
_WAYS = [(covariance, window) for covariance in (False, True) for window in (False, True)]
all_by_warps = {way: {items: _decoder(load, items, False, *way) for items, load in _LOADS.items()} for way in _WAYS}
all_by_blocks = {way: {items: _decoder(load, items, True, *way) for items, load in _LOADS.items()} for way in _WAYS}
by_warps, by_blocks = all_by_warps[False, False], all_by_blocks[False, False]


def soft_argmax(
    heatmaps: Any, temperature: float, covariance: bool, window: int | None, axes: Any, grid: Any, out: Any
) -> Decoded:
    """`decode.soft_argmax` of CUDA arrays, as `_decode_cuda.decoded` says."""

    def launch_all(read: Maps, array: Any, placement: Any, written: Any) -> None:
        dtype, height, width = read.memory.dtype, read.height, read.width
        is_whole = read.column_stride == 1 and read.row_stride == width
        has_groups = is_whole and (dtype.itemsize == 1 or dtype == np.float32) and read.memory.nbytes >= 2 * GROUP
        items = GROUP // dtype.itemsize if has_groups else 1
        way = covariance, window is not None
        if height * width <= WARP_PIXELS:
            decode, lanes, maps_in_block = all_by_warps[way][items], WARP, THREADS // WARP
        else:
            decode, lanes, maps_in_block = all_by_blocks[way][items], THREADS, 1
        memory = flat_memory("heatmaps", read.memory, array)
        _whole, before = words(read.memory, array)
        rates = tuple(rate(temperature, np.dtype(np.float64 if dtype == np.float64 else np.float32)))
        reach = 0 if window is None else min(window, height + width)
        xy, score, spread, status = written
        members = xy, score, xy if spread is None else spread, status
        blocks = -(-read.count // maps_in_block)
        for number, layout in enumerate(layouts(read, before, lanes * items)):
            options = layout, number * read.count, read.count, reach, rates
            launch(decode, blocks, THREADS, array, memory, *options, *placement, *members)

    return decoded("heatmaps", heatmaps, axes, grid, out, launch_all, covariance)
