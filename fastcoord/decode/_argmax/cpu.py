"""Who visits which pixel of a heatmap on the CPU.

A stretch of pixels is read in blocks of eight cache lines. Each lane keeps the largest value of its blocks, the number
of the first block that had it, and whether a second one had: no branch depends on where the maximum lies. Then the
lanes are compared, and one block is searched, which the cache still has. Maps whose pixels do not stand side by side
are gathered in the same way.

Large maps are cut into pieces, by their shape, so that all threads help and the result does not depend on how many
there are.
"""

import functools
from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._halves import format_of
from fastcoord._memory import as_int16, gather, item_bytes, load_line, memory, octets, prefetch
from fastcoord._placement import numbers_at, numbers_step, placed
from fastcoord._vector import (
    CACHE_LINE,
    any_lane,
    convert,
    first_lane,
    lane_bits,
    lane_numbers,
    like,
    maximum,
    minimum,
    out_of_line,
    rotated,
    select,
    trailing_zeros,
)
from fastcoord.decode._argmax.formula import EMPTY, FAR, INFINITY_BITS, LOWEST_KEY, absorb, finish, key, merge
from fastcoord.decode._argmax.window import named, opener, refiner

LINES = 8  # vectors in a block
GATHERED = 16  # lanes of a vector whose pixels stand apart
GROUP = 8  # maps that one call decodes
BLOCKS = 127  # in a stretch: any type of pixels holds the number of each, and 127 itself
AHEAD = 8192  # bytes between a line that is read and one that is prefetched
PIECE = 1 << 18  # pixels in a piece


@inlined
def _least(vector: Any) -> Any:
    """The least of the lanes; in vectors with fewer than 64 the first turns change nothing, and cost nothing."""
    vector = minimum(vector, rotated((vector,), 32)[0])
    vector = minimum(vector, rotated((vector,), 16)[0])
    vector = minimum(vector, rotated((vector,), 8)[0])
    vector = minimum(vector, rotated((vector,), 4)[0])
    vector = minimum(vector, rotated((vector,), 2)[0])
    return first_lane((minimum(vector, rotated((vector,), 1)[0]),))[0]


@inlined
def _greatest(vector: Any) -> Any:
    vector = maximum(vector, rotated((vector,), 32)[0])
    vector = maximum(vector, rotated((vector,), 16)[0])
    vector = maximum(vector, rotated((vector,), 8)[0])
    vector = maximum(vector, rotated((vector,), 4)[0])
    vector = maximum(vector, rotated((vector,), 2)[0])
    return first_lane((maximum(vector, rotated((vector,), 1)[0]),))[0]


def _reader(is_adjacent: bool, is_half: bool) -> Any:
    """How a vector is read: the first `count` of its pixels and the lowest value in the other lanes; and where is NaN.

    Halves come as keys.
    """

    @inlined
    def read(place: Any, at: int, stride: int, count: int, infinity: Any) -> Any:
        if is_half:
            words = as_int16(place)
            bits = load_line(words, at, count) if is_adjacent else gather(words, at, stride, count, GATHERED)
            number, is_nan = key(bits, like(bits, infinity))
            is_there = lane_numbers(bits) < like(bits, count)
            return select(is_there, number, like(bits, LOWEST_KEY)), is_nan & is_there
        values = load_line(place, at, count) if is_adjacent else gather(place, at, stride, count, GATHERED)
        return values, values != values

    return read


def _scalar(is_half: bool) -> Any:
    """How one pixel is read, as it is compared."""

    @inlined
    def value(place: Any, at: int, infinity: Any) -> Any:
        return key(np.int64(as_int16(place)[at]), infinity)[0] if is_half else place[at]

    return value


def _finder(is_half: bool) -> Any:
    """How pixels are searched one by one: where the lanes of a vector do not tell."""
    value = _scalar(is_half)

    @outlined
    def find(place: Any, at: int, stride: int, pixels: int, infinity: Any, wanted: Any) -> Any:
        """The number of the first pixel that is `wanted`, FAR if none is; 1 if there are several."""
        out_of_line()
        first, several = FAR, 0
        for i in range(pixels):
            if value(place, at + i * stride, infinity) == wanted:
                several = 0 if first == FAR else 1
                first = i if first == FAR else first
        return first, several

    return find


def _stretch(read: Any, is_adjacent: bool, is_half: bool) -> Any:
    """How a stretch of pixels is read, at most BLOCKS blocks."""
    find = _finder(is_half)

    @inlined
    def read_block(place: Any, at: int, stride: int, count: int, infinity: Any, lanes: int) -> Any:
        """The largest of the pixels of each lane, without NaN, and where is NaN."""
        largest, has_nan = read(place, at, stride, 0, infinity)
        for k in range(LINES):
            values, is_nan = read(place, at + k * lanes * stride, stride, count - k * lanes, infinity)
            largest = maximum(values, largest)  # in this order NaN is dropped
            has_nan = has_nan | is_nan
        return largest, has_nan

    @inlined
    def search_block(place: Any, at: int, stride: int, block: int, infinity: Any, lanes: int, best: Any) -> Any:
        """The number of the first of the pixels that are `best`, and whether there are several."""
        hits = 0
        for k in range(LINES):
            values, _is_nan = read(place, at + k * lanes * stride, stride, block - k * lanes, infinity)
            hits |= (1 if any_lane(values == best) else 0) << k
        k = trailing_zeros(hits) * lanes
        bits = lane_bits(read(place, at + k * stride, stride, lanes, infinity)[0] == best)
        return k + trailing_zeros(bits), (hits & (hits - 1)) | (bits & (bits - 1)) != 0

    @inlined
    def read_stretch(place: Any, at: int, stride: int, pixels: int, infinity: Any) -> Any:
        """The state of the stretch, its positions counted from its beginning."""
        lines, size = octets(place), item_bytes(place)
        lanes = CACHE_LINE // size if is_adjacent else GATHERED
        block = LINES * lanes
        lowest, has_nan = read(place, at, stride, 0, infinity)
        number, one = like(lowest, 0), like(lowest, 1)
        state = (lowest, number, number)
        whole = pixels // block
        for b in range(whole):
            here = at + b * block * stride
            if is_adjacent:
                for line in range(LINES):
                    prefetch(lines, here * size + line * CACHE_LINE + AHEAD)
            # the count is known when compiled: no masks
            largest, is_nan = read_block(place, here, stride, block, infinity, lanes)
            state, has_nan = absorb(state, largest, number), has_nan | is_nan
            number = number + one
        if whole * block < pixels:
            here = at + whole * block * stride
            largest, is_nan = read_block(place, here, stride, pixels - whole * block, infinity, lanes)
            state, has_nan = absorb(state, largest, number), has_nan | is_nan
        greatest, least = _greatest(state[0]), first_lane((lowest,))[0]
        is_spoilt = 1 if any_lane(has_nan) else 0
        if greatest == least:
            if is_half:  # no pixel has this key
                return greatest, FAR, 0, is_spoilt
            if is_spoilt == 0:
                return greatest, 0, 1 if pixels > 1 else 0, is_spoilt
        if greatest == least or pixels < block:
            first, several = find(place, at, stride, pixels, infinity, greatest)
            return greatest, first, several, is_spoilt
        # From here on the lanes beyond the last pixel, which hold the lowest value, are not equal to the greatest
        best = like(lowest, greatest)
        holds = state[0] == best
        lanes_that_hold = lane_bits(holds)
        is_tie = lanes_that_hold & (lanes_that_hold - 1) != 0
        is_tie |= any_lane(holds & (state[2] == one))
        offset: Any = np.int64(_least(select(holds, state[1], like(lowest, BLOCKS)))) * block
        # The last block may be short: none of the pixels before it is the greatest, so as many of them are searched too
        offset = offset if offset < pixels - block else pixels - block
        first, is_tie_in_block = search_block(place, at + offset * stride, stride, block, infinity, lanes, best)
        return greatest, offset + first, 1 if is_tie | is_tie_in_block else 0, is_spoilt

    return read_stretch


def _writer(refine: str | None, compat: str | None, is_adjacent: bool, is_half: bool) -> Any:
    step = refiner(refine, compat, is_adjacent, is_half)
    is_refined, has_missing = step is not None, compat is not None

    @inlined
    def write(
        place: Any,
        start: int,
        row_stride: int,
        column_stride: int,
        width: int,
        state: Any,
        skips: bool,
        threshold: Any,
        window: Any,
        numbers: Any,
        at: int,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        """The answer for map number `at`, whose pixels have this state."""
        _greatest, position, several, has_nan = state
        is_found = position != FAR
        pixel = position if is_found else 0
        if pixel >> 32 == 0:  # a division of 64 bits takes three times as long
            row: Any = np.int64(np.uint32(pixel) // np.uint32(width))
        else:
            row = pixel // width
        column = pixel - row * width
        greatest = convert(place[start + row * row_stride + column * column_stride], threshold)
        is_spoilt = has_nan != 0 and not skips
        x, y, bits = convert(column, threshold), convert(row, threshold), 0
        if is_refined and is_found and not is_spoilt and not greatest <= threshold:
            dx, dy, bits = step(place, start, row_stride, column_stride, width, column, row, named(window))
            x, y = convert(convert(column, dx) + dx, threshold), convert(convert(row, dy) + dy, threshold)
        x, y, greatest, flags = finish(greatest, x, y, is_found, several, is_spoilt, threshold)
        x, y = placed(x, y, numbers)
        if has_missing and flags & EMPTY != 0:
            x = y = convert(window[-1], threshold)
        xy[2 * at], xy[2 * at + 1], score[at], status[at] = x, y, greatest, flags | bits

    return write


@functools.cache
def _decoder(is_adjacent: bool, is_half: bool, refine: str | None = None, compat: str | None = None) -> Kernel:
    read, value = _reader(is_adjacent, is_half), _scalar(is_half)
    write, opened = _writer(refine, compat, is_adjacent, is_half), opener(refine)
    stretch = _stretch(read, is_adjacent, is_half)

    @outlined
    def decode_tasks(
        place: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        row_stride: int,
        column_stride: int,
        number: int,
        first_task: int,
        last_task: int,
        rows: int,
        columns: int,
        tall: int,
        wide: int,
        width: int,
        infinity: Any,
        skips: bool,
        threshold: Any,
        window: Any,
        grid: Any,
        grid_step: int,
        partial: Any,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        """Write the answers for some maps, or if they have several pieces what is found in some pieces.

        As no branch tells where the maximum lies, the processor is at the next map before it is done with this one.
        """
        out_of_line()  # compiled once for the serial and the parallel kernel
        stride = 1 if is_adjacent else column_stride
        span = BLOCKS * LINES * (CACHE_LINE // item_bytes(place) if is_adjacent else GATHERED)
        lowest = first_lane((read(place, start, stride, 0, infinity)[0],))[0]
        is_whole = tall == rows and wide == columns
        across = (columns + wide - 1) // wide
        pieces = (rows + tall - 1) // tall * across
        for task in range(first_task, last_task):
            i, top, left = task, 0, 0
            if not is_whole:
                i = task // pieces
                top, left = (task - i * pieces) // across * tall, (task - i * pieces) % across * wide
            outer = 0 if i < inner_count else i // inner_count
            first_element = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
            right = left + wide if columns - left > wide else columns
            state = (lowest, FAR, 0, 0)
            for row in range(top, top + tall if rows - top > tall else rows):
                for column in range(left, right, span):
                    some = span if right - column > span else right - column
                    at = first_element + row * row_stride + column * stride
                    greatest, first, several, is_spoilt = stretch(place, at, stride, some, infinity)
                    first = first if first == FAR else first + row * columns + column
                    state = merge(state, (greatest, first, several, is_spoilt), FAR)
            if is_whole:
                write(
                    place,
                    first_element,
                    row_stride,
                    column_stride,
                    width,
                    state,
                    skips,
                    threshold,
                    window,
                    numbers_at(grid, (number + i) * grid_step),
                    number + i,
                    xy,
                    score,
                    status,
                )
            else:
                partial[3 * task], partial[3 * task + 1], partial[3 * task + 2] = state[1], state[2], state[3]

    @kernel
    def decode(
        images: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        row_stride: int,
        column_stride: int,
        number: int,
        maps: int,
        rows: int,
        columns: int,
        tall: int,
        wide: int,
        width: int,
        infinity: Any,
        skips: bool,
        threshold: Any,
        window: Any,
        grid: Any,
        partial: Any,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        place, partial_place = memory(images), memory(partial)
        xy_place, score_place, status_place = memory(xy), memory(score), memory(status)
        near = opened(window)
        grid_place, grid_step = memory(grid), numbers_step(grid)
        pieces = ((rows + tall - 1) // tall) * ((columns + wide - 1) // wide)
        some = GROUP if pieces == 1 else 1
        for index in prange((maps * pieces + some - 1) // some):
            first: Any = np.int64(index) * some  # an unsigned index would make floats of differences
            last = first + some if maps * pieces - first > some else maps * pieces
            decode_tasks(
                place,
                start,
                outer_stride,
                inner_count,
                inner_stride,
                row_stride,
                column_stride,
                number,
                first,
                last,
                rows,
                columns,
                tall,
                wide,
                width,
                infinity,
                skips,
                threshold,
                near,
                grid_place,
                grid_step,
                partial_place,
                xy_place,
                score_place,
                status_place,
            )
        if pieces > 1:
            for i in range(maps):
                outer = i // inner_count
                first_element = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
                state = (value(place, first_element, infinity), FAR, 0, 0)
                for task in range(i * pieces, (i + 1) * pieces):
                    position = partial[3 * task]
                    element = first_element
                    if position != FAR:
                        element += position // width * row_stride + position % width * column_stride
                    greatest = value(place, element, infinity)
                    state = merge(state, (greatest, position, partial[3 * task + 1], partial[3 * task + 2]), FAR)
                write(
                    place,
                    first_element,
                    row_stride,
                    column_stride,
                    width,
                    state,
                    skips,
                    threshold,
                    near,
                    numbers_at(grid_place, (number + i) * grid_step),
                    number + i,
                    xy_place,
                    score_place,
                    status_place,
                )

    return decode


_NO_PARTIAL = np.empty(0, np.int64)


def argmax(
    maps: Maps,
    skips: bool,
    threshold: Any,
    grid: Any,
    xy: Any,
    score: Any,
    status: Any,
    refine: str | None = None,
    compat: str | None = None,
    window: Any = (),
) -> None:
    """Decode `maps` into flat arrays; `threshold` is NaN, or of the type of `score`; `grid` holds a grid's numbers.

    `window`: what `refine` takes, as `refinement.Window`.
    """
    pixels, width, height, count = maps.memory, maps.width, maps.height, maps.count
    rows, columns = height, width
    if maps.row_stride == width * maps.column_stride:
        rows, columns = 1, height * width  # all pixels are equally far apart
    tall, wide = max(PIECE // columns, 1), columns
    if rows == 1 and columns > PIECE:
        wide = PIECE
    tall = min(tall, rows)
    pieces = -(-rows // tall) * -(-columns // wide)
    partial = _NO_PARTIAL if pieces == 1 else np.empty(3 * count * pieces, np.int64)
    form = format_of(pixels.dtype)
    # the libraries differ in `window` only, but for "quarter"
    convention = compat if refine == "quarter" or compat is None else "mmpose"
    decode = _decoder(maps.column_stride == 1, form is not None, refine, convention)
    for i, start in enumerate(maps.starts):
        decode(
            count * width * height,
            pixels,
            start,
            maps.outer_stride,
            maps.inner_count,
            maps.inner_stride,
            maps.row_stride,
            maps.column_stride,
            i * count,
            count,
            rows,
            columns,
            tall,
            wide,
            width,
            np.int16(0 if form is None else INFINITY_BITS[form]),
            skips,
            threshold,
            window,
            grid,
            partial,
            xy,
            score,
            status,
        )
