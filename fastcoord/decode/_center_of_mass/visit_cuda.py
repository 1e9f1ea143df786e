"""How a lane of a GPU adds up a heatmap: in groups of 16 bytes, or pixel by pixel."""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._lanes import column_and_row, groups_of, lone_pixel, moved, next_pixel
from fastcoord._moments import absorb_pixel, keep
from fastcoord._vector import convert, like
from fastcoord._wide import load_four, load_sixteen
from fastcoord.decode._center_of_mass.formula import (
    absorb,
    absorb_line,
    absorb_squares,
    counted,
    larger,
    nothing,
)

FOUR = 4  # floats in a group
PLAIN = 4  # pixels that are added up before what rounding takes is kept
NOWHERE = np.int32((1 << 31) - 1)


@inlined
def larger_pixel(a: Any, b: Any) -> Any:
    return larger(a, b, NOWHERE)


@inlined
def _absorb(moments: Any, value: Any, column: Any, row: Any, about: Any) -> Any:
    """The moments after one more pixel; `about`: their centre, what a pixel is times, and the limits of `counted`."""
    center_x, center_y, times, least, of_nan = about
    number = counted(convert(value, times), least, of_nan) * times
    return absorb_pixel(moments, number, convert(column - center_x, times), convert(row - center_y, times))


@inlined
def absorb_four(moments: Any, values: Any, column: Any, row: Any, layout: Any, about: Any) -> Any:
    a, b, c, d = values
    moments = _absorb(moments, a, column, row, about)
    column, row = next_pixel(column, row, layout)
    moments = _absorb(moments, b, column, row, about)
    column, row = next_pixel(column, row, layout)
    moments = _absorb(moments, c, column, row, about)
    column, row = next_pixel(column, row, layout)
    moments = _absorb(moments, d, column, row, about)
    column, row = next_pixel(column, row, layout)
    return moments, column, row


@inlined
def absorb_sixteen(moments: Any, values: Any, column: Any, row: Any, layout: Any, about: Any) -> Any:
    moments, column, row = absorb_four(moments, values[:4], column, row, layout, about)
    moments, column, row = absorb_four(moments, values[4:8], column, row, layout, about)
    moments, column, row = absorb_four(moments, values[8:12], column, row, layout, about)
    return absorb_four(moments, values[12:], column, row, layout, about)


@inlined
def line_of_four(line: Any, values: Any, at: Any) -> Any:
    """The sums of a line after four more pixels, which count as they are; the first is `at` from its origin."""
    a, b, c, d = values
    line = absorb(absorb(line, convert(a, at), at), convert(b, at), at + like(at, 1))
    return absorb(absorb(line, convert(c, at), at + like(at, 2)), convert(d, at), at + like(at, 3))


@inlined
def line_of_sixteen(line: Any, values: Any, at: Any) -> Any:
    line = line_of_four(line_of_four(line, values[:4], at), values[4:8], at + like(at, 4))
    return line_of_four(line_of_four(line, values[8:12], at + like(at, 8)), values[12:], at + like(at, 12))


def by_groups(load: Any, absorb_group: Any, line_of_group: Any, items: int) -> Any:
    """How a lane adds up a map whose pixels stand side by side, `items` of them in a group."""

    @inlined
    def keep_next(kept: Any, values: Any, column: Any, row: Any, layout: Any, about: Any, is_line: Any) -> Any:
        """What is kept after one more group; `is_line`: its pixels are in one row, and count as they are."""
        center_x, center_y, times, _least, _of_nan = about
        none = nothing(like(times, 0))
        if is_line:
            mass, first, squares = line_of_group(none[:3], values, none[0])
            along, across = convert(column - center_x, times), convert(row - center_y, times)
            some = absorb_squares(absorb_line(none, mass, first, along, across), squares)
        else:
            some, _column, _row = absorb_group(none, values, column, row, layout, about)
        return keep(kept, some)

    @inlined
    def visit(images: Any, first: Any, layout: Any, lane: Any, lanes: Any, about: Any) -> Any:
        zero, one = like(about[2], 0), like(about[2], 1)
        kept = nothing(zero) + nothing(zero)
        head, groups, tail = groups_of(first, layout, items)
        if lane < head + tail:
            pixel = lone_pixel(lane, head, groups, items)
            column, row = column_and_row(pixel, layout)
            some = _absorb(nothing(zero), images[np.uint64(first + pixel)], column, row, about)
            kept = keep(kept, some)
        _x, _y, times, least, of_nan = about
        is_plain = times == one and of_nan != of_nan and least < zero
        is_line = is_plain and (layout.columns & (items - 1)) == 0 and (head & (items - 1)) == 0
        start, last = first + head, np.int32(groups - 1)
        column, row = column_and_row(head + lane * items, layout)
        p = np.int32(lane)
        while p <= last:
            # What rounding takes is kept for each group: covariances are small differences of large sums. Beyond the
            # last group it is the last one again, so that no branch stands between the loads. Groups are absorbed one
            # by one: a loop over a tuple of them stays a loop, with a search for its next member.
            if items == FOUR:  # four groups of four floats; one of bytes has as many values
                q, r, s = np.int32(p + lanes), np.int32(p + 2 * lanes), np.int32(p + 3 * lanes)
                a = load(images, start + items * np.int64(p))
                b = load(images, start + items * np.int64(min(q, last)))
                c = load(images, start + items * np.int64(min(r, last)))
                d = load(images, start + items * np.int64(min(s, last)))
                kept = keep_next(kept, a, column, row, layout, about, is_line)
                column, row = moved(column, row, layout)
                if q <= last:
                    kept = keep_next(kept, b, column, row, layout, about, is_line)
                column, row = moved(column, row, layout)
                if r <= last:
                    kept = keep_next(kept, c, column, row, layout, about, is_line)
                column, row = moved(column, row, layout)
                if s <= last:
                    kept = keep_next(kept, d, column, row, layout, about, is_line)
                p = np.int32(s + lanes)
            else:
                values = load(images, start + items * np.int64(p))
                kept = keep_next(kept, values, column, row, layout, about, is_line)
                p = np.int32(p + lanes)
            column, row = moved(column, row, layout)
        return kept

    return visit


@inlined
def _place_in(region: Any, pixel: Any) -> Any:
    """The column and the row, in the map, of a pixel of a region (top, left, rows, columns) of it."""
    top, left, _rows, columns = region
    row: Any = np.uint32(pixel) // np.uint32(columns)
    return np.int32(left + pixel - np.int64(row) * columns), np.int32(top + row)


@inlined
def _element(first: Any, layout: Any, column: Any, row: Any) -> Any:
    return np.uint64(first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride)


@inlined
def by_pixels(images: Any, first: int, layout: Any, region: Any, lane: int, lanes: int, about: Any) -> Any:
    """How a lane adds up a region of a map with any strides and any type of pixels."""
    zero = like(about[2], 0)
    kept = nothing(zero) + nothing(zero)
    pixels = region[2] * region[3]
    pixel = lane
    while pixel < pixels:
        some = nothing(zero)
        for _ in range(PLAIN):
            if pixel < pixels:
                column, row = _place_in(region, pixel)
                some = _absorb(some, images[_element(first, layout, column, row)], column, row, about)
            pixel += lanes
        kept = keep(kept, some)
    return kept


@inlined
def search(images: Any, first: int, layout: Any, lane: int, lanes: int, compared: Any) -> Any:
    """How a lane looks for the largest pixel."""
    found = like(compared, 0), NOWHERE, np.int32(0)
    region = 0, 0, layout.rows, layout.columns
    pixels = layout.rows * layout.columns
    pixel = lane
    while pixel < pixels:
        column, row = _place_in(region, pixel)
        value = convert(images[_element(first, layout, column, row)], compared)
        is_nan = value != value
        found = larger_pixel(found, (value, NOWHERE if is_nan else np.int32(pixel), np.int32(1 if is_nan else 0)))
        pixel += lanes
    return found


@inlined
def whole(images: Any, first: int, layout: Any, lane: int, lanes: int, about: Any) -> Any:
    """How a lane adds up a whole map that has no groups."""
    return by_pixels(images, first, layout, (0, 0, layout.rows, layout.columns), lane, lanes, about)


VISITS = {
    1: whole,
    4: by_groups(load_four, absorb_four, line_of_four, FOUR),
    16: by_groups(load_sixteen, absorb_sixteen, line_of_sixteen, 16),
}
