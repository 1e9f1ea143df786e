"""Who visits which pixel of a heatmap on a GPU.

A map is read by one warp or one block, twice, or three times for second moments: for the largest pixel, for the mass
and the mean, for the moments about the mean. What is read again comes from the caches. Of a large map each block does
so with some rows, and a second launch merges what they found. Groups are of 16 bytes; what fills none at either end of
a map, and maps whose pixels do not stand side by side, are read pixel by pixel, as are windows.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import Maps
from fastcoord._compile import inlined
from fastcoord._decode_cuda import decoded, rows_in_part, rows_of, share, states
from fastcoord._exponential import rate
from fastcoord._lanes import (
    GROUP,
    block_merge,
    block_share,
    column_and_row,
    first_element,
    keep_state,
    kept_merge,
    lane_and_map,
    warp_merge,
    warp_share,
)
from fastcoord._launch import Layout, flat_memory, launch, layouts, words
from fastcoord._moments import merge_kept, no_moments, total
from fastcoord._placement_cuda import placed
from fastcoord._reciprocal import reciprocal
from fastcoord._vector import convert, like, select
from fastcoord._wide import load_four, load_sixteen
from fastcoord.decode._soft_argmax.formula import (
    INFINITY,
    NO_NUMBER,
    STATE,
    add_kept,
    finish,
    keep_first,
    merge,
    merge_found,
    nearest,
    nothing,
)
from fastcoord.decode._soft_argmax.visit_cuda import (
    absorb_alone,
    absorb_first,
    keep_second,
    searcher,
    visitor,
)
from fastcoord.results import Decoded

MEMBERS = STATE + 2  # of what is kept: the state and the rate


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


def finder(load: Any, items: int, has_blocks: bool, has_window: bool, is_alone: bool = False) -> Any:
    """How the lanes of a map find its largest pixel and its first moments."""
    merged = block_merge if has_blocks else warp_merge
    share_state = block_share if has_blocks else warp_share
    found_by_all, merge_first = merged(merge_found), merged(add_kept)
    by_group = 1 if has_window else items
    search, sum_first = (
        searcher(load, by_group),
        visitor(load, by_group, absorb_alone if is_alone else absorb_first, keep_first),
    )

    @inlined
    def find(images: Any, first: int, layout: Any, lane: int, lanes: int, window: int, rate: Any) -> Any:
        """The largest pixel, the part of the map that counts, and in lane 0 its mass and its first moments.

        The part is its first element, its first column and row, and its layout; moments are about its corner.
        """
        factor, least = rate
        nil = factor - factor
        searched = part_of(layout, layout.rows, layout.columns, lanes) if has_window else layout
        found = share_state(found_by_all(search(images, first, searched, lane, lanes, factor)))
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


def _state_finder(load: Any, items: int, has_blocks: bool, has_covariance: bool, has_window: bool) -> Any:
    """How the lanes of a map find its state, which lane 0 has."""
    find = finder(load, items, has_blocks, has_window, not has_covariance)
    share_state = block_share if has_blocks else warp_share
    merge_second = (block_merge if has_blocks else warp_merge)(merge_kept)
    sum_second = visitor(load, 1 if has_window else items, keep_second)

    @inlined
    def find_state(images: Any, first: Any, layout: Any, lane: Any, lanes: Any, window: Any, rate: Any) -> Any:
        factor, least = rate
        nil = factor - factor
        greatest, first, left, top, area, mass, x, y = find(images, first, layout, lane, lanes, window, rate)
        centre_x, centre_y = nil, nil
        second = no_moments(nil)
        if has_covariance:
            mass, x, y = share_state((mass, x, y))
            part = reciprocal(mass)
            centre_x, centre_y = nearest(x * part), nearest(y * part)
            given = (greatest, factor, least, centre_x, centre_y)
            sums = sum_second(images, first, area, lane, lanes, given, second, second + second)
            second = total(merge_second(sums))
            x, y = second[1], second[2]
        right, down = centre_x + convert(left, factor), centre_y + convert(top, factor)
        return greatest, mass, right, down, x, y, second[3], second[4], second[5]

    return find_state


@inlined
def _answer(state: Any, at: Any, numbers: Any, each: Any, has_each: Any, written: Any, has_covariance: Any) -> None:
    """Write what the state of a map comes to as answer number `at`."""
    xy, score, spread, status = written
    x, y, probability, xx, of_xy, yy, flags = finish(state)
    x, y = placed(x, y, at, numbers, each, has_each)
    xy[np.uint64(2 * at)] = x
    xy[np.uint64(2 * at + 1)] = y
    score[np.uint64(at)] = probability
    status[np.uint64(at)] = flags
    if has_covariance:
        spread[np.uint64(4 * at)] = xx
        spread[np.uint64(4 * at + 1)] = of_xy
        spread[np.uint64(4 * at + 2)] = of_xy
        spread[np.uint64(4 * at + 3)] = yy


def _decoder(load: Any, items: int, has_blocks: bool, has_covariance: bool, has_window: bool) -> Any:
    """A kernel with one block a map, or with one warp a map and so several maps a block."""
    find_state = _state_finder(load, items, has_blocks, has_covariance, has_window)

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
        lane, lanes, i = lane_and_map(has_blocks)
        if i < maps:  # the same for all that merge
            state = find_state(images, first_element(i, layout), layout, lane, lanes, window, rate)
            if lane == 0:
                written = xy, score, spread, status
                _answer(state, first_map + i, numbers, each, has_each, written, has_covariance)

    return decode


def _part_decoder(load: Any, items: int, has_covariance: bool) -> Any:
    """A kernel with several blocks a map, each of which keeps the state of so many rows."""
    find_state = _state_finder(load, items, True, has_covariance, False)

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(images: Any, layout: Any, first_map: int, parts: int, rows: int, rate: Any, kept: Any) -> None:
        i: Any = np.int64(np.uint32(cuda.blockIdx.x) // np.uint32(parts))
        part = cuda.blockIdx.x - i * parts
        top = part * rows
        first = first_element(i, layout) + top * layout.row_stride
        area = rows_of(layout, min(layout.rows - top, rows))
        state = find_state(images, first, area, cuda.threadIdx.x, cuda.blockDim.x, 0, rate)
        if cuda.threadIdx.x == 0:
            greatest, mass, x, y, sum_x, sum_y, xx, of_xy, yy = state
            state = greatest, mass, x, y + convert(top, y), sum_x, sum_y, xx, of_xy, yy, rate[0], rate[1]
            keep_state(kept, (first_map + i) * parts + part, state, state)

    return decode


@inlined
def _merge_with_rate(a: Any, b: Any) -> Any:
    """Of two states, behind each of which stands the rate, since a merge needs it."""
    greatest, mass, x, y, sum_x, sum_y, xx, xy, yy = merge(a[:STATE], b[:STATE], (a[STATE], a[STATE + 1]))
    return greatest, mass, x, y, sum_x, sum_y, xx, xy, yy, a[STATE], a[STATE + 1]


_merged_parts = kept_merge(_merge_with_rate)


def _part_merger(has_covariance: bool) -> Any:
    """A kernel with one block a map, which merges the kept states."""

    @cuda.jit  # type: ignore[untyped-decorator]
    def merge_parts(
        kept: Any,
        first_map: int,
        parts: int,
        rate: Any,
        numbers: Any,
        each: Any,
        has_each: bool,
        xy: Any,
        score: Any,
        spread: Any,
        status: Any,
    ) -> None:
        at: Any = np.int64(first_map + cuda.blockIdx.x)
        nil = rate[0] - rate[0]
        nobody = like(nil, -INFINITY), nil, nil, nil, nil, nil, nil, nil, nil, rate[0], rate[1]
        state = _merged_parts(kept, at * parts, parts, nobody)
        if cuda.threadIdx.x == 0:
            _answer(state[:STATE], at, numbers, each, has_each, (xy, score, spread, status), has_covariance)

    return merge_parts


_WAYS = [(covariance, window) for covariance in (False, True) for window in (False, True)]
_LOADS = {4: load_four, 16: load_sixteen, 1: load_four}  # the last one is not used
kernels = {
    form: {
        way: {items: _decoder(load, items, form == "blocks", *way) for items, load in _LOADS.items()} for way in _WAYS
    }
    for form in ("warps", "blocks")
}
part_decoders = {
    covariance: {items: _part_decoder(load, items, covariance) for items, load in _LOADS.items()}
    for covariance in (False, True)
}
part_mergers = {covariance: _part_merger(covariance) for covariance in (False, True)}


def soft_argmax(
    heatmaps: Any, temperature: float, covariance: bool, window: int | None, axes: Any, grid: Any, out: Any
) -> Decoded:
    """`decode.soft_argmax` of CUDA arrays, as `_decode_cuda.decoded` says."""

    def launch_all(read: Maps, array: Any, placement: Any, written: Any) -> None:
        dtype, height, width = read.memory.dtype, read.height, read.width
        is_whole = read.column_stride == 1 and read.row_stride == width
        has_type = dtype == np.float32 or dtype.itemsize == 1
        items = GROUP // dtype.itemsize if is_whole and has_type and read.memory.nbytes >= 2 * GROUP else 1
        rows = rows_in_part(width)
        shared = share(
            read.count * len(read.starts), -(-height * width // items), -(-height // rows), window is None, True
        )
        memory = flat_memory("heatmaps", read.memory, array)
        _whole, before = words(read.memory, array)
        rates = tuple(rate(temperature, np.dtype(np.float64 if dtype == np.float64 else np.float32)))
        xy, score, spread, status = written
        members = *placement, xy, score, xy if spread is None else spread, status
        in_parts = shared.form == "parts"
        kept = states(array, read.count * len(read.starts) * shared.parts, MEMBERS) if in_parts else None
        threads = shared.threads
        for number, layout in enumerate(layouts(read, before, (threads if in_parts else shared.lanes) * items)):
            first, blocks = number * read.count, shared.blocks(read.count)
            if in_parts:
                parts = layout, first, shared.parts, rows, rates, kept
                launch(part_decoders[covariance][items], blocks, threads, array, memory, *parts)
                merged = kept, first, shared.parts, rates
                launch(part_mergers[covariance], read.count, shared.mergers, array, *merged, *members)
            else:
                decode = kernels[shared.form][covariance, window is not None][items]
                reach = 0 if window is None else min(window, height + width)
                launch(decode, blocks, threads, array, memory, layout, first, read.count, reach, rates, *members)

    options = "soft_argmax", temperature, window
    return decoded("heatmaps", heatmaps, axes, grid, out, launch_all, covariance, options)
