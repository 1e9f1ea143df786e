"""The moments of bytes, exactly.

Eight rows of a strip of columns are added up in 16 bits: the pixels, the sums so far, and the sums of these, so that
nothing is multiplied. Those of eight rows after the other are added up in the same way in 32 bits, and what comes of a
strip joins the moments in float64.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined, outlined
from fastcoord._memory import load_first, prefetch
from fastcoord._vector import (
    CACHE_LINE,
    convert,
    lane_merge,
    lane_numbers,
    like,
    maximum,
    out_of_line,
    rotated,
    select,
    splat,
)
from fastcoord.decode._center_of_mass.formula import (
    absorb_line,
    absorb_squares,
    merge,
    mirrored,
    nothing,
    of_prefixes,
    turned,
)

EIGHT = 8  # rows whose sums fit into 16 bits
WIDE, NARROW = 32, 16  # columns of a strip, and of the last one if it has no more
TALLEST = 256  # rows whose sums fit into 32 bits
NEAR = 8192  # bytes that a strip may be read from again
LEAST_TALL = 64  # rows that are worth what a strip costs
AHEAD = 8192  # bytes between what is read and what is prefetched

_merge_lanes = lane_merge(merge)


def _strip(lanes: int) -> Any:
    """How a strip of so many columns is added up."""

    @inlined
    def strip(
        place: Any, at: int, row_stride: int, rows: int, count: int, ahead: int, is_clipped: bool, unit: Any
    ) -> Any:
        """The sums of each column about the row below the last one, upwards; those from `count` on are any numbers."""
        none = splat(np.int32(0), lanes)
        c, cc, ccc, d, dd, f = none, none, none, none, none, none
        lowest = load_first(place, at, 0, lanes)
        if is_clipped:
            lowest = like(lowest, 0)
        for row in range(0, rows, EIGHT):
            here = at + row * row_stride
            for k in range(0, EIGHT * lanes, CACHE_LINE):
                prefetch(place, ahead + row * lanes + k)
            first = convert(maximum(lowest, load_first(place, here, count, lanes)), np.int16(0))
            second, third = first, first
            for k in range(1, EIGHT):
                pixels = load_first(place, here + k * row_stride, count, lanes)
                first = first + convert(maximum(lowest, pixels), np.int16(0))
                second = second + first
                third = third + second
            c = c + convert(first, np.int32(0))
            cc = cc + c
            ccc = ccc + cc
            d = d + convert(second, np.int32(0))
            dd = dd + d
            f = f + convert(third, np.int32(0))
        mass, distance, square = of_prefixes(c, cc, ccc, d, dd, f)
        is_there = lane_numbers(none) < splat(np.int32(count), lanes)
        return (
            convert(select(is_there, mass, none), unit),
            convert(select(is_there, distance, none), unit),
            convert(select(is_there, square, none), unit),
        )

    return strip


_wide_strip, _narrow_strip = _strip(WIDE), _strip(NARROW)


def _absorber(strip: Any, lanes: int) -> Any:
    @outlined
    def absorb_strip(
        place: Any,
        at: int,
        row_stride: int,
        rows: int,
        count: int,
        ahead: int,
        is_clipped: bool,
        x: Any,
        y: Any,
    ) -> Any:
        """The moments of a strip whose first column is `x`, and the row below it `y` from the centre; y upwards."""
        out_of_line()
        line = strip(place, at, row_stride, rows, count, ahead, is_clipped, x)
        zero = splat(x - x, lanes)
        across = lane_numbers(zero) + splat(x, lanes)
        moments = absorb_line(nothing(zero), line[0], line[1], splat(-y, lanes), across)
        moments = absorb_squares(moments, line[2])
        if lanes == WIDE:  # lanes are merged as those of vectors of 16
            moments = merge(moments, rotated(moments, NARROW))
        return _merge_lanes(moments)

    return absorb_strip


_absorb_wide, _absorb_narrow = _absorber(_wide_strip, WIDE), _absorber(_narrow_strip, NARROW)


def _by_bytes(is_clipped: bool) -> Any:
    """How bytes are read whose columns stand side by side; `is_clipped`: negative ones count as 0."""

    @outlined
    def by_bytes(
        place: Any,
        start: int,
        row_stride: int,
        top: int,
        bottom: int,
        left: int,
        right: int,
        center_x: Any,
        center_y: Any,
    ) -> Any:
        """The moments of a multiple of EIGHT rows."""
        out_of_line()
        moments = nothing(center_x - center_x)
        tall = NEAR // (right - left) // EIGHT * EIGHT
        tall = LEAST_TALL if tall < LEAST_TALL else TALLEST if tall > TALLEST else tall
        for row in range(top, bottom, tall):
            rows = tall if bottom - row > tall else bottom - row
            y = convert(row + rows, center_y) - center_y
            at = start + row * row_stride
            ahead = at + left + AHEAD
            for column in range(left, right, WIDE):
                x = convert(column, center_x) - center_x
                count = right - column
                if count > NARROW:
                    found = _absorb_wide(place, at + column, row_stride, rows, count, ahead, is_clipped, x, y)
                else:
                    found = _absorb_narrow(place, at + column, row_stride, rows, count, ahead, is_clipped, x, y)
                moments = merge(moments, found)
                ahead += rows * WIDE
        return mirrored(turned(moments))

    return by_bytes


by_bytes, by_clipped_bytes = _by_bytes(False), _by_bytes(True)
