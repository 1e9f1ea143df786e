"""Who visits which pixel of a one-hot image that is written on the CPU.

All pixels but one are zero, so whole cache lines of zeros are written, past the caches and in ascending order, across
the borders of maps; the line with a hot pixel takes its turn among them (written afterwards, it would first have to be
read back; and lines that two maps share, written in two parts, cost half the speed for maps of 4 KB). Where maps are
whole lines long, no branch tells where the hot pixel lies.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import inlined, kernel, outlined
from fastcoord._memory import (
    bytes_past_line,
    first_element,
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
    as_octets,
    convert,
    lane_numbers,
    out_of_line,
    select,
    splat,
    splat_line,
)
from fastcoord.encode._onehot.formula import NOWHERE, nearest, response

TASK = 1 << 20  # bytes that one thread writes before it fences, at most
MAPS = 1 << 12  # in a task, at most: so many positions are kept
EVEN = 8  # tasks come in multiples of so many: 13 tasks of 1 MB would leave one of two threads idle for a while
STREAM = 1 << 18  # bytes from which the output is written past the caches
LINES = 256  # cache lines in a map, at most, that a byte tells apart


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


@inlined
def _hot_line(place: Any, hot: int, first: int, value: Any) -> Any:
    """The number of the line with the hot pixel, counted from the line of element `first` on; and that line's bytes."""
    ones = splat_line(value)
    items = CACHE_LINE // item_bytes(place)
    line = (hot - first) // items if hot != NOWHERE else 0
    lane = splat_line(convert(hot - first - line * items, value))
    is_hot = (lane_numbers(ones) == lane) & (ones == splat_line(convert(hot != NOWHERE, value)))
    return line, as_octets(select(is_hot, ones, ones - ones))


@inlined
def _write_lines(place: Any, start: int, pixels: int, hots: Any, maps: int, value: Any) -> None:
    """`maps` maps of `pixels` pixels from element `start` on, which are whole lines long but may begin within a line.

    Then a map's hot pixel is in the line before its own first one, in which the map before ends, or in its own lines
    but the end of the last. To write up to each hot pixel and on from there, in loops of unpredictable length, was
    slower: 0.91 instead of 0.95 of the best writer's ceiling (16384×64×64 uint8).
    """
    lines, size = octets(place), item_bytes(place)
    zeros, one = splat(np.uint8(0), 64), splat(np.uint8(1), 64)
    head = (CACHE_LINE - bytes_past_line(lines, start * size)) % CACHE_LINE
    first = start + head // size  # the element that begins a line
    store_first(lines, start * size, zeros, head)
    if hots[0] != NOWHERE and hots[0] < first:
        place[hots[0]] = value
    count = pixels * size // CACHE_LINE
    next_line, next_bytes = _hot_line(place, hots[0], first, value)
    for k in range(maps):
        hot_line, hot_bytes = next_line, next_bytes
        at = (first + k * pixels) * size
        last = at + (count - 1) * CACHE_LINE
        mark, number = splat(np.uint8(hot_line), 64), zeros
        for line in range(at, last, CACHE_LINE):
            store_streaming(lines, line, select(number == mark, hot_bytes, zeros))
            number = number + one
        end = zeros
        if hot_line == count - 1:
            end = hot_bytes
        if k + 1 < maps:
            next_line, next_bytes = _hot_line(place, hots[k + 1], first + (k + 1) * pixels, value)
            if next_line < 0:
                end = end | next_bytes
            store_streaming(lines, last, end)
        else:
            store_first(lines, last, end, CACHE_LINE - head)


@outlined
def _write_task(
    place: Any,
    start: int,
    outer_stride: int,
    inner_count: int,
    inner_stride: int,
    row_stride: int,
    column_stride: int,
    number: int,
    first_map: int,
    maps: int,
    all_maps: int,
    first_row: int,
    band_rows: int,
    rows: int,
    columns: int,
    is_streamed: bool,
    is_cleared: bool,
    points: Any,
    weight: Any,
    unit: Any,
) -> None:
    """`maps` maps from number `first_map` on, of each `band_rows` rows from `first_row` on."""
    out_of_line()  # compiled once for the serial and the parallel kernel
    is_map_stretch = column_stride == 1 and row_stride == columns
    is_all_stretch = is_map_stretch and band_rows == rows and inner_stride == rows * columns and inner_count >= all_maps
    bytes_in_map = rows * columns * item_bytes(place)
    is_lines = bytes_in_map % CACHE_LINE == 0 and bytes_in_map <= LINES * CACHE_LINE
    hots = np.empty(maps, np.int64)
    value = unit
    for k in range(maps):
        i = first_map + k
        map_start = first_element(i, start, outer_stride, inner_count, inner_stride)
        x, y = nearest(points[2 * (number + i)], columns), nearest(points[2 * (number + i) + 1], rows)
        is_here = x != NOWHERE and y != NOWHERE
        hots[k] = map_start + y * row_stride + x * column_stride if is_here else NOWHERE
        value = select(response(x, y, x, y) > 0, unit, convert(0, unit))
        if first_row == 0:
            weight[number + i] = 1 if is_here else 0
    if is_streamed and is_all_stretch and is_lines:
        _write_lines(place, start + first_map * inner_stride, rows * columns, hots, maps, value)
        stream_fence()
        return
    some = maps if is_all_stretch else 1
    for k in range(0, maps, some):
        i = first_map + k
        map_start = first_element(i, start, outer_stride, inner_count, inner_stride)
        if is_cleared:
            if hots[k] != NOWHERE:
                place[hots[k]] = value
            continue
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
    is_cleared: bool,
    points: Any,
    weight: Any,
    unit: Any,
) -> None:
    place, points_place, weight_place = memory(images), memory(points), memory(weight)
    bands = (rows + rows_in_task - 1) // rows_in_task
    groups = (maps + maps_in_task - 1) // maps_in_task
    for index in prange(groups * bands):
        task: Any = np.int64(index)  # an unsigned index would make floats of differences
        group = task // bands
        first_row = (task - group * bands) * rows_in_task
        first_map = group * maps_in_task
        _write_task(
            place,
            start,
            outer_stride,
            inner_count,
            inner_stride,
            row_stride,
            column_stride,
            number,
            first_map,
            maps_in_task if maps - first_map > maps_in_task else maps - first_map,
            maps,
            first_row,
            rows_in_task if rows - first_row > rows_in_task else rows - first_row,
            rows,
            columns,
            is_streamed,
            is_cleared,
            points_place,
            weight_place,
            unit,
        )


def onehot(one: Any, maps: Maps, points: Any, weight: Any) -> None:
    """Write an image for each of the flat `points` into `maps`, and into `weight` whether it has a hot pixel.

    `one` is the hot pixel, in the type of the pixels.
    """
    bytes_in_map = maps.height * maps.width * maps.memory.itemsize
    total = maps.count * bytes_in_map
    rows_in_task = max(1, min(maps.height, TASK // (maps.width * maps.memory.itemsize)))
    tasks = -(-total // TASK)
    tasks += -tasks % EVEN
    maps_in_task = min(-(-maps.count // tasks), MAPS)
    unit = maps.memory.dtype.type(one)  # a bool is written as a byte
    # NHWC: the pixels of a map are apart, but together the maps leave nothing of the memory out. It is cleared as one
    # map without a hot pixel, and then visited where the hot pixels are.
    is_cleared = maps.column_stride != 1 and len(maps.starts) == 1 and total == maps.memory.nbytes
    if is_cleared:
        size, weight_of_none = maps.memory.size, np.empty(1, np.float32)
        none = np.full(2, np.nan, points.dtype)
        none.flags.writeable = False  # as `points` are
        rows = max(1, TASK // maps.memory.itemsize)
        _encode(
            *(total // 4, maps.memory, 0, 0, 1, 0, 1, 1, 0, 1, size, 1, 1, rows, total >= STREAM, False),
            *(none, weight_of_none, unit),
        )
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
            is_cleared,
            points,
            weight,
            unit,
        )
