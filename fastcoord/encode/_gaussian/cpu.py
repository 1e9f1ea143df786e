"""Who visits which pixel of a Gaussian that is written on the CPU.

The factors of both axes are computed once a map, into a buffer that stays in the first cache; a pixel is a product of
two of them. Whole cache lines are written, past the caches and in ascending order, across the borders of rows and maps.
The factors of the next map are computed between the rows of this one, while the lines written before are on their way
to the memory. A window needs no code of its own: beyond it factors are 0, and a product takes no longer than a zero.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord import _lines
from fastcoord._arrays import Maps
from fastcoord._compile import kernel
from fastcoord._gaussian_axis import placed_point
from fastcoord._lines import division, written
from fastcoord._memory import (
    bytes_past_line,
    first_element,
    item_bytes,
    load,
    memory,
    store,
    store_first,
    store_streaming,
    stream_fence,
)
from fastcoord._narrow import as_bfloat16, as_float16, unchanged
from fastcoord._vector import CACHE_LINE, lane_numbers, like, select, splat
from fastcoord.encode._gaussian.axis import (
    LANES,
    LEAD,
    POINT,
    divide_by_sum,
    vectors,
    write_axes,
    write_next,
)
from fastcoord.encode._gaussian.formula import joined

BUFFER = 1 << 25  # bytes of the maps that are joined before they are written, at once


def _stretcher(lanes: int, narrow: Any) -> Any:
    """A kernel for maps whose pixels stand side by side, `lanes` of them in a cache line, and no rows shorter."""

    @kernel
    def draw(
        images: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        number: int,
        maps: int,
        rows: int,
        columns: int,
        maps_in_task: int,
        rows_in_task: int,
        is_streamed: bool,
        points: Any,
        weight: Any,
        numbers: Any,
        numbers_step: int,
        reaches: Any,
        reaches_step: int,
        mode: int,
        is_sum: bool,
        buffer: Any,
    ) -> None:
        place, factors = memory(images), memory(buffer)
        size = columns + rows + 3 * LEAD
        bands = (rows + rows_in_task - 1) // rows_in_task
        groups = (maps + maps_in_task - 1) // maps_in_task
        wide = vectors(columns)
        whole = wide + vectors(rows)
        is_joint = bands == 1 and inner_stride == rows * columns and inner_count >= maps
        for index in prange(groups * bands):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            group = task // bands
            first_row = (task - group * bands) * rows_in_task
            last_row = first_row + rows_in_task if rows_in_task < rows - first_row else rows
            first_map = group * maps_in_task
            group_maps = maps_in_task if maps_in_task < maps - first_map else maps - first_map
            this, other = task * 2 * size, (task * 2 + 1) * size
            at = first_map - first_map
            for k in range(-1, group_maps):
                this, other = other, this
                has_next = k + 1 < group_maps
                i = number + first_map + (k + 1 if has_next else k)
                n, r = i * numbers_step, i * reaches_step
                x, y = points[2 * i], points[2 * i + 1]
                placed = placed_point(x, y, columns, rows, reaches[r], reaches[r + 1], mode)
                if has_next and first_row == 0:
                    weight[i] = 1 if placed[-1] else 0
                next_across, next_down = other + LEAD, other + columns + 2 * LEAD
                to_write = whole if has_next else 0  # elements of the next map's axes, of both one after the other
                done = 0
                map_start = first_element(first_map + max(k, 0), start, outer_stride, inner_count, inner_stride)
                across, down = this + LEAD, this + columns + 2 * LEAD
                begin = map_start + first_row * columns
                end = map_start + last_row * columns if k >= 0 else begin
                row = first_row
                if k == 0 or (k > 0 and not is_joint):
                    past = bytes_past_line(place, begin) // item_bytes(place)
                    head = (lanes - past) % lanes
                    high = splat(factors[down + row], lanes)
                    store_first(place, begin, narrow(load(factors, across, lanes) * high), head)
                    at = begin + head
                column = at - begin
                while k >= 0 and at + lanes <= end:
                    if done < to_write:  # while the lines before this one are on their way to the memory
                        write_next(factors, next_across, next_down, done, wide, placed, numbers, n)
                        done += LANES
                    high = splat(factors[down + row], lanes)
                    stop = at + (columns - column) // lanes * lanes
                    if is_streamed:
                        while at < stop:
                            store_streaming(place, at, narrow(load(factors, across + column, lanes) * high))
                            at += lanes
                            column += lanes
                    else:
                        while at < stop:
                            store(place, at, narrow(load(factors, across + column, lanes) * high))
                            at += lanes
                            column += lanes
                    if column < columns and at + lanes <= end:  # a line in two rows
                        low = load(factors, across + column, lanes) * high
                        high = splat(factors[down + row + 1], lanes)
                        wrapped = load(factors, across + column - columns, lanes) * high
                        mark = like(low, columns - column)
                        line = narrow(select(lane_numbers(low) < mark, low, wrapped))
                        at = written(place, at, lanes, line, is_streamed)
                        column += lanes
                    if column >= columns:
                        column -= columns
                        row += 1
                while done < to_write:
                    write_next(factors, next_across, next_down, done, wide, placed, numbers, n)
                    done += LANES
                if is_sum and has_next:
                    divide_by_sum(factors, next_across, columns)
                    divide_by_sum(factors, next_down, rows)
                if k >= 0 and at < end:
                    low = load(factors, across + column, lanes) * splat(factors[down + last_row - 1], lanes)
                    if k == group_maps - 1 or not is_joint:
                        store_first(place, at, narrow(low), end - at)
                    else:  # a line in two maps
                        high = splat(factors[next_down], lanes)
                        wrapped = load(factors, next_across - (end - at), lanes) * high
                        mark = like(low, end - at)
                        line = narrow(select(lane_numbers(low) < mark, low, wrapped))
                        at = written(place, at, lanes, line, is_streamed)
            stream_fence()

    return draw


def _joiner(narrow: Any) -> Any:
    """A kernel for maps of any strides, each of which may join several points."""

    @kernel
    def draw(
        images: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        row_stride: int,
        column_stride: int,
        number: int,
        first_map: int,
        maps: int,
        rows: int,
        columns: int,
        rows_in_task: int,
        points_in_map: int,
        adds: bool,
        points: Any,
        weight: Any,
        numbers: Any,
        numbers_step: int,
        reaches: Any,
        reaches_step: int,
        mode: int,
        is_sum: bool,
        buffer: Any,
        line: Any,
    ) -> None:
        place, factors, pixels = memory(images), memory(buffer), memory(line)
        size = columns + rows + 3 * LEAD
        bands = (rows + rows_in_task - 1) // rows_in_task
        wide = vectors(columns)
        each = size + rows_in_task * wide
        for index in prange(maps * bands):
            task: Any = np.int64(index)
            i = first_map + task // bands
            first_row = task % bands * rows_in_task
            last_row = first_row + rows_in_task if rows_in_task < rows - first_row else rows
            base = task * each
            sums = base + size
            zero = splat(numbers[0] - numbers[0], LANES)
            for k in range(0, (last_row - first_row) * wide, LANES):
                store(factors, sums + k, zero)
            for p in range(points_in_map):
                point = (number + i) * points_in_map + p
                left, right, top, bottom, has_pixels = write_axes(
                    *(factors, base, rows, columns, points, point, numbers, numbers_step),
                    *(reaches, reaches_step, mode, is_sum, False),
                )
                if first_row == 0:
                    weight[point] = 1 if has_pixels else 0
                left = left // LANES * LANES
                for row in range(top if top > first_row else first_row, bottom if bottom < last_row else last_row):
                    high = splat(factors[base + columns + 2 * LEAD + row], LANES)
                    to = sums + (row - first_row) * wide
                    for column in range(left, right, LANES):
                        found = load(factors, base + LEAD + column, LANES) * high
                        before = load(factors, to + column, LANES)
                        store(factors, to + column, joined(before, found, adds))
            map_start = first_element(i, start, outer_stride, inner_count, inner_stride)
            for row in range(first_row, last_row):
                to = map_start + row * row_stride
                for k in range(0, columns, LANES):
                    found = narrow(load(factors, sums + (row - first_row) * wide + k, LANES))
                    if column_stride == 1:
                        store_first(place, to + k, found, columns - k)
                    else:
                        store(pixels, task * LANES, found)
                        for lane in range(LANES if columns - k > LANES else columns - k):
                            place[to + (k + lane) * column_stride] = pixels[task * LANES + lane]

    return draw


_NARROW = {"float32": unchanged, "float64": unchanged, "float16": as_float16, "bfloat16": as_bfloat16}
_STRETCHERS = {
    name: _stretcher(CACHE_LINE // {"float64": 8, "float32": 4}.get(name, 2), narrow)
    for name, narrow in _NARROW.items()
}
_JOINERS = {name: _joiner(narrow) for name, narrow in _NARROW.items()}


def gaussian(
    name: str,
    sizes: tuple[Any, Any],
    mode: int,
    is_sum: bool,
    reduce: str | None,
    maps: Maps,
    points: Any,
    weight: Any,
) -> None:
    """Write the Gaussians of the flat `points`, of float64, into `maps` of the type `name`, and the weight of each.

    `sizes` are the numbers that `axis` wants of each point, or of all of them, and how far each axis reaches.
    """
    numbers, reaches = sizes
    height, width, count = maps.height, maps.width, maps.count
    maps_in_task, rows_in_task, total = division(maps)
    bands = -(-height // rows_in_task)
    lanes = CACHE_LINE // maps.memory.itemsize
    size = width + height + 3 * LEAD
    options = points, weight, numbers, POINT * (numbers.size > POINT), reaches, 2 * (reaches.size > 2), mode, is_sum
    is_stretch = maps.column_stride == 1 and maps.row_stride == width and width >= lanes and reduce is None
    if is_stretch:
        buffer = np.zeros(2 * size * bands * -(-count // maps_in_task), numbers.dtype)
        at_once = count
    else:  # a buffer for each map: so many maps at once that it stays small
        each = bands * (size + rows_in_task * vectors(width))
        points_in_map = points.size // 2 // (count * len(maps.starts))
        at_once = max(1, min(count, BUFFER // (each * numbers.itemsize)))
        buffer = np.zeros(at_once * each, numbers.dtype)
        line = np.empty(at_once * bands * LANES, maps.memory.dtype)
    for i, start in enumerate(maps.starts):
        if is_stretch:
            where = maps.memory, start, maps.outer_stride, maps.inner_count, maps.inner_stride
            shape = i * count, count, height, width, maps_in_task, rows_in_task, total >= _lines.STREAM
            _STRETCHERS[name](total // 4, *where, *shape, *options, buffer)
            continue
        for first in range(0, count, at_once):
            part = i * count, first, min(at_once, count - first), height, width, rows_in_task, points_in_map
            where = maps.memory, start, maps.outer_stride, maps.inner_count, maps.inner_stride
            strides = maps.row_stride, maps.column_stride
            work = at_once * height * width * max(points_in_map, 1)
            _JOINERS[name](work, *where, *strides, *part, reduce == "sum", *options, buffer, line)
