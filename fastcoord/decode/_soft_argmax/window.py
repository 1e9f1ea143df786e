"""A window round the first of the largest pixels of a heatmap, on the CPU: search the map, then read the window."""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._memory import memory
from fastcoord._placement import numbers_at, numbers_step
from fastcoord._vector import convert, like, out_of_line
from fastcoord.decode._soft_argmax.formula import NO_NUMBER, merge
from fastcoord.decode._soft_argmax.region import COVARIANCE, collect, first_place, has_nan, largest, moments, write

FOUND = 4  # numbers that tell of the largest pixel of a piece: its value, whether there is NaN, its row and its column


def windowed(is_direct: bool, wants: int) -> tuple[Any, Kernel]:
    """What searches and decodes some maps, or some pieces of maps; and the kernel that calls it."""
    has_covariance = wants == COVARIANCE

    @inlined
    def search(place: Any, at: int, row_stride: int, rows: int, columns: int, unit: Any, found: Any, to: int) -> None:
        """Write what is found in a piece."""
        greatest = largest(place, at, row_stride, rows, columns, unit)
        row, column = first_place(place, at, row_stride, rows, columns, greatest)
        is_spoilt = has_nan(place, at, row_stride, rows, columns)
        found[to], found[to + 1] = greatest, convert(1 if is_spoilt else 0, unit)
        found[to + 2], found[to + 3] = convert(row, unit), convert(column, unit)

    @inlined
    def part(
        place: Any,
        at: int,
        row_stride: int,
        column_stride: int,
        rows: int,
        columns: int,
        left: int,
        top: int,
        greatest: Any,
        rate: Any,
        buffer: Any,
        to: int,
    ) -> Any:
        at += top * row_stride + left * column_stride
        if is_direct:
            return moments(
                place, at, row_stride, rows, columns, left, top, greatest, rate, 0, False, 0, has_covariance
            )[0]
        collect(place, at, row_stride, column_stride, rows, columns, buffer, to, rate[0])
        return moments(buffer, to, columns, rows, columns, left, top, greatest, rate, 0, False, 0, has_covariance)[0]

    @outlined
    def state_of(
        place: Any,
        at: int,
        row_stride: int,
        column_stride: int,
        height: int,
        width: int,
        tall: int,
        wide: int,
        window: int,
        rate: Any,
        buffer: Any,
        to: int,
        found: Any,
        first: int,
        pieces: int,
    ) -> Any:
        """The state of the window of a map, of whose pieces `found` tells, in parts that fill the buffer; its pixel."""
        out_of_line()
        unit = rate[0]
        best, is_spoilt = 0, False
        for piece in range(pieces):
            best = piece if found[FOUND * (first + piece)] > found[FOUND * (first + best)] else best
            is_spoilt = is_spoilt or found[FOUND * (first + piece) + 1] != unit - unit
        here = FOUND * (first + best)
        greatest = found[here]
        across = (width + wide - 1) // wide
        row: Any = best // across * tall + np.int64(found[here + 2])
        column: Any = best % across * wide + np.int64(found[here + 3])
        top: Any = max(row - window, 0)
        left: Any = max(column - window, 0)
        bottom: Any = min(row + window + 1, height)
        right: Any = min(column + window + 1, width)
        columns = min(right - left, wide)
        rows = min(bottom - top, tall * wide // columns)
        state = part(place, at, row_stride, column_stride, rows, columns, left, top, greatest, rate, buffer, to)
        for y in range(top, bottom, rows):
            for x in range(left, right, columns):
                if y > top or x > left:
                    other = part(
                        place,
                        at,
                        row_stride,
                        column_stride,
                        min(rows, bottom - y),
                        min(columns, right - x),
                        x,
                        y,
                        greatest,
                        rate,
                        buffer,
                        to,
                    )
                    state = merge(state, other, rate)
        mass = like(unit, NO_NUMBER) if is_spoilt else state[1]
        state = (state[0], mass, state[2], state[3], state[4], state[5], state[6], state[7], state[8])
        return state, row, column

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
        height: int,
        width: int,
        tall: int,
        wide: int,
        window: int,
        rate: Any,
        buffer: Any,
        to: int,
        grid: Any,
        grid_step: int,
        found: Any,
        is_search: bool,
        xy: Any,
        score: Any,
        more: Any,
        status: Any,
    ) -> None:
        """Search pieces, or write the answers for maps whose pieces were searched; both for maps of one piece."""
        out_of_line()
        unit = rate[0]
        across = (width + wide - 1) // wide
        pieces = (height + tall - 1) // tall * across
        for task in range(first_task, last_task):
            i = task // pieces if is_search else task
            outer = 0 if i < inner_count else i // inner_count
            at = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
            if is_search:
                top, left = (task - i * pieces) // across * tall, (task - i * pieces) % across * wide
                rows, columns = min(tall, height - top), min(wide, width - left)
                corner = at + top * row_stride + left * column_stride
                if is_direct:
                    search(place, corner, row_stride, rows, columns, unit, found, FOUND * task)
                else:
                    collect(place, corner, row_stride, column_stride, rows, columns, buffer, to, unit)
                    search(buffer, to, columns, rows, columns, unit, found, FOUND * task)
            if pieces == 1 or not is_search:
                state, row, column = state_of(
                    place,
                    at,
                    row_stride,
                    column_stride,
                    height,
                    width,
                    tall,
                    wide,
                    window,
                    rate,
                    buffer,
                    to,
                    found,
                    i * pieces,
                    pieces,
                )
                i += number
                write(state, numbers_at(grid, i * grid_step), row, column, i, xy, score, more, status, wants)

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
        height: int,
        width: int,
        tall: int,
        wide: int,
        some: int,
        window: int,
        factor: Any,
        least: Any,
        buffer: Any,
        grid: Any,
        found: Any,
        xy: Any,
        score: Any,
        more: Any,
        status: Any,
    ) -> None:
        place, buffer_place, found_place = memory(images), memory(buffer), memory(found)
        xy_place, score_place, more_place, status_place = memory(xy), memory(score), memory(more), memory(status)
        grid_place, grid_step = memory(grid), numbers_step(grid)
        pieces = ((height + tall - 1) // tall) * ((width + wide - 1) // wide)
        for is_search in (True, False):
            tasks = maps * pieces if is_search else maps if pieces > 1 else 0
            for index in prange((tasks + some - 1) // some):
                call: Any = np.int64(index)  # an unsigned index would make floats of differences
                first = call * some
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
                    first + some if tasks - first > some else tasks,
                    height,
                    width,
                    tall,
                    wide,
                    window,
                    (factor, least),
                    buffer_place,
                    call * (tall * wide),
                    grid_place,
                    grid_step,
                    found_place,
                    is_search,
                    xy_place,
                    score_place,
                    more_place,
                    status_place,
                )

    return decode_tasks, decode
