"""Who visits which pixel of a heatmap on a GPU.

A map is read by one warp, one block or several, in groups of 16 bytes. The moments are first about the middle of what a
warp or a block reads; where the centre of mass is far from that and second moments are asked for, they are taken again
about the pixel next to it, from the caches. Of a large map each block takes some rows, and a second launch merges what
they found. What fills no group at either end of a map, maps whose pixels do not stand side by side, and windows are
read pixel by pixel.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._arrays import Maps
from fastcoord._compile import inlined
from fastcoord._decode_cuda import decoded, rows_in_part, rows_of, share, states
from fastcoord._halves import loaded_type
from fastcoord._lanes import (
    GROUP,
    block_merge,
    block_share,
    column_and_row,
    first_element,
    keep_state,
    kept_state,
    lane_and_map,
    warp_merge,
    warp_share,
)
from fastcoord._launch import flat_memory, launch, layouts, words
from fastcoord._moments import keep, merge_kept, total
from fastcoord._placement_cuda import placed
from fastcoord._vector import convert, like, minimum
from fastcoord.decode._center_of_mass.formula import (
    HUGE,
    TINY,
    about,
    compared_type,
    finish,
    is_far,
    is_finite,
    limits,
    mean,
    nearest,
    nothing,
    number_type,
    past,
    status_of,
)
from fastcoord.decode._center_of_mass.visit_cuda import NOWHERE, VISITS, by_pixels, larger_pixel, search
from fastcoord.results import Decoded

FACTS = 12  # numbers of a map, of which the gradient is made
MEMBERS = 9  # of what a block keeps: moments, their centre, what pixels were multiplied with
DONE, CENTERED, SMALLER = 0, 1, 2  # what a warp or a block does next


def _same_for_all(has_blocks: bool) -> Any:
    """What lane 0 has, told to all lanes of a map: three whole numbers."""
    share_state = block_share if has_blocks else warp_share

    @inlined
    def told(a: Any, b: Any, c: Any) -> Any:
        return share_state((np.int32(a), np.int32(b), np.int32(c)))

    return told


def _finder(visit: Any, has_blocks: bool) -> Any:
    """How the lanes of a map, or of a part of it, find its moments, which lane 0 has.

    Also their centre, and what the pixels were multiplied with: less than 1 where float32 cannot add them up.
    """
    merged = (block_merge if has_blocks else warp_merge)(merge_kept)
    told = _same_for_all(has_blocks)

    @inlined
    def find(
        images: Any, first: Any, layout: Any, region: Any, has_window: Any, lane: Any, lanes: Any, options: Any
    ) -> Any:
        unit, least, of_nan, has_covariance = options
        top, left, rows, columns = region
        center_x, center_y, times = np.int32(left + columns // 2), np.int32(top + rows // 2), unit
        following, is_centered = np.int32(SMALLER), False
        moments = nothing(like(unit, 0))
        while following != DONE:
            about = center_x, center_y, times, least, of_nan
            if has_window:
                kept = by_pixels(images, first, layout, region, lane, lanes, about)
            else:
                kept = visit(images, first, layout, lane, lanes, about)
            moments = total(merged(kept))
            following = np.int32(DONE)
            if times == unit and not is_finite(moments):
                following = np.int32(SMALLER)
            elif has_covariance and not is_centered and status_of(moments[0]) == 0 and is_far(moments):
                following = np.int32(CENTERED)
                x, y = mean(moments, convert(center_x, unit), convert(center_y, unit))
                center_x, center_y = nearest(x, layout.columns, center_x), nearest(y, layout.rows, center_y)
            following, center_x, center_y = told(following, center_x, center_y)
            if following == SMALLER:
                times = like(unit, TINY)
            is_centered = is_centered or following == CENTERED
        return moments, center_x, center_y, times

    return find


@inlined
def _answer(
    moments: Any, center_x: Any, center_y: Any, times: Any, region: Any, at: Any, unit: Any, placement: Any, out: Any
) -> None:
    """Write what the moments of a map come to as answer number `at`."""
    numbers, each, has_each = placement
    has_covariance, xy, score, covariance, status, facts, has_facts = out
    x, y, xx, xy_, yy, flags = finish(moments, convert(center_x, unit), convert(center_y, unit))
    from_x, from_y = past(x, center_x), past(y, center_y)
    x, y = placed(x, y, at, numbers, each, has_each)
    mass = moments[0] if times == unit else moments[0] * like(unit, HUGE)
    xy[np.uint64(2 * at)] = x
    xy[np.uint64(2 * at + 1)] = y
    score[np.uint64(at)] = mass
    status[np.uint64(at)] = flags
    if has_facts:  # of which the gradient is made
        top, left, rows, columns = region
        place = FACTS * at
        facts[np.uint64(place)] = mass
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


def _decoder(visit: Any, has_blocks: bool) -> Any:
    """A kernel with one block a map, or with one warp a map and so several maps a block."""
    find = _finder(visit, has_blocks)
    found_by_all = (block_merge if has_blocks else warp_merge)(larger_pixel)
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
        lane, lanes, i = lane_and_map(has_blocks)
        if i < maps:  # the same for all that merge
            first = first_element(i, layout)
            top, left, rows, columns, spoils = 0, 0, layout.rows, layout.columns, np.int32(0)
            if window_rows >= 0:
                _value, position, has_nan = found_by_all(search(images, first, layout, lane, lanes, compared))
                position, spoils, _none = told(position, has_nan, 0)
                column, row = column_and_row(position, layout)
                top, left = max(row - window_rows, 0), max(column - window_columns, 0)
                rows = min(row + window_rows + 1, layout.rows) - top
                columns = min(column + window_columns + 1, layout.columns) - left
                if position == NOWHERE:
                    top, left, rows, columns = 0, 0, 0, 1
            region, options = (top, left, rows, columns), (unit, least, of_nan, has_covariance)
            found = find(images, first, layout, region, window_rows >= 0, lane, lanes, options)
            moments, center_x, center_y, times = found
            if lane == 0:
                if spoils != 0:
                    moments = moments[0] + of_nan, moments[1], moments[2], moments[3], moments[4], moments[5]
                placement = numbers, each, has_each
                out = has_covariance, xy, score, covariance, status, facts, has_facts
                _answer(moments, center_x, center_y, times, region, first_map + i, unit, placement, out)

    return decode


def _part_decoder(visit: Any) -> Any:
    """A kernel with several blocks a map, each of which keeps the moments of so many rows."""
    find = _finder(visit, True)

    @cuda.jit  # type: ignore[untyped-decorator]
    def decode(
        images: Any,
        layout: Any,
        first_map: int,
        parts: int,
        rows: int,
        unit: Any,
        least: Any,
        of_nan: Any,
        has_covariance: bool,
        kept: Any,
    ) -> None:
        i: Any = np.int64(np.uint32(cuda.blockIdx.x) // np.uint32(parts))
        part = cuda.blockIdx.x - i * parts
        top = part * rows
        first = first_element(i, layout) + top * layout.row_stride
        area = rows_of(layout, min(layout.rows - top, rows))
        region, options = (0, 0, area.rows, area.columns), (unit, least, of_nan, has_covariance)
        found = find(images, first, area, region, False, cuda.threadIdx.x, cuda.blockDim.x, options)
        moments, center_x, center_y, times = found
        if cuda.threadIdx.x == 0:
            state = moments + (convert(center_x, unit), convert(center_y + top, unit), times)
            keep_state(kept, (first_map + i) * parts + part, state, state)

    return decode


@inlined
def _add_three(a: Any, b: Any) -> Any:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@inlined
def _least_of_both(a: Any, b: Any) -> Any:
    return (minimum(a[0], b[0]),)


_merged_in_block, _sum_of_block, _least_of_block = (
    block_merge(merge_kept), block_merge(_add_three), block_merge(_least_of_both)
)  # fmt: skip
_told_in_block = _same_for_all(True)


@cuda.jit  # type: ignore[untyped-decorator]
def merge_parts(
    kept: Any,
    first_map: int,
    parts: int,
    rows: int,
    columns: int,
    unit: Any,
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
    """A block merges the kept moments of a map: first it finds the centre of mass, then the moments about it."""
    at: Any = np.int64(first_map + cuda.blockIdx.x)
    zero = like(unit, 0)
    like_state = nothing(zero) + nothing(zero)[:3]
    least = unit
    number: Any = np.int64(cuda.threadIdx.x)
    while number < parts:
        state = kept_state(kept, at * parts + number, like_state)
        least = minimum(least, state[8])
        number += cuda.blockDim.x
    (least,) = block_share(_least_of_block((least,)))
    center_x, center_y = np.int32(0), np.int32(0)
    moments = nothing(zero)
    following = np.int32(SMALLER)
    while following != DONE:
        sums = zero, zero, zero
        number = np.int64(cuda.threadIdx.x)
        while number < parts:
            state = kept_state(kept, at * parts + number, like_state)
            scale = unit if state[8] == least else least
            mass = state[0] * scale
            sums = _add_three(sums, (mass, mass * state[6] + state[1] * scale, mass * state[7] + state[2] * scale))
            number += cuda.blockDim.x
        mass, x, y = _sum_of_block(sums)
        if status_of(mass) == 0:
            center_x, center_y = nearest(x / mass, columns, center_x), nearest(y / mass, rows, center_y)
        _none, center_x, center_y = _told_in_block(0, center_x, center_y)
        sums_kept = nothing(zero) + nothing(zero)
        number = np.int64(cuda.threadIdx.x)
        while number < parts:
            state = kept_state(kept, at * parts + number, like_state)
            scale = unit if state[8] == least else least
            scaled = (
                *(state[0] * scale, state[1] * scale, state[2] * scale),
                *(state[3] * scale, state[4] * scale, state[5] * scale),
            )
            away_x, away_y = state[6] - convert(center_x, unit), state[7] - convert(center_y, unit)
            sums_kept = keep(sums_kept, about(scaled, away_x, away_y))
            number += cuda.blockDim.x
        moments = total(_merged_in_block(sums_kept))
        following = np.int32(SMALLER if least == unit and not is_finite(moments) else DONE)
        following, _x, _y = _told_in_block(following, 0, 0)
        if following == SMALLER:
            least = like(unit, TINY)
    if cuda.threadIdx.x == 0:
        placement = numbers, each, has_each
        out = has_covariance, xy, score, covariance, status, facts, has_facts
        _answer(moments, center_x, center_y, least, (0, 0, rows, columns), at, unit, placement, out)


kernels = {
    "warps": {items: _decoder(visit, False) for items, visit in VISITS.items()},
    "blocks": {items: _decoder(visit, True) for items, visit in VISITS.items()},
    "parts": {items: _part_decoder(visit) for items, visit in VISITS.items()},
}


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

    options = "center_of_mass", window, clip_negative, skips_nan
    return decoded("heatmaps", heatmaps, axes, grid, out, launch_all, covariance, options)


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
    has_type = dtype.itemsize == 1 or dtype == np.float32
    items = GROUP // dtype.itemsize if is_whole and has_type and read.memory.nbytes >= 2 * GROUP else 1
    rows = rows_in_part(width)
    count = read.count * len(read.starts)
    shared = share(count, -(-height * width // items), -(-height // rows), window is None, True)
    memory = flat_memory("heatmaps", read.memory, array)
    _words, before = words(read.memory, array)
    number = number_type(loaded_type(dtype), height, width)
    unit = number(1)
    counting = tuple(number(limit) for limit in limits(clip_negative, skips_nan))
    in_parts = shared.form == "parts"
    lanes = shared.threads if in_parts else shared.lanes
    kept = states(array, count * shared.parts, MEMBERS) if in_parts else None
    decode = kernels[shared.form][items]
    for order, layout in enumerate(layouts(read, before, lanes * items)):
        first, blocks = order * read.count, shared.blocks(read.count)
        if in_parts:
            parts = layout, first, shared.parts, rows, unit, *counting, covariance, kept
            launch(decode, blocks, shared.threads, array, memory, *parts)
            merged = kept, first, shared.parts, height, width, unit, *placement, covariance
            launch(merge_parts, read.count, shared.mergers, array, *merged, *arrays)
        else:
            compared = compared_type(loaded_type(dtype))(1)
            options = unit, compared, *((-1, -1) if window is None else window), *counting, *placement, covariance
            launch(decode, blocks, shared.threads, array, memory, layout, first, read.count, *options, *arrays)
