"""What the CPU reads of one map: the moments of a region, and where its largest pixel is."""

from typing import Any

from fastcoord._compile import inlined, outlined
from fastcoord._memory import gather, item_bytes, load_first, octets, prefetch
from fastcoord._vector import (
    CACHE_LINE,
    any_lane,
    convert,
    first_lane,
    fma,
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
    about,
    absorb,
    absorb_band,
    absorb_column,
    absorb_line,
    counted,
    eight,
    from_halves,
    is_far,
    mean,
    merge,
    nearest,
    nothing,
)

LANES = 16
TALL = 8  # rows that are added up in the type of the pixels
TILE = 1 << 15  # pixels that are read twice: the second time from a cache
SAMPLED = 2  # the first of two rows of TALL by which the centre of mass is guessed
BAND = 32  # rows, and
SPAN = 1024  # columns, that are added up before their sums are: less is lost to rounding

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
                    band = absorb_line(band, line, zero, y)
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
        return eight(
            read(place, at, count),
            read(place, at + row_stride, count),
            read(place, at + 2 * row_stride, count),
            read(place, at + 3 * row_stride, count),
            read(place, at + 4 * row_stride, count),
            read(place, at + 5 * row_stride, count),
            read(place, at + 6 * row_stride, count),
            read(place, at + 7 * row_stride, count),
        )

    @outlined
    def guess(
        place: Any, start: int, row_stride: int, top: int, bottom: int, left: int, right: int, zero: Any, unit: Any
    ) -> Any:
        """The column and the row of a pixel near the centre of mass, by two of TALL rows."""
        out_of_line()
        step, down = like(zero, LANES), like(zero, TALL)
        mass, first_x, first_y, y = zero, zero, zero, zero
        whole = right - (right - left) % LANES
        for row in range(top, bottom, TALL):
            at = start + (row + SAMPLED) * row_stride
            other = at + TALL // 2 * row_stride
            x, band = lane_numbers(zero), zero
            for column in range(left, whole, LANES):
                some = read(place, at + column, LANES) + read(place, other + column, LANES)
                band, first_x = band + some, fma(some, x, first_x)
                x = x + step
            if whole < right:
                some = read(place, at + whole, right - whole) + read(place, other + whole, right - whole)
                some = select(lane_numbers(zero) < splat(convert(right - whole, unit), LANES), some, zero)
                band, first_x = band + some, fma(some, x, first_x)
            mass, first_y = mass + band, fma(band, y, first_y)
            y = y + down
        nil = unit - unit
        x, y = mean(_merge_lanes((mass, first_x, first_y, zero, zero, zero)), nil, convert(TALL // 2, unit))
        return left + nearest(x, right - left, left), top + nearest(y, bottom - top, top)

    @outlined
    def tile(
        place: Any,
        start: int,
        row_stride: int,
        top: int,
        bottom: int,
        left: int,
        right: int,
        center_x: int,
        center_y: int,
        zero: Any,
        unit: Any,
    ) -> Any:
        """The moments about a pixel."""
        out_of_line()
        lines, size = octets(place), item_bytes(place)
        step, down = like(zero, LANES), like(zero, 2 * TALL)
        moments = nothing(zero)
        whole = right - (right - left) % LANES
        x_of_left = lane_numbers(zero) + splat(convert(left - center_x, unit), LANES)
        y = splat(convert(2 * (top - center_y) + TALL - 1, unit), LANES)
        ahead = (start + bottom * row_stride + left) * size  # the next tile, if it follows in memory
        for row in range(top, bottom, TALL):
            at = start + row * row_stride
            x, band = x_of_left, nothing(zero)
            for column in range(left, whole, LANES):
                for k in range(0, TALL * LANES * size, CACHE_LINE):
                    prefetch(lines, ahead + k)
                ahead += TALL * LANES * size
                band = absorb_column(band, columns(place, at + column, row_stride, LANES), x)
                x = x + step
            if whole < right:
                for k in range(0, TALL * LANES * size, CACHE_LINE):
                    prefetch(lines, ahead + k)
                ahead += TALL * (right - whole) * size
                mass, first, second = columns(place, at + whole, row_stride, right - whole)
                is_there = lane_numbers(zero) < splat(convert(right - whole, unit), LANES)
                line = select(is_there, mass, zero), select(is_there, first, zero), select(is_there, second, zero)
                band = absorb_column(band, line, x)
            moments = absorb_band(moments, band, y)
            y = y + down
        return from_halves(_merge_lanes(moments))

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
        zero = like(load_first(place, start, 0, LANES), 0)
        unit = first_lane((zero,))[0]
        moments = nothing(center_x - center_x)
        tall = TILE // (right - left) // TALL * TALL
        tall = TALL if tall < TALL else tall
        for row in range(top, bottom, tall):
            below = row + tall if bottom - row > tall else bottom
            x, y = guess(place, start, row_stride, row, below, left, right, zero, unit)
            found = tile(place, start, row_stride, row, below, left, right, x, y, zero, unit)
            if is_far(found):
                x, y = mean(found, convert(x, unit), convert(y, unit))
                x, y = left + nearest(x - convert(left, unit), right - left, left), nearest(y, below, top)
                found = tile(place, start, row_stride, row, below, left, right, x, y, zero, unit)
            a, b, c, d, e, f = found
            wide = (
                *(convert(a, center_x), convert(b, center_x), convert(c, center_x)),
                *(convert(d, center_x), convert(e, center_x), convert(f, center_x)),
            )
            moments = merge(moments, about(wide, convert(x, center_x) - center_x, convert(y, center_y) - center_y))
        return moments

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
