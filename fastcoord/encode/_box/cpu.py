"""Who visits which pixel of a square that is written on the CPU.

Most pixels are zero, so whole cache lines are written, past the caches and in ascending order, across the borders of
rows and maps: each line once, with the pixels of every square in it. A square is a *run* of pixels in each of its rows;
where maps are narrow a line holds several runs.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import inlined, kernel
from fastcoord._memory import (
    bytes_past_line,
    first_element,
    item_bytes,
    memory,
    store,
    store_first,
    store_streaming,
    stream_fence,
)
from fastcoord._vector import CACHE_LINE, convert, lane_numbers, like, select, splat_line
from fastcoord.encode._box.formula import NOWHERE, nearest, span, within

TASK = 1 << 19  # bytes that one thread writes before it fences, at most
AT_ONCE = 16  # tasks in equal parts for so many threads: 12 MB in 1 MB for each of two took 13 % longer
MAPS = 1 << 12  # in a task, at most: tiny maps take longer than their bytes
STREAM = 1 << 18  # bytes from which the output is written past the caches

# Below, `at` is the element at which a line begins that is not written yet, `room` how many elements it has (fewer than
# there are lanes only at the beginning of a stretch, which need not be that of a cache line), `line` what is in it.


@inlined
def _written(place: Any, at: int, room: int, line: Any, is_streamed: bool) -> int:
    """Write the line, and return where the next one begins."""
    if room * item_bytes(place) < CACHE_LINE:
        store_first(place, at, line, room)  # shared with a neighbour: its other bytes are not touched
    elif is_streamed:
        store_streaming(place, at, line)
    else:
        store(place, at, line)
    return at + room


@inlined
def _zeros_written(place: Any, at: int, stop: int, zeros: Any, is_streamed: bool) -> int:
    """Write as many lines of zeros as there are before `stop`, and return where the next one begins."""
    lanes = CACHE_LINE // item_bytes(place)
    stop = at + (stop - at) // lanes * lanes
    if is_streamed:
        for line in range(at, stop, lanes):
            store_streaming(place, line, zeros)
    else:
        for line in range(at, stop, lanes):
            store(place, line, zeros)
    return stop


@inlined
def _run(
    place: Any, at: int, room: int, line: Any, first: int, end: int, values: Any, value: Any, is_streamed: bool
) -> Any:
    """The line after the elements before `end` are in their lines, those from `first` on with `value`."""
    lanes = CACHE_LINE // item_bytes(place)
    zeros, numbers = like(values, 0), lane_numbers(values)
    if first >= at + room:
        at = _written(place, at, room, line, is_streamed)
        at = _zeros_written(place, at, first, zeros, is_streamed)
        room, line = lanes, zeros
    while end > at + room:  # the run goes on in the next line
        from_here = splat_line(convert(first - at, value))
        line = select(numbers >= from_here, values, line)
        at = _written(place, at, room, line, is_streamed)
        room, line, first = lanes, zeros, at
    is_hot = within(numbers, splat_line(convert(first - at, value)), splat_line(convert(end - at, value)))
    return at, room, select(is_hot, values, line)


@kernel
def _draw(
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
    maps_in_task: int,
    rows_in_task: int,
    is_streamed: bool,
    is_cleared: bool,
    points: Any,
    weight: Any,
    radius: int,
    value: Any,
) -> None:
    place = memory(images)
    zero = like(value, 0)
    lanes = CACHE_LINE // item_bytes(place)
    bands = (rows + rows_in_task - 1) // rows_in_task
    groups = (maps + maps_in_task - 1) // maps_in_task
    is_map_stretch = column_stride == 1 and row_stride == columns
    is_all_stretch = is_map_stretch and bands == 1 and inner_stride == rows * columns and inner_count >= maps
    for index in prange(groups * bands):
        task: Any = np.int64(index)  # an unsigned index would make floats of differences
        group = task // bands
        first_row = (task - group * bands) * rows_in_task
        last_row = first_row + rows_in_task if rows_in_task < rows - first_row else rows
        first_map = group * maps_in_task
        group_maps = maps_in_task if maps_in_task < maps - first_map else maps - first_map
        values = splat_line(value)
        zeros = like(values, 0)
        at, room, line = first_map - first_map, lanes, zeros
        for k in range(group_maps):
            i = first_map + k
            map_start = first_element(i, start, outer_stride, inner_count, inner_stride)
            x, y = nearest(points[2 * (number + i)], columns), nearest(points[2 * (number + i) + 1], rows)
            is_here = x != NOWHERE and y != NOWHERE
            if first_row == 0:
                weight[number + i] = 1 if is_here else 0
            left, right = span(x, radius, columns)
            top, bottom = span(y, radius, rows)
            bottom = bottom if is_here else top
            if is_cleared:
                for row in range(top if top > first_row else first_row, bottom if bottom < last_row else last_row):
                    for column in range(left, right):
                        place[map_start + row * row_stride + column * column_stride] = value
                continue
            if column_stride != 1:
                for row in range(first_row, last_row):
                    for column in range(columns):
                        is_hot = within(row, top, bottom) & within(column, left, right)
                        place[map_start + row * row_stride + column * column_stride] = value if is_hot else zero
                continue
            step = last_row - first_row if is_map_stretch else 1  # rows that stand side by side
            for row in range(first_row, last_row, step):
                if k == 0 or not is_all_stretch:
                    at = map_start + row * row_stride
                    room, line = lanes - bytes_past_line(place, at) // item_bytes(place), zeros
                for hot_row in range(top if top > row else row, bottom if bottom < row + step else row + step):
                    hot = map_start + hot_row * row_stride
                    at, room, line = _run(place, at, room, line, hot + left, hot + right, values, value, is_streamed)
                if k == group_maps - 1 or not is_all_stretch:
                    end = map_start + row * row_stride + step * columns
                    if end >= at + room:
                        at = _written(place, at, room, line, is_streamed)
                        at = _zeros_written(place, at, end, zeros, is_streamed)
                        line = zeros
                    store_first(place, at, line, end - at)
        stream_fence()


def box(radius: int, value: Any, maps: Maps, points: Any, weight: Any) -> None:
    """Write a square for each of the flat `points` into `maps`, and into `weight` whether there is one.

    It reaches `radius` pixels from its centre to each side, and `value` has the type of the pixels.
    """
    bytes_in_map = maps.height * maps.width * maps.memory.itemsize
    total = maps.count * bytes_in_map
    bands = min(maps.height, -(-bytes_in_map // TASK))
    rows_in_task = -(-maps.height // bands)
    tasks = AT_ONCE * -(-total // (AT_ONCE * TASK))
    maps_in_task = min(-(-maps.count // tasks), MAPS) if bands == 1 else 1
    pixel = maps.memory.dtype.type(value)  # a bool is written as a byte
    # NHWC: the pixels of a map are apart, but together the maps leave nothing of the memory out. It is cleared as one
    # map without a square, and then visited where the squares are: 1.1 instead of 3.0 ms for 64×17 maps of 64×48.
    is_cleared = maps.column_stride != 1 and len(maps.starts) == 1 and total == maps.memory.nbytes
    if is_cleared:
        size, one = maps.memory.size, np.empty(1, np.float32)
        rows = -(-size // -(-total // TASK))
        _draw(
            *(total // 4, maps.memory, 0, 0, 1, 0, 1, 1, 0, 1, size, 1, 1, rows, total >= STREAM, False),
            *(_missing(points), one, 0, pixel),
        )
    for i, start in enumerate(maps.starts):
        _draw(
            total // 4,
            maps.memory,
            start,
            maps.outer_stride,
            maps.inner_count,
            maps.inner_stride,
            maps.row_stride,
            maps.column_stride,
            i * maps.count,
            maps.count,
            maps.height,
            maps.width,
            maps_in_task,
            rows_in_task,
            total >= STREAM,
            is_cleared,
            points,
            weight,
            radius,
            pixel,
        )


def _missing(points: Any) -> Any:
    """A point like those, which is none."""
    missing = np.full(2, np.nan, points.dtype)
    missing.flags.writeable = False  # as theirs is
    return missing
