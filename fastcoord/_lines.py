"""Whole cache lines of maps, on the CPU: what the encoders share, most of it those of few pixels.

Lines are written past the caches and in ascending order, across the borders of rows and maps: each line once, with all
the pixels in it that are not zero.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel
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

__all__ = ["Marks", "division", "draw_all", "drawer", "tasks_of", "within", "written", "zeros_written"]

TASK = 1 << 19  # bytes that one thread writes before it fences, at most
AT_ONCE = 16  # tasks in equal parts for so many threads: 12 MB in 1 MB for each of two took 13 % longer
MAPS = 1 << 12  # in a task, at most: tiny maps take longer than their bytes
STREAM = 1 << 18  # bytes from which the output is written past the caches

# Below, `at` is the element at which a line begins that is not written yet, `room` how many elements it has (fewer than
# there are lanes only at the beginning of a stretch, which need not be that of a cache line), `line` what is in it.


@inlined
def written(place: Any, at: int, room: int, line: Any, is_streamed: bool) -> int:
    """Write the line, and return where the next one begins."""
    if room * item_bytes(place) < CACHE_LINE:
        store_first(place, at, line, room)  # shared with a neighbour: its other bytes are not touched
    elif is_streamed:
        store_streaming(place, at, line)
    else:
        store(place, at, line)
    return at + room


@inlined
def zeros_written(place: Any, at: int, stop: int, zeros: Any, is_streamed: bool) -> int:
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
def within(index: Any, first: Any, end: Any) -> Any:
    """Whether `index` is one of first … end − 1, in each lane of a vector."""
    return (index >= first) & (index < end)


class Marks(NamedTuple):
    """What an encoder of few pixels writes on a map: in each row of a stretch of rows some runs of pixels.

    All members are inlined; `shape` is what `place` says of the map of a point.
    """

    place: Any  # (x, y, kind, columns, rows, options): shape, its first row, the one after the last, and if it is there
    span: Any  # (shape, row, run, columns): the first column of a run, and the one after the last
    line: Any  # (shape, row, column, run, options, unit): a cache line of pixels, the first of which is in this column
    pixel: Any  # (shape, row, column, run, options, unit): one
    runs: int  # in a row, from left to right


def drawer(marks: Marks) -> Kernel:
    """A kernel that writes these marks, for `draw_all`.

    Its last arguments are how many maps a point has (`kind` is which of them it is), options, and a pixel of the type.
    """
    place_of, span_of, line_of, pixel_of, runs = marks

    @inlined
    def drawn_run(
        place: Any,
        at: int,
        room: int,
        line: Any,
        hot: int,
        first: int,
        end: int,
        shape: Any,
        row: int,
        run: int,
        options: Any,
        unit: Any,
        is_streamed: bool,
    ) -> Any:
        """The line after the pixels before column `end` of the row that begins at `hot` are in their lines.

        Those from column `first` on are the run's.
        """
        lanes = CACHE_LINE // item_bytes(place)
        zeros = like(splat_line(unit), 0)
        numbers = lane_numbers(zeros)
        if hot + first >= at + room:
            at = written(place, at, room, line, is_streamed)
            at = zeros_written(place, at, hot + first, zeros, is_streamed)
            room, line = lanes, zeros
        while hot + end > at + room:  # the run goes on in the next line
            values = line_of(shape, row, at - hot, run, options, unit)
            line = select(numbers >= splat_line(convert(hot + first - at, unit)), values, line)
            at = written(place, at, room, line, is_streamed)
            room, line, first = lanes, zeros, at - hot
        values = line_of(shape, row, at - hot, run, options, unit)
        start, stop = splat_line(convert(hot + first - at, unit)), splat_line(convert(hot + end - at, unit))
        return at, room, select(within(numbers, start, stop), values, line)

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
        maps: int,
        rows: int,
        columns: int,
        maps_in_task: int,
        rows_in_task: int,
        is_streamed: bool,
        is_cleared: bool,
        points: Any,
        weight: Any,
        maps_of_point: int,
        options: Any,
        unit: Any,
    ) -> None:
        place = memory(images)
        zero = like(unit, 0)
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
            zeros = like(splat_line(unit), 0)
            at, room, line = first_map - first_map, lanes, zeros
            for k in range(group_maps):
                i = first_map + k
                map_start = first_element(i, start, outer_stride, inner_count, inner_stride)
                point = number + i
                if maps_of_point > 1:
                    point = point // maps_of_point
                kind = number + i - point * maps_of_point
                shape, top, bottom, is_here = place_of(
                    points[2 * point], points[2 * point + 1], kind, columns, rows, options
                )
                if first_row == 0 and kind == 0:
                    weight[point] = 1 if is_here else 0
                bottom = bottom if is_here else top
                top, bottom = top if top > first_row else first_row, bottom if bottom < last_row else last_row
                if column_stride != 1:
                    if not is_cleared:
                        for row in range(first_row, last_row):
                            for column in range(columns):
                                place[map_start + row * row_stride + column * column_stride] = zero
                    for row in range(top, bottom):
                        for run in range(runs):
                            left, right = span_of(shape, row, run, columns)
                            for column in range(left, right):
                                value = pixel_of(shape, row, column, run, options, unit)
                                place[map_start + row * row_stride + column * column_stride] = value
                    continue
                step = last_row - first_row if is_map_stretch else 1  # rows that stand side by side
                for row in range(first_row, last_row, step):
                    if k == 0 or not is_all_stretch:
                        at = map_start + row * row_stride
                        room, line = lanes - bytes_past_line(place, at) // item_bytes(place), zeros
                    for hot_row in range(top if top > row else row, bottom if bottom < row + step else row + step):
                        for run in range(runs):
                            left, right = span_of(shape, hot_row, run, columns)
                            if left < right:
                                hot = map_start + hot_row * row_stride
                                at, room, line = drawn_run(
                                    *(place, at, room, line, hot, left, right, shape, hot_row, run, options, unit),
                                    is_streamed,
                                )
                    if k == group_maps - 1 or not is_all_stretch:
                        end = map_start + row * row_stride + step * columns
                        if end >= at + room:
                            at = written(place, at, room, line, is_streamed)
                            at = zeros_written(place, at, end, zeros, is_streamed)
                            line = zeros
                        store_first(place, at, line, end - at)
            stream_fence()

    return draw


def tasks_of(total: int) -> int:
    """In how many tasks of a good size so many bytes are written."""
    return AT_ONCE * -(-total // (AT_ONCE * TASK))


def division(maps: Maps) -> tuple[int, int, int]:
    """Into tasks of a good size: maps in a task, rows of a map in a task, and the bytes of all maps."""
    bytes_in_map = maps.height * maps.width * maps.memory.itemsize
    total = maps.count * bytes_in_map
    bands = min(maps.height, -(-bytes_in_map // TASK))
    tasks = tasks_of(total)
    maps_in_task = min(-(-maps.count // tasks), MAPS) if bands == 1 else 1
    return maps_in_task, -(-maps.height // bands), total


def draw_all(draw: Any, maps: Maps, points: Any, weight: Any, *last: Any) -> None:
    """Call the kernel `draw` for all of the `maps`, in tasks of a good size; `last` are its last arguments."""
    maps_in_task, rows_in_task, total = division(maps)
    # NHWC: the pixels of a map are apart, but together the maps leave nothing of the memory out. It is cleared as one
    # map of no point, and then visited where the points are: 1.1 instead of 3.0 ms for 64×17 maps of 64×48.
    is_cleared = maps.column_stride != 1 and len(maps.starts) == 1 and total == maps.memory.nbytes
    if is_cleared:
        size, one = maps.memory.size, np.empty(1, np.float32)
        rows = -(-size // -(-total // TASK))
        draw(
            *(total // 4, maps.memory, 0, 0, 1, 0, 1, 1, 0, 1, size, 1, 1, rows, total >= STREAM, False),
            *(_missing(points), one, *last),
        )
    for i, start in enumerate(maps.starts):
        draw(
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
            *last,
        )


def _missing(points: Any) -> Any:
    """A point like those, which is none."""
    missing = np.full(2, np.nan, points.dtype)
    missing.flags.writeable = False  # as theirs is
    return missing
