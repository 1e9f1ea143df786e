"""Who visits which pixel of a heatmap on the CPU.

Maps are read in stretches of pixels, a few of these before they are searched: see `search`. Maps that stand side by
side, as those of NHWC, get a lane each: see `side_by_side`.

Large maps are cut into pieces, by their shape, so that all threads help and the result does not depend on how many
there are.
"""

from typing import Any

import numpy as np
from numba import config, prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._halves import format_of
from fastcoord._memory import first_element, load, load_line, memory, store, workspace
from fastcoord._placement import numbers_at, numbers_step, placed
from fastcoord._vector import convert, first_lane, integer_like, out_of_line
from fastcoord.decode._argmax.formula import FAR, INFINITY_BITS, finish, merge
from fastcoord.decode._argmax.search import BLOCKS, GATHERED, LINES, steps, value_of
from fastcoord.decode._argmax.side_by_side import decoder as side_by_side

GROUP = 32  # maps that one call decodes, at most
TASKS = 4 * config.NUMBA_NUM_THREADS  # calls that there are at least, if there are so many batches of maps
BATCH = 4  # stretches that are read before they are searched
PIECE = 1 << 18  # pixels in a piece, of all maps that are read together
SMALLEST = 1 << 10  # pixels of each of them


@inlined
def _write(
    place: Any,
    start: int,
    row_stride: int,
    column_stride: int,
    width: int,
    state: Any,
    skips: bool,
    threshold: Any,
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
    x, y, score[at], status[at] = finish(
        greatest,
        convert(column, threshold),
        convert(row, threshold),
        is_found,
        several,
        has_nan != 0 and not skips,
        threshold,
    )
    xy[2 * at], xy[2 * at + 1] = placed(x, y, numbers)


@inlined
def _answer(
    place: Any,
    start: int,
    row_stride: int,
    column_stride: int,
    width: int,
    state: Any,
    skips: bool,
    threshold: Any,
    grid: Any,
    grid_step: int,
    number: int,
    i: int,
    pieces: int,
    piece: int,
    partial: Any,
    xy: Any,
    score: Any,
    status: Any,
) -> None:
    """The answer for map `i` of those from `number` on, or what is known of it from one of several pieces."""
    if pieces == 1:
        numbers = numbers_at(grid, (number + i) * grid_step)
        _write(
            place,
            start,
            row_stride,
            column_stride,
            width,
            state,
            skips,
            threshold,
            numbers,
            number + i,
            xy,
            score,
            status,
        )
    else:
        task = i * pieces + piece
        partial[3 * task], partial[3 * task + 1], partial[3 * task + 2] = state[1], state[2], state[3]


def _one_by_one(is_adjacent: bool, is_half: bool) -> Any:
    """How maps are decoded that do not stand side by side."""
    lowest_of, lanes_of, read, find = steps(is_adjacent, is_half)

    @outlined
    def decode_maps(
        place: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        row_stride: int,
        column_stride: int,
        number: int,
        first_map: int,
        last_map: int,
        top: int,
        bottom: int,
        left: int,
        right: int,
        columns: int,
        width: int,
        infinity: Any,
        skips: bool,
        threshold: Any,
        grid: Any,
        grid_step: int,
        pieces: int,
        piece: int,
        partial: Any,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        """Write the answers for some maps; if they have several pieces, what is found in one.

        All of a map's stretches follow each other, and those of the next map.
        """
        out_of_line()  # compiled once for the serial and the parallel kernel
        stride = 1 if is_adjacent else column_stride
        lanes = lanes_of(place)
        span = BLOCKS * LINES * lanes
        is_single = right - left <= span and bottom - top == 1 and pieces == 1
        nothing = lowest_of(place, start, infinity)
        kept, kept_marks = workspace(nothing, BATCH), workspace(integer_like(nothing, 0), BATCH)
        lowest = first_lane((nothing,))[0]
        # of the next stretch that is read, and of the next that is searched
        read_map, read_row, read_column = first_map, top, left
        i, row, column = first_map, top, left
        state = (lowest, FAR, 0, 0)
        while i < last_map:
            spoilt, count = 0, 0
            while count < BATCH and read_map < last_map:
                at = first_element(read_map, start, outer_stride, inner_count, inner_stride)
                at += read_row * row_stride + read_column * stride
                some = span if right - read_column > span else right - read_column
                largest, marks, is_spoilt = read(place, at, stride, some, infinity)
                store(kept, count * lanes, largest)
                store(kept_marks, count * lanes, marks)
                spoilt |= (1 if is_spoilt else 0) << count
                count += 1
                read_column += span
                if read_column >= right:
                    read_column = left
                    read_row += 1
                    if read_row == bottom:
                        read_row = top
                        read_map += 1
            for k in range(count):
                first_pixel = first_element(i, start, outer_stride, inner_count, inner_stride)
                at = first_pixel + row * row_stride + column * stride
                some = span if right - column > span else right - column
                largest = load_line(kept, k * lanes, lanes) if is_adjacent else load(kept, k * GATHERED, GATHERED)
                marks = (
                    load_line(kept_marks, k * lanes, lanes) if is_adjacent else load(kept_marks, k * GATHERED, GATHERED)
                )
                found = find(place, at, stride, some, infinity, largest, marks, (spoilt >> k) & 1)
                if is_single:
                    state = found
                else:
                    first = found[1] if found[1] == FAR else found[1] + row * columns + column
                    state = merge(state, (found[0], first, found[2], found[3]), FAR)
                column += span
                if column < right:
                    continue
                column = left
                row += 1
                if row < bottom:
                    continue
                row = top
                _answer(
                    place,
                    first_pixel,
                    row_stride,
                    column_stride,
                    width,
                    state,
                    skips,
                    threshold,
                    grid,
                    grid_step,
                    number,
                    i,
                    pieces,
                    piece,
                    partial,
                    xy,
                    score,
                    status,
                )
                state = (lowest, FAR, 0, 0)
                i += 1

    return decode_maps


def _decoder(decode_maps: Any, is_half: bool) -> Kernel:
    value = value_of(is_half)

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
        group: int,
        rows: int,
        columns: int,
        tall: int,
        wide: int,
        width: int,
        infinity: Any,
        skips: bool,
        threshold: Any,
        grid: Any,
        partial: Any,
        xy: Any,
        score: Any,
        status: Any,
    ) -> None:
        place, partial_place = memory(images), memory(partial)
        xy_place, score_place, status_place = memory(xy), memory(score), memory(status)
        grid_place, grid_step = memory(grid), numbers_step(grid)
        pieces = ((rows + tall - 1) // tall) * ((columns + wide - 1) // wide)
        across = (columns + wide - 1) // wide
        for index in prange((maps + group - 1) // group * pieces):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            first = task // pieces * group
            piece = task - task // pieces * pieces
            top, left = piece // across * tall, piece % across * wide
            decode_maps(
                place,
                start,
                outer_stride,
                inner_count,
                inner_stride,
                row_stride,
                column_stride,
                number,
                first,
                first + group if maps - first > group else maps,
                top,
                top + tall if rows - top > tall else rows,
                left,
                left + wide if columns - left > wide else columns,
                columns,
                width,
                infinity,
                skips,
                threshold,
                grid_place,
                grid_step,
                pieces,
                piece,
                partial_place,
                xy_place,
                score_place,
                status_place,
            )
        if pieces > 1:
            for i in range(maps):
                first_pixel = first_element(i, start, outer_stride, inner_count, inner_stride)
                state = (value(place, first_pixel, infinity), FAR, 0, 0)
                for task in range(i * pieces, (i + 1) * pieces):
                    position = partial[3 * task]
                    element = first_pixel
                    if position != FAR:
                        element += position // width * row_stride + position % width * column_stride
                    greatest = value(place, element, infinity)
                    state = merge(state, (greatest, position, partial[3 * task + 1], partial[3 * task + 2]), FAR)
                _write(
                    place,
                    first_pixel,
                    row_stride,
                    column_stride,
                    width,
                    state,
                    skips,
                    threshold,
                    numbers_at(grid_place, (number + i) * grid_step),
                    number + i,
                    xy_place,
                    score_place,
                    status_place,
                )

    return decode


_HALVES = (False, True)
_ADJACENT = {is_half: _decoder(_one_by_one(True, is_half), is_half) for is_half in _HALVES}
_SCATTERED = {is_half: _decoder(_one_by_one(False, is_half), is_half) for is_half in _HALVES}
_SIDE_BY_SIDE = {is_half: _decoder(side_by_side(_answer, is_half), is_half) for is_half in _HALVES}
_NO_PARTIAL = np.empty(0, np.int64)


def argmax(maps: Maps, skips: bool, threshold: Any, grid: Any, xy: Any, score: Any, status: Any) -> None:
    """Decode `maps` into flat arrays; `threshold` is NaN, or of the type of `score`; `grid` holds a grid's numbers."""
    pixels, width, height, count = maps.memory, maps.width, maps.height, maps.count
    rows, columns = height, width
    if maps.row_stride == width * maps.column_stride:
        rows, columns = 1, height * width  # all pixels are equally far apart
    form = format_of(pixels.dtype)
    kernels, beside = _ADJACENT if maps.column_stride == 1 else _SCATTERED, 1
    if maps.column_stride != 1 and maps.inner_stride == 1 and maps.inner_count > 1:
        kernels, beside = _SIDE_BY_SIDE, maps.inner_count
    most = max(PIECE // beside, min(PIECE, SMALLEST))  # pixels of a map in a piece
    tall, wide = min(max(most // columns, 1), rows), columns if rows > 1 else min(columns, most)
    pieces = -(-rows // tall) * -(-columns // wide)
    partial = _NO_PARTIAL if pieces == 1 else np.empty(3 * count * pieces, np.int64)
    group = beside
    if beside == 1 and pieces == 1:
        group = count // TASKS // BATCH * BATCH  # of 6 maps, one batch and a half: 1.2 times as long as of 24 (uint8)
        group = min(group, GROUP) if group else max(count // TASKS, 1)
    decode = kernels[form is not None]
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
            group,
            rows,
            columns,
            tall,
            wide,
            width,
            np.int16(0 if form is None else INFINITY_BITS[form]),
            skips,
            threshold,
            grid,
            partial,
            xy,
            score,
            status,
        )
