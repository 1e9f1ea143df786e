"""Who visits which pixel of a one-hot image that is written on the CPU.

All pixels but one are zero, so whole cache lines of zeros are written, past the caches and in ascending order; the line
with the hot pixel takes its turn among them (written afterwards, it would first have to be read back).
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import inlined, kernel
from fastcoord._memory import (
    bytes_past_line,
    item_bytes,
    memory,
    octets,
    store,
    store_first,
    store_streaming,
    stream_fence,
)
from fastcoord._vector import (
    CACHE_LINE,
    convert,
    lane_numbers,
    select,
    splat,
    splat_line,
)
from fastcoord.encode._onehot.formula import NOWHERE, nearest, response

TASK = 1 << 20  # bytes that one thread writes before it fences
STREAM = 1 << 18  # bytes from which the output is written past the caches


@inlined
def _fill(place: Any, start: int, count: int, hot: Any, value: Any, is_streamed: bool) -> None:
    """`count` ≥ 0 elements from `start` on: zeros, but `value` at element `hot` if that is one of them."""
    size = item_bytes(place)
    lines = octets(place)
    zeros = splat(np.uint8(0), 64)
    at, end = start * size, (start + count) * size
    head = min((CACHE_LINE - bytes_past_line(lines, at)) % CACHE_LINE, end - at)
    store_first(lines, at, zeros, head)
    at += head
    last = at + (end - at) // CACHE_LINE * CACHE_LINE
    is_within = at <= hot * size < last
    hot_line = at + (hot * size - at) // CACHE_LINE * CACHE_LINE if is_within else last
    ones = splat_line(value)
    lane = splat_line(convert((hot * size - hot_line) // size, value))
    hot_ones = select(lane_numbers(ones) == lane, ones, ones - ones)
    if is_streamed:
        for line in range(at, hot_line, CACHE_LINE):
            store_streaming(lines, line, zeros)
        if is_within:
            store_streaming(place, hot_line // size, hot_ones)
        for line in range(hot_line + CACHE_LINE, last, CACHE_LINE):
            store_streaming(lines, line, zeros)
    else:
        for line in range(at, hot_line, CACHE_LINE):
            store(lines, line, zeros)
        if is_within:
            store(place, hot_line // size, hot_ones)
        for line in range(hot_line + CACHE_LINE, last, CACHE_LINE):
            store(lines, line, zeros)
    store_first(lines, last, zeros, end - last)
    if start <= hot < start + count and not is_within:
        place[hot] = value


@kernel
def _encode(
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
    points: Any,
    weight: Any,
    unit: Any,
) -> None:
    place = memory(images)
    bands = (rows + rows_in_task - 1) // rows_in_task
    groups = (maps + maps_in_task - 1) // maps_in_task
    for index in prange(groups * bands):
        task: Any = np.int64(index)  # an unsigned index would make floats of differences
        group = task // bands
        first_row = (task - group * bands) * rows_in_task
        last_row = min(first_row + rows_in_task, rows)
        for i in range(group * maps_in_task, min((group + 1) * maps_in_task, maps)):
            outer = i // inner_count
            first = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
            x, y = nearest(points[2 * (number + i)], columns), nearest(points[2 * (number + i) + 1], rows)
            is_here = x != NOWHERE and y != NOWHERE
            value = convert(response(x, y, x, y), unit)
            hot = first + y * row_stride + x * column_stride if is_here else np.int64(-1)
            if column_stride != 1:
                for row in range(first_row, last_row):
                    for column in range(columns):
                        at = first + row * row_stride + column * column_stride
                        place[at] = value if at == hot else unit - unit
            elif row_stride == columns:
                _fill(place, first + first_row * columns, (last_row - first_row) * columns, hot, value, is_streamed)
            else:
                for row in range(first_row, last_row):
                    _fill(place, first + row * row_stride, columns, hot, value, is_streamed)
            if first_row == 0:
                weight[number + i] = 1 if is_here else 0
        stream_fence()


@kernel
def _first_outside(points: Any, rows: int, columns: int) -> int:
    for i in range(points.size // 2):
        if nearest(points[2 * i], columns) == NOWHERE or nearest(points[2 * i + 1], rows) == NOWHERE:
            return i
    return NOWHERE


def first_outside(points: Any, height: int, width: int) -> int:
    """The number of the first point that is not on the canvas, or −1."""
    found: int = _first_outside.serial(points, height, width)
    return found


def onehot(maps: Maps, points: Any, weight: Any) -> None:
    """Write an image for each of the flat `points` into `maps`, and into `weight` whether it has a hot pixel."""
    bytes_in_map = maps.height * maps.width * maps.memory.itemsize
    rows_in_task = max(1, min(maps.height, TASK // (maps.width * maps.memory.itemsize)))
    maps_in_task = max(1, TASK // bytes_in_map)
    unit = maps.memory.dtype.type(1)
    total = maps.count * bytes_in_map
    for i, start in enumerate(maps.starts):
        _encode(
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
            points,
            weight,
            unit,
        )
