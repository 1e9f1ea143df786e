"""A region of a heatmap: its largest pixel, and the moments of its weights.

The region's rows are contiguous floats; its corner is element `at`. It is read twice, or three times for second
moments, the second time from the cache. To rescale the sums whenever a larger pixel turns up, in one read, was slower
(0.46, 0.69 and 0.77 of the read ceiling where a sketch of this reached 0.68, 0.77 and 0.84: D1, D2, D4, Ice Lake).
"""

from typing import Any

from fastcoord._compile import inlined, outlined
from fastcoord._memory import gather, item_bytes, load, load_first, octets, prefetch_far, store_first
from fastcoord._moments import keep, merge_kept, no_moments, total
from fastcoord._placement import placed
from fastcoord._vector import (
    CACHE_LINE,
    any_lane,
    convert,
    lane_bits,
    lane_merge,
    lane_numbers,
    like,
    maximum,
    out_of_line,
    select,
    splat,
    trailing_zeros,
)
from fastcoord.decode._soft_argmax.formula import (
    INFINITY,
    NO_NUMBER,
    ROWS,
    absorb,
    absorb_below,
    absorb_in_row,
    add,
    add_row,
    add_strip,
    finish,
    nearest,
    nothing,
    weight,
)

LANES = 16
SPAN = 512  # columns whose sums are added up before they are added to others: what rounding takes stays small
NOTHING_MORE, COVARIANCE, NOTES = 0, 4, 3  # what is wanted beside the answer: so many numbers for each map


@inlined
def _greater(a: Any, b: Any) -> Any:
    return (maximum(a[0], b[0]),)


_greatest_lane = lane_merge(_greater)
_sum_lanes = lane_merge(add)
_merge_kept_lanes = lane_merge(merge_kept)


@inlined
def _fetch(place: Any, index: int) -> None:
    """Prefetch the lines of a vector."""
    lines, size = octets(place), item_bytes(place)
    for line in range(0, LANES * size, CACHE_LINE):
        prefetch_far(lines, index * size + line)


@inlined
def largest(place: Any, at: int, row_stride: int, rows: int, columns: int, unit: Any) -> Any:
    """The largest pixel that is not NaN; −∞ if there is none.

    Nothing is prefetched: `first_moments` of the region before has done it.
    """
    if row_stride == columns:
        rows, columns = 1, rows * columns
    a = splat(like(unit, -INFINITY), LANES)
    b, c, d = a, a, a
    whole = columns // (4 * LANES) * (4 * LANES)
    for row in range(rows):
        here = at + row * row_stride
        for k in range(here, here + whole, 4 * LANES):
            a = maximum(load(place, k, LANES), a)  # in this order NaN is dropped
            b = maximum(load(place, k + LANES, LANES), b)
            c = maximum(load(place, k + 2 * LANES, LANES), c)
            d = maximum(load(place, k + 3 * LANES, LANES), d)
        for k in range(whole, columns, LANES):
            a = maximum(load_first(place, here + k, columns - k, LANES), a)
    return _greatest_lane((maximum(maximum(a, b), maximum(c, d)),))[0]


@outlined
def has_nan(place: Any, at: int, row_stride: int, rows: int, columns: int) -> Any:
    """Whether a pixel is NaN."""
    out_of_line()
    for row in range(rows):
        here = at + row * row_stride
        for k in range(0, columns, LANES):
            values = load_first(place, here + k, columns - k, LANES)
            if any_lane(values != values):
                return True
    return False


@outlined
def first_place(place: Any, at: int, row_stride: int, rows: int, columns: int, value: Any) -> Any:
    """The row and the column of the first pixel that is `value`, which one is."""
    out_of_line()
    wanted = splat(value, LANES)
    for row in range(rows):
        here = at + row * row_stride
        for k in range(0, columns, LANES):
            is_wanted = load_first(place, here + k, columns - k, LANES) == wanted
            if any_lane(is_wanted):
                return row, k + trailing_zeros(lane_bits(is_wanted))
    return 0, 0


@inlined
def _weights(place: Any, index: int, greatest: Any, rate: Any) -> Any:
    return weight(load(place, index, LANES), greatest, rate)


@inlined
def _weights_of_first(place: Any, index: int, count: int, greatest: Any, rate: Any) -> Any:
    """As `_weights`, of `count` pixels; those of the other lanes are 0."""
    return weight(load_first(place, index, count, LANES), greatest, rate)


@inlined
def _greatest_below(place: Any, a: int, row_stride: int, so_far: Any) -> Any:
    """The greatest of what was there and four vectors below each other."""
    so_far = maximum(load(place, a, LANES), so_far)  # in this order NaN is dropped
    so_far = maximum(load(place, a + row_stride, LANES), so_far)
    so_far = maximum(load(place, a + 2 * row_stride, LANES), so_far)
    return maximum(load(place, a + 3 * row_stride, LANES), so_far)


@inlined
def first_moments(
    place: Any,
    at: int,
    row_stride: int,
    rows: int,
    columns: int,
    greatest: Any,
    rate: Any,
    onward: int,
    has_next: bool,
    ahead: int,
) -> Any:
    """The mass and the first moments about the corner, and if it `has_next` the largest pixel of the next region.

    This is as large, and `onward` elements further; to search it here, between the exponentials, hardly costs anything.
    What lies `ahead` elements further is prefetched. Four rows are read side by side: what is done once for all of them
    costs a quarter. Where columns are left over, the last vector overlaps with the one before it.
    """
    unit = rate[0]
    zero = splat(unit - unit, LANES)
    top = splat(greatest, LANES)
    step = splat(convert(LANES, unit), LANES)
    largest_next = splat(like(unit, -INFINITY), LANES)
    sums = nothing(zero)
    banded = rows // ROWS * ROWS if columns >= LANES else 0
    for row in range(0, banded, ROWS):
        a = at + row * row_stride
        b, c, d = a + row_stride, a + 2 * row_stride, a + 3 * row_stride
        y = splat(convert(row, unit), LANES)
        for left in range(0, columns, SPAN):
            right = left + SPAN if columns - left > SPAN else columns
            x = lane_numbers(zero) + splat(convert(left, unit), LANES)
            strip = nothing(zero)
            whole = left + (right - left) // LANES * LANES
            for k in range(left, whole, LANES):
                _fetch(place, a + k + ahead)
                _fetch(place, b + k + ahead)
                _fetch(place, c + k + ahead)
                _fetch(place, d + k + ahead)
                if has_next:
                    largest_next = _greatest_below(place, a + k + onward, row_stride, largest_next)
                strip = absorb_below(
                    strip,
                    _weights(place, a + k, top, rate),
                    _weights(place, b + k, top, rate),
                    _weights(place, c + k, top, rate),
                    _weights(place, d + k, top, rate),
                    x,
                )
                x = x + step
            if whole < right:
                k = right - LANES
                x = lane_numbers(zero) + splat(convert(k, unit), LANES)
                is_new = x >= splat(convert(whole, unit), LANES)
                _fetch(place, a + whole + ahead)
                _fetch(place, b + whole + ahead)
                _fetch(place, c + whole + ahead)
                _fetch(place, d + whole + ahead)
                if has_next:
                    largest_next = _greatest_below(place, a + k + onward, row_stride, largest_next)
                strip = absorb_below(
                    strip,
                    select(is_new, _weights(place, a + k, top, rate), zero),
                    select(is_new, _weights(place, b + k, top, rate), zero),
                    select(is_new, _weights(place, c + k, top, rate), zero),
                    select(is_new, _weights(place, d + k, top, rate), zero),
                    x,
                )
            sums = add_strip(sums, strip, y)
    for row in range(banded, rows):
        a = at + row * row_stride
        y = splat(convert(row, unit), LANES)
        for left in range(0, columns, SPAN):
            right = left + SPAN if columns - left > SPAN else columns
            x = lane_numbers(zero) + splat(convert(left, unit), LANES)
            strip = nothing(zero)
            for k in range(left, right, LANES):
                if has_next:
                    values = load_first(place, a + k + onward, right - k, LANES)
                    largest_next = maximum(values, largest_next)
                strip = absorb(strip, _weights_of_first(place, a + k, right - k, top, rate), x, zero)
                x = x + step
            sums = add_strip(sums, strip, y)
    mass, of_x, of_y = _sum_lanes(sums)
    return mass, of_x, of_y, _greatest_lane((largest_next,))[0] if has_next else greatest


@inlined
def second_moments(
    place: Any,
    at: int,
    row_stride: int,
    rows: int,
    columns: int,
    greatest: Any,
    rate: Any,
    centre_x: Any,
    centre_y: Any,
) -> Any:
    """The mass and all moments about a centre, which is counted from the corner."""
    unit = rate[0]
    zero = splat(unit - unit, LANES)
    top = splat(greatest, LANES)
    step = splat(convert(LANES, unit), LANES)
    kept = no_moments(zero) + no_moments(zero)
    for above in range(0, rows, ROWS):
        sums = no_moments(zero)
        for row in range(above, above + ROWS if rows - above > ROWS else rows):
            here = at + row * row_stride
            y = splat(convert(row, unit) - centre_y, LANES)
            for left in range(0, columns, SPAN):
                right = left + SPAN if columns - left > SPAN else columns
                x = lane_numbers(zero) + splat(convert(left, unit) - centre_x, LANES)
                of_row = nothing(zero)
                whole = left + (right - left) // LANES * LANES
                for k in range(left, whole, LANES):
                    of_row = absorb_in_row(of_row, _weights(place, here + k, top, rate), x)
                    x = x + step
                if whole < right:
                    of_row = absorb_in_row(of_row, _weights_of_first(place, here + whole, right - whole, top, rate), x)
                sums = add_row(sums, of_row, y)
        kept = keep(kept, sums)
    return total(_merge_kept_lanes(kept))


@inlined
def moments(
    place: Any,
    at: int,
    row_stride: int,
    rows: int,
    columns: int,
    left: int,
    top: int,
    greatest: Any,
    rate: Any,
    onward: int,
    has_next: bool,
    ahead: int,
    has_covariance: bool,
) -> Any:
    """The state of the region, whose corner is the pixel (`left`, `top`) of the map, for its `greatest` pixel.

    Behind it is the greatest pixel of the next region, as `first_moments` has it.
    """
    unit = rate[0]
    nil = unit - unit
    x, y = convert(left, unit), convert(top, unit)
    if greatest == like(unit, -INFINITY):
        mass = like(unit, NO_NUMBER) if has_nan(place, at, row_stride, rows, columns) else nil
        of_next = largest(place, at + onward, row_stride, rows, columns, unit) if has_next else greatest
        return (greatest, mass, x, y, nil, nil, nil, nil, nil), of_next
    mass, of_x, of_y, of_next = first_moments(
        place, at, row_stride, rows, columns, greatest, rate, onward, has_next, ahead
    )
    if has_covariance and mass == mass:
        across, down = nearest(of_x / mass), nearest(of_y / mass)
        sums = second_moments(place, at, row_stride, rows, columns, greatest, rate, across, down)
        state = (greatest, sums[0], x + across, y + down, sums[1], sums[2], sums[3], sums[4], sums[5])
    else:
        state = (greatest, mass, x, y, of_x, of_y, nil, nil, nil)
    return state, of_next


@outlined
def collect(
    place: Any, at: int, row_stride: int, column_stride: int, rows: int, columns: int, buffer: Any, to: int, unit: Any
) -> None:
    """Write a region into the buffer from its element `to` on, row by row."""
    out_of_line()
    for row in range(rows):
        here, there = at + row * row_stride, to + row * columns
        if column_stride == 1:
            for k in range(0, columns, LANES):
                values = load_first(place, here + k, columns - k, LANES)
                store_first(buffer, there + k, convert(values, unit), columns - k)
        else:
            for k in range(0, columns, LANES):
                values = gather(place, here + k * column_stride, column_stride, columns - k, LANES)
                store_first(buffer, there + k, convert(values, unit), columns - k)


@inlined
def write(
    state: Any, numbers: Any, row: Any, column: Any, at: int, xy: Any, score: Any, more: Any, status: Any, wants: int
) -> None:
    """The answer for map number `at`; and what else it `wants`, a constant, into `more`.

    `row` and `column` are those of the pixel round which the window is, if there is one.
    """
    x, y, score[at], xx, of_xy, yy, status[at] = finish(state)
    xy[2 * at], xy[2 * at + 1] = placed(x, y, numbers)
    if wants == COVARIANCE:
        more[4 * at], more[4 * at + 1], more[4 * at + 2], more[4 * at + 3] = xx, of_xy, of_xy, yy
    if wants == NOTES:
        unit = state[0]
        more[NOTES * at], more[NOTES * at + 1], more[NOTES * at + 2] = (
            state[0],
            convert(row, unit),
            convert(column, unit),
        )
