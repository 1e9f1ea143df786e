"""The gradient of `decode.soft_argmax` on the CPU.

Maps are decoded a few at a time, and their gradients written while the cache still has them; of maps of several pieces
all are decoded first. The gradient of a pixel is p · (towards · (pixel − mean)), p being its probability.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, kernel, outlined
from fastcoord._exponential import Rate
from fastcoord._memory import first_element, gather, load_first, memory, store_first
from fastcoord._vector import convert, lane_numbers, like, out_of_line, select, splat
from fastcoord.decode._soft_argmax.cpu import TASKS, WINDOWED, plan, soft_argmax
from fastcoord.decode._soft_argmax.formula import pull
from fastcoord.decode._soft_argmax.region import LANES, NOTES
from fastcoord.decode._soft_argmax.window import FOUND


def _differentiator(is_direct: bool, has_window: bool) -> Kernel:
    decode_tasks = (WINDOWED if has_window else TASKS)[is_direct, NOTES][0]

    @outlined
    def write_rows(
        place: Any,
        at: int,
        row_stride: int,
        column_stride: int,
        first_row: int,
        last_row: int,
        columns: int,
        i: int,
        window: int,
        rate: Any,
        xy: Any,
        score: Any,
        notes: Any,
        status: Any,
        towards: Any,
        written: Any,
        to: int,
    ) -> None:
        """Some rows of the gradient of a map whose first pixel is element `at`, into `written` from element `to` on."""
        out_of_line()
        zero = splat(rate[0] - rate[0], LANES)
        mean_x, mean_y = like(zero, xy[2 * i]), like(zero, xy[2 * i + 1])
        greatest, share = like(zero, notes[NOTES * i]), like(zero, score[i])
        towards_x, towards_y = like(zero, towards[2 * i]), like(zero, towards[2 * i + 1])
        low_row, high_row, low_column, high_column = 0, last_row, 0, columns
        if has_window:
            centre_row: Any = np.int64(notes[NOTES * i + 1])
            centre_column: Any = np.int64(notes[NOTES * i + 2])
            low_row, high_row = centre_row - window, centre_row + window + 1
            low_column, high_column = centre_column - window, centre_column + window + 1
        if status[i] != 0:
            low_row = last_row
        left, right = like(zero, low_column), like(zero, high_column)
        for row in range(first_row, last_row):
            is_inside = row >= low_row and row < high_row
            y = like(zero, row)
            x = lane_numbers(zero)
            for k in range(0, columns, LANES):
                found = zero
                if is_inside:
                    here = at + row * row_stride + k * column_stride
                    if is_direct:
                        values = load_first(place, here, columns - k, LANES)
                    else:
                        values = convert(gather(place, here, column_stride, columns - k, LANES), rate[0])
                    found = pull(values, greatest, rate, share, towards_x, towards_y, x - mean_x, y - mean_y)
                    if has_window:
                        found = select((x >= left) & (x < right), found, zero)
                store_first(written, to + row * columns + k, found, columns - k)
                x = x + like(zero, LANES)

    @kernel
    def differentiate(
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
        some: int,
        distance: int,
        window: int,
        is_decoded: bool,
        factor: Any,
        least: Any,
        buffer: Any,
        grid: Any,
        partial: Any,
        xy: Any,
        score: Any,
        notes: Any,
        status: Any,
        towards: Any,
        written: Any,
    ) -> None:
        place, buffer_place, partial_place, grid_place = memory(images), memory(buffer), memory(partial), memory(grid)
        xy_place, score_place, notes_place, status_place = memory(xy), memory(score), memory(notes), memory(status)
        towards_place, written_place = memory(towards), memory(written)
        rate = (factor, least)
        bands = (height + tall - 1) // tall  # one if the maps are not decoded
        for index in prange((maps * bands + some - 1) // some):
            call: Any = np.int64(index)  # an unsigned index would make floats of differences
            first = call * some
            last = first + some if maps * bands - first > some else maps * bands
            if not is_decoded:
                if has_window:
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
                        height,
                        width,
                        height,
                        width,
                        distance,
                        rate,
                        buffer_place,
                        call * (height * width),
                        grid_place,
                        0,
                        partial_place,
                        True,
                        xy_place,
                        score_place,
                        notes_place,
                        status_place,
                    )
                else:
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
                        height,
                        width,
                        height,
                        width,
                        distance,
                        rate,
                        buffer_place,
                        call * (height * width),
                        grid_place,
                        0,
                        partial_place,
                        xy_place,
                        score_place,
                        notes_place,
                        status_place,
                    )
            for task in range(first, last):
                i = task // bands
                first_row = (task - i * bands) * tall
                write_rows(
                    place,
                    first_element(i, start, outer_stride, inner_count, inner_stride),
                    row_stride,
                    column_stride,
                    first_row,
                    first_row + tall if height - first_row > tall else height,
                    width,
                    number + i,
                    window,
                    rate,
                    xy_place,
                    score_place,
                    notes_place,
                    status_place,
                    towards_place,
                    written_place,
                    (number + i) * height * width,
                )

    return differentiate


_KERNELS = {(direct, window): _differentiator(direct, window) for direct in (True, False) for window in (True, False)}


def vjp(maps: Maps, rate: Rate, window: int | None, pixels: Any, towards: Any, written: Any) -> None:
    """Write the gradient, map by map; `towards` has two numbers a map, `pixels` the numbers of the grid of pixels."""
    width, height, count = maps.width, maps.height, maps.count
    dtype = written.dtype
    total = count * len(maps.starts)
    xy, score, notes = np.empty(2 * total, dtype), np.empty(total, dtype), np.empty(NOTES * total, dtype)
    status = np.empty(total, np.int32)
    planned = plan(maps, dtype)
    is_decoded = planned.pieces > 1
    if is_decoded:
        soft_argmax(maps, rate, window, pixels, xy, score, notes, status, NOTES)
    reach = 0 if window is None else min(window, max(height, width))
    partial = np.empty(0 if is_decoded or window is None else FOUND * count, dtype)
    distance = maps.inner_stride if window is None else reach
    differentiate = _KERNELS[planned.is_direct, window is not None]
    for i, start in enumerate(maps.starts):
        differentiate(
            count * width * height,
            maps.memory,
            start,
            maps.outer_stride,
            maps.inner_count,
            maps.inner_stride,
            maps.row_stride,
            maps.column_stride,
            i * count,
            count,
            height,
            width,
            planned.tall if is_decoded else height,
            planned.some if not is_decoded else 1,
            distance,
            reach,
            is_decoded,
            *rate,
            planned.buffer,
            pixels,
            partial,
            xy,
            score,
            notes,
            status,
            towards,
            written,
        )
