"""Who visits which pixel of a square that is written on the CPU.

Most pixels are zero, so whole cache lines are written, as `_lines` does: each line once, with the pixels of every
square in it. A square is a *run* of pixels in each of its rows; where maps are narrow a line holds several runs.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import kernel
from fastcoord._lines import draw_all, run, written, zeros_written
from fastcoord._memory import bytes_past_line, first_element, item_bytes, memory, store_first, stream_fence
from fastcoord._vector import CACHE_LINE, like, splat_line
from fastcoord.encode._box.formula import NOWHERE, nearest, span, within


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
                    at, room, line = run(place, at, room, line, hot + left, hot + right, values, value, is_streamed)
                if k == group_maps - 1 or not is_all_stretch:
                    end = map_start + row * row_stride + step * columns
                    if end >= at + room:
                        at = written(place, at, room, line, is_streamed)
                        at = zeros_written(place, at, end, zeros, is_streamed)
                        line = zeros
                    store_first(place, at, line, end - at)
        stream_fence()


def box(radius: int, value: Any, maps: Maps, points: Any, weight: Any) -> None:
    """Write a square for each of the flat `points` into `maps`, and into `weight` whether there is one.

    It reaches `radius` pixels from its centre to each side, and `value` has the type of the pixels.
    """
    pixel = maps.memory.dtype.type(value)  # a bool is written as a byte
    draw_all(_draw, maps, points, weight, radius, pixel)
