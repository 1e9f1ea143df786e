"""What the CPU reads of one map: the moments of a region, and where its largest pixel is."""

from typing import Any

from fastcoord._compile import inlined, outlined
from fastcoord._memory import gather, item_bytes, load_first, octets, prefetch
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
    rotated,
    select,
    splat,
    trailing_zeros,
)
from fastcoord.decode._center_of_mass.formula import (
    absorb,
    absorb_line,
    absorb_squares,
    counted,
    four,
    from_halves,
    merge,
    nothing,
    turned,
)

LANES = 16
TALL = 4  # rows that are added up in the type of the pixels
BAND = 32  # rows, and
SPAN = 1024  # columns, that are added up before their sums are: less is lost to rounding
AHEAD = 4096  # bytes between a line that is read and one that is prefetched

_merge_lanes = lane_merge(merge)


def _by_rows(is_adjacent: bool) -> Any:
    """How any region of a map is read."""

    @inlined
    def read(place: Any, at: int, stride: int, count: int, unit: Any) -> Any:
        if is_adjacent:
            return convert(load_first(place, at, count, LANES), unit)
        return convert(gather(place, at, stride, count, LANES), unit)

    @outlined
    def by_rows(
        place: Any,
        start: int,
        row_stride: int,
        column_stride: int,
        top: int,
        bottom: int,
        left: int,
        right: int,
        center_x: Any,
        center_y: Any,
        least: Any,
        of_nan: Any,
    ) -> Any:
        """The moments of the pixels from row `top` and column `left` on, before `bottom` and `right`."""
        out_of_line()
        stride = 1 if is_adjacent else column_stride
        zero = splat(center_x - center_x, LANES)
        step, lowest, replacement = like(zero, LANES), splat(least, LANES), splat(of_nan, LANES)
        moments = nothing(zero)
        for first_row in range(top, bottom, BAND):
            band = nothing(zero)
            for row in range(first_row, first_row + BAND if bottom - first_row > BAND else bottom):
                at = start + row * row_stride
                y = splat(convert(row, center_y) - center_y, LANES)
                for first in range(left, right, SPAN):
                    last = first + SPAN if right - first > SPAN else right
                    whole = last - (last - first) % LANES
                    x = lane_numbers(zero) + splat(convert(first, center_x) - center_x, LANES)
                    line = (zero, zero, zero)
                    for column in range(first, whole, LANES):
                        values = read(place, at + column * stride, stride, LANES, center_x)
                        line = absorb(line, counted(values, lowest, replacement), x)
                        x = x + step
                    if whole < last:
                        values = read(place, at + whole * stride, stride, last - whole, center_x)
                        is_there = lane_numbers(zero) < splat(convert(last - whole, center_x), LANES)
                        line = absorb(line, select(is_there, counted(values, lowest, replacement), zero), x)
                    band = absorb_squares(absorb_line(band, line[0], line[1], zero, y), line[2])
            moments = merge(moments, band)
        return _merge_lanes(moments)

    return by_rows


adjacent_rows, scattered_rows = _by_rows(True), _by_rows(False)


def _by_columns(is_clipped: bool) -> Any:
    """How floats of up to 32 bits are read whose columns stand side by side; `is_clipped`, those below 0 as 0."""

    @inlined
    def read(place: Any, at: int, count: int) -> Any:
        values = load_first(place, at, count, LANES)
        return maximum(like(values, 0), values) if is_clipped else values  # NaN stays

    @inlined
    def columns(place: Any, at: int, row_stride: int, count: int) -> Any:
        """The sums of LANES columns of TALL rows about their middle; of lanes from `count` on they are any numbers."""
        return four(
            read(place, at, count),
            read(place, at + row_stride, count),
            read(place, at + 2 * row_stride, count),
            read(place, at + 3 * row_stride, count),
        )

    @outlined
    def by_columns(
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
        """The moments of a multiple of TALL rows."""
        out_of_line()
        lines, size = octets(place), item_bytes(place)
        zero = splat(center_x - center_x, LANES)
        step = like(zero, LANES)
        moments = nothing(zero)
        whole = right - (right - left) % LANES
        for row in range(top, bottom, TALL):
            at = start + row * row_stride
            ahead = (at + left) * size + AHEAD  # nothing is lost if rows stand apart, and the next are not this far
            y = convert(2 * row + TALL - 1, center_y) - (center_y + center_y)
            y = splat(y, LANES)
            x = lane_numbers(zero) + splat(convert(left, center_x) - center_x, LANES)
            squares = like(load_first(place, start, 0, LANES), 0)
            for column in range(left, whole, LANES):
                for k in range(0, TALL * LANES * size, CACHE_LINE):
                    prefetch(lines, ahead + k)
                ahead += TALL * LANES * size
                mass, first, second = columns(place, at + column, row_stride, LANES)
                moments = absorb_line(moments, convert(mass, center_x), convert(first, center_x), y, x)
                squares = squares + second  # as they are about a middle so near, float32 is good enough for them
                x = x + step
            squares = convert(squares, center_x)
            if whole < right:
                for k in range(0, TALL * LANES * size, CACHE_LINE):
                    prefetch(lines, ahead + k)
                mass, first, second = columns(place, at + whole, row_stride, right - whole)
                is_there = lane_numbers(zero) < splat(convert(right - whole, center_x), LANES)
                mass = select(is_there, convert(mass, center_x), zero)
                first = select(is_there, convert(first, center_x), zero)
                moments = absorb_line(moments, mass, first, y, x)
                squares = squares + select(is_there, convert(second, center_x), zero)
            moments = absorb_squares(moments, squares)
        return turned(from_halves(_merge_lanes(moments)))

    return by_columns


by_columns, by_clipped_columns = _by_columns(False), _by_columns(True)


def _largest(is_adjacent: bool) -> Any:
    """How the window is found."""

    @inlined
    def read(place: Any, at: int, stride: int, count: int) -> Any:
        if is_adjacent:
            return load_first(place, at, count, LANES)
        return gather(place, at, stride, count, LANES)

    @outlined
    def largest(place: Any, start: int, row_stride: int, column_stride: int, rows: int, columns: int) -> Any:
        """Row and column of the first of the largest pixels, −1 if all are NaN; whether a pixel is NaN."""
        out_of_line()
        stride = 1 if is_adjacent else column_stride
        best = read(place, start, stride, 0)
        is_nan = best != best
        for row in range(rows):
            for column in range(0, columns, LANES):
                values = read(place, start + row * row_stride + column * stride, stride, columns - column)
                is_nan = is_nan | (values != values)
                best = maximum(values, best)  # drops NaN
        best = maximum(best, rotated((best,), 8)[0])
        best = maximum(best, rotated((best,), 4)[0])
        best = maximum(best, rotated((best,), 2)[0])
        best = maximum(best, rotated((best,), 1)[0])
        for row in range(rows):
            for column in range(0, columns, LANES):
                values = read(place, start + row * row_stride + column * stride, stride, columns - column)
                bits = lane_bits(values == best)
                if columns - column < LANES:
                    bits &= (1 << (columns - column)) - 1
                if bits != 0:
                    return row, column + trailing_zeros(bits), any_lane(is_nan)
        return -1, -1, any_lane(is_nan)

    return largest


adjacent_largest, scattered_largest = _largest(True), _largest(False)
