"""Who visits which pixel of a heatmap on the CPU.

Maps are read in stretches of pixels, a few of these before they are searched: see `search`. Maps that stand side by
side, as those of NHWC, get a lane each: see `side_by_side`.

Large maps are cut into pieces, by their shape, so that all threads help and the result does not depend on how many
there are.
"""

import functools
from typing import Any

import numpy as np
from numba import config, prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel
from fastcoord._halves import format_of
from fastcoord._largest import EMPTY, FAR, INFINITY_BITS, finish, merge
from fastcoord._largest_search import value_of
from fastcoord._memory import first_element, memory
from fastcoord._placement import numbers_at, numbers_step, placed
from fastcoord._vector import convert
from fastcoord._window import named, opener, refiner
from fastcoord.decode._argmax.one_by_one import BATCH
from fastcoord.decode._argmax.one_by_one import decoder as one_by_one
from fastcoord.decode._argmax.side_by_side import decoder as side_by_side

GROUP = 32  # maps that one call decodes, at most
TASKS = 4 * config.NUMBA_NUM_THREADS  # calls that there are at least, if there are so many batches of maps
PIECE = 1 << 18  # pixels in a piece, of all maps that are read together
SMALLEST = 1 << 10  # pixels of each of them
ADJACENT, SCATTERED, SIDE_BY_SIDE = "adjacent", "scattered", "side by side"  # how pixels, or maps, lie


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


def _answerer(write: Any) -> Any:
    @inlined
    def answer(
        place: Any,
        start: int,
        row_stride: int,
        column_stride: int,
        width: int,
        state: Any,
        skips: bool,
        threshold: Any,
        window: Any,
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
            write(
                place,
                start,
                row_stride,
                column_stride,
                width,
                state,
                skips,
                threshold,
                window,
                numbers,
                number + i,
                xy,
                score,
                status,
            )
        else:
            task = i * pieces + piece
            partial[3 * task], partial[3 * task + 1], partial[3 * task + 2] = state[1], state[2], state[3]

    return answer


@functools.cache
def _decoder(layout: str, is_half: bool, refine: str | None = None, compat: str | None = None) -> Kernel:
    value, opened = value_of(is_half), opener(refine)
    write = _writer(refine, compat, layout == ADJACENT, is_half)
    if layout == SIDE_BY_SIDE:
        decode_maps = side_by_side(_answerer(write), is_half)
    else:
        decode_maps = one_by_one(_answerer(write), layout == ADJACENT, is_half)

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
                near,
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
                write(
                    place,
                    first_pixel,
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

    `window`: what `refine` takes, as `_refinement.Window`.
    """
    pixels, width, height, count = maps.memory, maps.width, maps.height, maps.count
    rows, columns = height, width
    if maps.row_stride == width * maps.column_stride:
        rows, columns = 1, height * width  # all pixels are equally far apart
    form = format_of(pixels.dtype)
    layout, beside = ADJACENT if maps.column_stride == 1 else SCATTERED, 1
    if maps.column_stride != 1 and maps.inner_stride == 1 and maps.inner_count > 1:
        layout, beside = SIDE_BY_SIDE, maps.inner_count
    most = max(PIECE // beside, min(PIECE, SMALLEST))  # pixels of a map in a piece
    tall, wide = min(max(most // columns, 1), rows), columns if rows > 1 else min(columns, most)
    pieces = -(-rows // tall) * -(-columns // wide)
    partial = _NO_PARTIAL if pieces == 1 else np.empty(3 * count * pieces, np.int64)
    group = beside
    if beside == 1 and pieces == 1:
        group = count // TASKS // BATCH * BATCH  # whole batches
        group = min(group, GROUP) if group else max(count // TASKS, 1)
    # the libraries differ in `window` only, but for "quarter"
    convention = compat if refine == "quarter" or compat is None else "mmpose"
    decode = _decoder(layout, form is not None, refine, convention)
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
            window,
            grid,
            partial,
            xy,
            score,
            status,
        )
