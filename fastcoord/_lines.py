"""Whole cache lines of maps, on the CPU: what the encoders share, most of it those of few pixels.

Lines are written past the caches and in ascending order, across the borders of rows and maps: each line once, with all
the pixels in it that are not zero.
"""

from typing import Any

import numpy as np

from fastcoord._arrays import Maps
from fastcoord._compile import inlined
from fastcoord._memory import item_bytes, store, store_first, store_streaming
from fastcoord._vector import CACHE_LINE, convert, lane_numbers, like, select, splat_line

__all__ = ["division", "draw_all", "run", "within", "written", "zeros_written"]

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


@inlined
def run(
    place: Any, at: int, room: int, line: Any, first: int, end: int, values: Any, value: Any, is_streamed: bool
) -> Any:
    """The line after the elements before `end` are in their lines, those from `first` on with `value`."""
    lanes = CACHE_LINE // item_bytes(place)
    zeros, numbers = like(values, 0), lane_numbers(values)
    if first >= at + room:
        at = written(place, at, room, line, is_streamed)
        at = zeros_written(place, at, first, zeros, is_streamed)
        room, line = lanes, zeros
    while end > at + room:  # the run goes on in the next line
        from_here = splat_line(convert(first - at, value))
        line = select(numbers >= from_here, values, line)
        at = written(place, at, room, line, is_streamed)
        room, line, first = lanes, zeros, at
    is_hot = within(numbers, splat_line(convert(first - at, value)), splat_line(convert(end - at, value)))
    return at, room, select(is_hot, values, line)


def division(maps: Maps) -> tuple[int, int, int]:
    """Into tasks of a good size: maps in a task, rows of a map in a task, and the bytes of all maps."""
    bytes_in_map = maps.height * maps.width * maps.memory.itemsize
    total = maps.count * bytes_in_map
    bands = min(maps.height, -(-bytes_in_map // TASK))
    tasks = AT_ONCE * -(-total // (AT_ONCE * TASK))
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
