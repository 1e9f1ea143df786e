"""Who writes which pixel of the gradient of a centre of mass on the CPU.

Where no pixel has to be looked at, whole cache lines are written past the caches, across the ends of rows. Else, and
where maps are narrower than a line, row by row.
"""

from typing import Any

import numpy as np
from numba import prange

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._memory import (
    bytes_past_line,
    first_element,
    gather,
    item_bytes,
    load_first,
    memory,
    store,
    store_first,
    store_streaming,
    stream_fence,
)
from fastcoord._vector import CACHE_LINE, convert, lane_numbers, like, out_of_line, select, splat_line
from fastcoord.decode._center_of_mass.formula import (
    counts,
    limits,
    nearest,
    past,
    slope,
    slope_in_row,
    slopes,
    slopes_in_row,
)
from fastcoord.decode._center_of_mass.region import adjacent_largest, scattered_largest

PART = 1 << 18  # pixels that one thread writes before it fences
STREAM = 1 << 18  # bytes from which the gradient is written past the caches


@inlined
def _line(coefficients: Any, x: Any, y: Any, from_x: Any, from_y: Any, window: Any) -> Any:
    """The gradient of pixels that are (x, y) from the pixel nearest to the centre of mass."""
    left, right, top, bottom = window
    found = slope(coefficients, x - from_x, y - from_y)
    return select((x >= left) & (x < right) & (y >= top) & (y < bottom), found, like(found, 0))


@outlined
def _by_lines(
    place: Any,
    start: int,
    first_pixel: int,
    last_pixel: int,
    columns: int,
    center_x: int,
    center_y: int,
    unit: Any,
    coefficients: Any,
    from_x: Any,
    from_y: Any,
    window: Any,
    is_windowed: bool,
    is_streamed: bool,
) -> None:
    """Write some pixels of a map that begins at element `start` and has at least as many columns as a line."""
    out_of_line()
    lanes = CACHE_LINE // item_bytes(place)
    wide = splat_line(convert(columns, unit))
    numbers, one = lane_numbers(wide), like(wide, 1)
    row = first_pixel // columns
    column = first_pixel - row * columns
    pixel = first_pixel
    room = lanes - bytes_past_line(place, start + pixel) // item_bytes(place)
    y = splat_line(convert(row - center_y, unit))
    in_row = slopes_in_row(coefficients, y - from_y)
    while pixel < last_pixel:
        some = room if last_pixel - pixel > room else last_pixel - pixel
        x = numbers + splat_line(convert(column - center_x, unit))
        if is_windowed or columns - column < some:
            is_next = numbers >= splat_line(convert(columns - column, unit))
            x, lane_y = select(is_next, x - wide, x), select(is_next, y + one, y)
            found = _line(coefficients, x, lane_y, from_x, from_y, window)
        else:
            found = slope_in_row(in_row, x - from_x)
        if some < lanes:
            store_first(place, start + pixel, found, some)  # shared with a neighbour: its other bytes are not touched
        elif is_streamed:
            store_streaming(place, start + pixel, found)
        else:
            store(place, start + pixel, found)
        pixel += some
        column += some
        if column >= columns:
            column -= columns
            y = y + one
            in_row = slopes_in_row(coefficients, y - from_y)
        room = lanes


def _by_rows(is_adjacent: bool, lanes: int) -> Any:
    """How the gradient is written where each pixel is looked at."""

    @outlined
    def by_rows(
        place: Any,
        start: int,
        images: Any,
        first: int,
        row_stride: int,
        column_stride: int,
        first_row: int,
        last_row: int,
        columns: int,
        center_x: int,
        center_y: int,
        unit: Any,
        coefficients: Any,
        from_x: Any,
        from_y: Any,
        window: Any,
        least: Any,
    ) -> None:
        out_of_line()
        lowest = like(from_x, least)
        for row in range(first_row, last_row):
            y = splat_line(convert(row - center_y, unit))
            for column in range(0, columns, lanes):
                x = lane_numbers(from_x) + splat_line(convert(column - center_x, unit))
                found = _line(coefficients, x, y, from_x, from_y, window)
                at = first + row * row_stride + column * column_stride
                if is_adjacent:
                    pixels = convert(load_first(images, at, columns - column, lanes), unit)
                else:
                    pixels = convert(gather(images, at, column_stride, columns - column, lanes), unit)
                found = select(counts(pixels, lowest), found, like(found, 0))
                store_first(place, start + row * columns + column, found, columns - column)

    return by_rows


def _kernel(is_adjacent: bool, lanes: int) -> Kernel:
    """A kernel for maps whose columns are side by side or not, and for a gradient with so many pixels in a line."""
    by_rows, largest = _by_rows(is_adjacent, lanes), adjacent_largest if is_adjacent else scattered_largest

    @outlined
    def write_part(
        place: Any,
        images: Any,
        first: int,
        row_stride: int,
        column_stride: int,
        at: int,
        first_row: int,
        last_row: int,
        rows: int,
        columns: int,
        reach: Any,
        least: Any,
        reads: bool,
        is_streamed: bool,
        unit: Any,
        x: Any,
        y: Any,
        found: Any,
    ) -> None:
        """Write some rows of the gradient of map number `at`, whose centre of mass is (x, y) and slopes are `found`."""
        out_of_line()  # compiled once for the serial and the parallel kernel
        top, left, bottom, right = 0, 0, rows, columns
        if reach[0] >= 0:
            row, column, _has_nan = largest(images, first, row_stride, column_stride, rows, columns)
            top, bottom = row - reach[0], row + reach[0] + 1
            left, right = column - reach[1], column + reach[1] + 1
        center_x, center_y = nearest(x, columns, rows), nearest(y, rows, rows)
        window = (
            splat_line(convert(left - center_x, unit)),
            splat_line(convert(right - center_x, unit)),
            splat_line(convert(top - center_y, unit)),
            splat_line(convert(bottom - center_y, unit)),
        )
        from_x = splat_line(convert(past(x, center_x), unit))
        from_y = splat_line(convert(past(y, center_y), unit))
        coefficients = (
            splat_line(convert(found[0], unit)),
            splat_line(convert(found[1], unit)),
            splat_line(convert(found[2], unit)),
            splat_line(convert(found[3], unit)),
            splat_line(convert(found[4], unit)),
            splat_line(convert(found[5], unit)),
        )
        start = at * rows * columns
        if reads or columns < lanes:
            by_rows(
                place,
                start,
                images,
                first,
                row_stride,
                column_stride,
                first_row,
                last_row,
                columns,
                center_x,
                center_y,
                unit,
                coefficients,
                from_x,
                from_y,
                window,
                least,
            )
        else:
            _by_lines(
                place,
                start,
                first_row * columns,
                last_row * columns,
                columns,
                center_x,
                center_y,
                unit,
                coefficients,
                from_x,
                from_y,
                window,
                reach[0] >= 0,
                is_streamed,
            )

    @kernel
    def write(
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
        rows_in_part: int,
        maps_in_task: int,
        reach: Any,
        least: Any,
        reads: bool,
        is_streamed: bool,
        unit: Any,
        xy: Any,
        score: Any,
        covariance: Any,
        status: Any,
        of_xy: Any,
        of_score: Any,
        of_covariance: Any,
        gradient: Any,
    ) -> None:
        place, images_place = memory(gradient), memory(images)
        parts = (rows + rows_in_part - 1) // rows_in_part
        tasks = (maps * parts + maps_in_task - 1) // maps_in_task
        for index in prange(tasks):
            first_task: Any = np.int64(index) * maps_in_task  # an unsigned index would make floats of differences
            last_task = first_task + maps_in_task if maps * parts - first_task > maps_in_task else maps * parts
            for task in range(first_task, last_task):
                i = task // parts
                first_row = (task - i * parts) * rows_in_part
                last_row = first_row + rows_in_part if rows - first_row > rows_in_part else rows
                at = number + i
                none = score[at] - score[at]
                spread, of_spread = (none, none, none), (none, none, none, none)
                if of_covariance.size > 0:
                    spread = covariance[4 * at], covariance[4 * at + 1], covariance[4 * at + 3]
                    of_spread = (
                        of_covariance[4 * at],
                        of_covariance[4 * at + 1],
                        of_covariance[4 * at + 2],
                        of_covariance[4 * at + 3],
                    )
                found = slopes(
                    status[at],
                    score[at],
                    spread,
                    (of_xy[2 * at], of_xy[2 * at + 1]),
                    of_score[at] if of_score.size > 0 else none,
                    of_spread,
                )
                write_part(
                    place,
                    images_place,
                    first_element(i, start, outer_stride, inner_count, inner_stride),
                    row_stride,
                    column_stride,
                    at,
                    first_row,
                    last_row,
                    rows,
                    columns,
                    reach,
                    least,
                    reads,
                    is_streamed,
                    unit,
                    xy[2 * at],
                    xy[2 * at + 1],
                    found,
                )
            stream_fence()

    return write


_KERNELS = {(adjacent, lanes): _kernel(adjacent, lanes) for adjacent in (True, False) for lanes in (8, 16)}


def vjp(
    maps: Maps,
    window: tuple[int, int] | None,
    clip_negative: bool,
    skips_nan: bool,
    answer: tuple[Any, Any, Any, Any],
    of_answer: tuple[Any, Any, Any],
    gradient: Any,
) -> None:
    """Write the flat `gradient` of flat float64 arrays: the answer (xy, score, covariance, status), and what they gave.

    Where the latter, `of_answer`, has no score or covariance these are empty.
    """
    width, height, count = maps.width, maps.height, maps.count
    rows_in_part = min(height, max(PART // width, 1)) if window is None else height
    maps_in_task = max(PART // 4 // (width * rows_in_part), 1)
    least, _of_nan = limits(clip_negative, skips_nan)
    write = _KERNELS[maps.column_stride == 1, CACHE_LINE // gradient.itemsize]
    for i, start in enumerate(maps.starts):
        write(
            count * width * height,
            maps.memory,
            start,
            maps.outer_stride,
            maps.inner_count,
            maps.inner_stride,
            maps.row_stride,
            maps.column_stride,
            i * count,
            count,
            height,
            width,
            rows_in_part,
            maps_in_task,
            (-1, -1) if window is None else window,
            least,
            clip_negative or skips_nan,
            gradient.nbytes >= STREAM,
            gradient.dtype.type(1),
            *answer,
            *of_answer,
            gradient,
        )
