"""Who visits which pixel of the discs round points, on the CPU.

Most pixels are zero, so whole cache lines are written, as `_lines` does: each line once, with all pixels of a disc in
it. What they hold changes along a row, and is computed for a line where it is written.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import inlined, kernel
from fastcoord._lines import draw_all, within, written, zeros_written
from fastcoord._memory import bytes_past_line, first_element, item_bytes, memory, store_first, stream_fence
from fastcoord._vector import CACHE_LINE, convert, lane_numbers, like, select, splat_line
from fastcoord.encode._offsets.formula import DISC, columns_in_disc, has_pixels, held, is_finite, rows_near, split


@inlined
def _run(
    place: Any,
    at: int,
    room: int,
    line: Any,
    hot: int,
    first: int,
    end: int,
    kind: int,
    row: int,
    x: Any,
    y: Any,
    scale: Any,
    unit: Any,
    is_streamed: bool,
) -> Any:
    """As `_lines.run`, of the columns from `first` to before `end` of a row that begins at element `hot`."""
    lanes = CACHE_LINE // item_bytes(place)
    zeros = like(splat_line(unit), 0)
    numbers = lane_numbers(zeros)
    if hot + first >= at + room:
        at = written(place, at, room, line, is_streamed)
        at = zeros_written(place, at, hot + first, zeros, is_streamed)
        room, line = lanes, zeros
    while hot + end > at + room:  # the run goes on in the next line
        values = held(kind, numbers, at - hot, row, x, y, scale)
        line = select(numbers >= splat_line(convert(hot + first - at, unit)), values, line)
        at = written(place, at, room, line, is_streamed)
        room, line, first = lanes, zeros, at - hot
    values = held(kind, numbers, at - hot, row, x, y, scale)
    start, stop = splat_line(convert(hot + first - at, unit)), splat_line(convert(hot + end - at, unit))
    return at, room, select(within(numbers, start, stop), values, line)


@inlined
def _span(x: Any, dy: Any, radius: Any, columns: int, is_everywhere: bool) -> Any:
    """The first column of a row that holds something, and the one after the last."""
    first, end = 0, columns
    if not is_everywhere:
        first, end = columns_in_disc(x, dy, radius, columns)
    return first, end


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
    members: int,
    radius: Any,
    scale: Any,
    is_whole: bool,
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
            point = (number + i) // members
            kind = 3 - members + (number + i) - point * members  # without the disc, those after it
            x, y = points[2 * point], points[2 * point + 1]
            is_here = is_finite(x) and is_finite(y)
            is_here = is_here and (is_whole or has_pixels(x, y, radius, columns, rows))
            is_everywhere = is_whole and kind != DISC
            if first_row == 0 and (number + i) == point * members:
                weight[point] = 1 if is_here else 0
            split_x, split_y = split(x if is_here else like(x, 0)), split(y if is_here else like(y, 0))
            top, bottom = rows_near(y if is_here else like(y, 0), radius, rows)
            top, bottom = 0 if is_everywhere else top, rows if is_everywhere else bottom
            bottom = bottom if is_here else top
            top, bottom = top if top > first_row else first_row, bottom if bottom < last_row else last_row
            if is_cleared:
                for row in range(top, bottom):
                    left, right = _span(x, y - like(y, row), radius, columns, is_everywhere)
                    for column in range(left, right):
                        value = held(kind, zero, column, row, split_x, split_y, scale)
                        place[map_start + row * row_stride + column * column_stride] = value
                continue
            if column_stride != 1:
                for row in range(first_row, last_row):
                    left, right = 0, 0
                    if row >= top and row < bottom:
                        left, right = _span(x, y - like(y, row), radius, columns, is_everywhere)
                    for column in range(columns):
                        value = held(kind, zero, column, row, split_x, split_y, scale)
                        is_hot = within(column, left, right)
                        place[map_start + row * row_stride + column * column_stride] = value if is_hot else zero
                continue
            step = last_row - first_row if is_map_stretch else 1  # rows that stand side by side
            for row in range(first_row, last_row, step):
                if k == 0 or not is_all_stretch:
                    at = map_start + row * row_stride
                    room, line = lanes - bytes_past_line(place, at) // item_bytes(place), zeros
                for hot_row in range(top if top > row else row, bottom if bottom < row + step else row + step):
                    left, right = _span(x, y - like(y, hot_row), radius, columns, is_everywhere)
                    if left < right:
                        hot = map_start + hot_row * row_stride
                        at, room, line = _run(
                            *(place, at, room, line, hot, left, right, kind, hot_row, split_x, split_y, scale, unit),
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


def offsets(members: int, radius: float, scale: float, is_whole: bool, maps: Maps, points: Any, weight: Any) -> None:
    """Write `members` maps for each of the flat `points`, of float64, into `maps`, and the weight of each.

    With the disc there are three, without two. A pixel counts `scale`; offsets stand everywhere if `is_whole`.
    """
    options = members, np.float64(radius), np.float64(scale), is_whole, maps.memory.dtype.type(1)
    draw_all(_draw, maps, points, weight, *options)
