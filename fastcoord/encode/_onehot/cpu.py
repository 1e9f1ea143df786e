"""Who visits which pixel of a one-hot image that is written on the CPU.

All pixels but one are zero, so whole cache lines of zeros are written, past the caches and in ascending order, across
the borders of maps; the line with a hot pixel takes its turn among them (written afterwards, it would first have to be
read back; and lines that two maps share, written in two parts, cost half the speed for maps of 4 KB).
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
MAPS = 1 << 12  # in a task, at most: so many positions are kept
STREAM = 1 << 18  # bytes from which the output is written past the caches


@inlined
def _write_stretch(
    place: Any, start: int, count: int, hots: Any, first: int, maps: int, value: Any, is_streamed: bool
) -> None:
    """`count` elements from `start` on: zeros, but `value` at those in ``hots[first : first + maps]`` among them.

    These ascend. The lines at both ends, which may be shared with a neighbour, are written first, by plain stores.
    """
    size = item_bytes(place)
    lines = octets(place)
    zeros = splat(np.uint8(0), 64)
    ones = splat_line(value)
    at, end = start * size, (start + count) * size
    head = (CACHE_LINE - bytes_past_line(lines, at)) % CACHE_LINE
    head = head if head < end - at else end - at
    store_first(lines, at, zeros, head)
    at += head
    last = at + (end - at) // CACHE_LINE * CACHE_LINE
    store_first(lines, last, zeros, end - last)
    for k in range(first, first + maps + 1):
        is_hot = False
        stop = last
        if k < first + maps:
            octet = hots[k] * size
            if octet < start * size or octet >= end:
                continue
            if octet < at or octet >= last:  # in a line that is written already
                place[hots[k]] = value
                continue
            is_hot = True
            stop = at + (octet - at) // CACHE_LINE * CACHE_LINE
        if is_streamed:
            for line in range(at, stop, CACHE_LINE):
                store_streaming(lines, line, zeros)
        else:
            for line in range(at, stop, CACHE_LINE):
                store(lines, line, zeros)
        if is_hot:
            lane = splat_line(convert(hots[k] - stop // size, value))
            hot_ones = select(lane_numbers(ones) == lane, ones, ones - ones)
            if is_streamed:
                store_streaming(place, stop // size, hot_ones)
            else:
                store(place, stop // size, hot_ones)
            at = stop + CACHE_LINE


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
    is_map_stretch = column_stride == 1 and row_stride == columns
    is_all_stretch = is_map_stretch and bands == 1 and inner_stride == rows * columns and inner_count >= maps
    for index in prange(groups * bands):
        task: Any = np.int64(index)  # an unsigned index would make floats of differences
        group = task // bands
        first_row = (task - group * bands) * rows_in_task
        band_rows = rows_in_task if rows_in_task < rows - first_row else rows - first_row
        first_map = group * maps_in_task
        group_maps = maps_in_task if maps_in_task < maps - first_map else maps - first_map
        hots = np.empty(maps_in_task, np.int64)
        value = unit
        for k in range(group_maps):
            i = first_map + k
            outer = i // inner_count
            map_start = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
            x, y = nearest(points[2 * (number + i)], columns), nearest(points[2 * (number + i) + 1], rows)
            is_here = x != NOWHERE and y != NOWHERE
            hots[k] = map_start + y * row_stride + x * column_stride if is_here else NOWHERE
            value = convert(response(x, y, x, y), unit)
            if first_row == 0:
                weight[number + i] = 1 if is_here else 0
        some = group_maps if is_all_stretch else 1
        for k in range(0, group_maps, some):
            i = first_map + k
            outer = i // inner_count
            map_start = start + outer * outer_stride + (i - outer * inner_count) * inner_stride
            if column_stride != 1:
                for row in range(first_row, first_row + band_rows):
                    for column in range(columns):
                        at = map_start + row * row_stride + column * column_stride
                        place[at] = value if at == hots[k] else unit - unit
                continue
            step = band_rows if is_map_stretch else 1
            count = step * columns + (some - 1) * rows * columns
            for row in range(first_row, first_row + band_rows, step):
                _write_stretch(place, map_start + row * row_stride, count, hots, k, some, value, is_streamed)
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
    maps_in_task = max(1, min(TASK // bytes_in_map, MAPS))
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
