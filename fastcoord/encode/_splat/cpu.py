"""Who visits which pixel of a point that is spread over four pixels, on the CPU.

Most pixels are zero, so whole cache lines are written, as `_lines` does: each line once, with all pixels of points in
it.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import inlined, kernel
from fastcoord._lines import draw_all, run, written, zeros_written
from fastcoord._memory import bytes_past_line, first_element, item_bytes, memory, store_first, stream_fence
from fastcoord._narrow import as_bfloat16, as_float16
from fastcoord._vector import CACHE_LINE, first_lane, like, splat_line
from fastcoord._vector import splat as splat_number
from fastcoord.encode._splat.formula import NOWHERE, corner, nearest, pixel, share, slopes

LANES = 16


def _half(narrow: Any) -> Any:
    """How a share becomes a pixel of 16 bits."""

    @inlined
    def as_pixel(part: Any, unit: Any) -> Any:
        return first_lane((narrow(splat_number(np.float32(part), LANES)),))[0]

    return as_pixel


def _drawer(as_pixel: Any) -> Any:
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
                x, y = points[2 * (number + i)], points[2 * (number + i) + 1]
                is_here = nearest(x, columns) != NOWHERE and nearest(y, rows) != NOWHERE
                if first_row == 0:
                    weight[number + i] = 1 if is_here else 0
                left, across = corner(x, is_here)
                top, down = corner(y, is_here)
                first_hot = top if top > first_row else first_row
                end_hot = (top + 2 if top + 2 < last_row else last_row) if is_here else first_hot
                first_column = left if left > 0 else 0
                end_column = left + 2 if left + 2 < columns else columns
                if is_cleared:
                    for row in range(first_hot, end_hot):
                        for column in range(first_column, end_column):
                            part = share(across, down, column - left, row - top)
                            place[map_start + row * row_stride + column * column_stride] = as_pixel(part, unit)
                    continue
                if column_stride != 1:
                    for row in range(first_row, last_row):
                        for column in range(columns):
                            part = share(across, down, column - left, row - top)
                            at_pixel = map_start + row * row_stride + column * column_stride
                            place[at_pixel] = as_pixel(part, unit) if is_here else zero
                    continue
                step = last_row - first_row if is_map_stretch else 1  # rows that stand side by side
                for row in range(first_row, last_row, step):
                    if k == 0 or not is_all_stretch:
                        at = map_start + row * row_stride
                        room, line = lanes - bytes_past_line(place, at) // item_bytes(place), zeros
                    for hot_row in range(
                        first_hot if first_hot > row else row, end_hot if end_hot < row + step else row + step
                    ):
                        hot = map_start + hot_row * row_stride
                        for column in range(first_column, end_column):
                            value = as_pixel(share(across, down, column - left, hot_row - top), unit)
                            values, here = splat_line(value), hot + column
                            at, room, line = run(place, at, room, line, here, here + 1, values, value, is_streamed)
                    if k == group_maps - 1 or not is_all_stretch:
                        end = map_start + row * row_stride + step * columns
                        if end >= at + room:
                            at = written(place, at, room, line, is_streamed)
                            at = zeros_written(place, at, end, zeros, is_streamed)
                            line = zeros
                        store_first(place, at, line, end - at)
            stream_fence()

    return draw


_draw = _drawer(pixel)
_HALVES = {"float16": _drawer(_half(as_float16)), "bfloat16": _drawer(_half(as_bfloat16))}


def splat(maps: Maps, points: Any, weight: Any, name: str) -> None:
    """Write a map for each of the flat `points` into `maps`, of the type `name`, and into `weight` if it has one."""
    draw_all(_HALVES.get(name, _draw), maps, points, weight, maps.memory.dtype.type(1))


@kernel
def _vjp(
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
    points: Any,
    written: Any,
) -> None:
    place = memory(images)
    for i in range(maps):
        x, y = points[2 * (number + i)], points[2 * (number + i) + 1]
        is_here = nearest(x, columns) != NOWHERE and nearest(y, rows) != NOWHERE
        left, across = corner(x, is_here)
        top, down = corner(y, is_here)
        first = first_element(i, start, outer_stride, inner_count, inner_stride)
        to_x = to_y = like(x, 0)
        if is_here:
            for row in range(top if top > 0 else 0, top + 2 if top + 2 < rows else rows):
                for column in range(left if left > 0 else 0, left + 2 if left + 2 < columns else columns):
                    value = like(x, place[first + row * row_stride + column * column_stride])
                    dx, dy = slopes(across, down, column - left, row - top)
                    to_x += value * dx
                    to_y += value * dy
        written[2 * (number + i)], written[2 * (number + i) + 1] = to_x, to_y


def vjp(maps: Maps, points: Any, written: Any) -> None:
    """Write into the flat `written` the gradient of each of the flat `points`; `maps` are the gradients of the maps."""
    for i, start in enumerate(maps.starts):
        _vjp.serial(
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
            points,
            written,
        )
