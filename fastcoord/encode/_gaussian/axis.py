"""The axes of a Gaussian on the CPU: the factors of all pixels of a row, and of a column, written into a buffer."""

from typing import Any

import numpy as np

from fastcoord._compile import inlined, outlined
from fastcoord._memory import load_padded, store_first
from fastcoord._vector import (
    convert,
    first_lane,
    lane_numbers,
    lane_sums,
    like,
    out_of_line,
    select,
    splat,
)
from fastcoord.encode._gaussian.formula import factor, is_finite, part, placed_axis, slopes

LANES = 16
LEAD = 32  # elements before and after the factors of a row, as many as the most pixels in a cache line
POINT = 6  # numbers of a point: log₂e/(2σ²), the least exponent and 1/σ of x, then of y


@outlined
def write_axis(
    place: Any,
    at: int,
    extent: int,
    position: Any,
    is_here: bool,
    reach: Any,
    mode: int,
    is_sum: bool,
    width: Any,
    least: Any,
    by_sigma: Any,
    with_slopes: bool,
    step: int,
) -> Any:
    """The factors of an axis from element `at` on, and `step` elements further their derivatives by the position.

    What comes back is the first pixel and the one after the last that can be other than 0, and if there is any.
    """
    out_of_line()
    first, end, whole, rest, has_pixels = placed_axis(position, reach, mode, extent)
    has_pixels = has_pixels and is_here
    first = first if has_pixels else 0
    end = end if has_pixels else 0
    zero = splat(width - width, LANES)
    numbers = lane_numbers(zero)
    left = splat(convert(rest, width), LANES)
    total, moment = zero, zero
    rate = (width, least)
    for k in range(0, extent, LANES):
        found = zero
        if k < end and k + LANES > first:
            distance = numbers + like(zero, convert(np.float64(k) - whole, width)) - left
            is_inside = (numbers >= like(zero, max(first - k, 0))) & (numbers < like(zero, min(end - k, LANES)))
            found = select(is_inside, factor(distance, rate), zero)
            total = total + found
            moment = moment + found * distance
        store_first(place, at + k, found, extent - k)
    mean = width - width
    if is_sum:
        share = part(first_lane((lane_sums((total,)),))[0])
        mean = first_lane((lane_sums((moment,)),))[0] * share
        for k in range(0, extent, LANES):
            if k < end and k + LANES > first:
                found = load_padded(place, at + k, extent - k, LANES) * like(zero, share)
                store_first(place, at + k, found, extent - k)
    if with_slopes:
        for k in range(0, extent, LANES):
            distance = numbers + like(zero, convert(np.float64(k) - whole, width)) - left
            found = load_padded(place, at + k, extent - k, LANES)
            if k < end and k + LANES > first:
                store_first(place, at + step + k, slopes(found, distance, mean, by_sigma), extent - k)
            else:
                store_first(place, at + step + k, zero, extent - k)
    return first, end, has_pixels


@inlined
def write_axes(
    place: Any,
    at: int,
    rows: int,
    columns: int,
    points: Any,
    i: int,
    numbers: Any,
    numbers_step: int,
    reaches: Any,
    reaches_step: int,
    mode: int,
    is_sum: bool,
    with_slopes: bool,
) -> Any:
    """Both axes of point `i`: its row's factors from element `at` + LEAD on, its column's from `at_rows` on.

    What comes back is the first and the end of columns and of rows that are not 0, and if there are any.
    """
    x, y = points[2 * i], points[2 * i + 1]
    is_here = is_finite(x) and is_finite(y)
    step = columns + rows + 3 * LEAD
    n, r = i * numbers_step, i * reaches_step
    left, right, has_columns = write_axis(
        *(place, at + LEAD, columns, x, is_here, reaches[r], mode, is_sum),
        *(numbers[n], numbers[n + 1], numbers[n + 2], with_slopes, step),
    )
    top, bottom, has_rows = write_axis(
        *(place, at + columns + 2 * LEAD, rows, y, is_here, reaches[r + 1], mode, is_sum),
        *(numbers[n + 3], numbers[n + 4], numbers[n + 5], with_slopes, step),
    )
    has_pixels = has_columns and has_rows
    if not has_pixels:  # then nothing of the other axis is left
        bottom = top
        for k in range(0, rows, LANES):
            store_first(place, at + columns + 2 * LEAD + k, splat(numbers[n] - numbers[n], LANES), rows - k)
    return left, right, top, bottom, has_pixels
