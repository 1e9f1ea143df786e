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
    FULL_WARP,
    GROUP,
    WARP,
    block_merge,
    block_share,
    column_and_row,
    first_element,
    keep,
    kept_state,
    load_four,
    load_sixteen,
    moved,
    next_pixel,
    warp_merge,
)
from fastcoord._launch import flat_memory, launch, layouts, words
from fastcoord._placement_cuda import placed
from fastcoord._vector import convert, like, minimum
from fastcoord.decode._center_of_mass.formula import (
    HUGE,
    TINY,
    about,
    absorb,
    absorb_line,
    absorb_squares,
    absorb_pixel,
    compared_type,
    counted,
    finish,
    is_far,
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

FOUR = 4  # floats in a group
FACTS = 12  # numbers of a map, of which the gradient is made
MEMBERS = 9  # of what a block keeps: moments, their centre, what pixels were multiplied with
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


@inlined
def _line_of_four(line: Any, values: Any, at: Any) -> Any:
    """The sums of a line after four more pixels, which count as they are; the first is `at` from its origin."""
    a, b, c, d = values
    line = absorb(absorb(line, convert(a, at), at), convert(b, at), at + like(at, 1))
    return absorb(absorb(line, convert(c, at), at + like(at, 2)), convert(d, at), at + like(at, 3))


@inlined
def _line_of_sixteen(line: Any, values: Any, at: Any) -> Any:
    line = _line_of_four(_line_of_four(line, values[:4], at), values[4:8], at + like(at, 4))
    return _line_of_four(_line_of_four(line, values[8:12], at + like(at, 8)), values[12:], at + like(at, 12))


def _by_groups(load: Any, absorb_group: Any, line_of_group: Any, items: int) -> Any:
    """How a lane adds up a map whose pixels stand side by side, `items` of them in a group."""

    @inlined
    def absorb_next(moments: Any, values: Any, column: Any, row: Any, layout: Any, about: Any, is_line: Any) -> Any:
        """The moments after one more group; `is_line`: its pixels are in one row, and count as they are."""
        if is_line:
            center_x, center_y, times, _least, _of_nan = about
            zero = like(times, 0)
            mass, first, squares = line_of_group((zero, zero, zero), values, zero)
            along, across = convert(column - center_x, times), convert(row - center_y, times)
            return absorb_squares(absorb_line(moments, mass, first, along, across), squares)
        moments, _column, _row = absorb_group(moments, values, column, row, layout, about)
        return moments

    @inlined
    def visit(images: Any, first: Any, layout: Any, lane: Any, lanes: Any, about: Any) -> Any:
        zero, one = like(about[2], 0), like(about[2], 1)
        kept = nothing(zero) + nothing(zero)
        pixels = layout.rows * layout.columns
        head = np.int32(min((layout.before - first) & (items - 1), pixels))  # pixels before the first group
        groups = np.int32((pixels - head) // items)
        tail = pixels - head - groups * items
        if lane < head + tail:
            pixel = lane if lane < head else pixels - tail + lane - head
            column, row = column_and_row(pixel, layout)
            some = _absorb(nothing(zero), images[np.uint64(first + pixel)], column, row, about)
            kept = merge_keeping(kept, some + nothing(zero))
        _x, _y, times, least, of_nan = about
        is_plain = times == one and of_nan != of_nan and least < zero
        is_line = is_plain and (layout.columns & (items - 1)) == 0 and (head & (items - 1)) == 0
        start, last = first + head, np.int32(groups - 1)
        column, row = column_and_row(head + lane * items, layout)
        p = np.int32(lane)
        while p <= last:
            some = nothing(zero)
            if items == FOUR:  # four groups of four floats; one of bytes has as many values
                # Beyond the last group it is the last one again: no branch stands between the loads. They are absorbed
                # one by one: a loop over a tuple of them stays a loop, with a search for its next member.
                q, r, s = np.int32(p + lanes), np.int32(p + 2 * lanes), np.int32(p + 3 * lanes)
                a = load(images, start + items * np.int64(p))
                b = load(images, start + items * np.int64(min(q, last)))
                c = load(images, start + items * np.int64(min(r, last)))
                d = load(images, start + items * np.int64(min(s, last)))
                some = absorb_next(some, a, column, row, layout, about, is_line)
                column, row = moved(column, row, layout)
                if q <= last:
                    some = absorb_next(some, b, column, row, layout, about, is_line)
                column, row = moved(column, row, layout)
                if r <= last:
                    some = absorb_next(some, c, column, row, layout, about, is_line)
                column, row = moved(column, row, layout)
                if s <= last:
                    some = absorb_next(some, d, column, row, layout, about, is_line)
                p = np.int32(s + lanes)
            else:
                values = load(images, start + items * np.int64(p))
                some = absorb_next(some, values, column, row, layout, about, is_line)
                p = np.int32(p + lanes)
            column, row = moved(column, row, layout)
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


@inlined
def _whole(images: Any, first: int, layout: Any, lane: int, lanes: int, about: Any) -> Any:
    """How a lane adds up a whole map that has no groups."""
    return _by_pixels(images, first, layout, (0, 0, layout.rows, layout.columns), lane, lanes, about)


def _finder(visit: Any, has_blocks: bool) -> Any:
    """How the lanes of a map, or of a part of it, find its moments, which lane 0 has.

    Also their centre, and what the pixels were multiplied with: less than 1 where float32 cannot add them up.
    """
    merged = (block_merge if has_blocks else warp_merge)(merge_keeping)
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
                kept = _by_pixels(images, first, layout, region, lane, lanes, about)
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
            keep(kept, (first_map + i) * parts + part, state, state)

    return decode


@inlined
def _add_three(a: Any, b: Any) -> Any:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@inlined
def _least_of_both(a: Any, b: Any) -> Any:
    return (minimum(a[0], b[0]),)


_merged_in_block, _sum_of_block, _least_of_block = (
    block_merge(merge_keeping), block_merge(_add_three), block_merge(_least_of_both)
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
            sums_kept = merge_keeping(sums_kept, about(scaled, away_x, away_y) + nothing(zero))
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


_VISITS = {
    1: _whole,
    4: _by_groups(load_four, _absorb_four, _line_of_four, FOUR),
    16: _by_groups(load_sixteen, _absorb_sixteen, _line_of_sixteen, 16),
}
kernels = {
    "warps": {items: _decoder(visit, False) for items, visit in _VISITS.items()},
    "blocks": {items: _decoder(visit, True) for items, visit in _VISITS.items()},
    "parts": {items: _part_decoder(visit) for items, visit in _VISITS.items()},
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
    shared = share(count, -(-height * width // items), -(-height // rows), window is None)
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
