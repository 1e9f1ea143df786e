"""Which pixels round the largest one are read on the CPU, for the step between the pixels.

Rows of 16 pixels, as float64: the window is small, and what rounds there is magnified by flat maps. First the rows are
added up, times the taps of their distances; then the sums, times the taps of the columns', by one tree for all points.
No branch depends on the pixels but for what is not refined at all, so that the processor is at the next map meanwhile.
"""

from typing import Any

import numpy as np

from fastcoord import _refinement as refinement
from fastcoord._compile import inlined, outlined
from fastcoord._memory import gather, load, load_first, load_padded, memory, store
from fastcoord._refinement import (
    BORDER,
    FLAT,
    FLOOR,
    LANES,
    LOWEST,
    MIDDLE,
    MOVES,
    STENCIL,
    TURNS,
    UDP_CEILING,
    UDP_FLOOR,
    Window,
    compatible_step,
    fitted,
    is_usable,
    limited,
    nearest,
    quarter,
    ridged,
    step,
    weighted,
)
from fastcoord._vector import (
    any_lane,
    convert,
    first_lane,
    fma,
    lane_numbers,
    lane_of,
    lane_sums,
    like,
    log,
    maximum,
    minimum,
    out_of_line,
    rotated,
    select,
    splat,
)

UNIT = np.float64(1)  # of all that follows
NARROW = 8  # lanes of the rows of "quadratic", and of a few sums
STENCILED = len(refinement.POINTS)


def refiner(refine: str | None, compat: str | None, is_adjacent: bool, is_half: bool) -> Any:
    """The function that returns the step from the largest pixel and status bits, or None.

    ``refine(place, first, row_stride, column_stride, width, x, y, window)``, where `first` is the element of the map's
    first pixel and `window` the `_refinement.Window`, its taps a place.
    """
    if refine is None:
        return None
    if refine == "quarter":
        return _quarter(compat, is_half)
    if refine == "quadratic":
        return _quadratic(is_adjacent)
    if refine == "gaussian":
        return _gaussian(is_adjacent)
    return _dark(refine, compat, is_adjacent)


def opener(refine: str | None) -> Any:
    """The function that makes a place of the taps of a `_refinement.Window`; without `refine` there are none.

    What it returns is a plain tuple, since Numba's parallel loops know no other: `named` makes a window of it again.
    """

    @inlined
    def opened(window: Any) -> Any:
        if refine is None:
            return window
        taps, radius, centre, size, height, variance, missing = window
        return memory(taps), radius, centre, size, height, variance, missing

    return opened


@inlined
def named(window: Any) -> Any:
    """The window of which these are the members."""
    return Window(window[0], window[1], window[2], window[3], window[4], window[5], window[6])


@inlined
def _number(place: Any, at: int) -> Any:
    return convert(place[at], UNIT)


def _row_reader(is_adjacent: bool) -> Any:
    @inlined
    def row(place: Any, at: int, stride: int, count: int) -> Any:
        """The first `count` of 16 pixels; 0 in the other lanes."""
        if is_adjacent:
            return convert(load_padded(place, at, count, LANES), UNIT)
        pixels = gather(place, at, stride, count, LANES)
        is_there = lane_numbers(pixels) < like(pixels, min(max(count, 0), LANES))
        return convert(select(is_there, pixels, like(pixels, 0)), UNIT)

    return row


def _quarter(compat: str | None, is_half: bool) -> Any:
    @inlined
    def pixel(place: Any, at: int) -> Any:
        return _number(place, at) if is_half else place[at]  # integers are compared as integers

    @inlined
    def along(place: Any, at: int, stride: int) -> Any:
        return quarter(pixel(place, at - stride), pixel(place, at + stride), UNIT)

    @inlined
    def refine(
        place: Any, first: int, row_stride: int, column_stride: int, width: int, x: int, y: int, window: Any
    ) -> Any:
        height = window.height
        at = first + y * row_stride + x * column_stride
        if compat is None:
            has_x, has_y = 0 < x < width - 1, 0 < y < height - 1
        elif compat == "mmpose":  # also at x = W − 2, but not at x = 1, nor in row 0; and the like for y
            has_x, has_y = 1 < x < width - 1 and y > 0, 1 < y < height - 1 and x > 0
        else:
            has_x = has_y = 1 < x < width - 1 and 1 < y < height - 1
        # read at the border too, but from the pixel itself: no branch
        dx = along(place, at, column_stride if has_x else 0)
        dy = along(place, at, row_stride if has_y else 0)
        return dx, dy, 0 if has_x and has_y else BORDER

    return refine


def _quadratic(is_adjacent: bool) -> Any:
    @inlined
    def five(place: Any, at: int, stride: int, others: Any) -> Any:
        """Five pixels, and `others` in three more lanes."""
        if is_adjacent:
            numbers = convert(load_first(place, at, 5, NARROW), UNIT)
        else:
            numbers = convert(gather(place, at, stride, 5, NARROW), UNIT)
        return select(lane_numbers(numbers) < like(numbers, 5), numbers, others)

    @inlined
    def normal(numbers: Any, share: Any) -> Any:
        return log(maximum(numbers * share, like(numbers, FLOOR)))

    @outlined
    def refine(
        place: Any, first: int, row_stride: int, column_stride: int, width: int, x: int, y: int, window: Any
    ) -> Any:
        out_of_line()
        nothing = UNIT - UNIT
        if x < 2 or y < 2 or x >= width - 2 or y >= window.height - 2:
            return nothing, nothing, BORDER
        at = first + y * row_stride + x * column_stride
        score = _number(place, at)
        at -= 2 * column_stride
        peak = splat(score, NARROW)
        a = five(place, at - 2 * row_stride, column_stride, peak)
        b = five(place, at - row_stride, column_stride, peak)
        c = five(place, at, column_stride, peak)
        d = five(place, at + row_stride, column_stride, peak)
        e = five(place, at + 2 * row_stride, column_stride, peak)
        zero = like(a, 0)
        are_positive = (a > zero) & (b > zero) & (c > zero) & (d > zero) & (e > zero)
        if is_usable(score) and not any_lane(are_positive == (zero > zero)):
            share = splat(UNIT / score, NARROW)
            a, b, c, d, e = normal(a, share), normal(b, share), normal(c, share), normal(d, share), normal(e, share)
        else:
            low = minimum(minimum(minimum(a, b), minimum(c, d)), e)
            low = minimum(low, rotated((low,), 4)[0])
            low = minimum(low, rotated((low,), 2)[0])
            low = minimum(low, rotated((low,), 1)[0])
            half = like(a, MIDDLE)  # half of each, or a difference could overflow
            extent = first_lane((peak * half - low * half,))[0]
            if not is_usable(extent):
                return nothing, nothing, FLAT
            share = splat(UNIT / extent, NARROW)
            half_peak = peak * half
            a, b, c = (a * half - half_peak) * share, (b * half - half_peak) * share, (c * half - half_peak) * share
            d, e = (d * half - half_peak) * share, (e * half - half_peak) * share
        # i and i² − 2, for the columns in lanes; 0 in the lanes that are none
        column = lane_numbers(a) - like(a, 2)
        is_there = column < like(a, 3)
        column = select(is_there, column, zero)
        squared = select(is_there, column * column - like(a, 2), zero)
        once = select(is_there, like(a, 1), zero)
        total = a + b + c + d + e
        rows = (d - b) + like(a, 2) * (e - a)
        rows_squared = like(a, 2) * ((a + e) - c) - (b + d)
        sums = lane_sums(
            (column * total, once * rows, squared * total, column * rows, once * rows_squared, zero, zero, zero)
        )
        derivatives = fitted(lane_of(sums, 0), lane_of(sums, 1), lane_of(sums, 2), lane_of(sums, 3), lane_of(sums, 4))
        return step(*derivatives)

    return refine


@inlined
def _within(at: int, size: int) -> int:
    return 0 if at < 0 else (size - 1 if at >= size else at)


def _dark(method: str, compat: str | None, is_adjacent: bool) -> Any:
    row = _row_reader(is_adjacent)
    differences = getattr(refinement, method)
    stencil = STENCIL[method]
    is_udp, is_compatible = method == "dark_udp", compat is not None
    points = 8 if is_udp else LANES

    @inlined
    def line_of(place: Any, at: int, row_stride: int, column_stride: int, count: int, line: int, height: int) -> Any:
        """Pixels of a line; 0 for one that the map does not have."""
        return row(place, at + line * row_stride, column_stride, count if 0 <= line < height else 0)

    @inlined
    def blurred(
        place: Any, first: int, row_stride: int, column_stride: int, width: int, x: int, y: int, window: Any
    ) -> Any:
        """The blurred pixels at `_refinement.POINTS`, in that order; "dark_udp" has those that it needs, in 8 lanes.

        Points outside the map are moved to its border.
        """
        taps, height, radius = window.taps, window.height, window.radius
        reach = radius + stencil
        left, right = _within(x - reach, width), _within(x + reach, width) + 1
        x_2, x_1, x1, x2 = _within(x - 2, width), _within(x - 1, width), _within(x + 1, width), _within(x + 2, width)
        total = splat(UNIT - UNIT, points)
        # As many rows and columns at a border as elsewhere: nobody foresees where the maximum is
        for column in range(left, left + 2 * reach + 1, LANES):
            a = b = c = d = e = splat(UNIT - UNIT, LANES)
            at, count = first + column * column_stride, right - column
            # Each tap is used five times, for rows from `line` on
            line = y - radius - stencil
            p = line_of(place, at, row_stride, column_stride, count, line, height)
            q = line_of(place, at, row_stride, column_stride, count, line + 1, height)
            if not is_udp:
                r = line_of(place, at, row_stride, column_stride, count, line + 2, height)
                s = line_of(place, at, row_stride, column_stride, count, line + 3, height)
            for tap in range(window.centre - radius, window.centre + radius + 1):
                weight = splat(taps[tap], LANES)
                last = line_of(place, at, row_stride, column_stride, count, line + 2 * stencil, height)
                if is_udp:
                    b, c, d = fma(p, weight, b), fma(q, weight, c), fma(last, weight, d)
                    p, q = q, last
                else:
                    a, b, c = fma(p, weight, a), fma(q, weight, b), fma(r, weight, c)
                    d, e = fma(s, weight, d), fma(last, weight, e)
                    p, q, r, s = q, r, s, last
                line += 1
            if is_compatible:
                b, d = (c if y == 0 else b), (c if y == height - 1 else d)
            tap = window.centre + column
            before, here, behind = load(taps, tap - x_1, LANES), load(taps, tap - x, LANES), load(taps, tap - x1, LANES)
            if is_udp:
                centre = c * here
                sums = lane_sums((centre, c * before, c * behind, b * here, d * here, b * before, d * behind, centre))
            else:
                zero = splat(UNIT - UNIT, LANES)
                further, furthest = load(taps, tap - x_2, LANES), load(taps, tap - x2, LANES)
                sums = lane_sums(
                    (
                        *(c * here, c * before, c * behind, c * further, c * furthest),
                        *(b * here, d * here, a * here, e * here),
                        *(b * before, b * behind, d * before, d * behind, zero, zero, zero),
                    )
                )
            total = total + sums
        return total

    @outlined
    def greatest_blurred(place: Any, first: int, row_stride: int, column_stride: int, width: int, window: Any) -> Any:
        """The greatest of all blurred pixels of a map."""
        out_of_line()
        taps, radius, height = window.taps, window.radius, window.height
        line = np.zeros(width + 2 * radius + 2 * LANES, np.float64)
        line_place = memory(line)
        greatest = like(splat(UNIT, LANES), LOWEST)
        for y in range(height):
            top, bottom = _within(y - radius, height), _within(y + radius, height) + 1
            for column in range(0, width, LANES):
                total = splat(UNIT - UNIT, LANES)
                for i in range(top, bottom):
                    pixels = row(place, first + i * row_stride + column * column_stride, column_stride, width - column)
                    total = fma(pixels, splat(taps[window.centre + i - y], LANES), total)
                store(line_place, radius + column, total)
            for column in range(0, width, LANES):
                total = splat(UNIT - UNIT, LANES)
                for i in range(2 * radius + 1):
                    tap = splat(taps[window.centre + i - radius], LANES)
                    total = fma(load(line_place, column + i, LANES), tap, total)
                is_there = lane_numbers(total) < like(total, width - column)
                greatest = maximum(select(is_there, total, greatest), greatest)
        highest = like(line[0], LOWEST)  # the array must live until here
        for _ in range(LANES):
            value = first_lane((greatest,))[0]
            highest = value if value > highest else highest
            greatest = rotated((greatest,), 1)[0]
        return highest

    @inlined
    def share_of(
        place: Any, first: int, row_stride: int, column_stride: int, width: int, score: Any, sums: Any, window: Any
    ) -> Any:
        """What the blurred pixels are multiplied by.

        mmpose multiplies by the maximum of the map over that of the blurred map, at least 1, which cancels but where a
        pixel is limited: only then the whole map is blurred.
        """
        if not is_compatible:
            return UNIT / score
        floor = like(score, UDP_FLOOR if is_udp else FLOOR)
        is_limited = any_lane((sums < splat(floor, points)) & (lane_numbers(sums) < like(sums, STENCILED)))
        if is_udp:
            is_limited |= score > like(score, UDP_CEILING)
        if is_limited:
            high = greatest_blurred(place, first, row_stride, column_stride, width, window)
            return score / high if high != UNIT - UNIT else UNIT
        return UNIT

    @inlined
    def values_of(vector: Any) -> Any:
        """The values at `_refinement.POINTS`; where "dark_udp" has none, one of the others."""
        a, b, c, d = lane_of(vector, 0), lane_of(vector, 1), lane_of(vector, 2), lane_of(vector, 3)
        e, f, g, h = lane_of(vector, 4), lane_of(vector, 5), lane_of(vector, 6), lane_of(vector, 7)
        if is_udp:
            return a, b, c, a, a, d, e, a, a, f, a, a, g
        i, j, k = lane_of(vector, 8), lane_of(vector, 9), lane_of(vector, 10)
        return a, b, c, d, e, f, g, h, i, j, k, lane_of(vector, 11), lane_of(vector, 12)

    @outlined
    def refine(
        place: Any, first: int, row_stride: int, column_stride: int, width: int, x: int, y: int, window: Any
    ) -> Any:
        out_of_line()
        nothing = UNIT - UNIT
        room_x, room_y = min(x, width - 1 - x), min(y, window.height - 1 - y)
        room = min(room_x, room_y)
        bits = 0 if room >= window.radius + stencil else BORDER
        score = _number(place, first + y * row_stride + x * column_stride)
        if not is_compatible and not is_usable(score):
            return nothing, nothing, bits | (FLAT if room >= stencil else 0)
        sums = blurred(place, first, row_stride, column_stride, width, x, y, window)
        if any_lane(sums - sums != like(sums, 0)):  # of a pixel that is NaN or infinite something is in each sum
            return nothing, nothing, bits | (FLAT if room >= stencil else 0)
        share = share_of(place, first, row_stride, column_stride, width, score, sums, window)
        sums = sums * splat(share, points)
        if is_udp and is_compatible:
            sums = minimum(maximum(sums, like(sums, UDP_FLOOR)), like(sums, UDP_CEILING))
        else:
            sums = maximum(sums, like(sums, FLOOR))
        logarithms = log(sums)
        derivatives = differences(values_of(logarithms))
        if is_compatible:
            dx, dy, flags = compatible_step(*(ridged(derivatives) if is_udp else derivatives))
        else:
            dx, dy, flags = step(*derivatives)
        # not before: nobody foresees where the maximum is
        if room < stencil and not (is_udp and is_compatible):
            dx, dy, flags = nothing, nothing, 0
        return dx, dy, bits | flags

    return refine


def _gaussian(is_adjacent: bool) -> Any:
    row = _row_reader(is_adjacent)

    @inlined
    def moments_at(
        place: Any, first: int, row_stride: int, column_stride: int, width: int, x: int, y: int, window: Any
    ) -> Any:
        """The six sums that `_refinement.weighted` takes, in lanes, and whether the window is whole.

        At a border the window is narrower on both sides: half a window would pull towards its middle.
        """
        taps, size = window.taps, window.size
        across, down = min(window.radius, min(x, width - 1 - x)), min(window.radius, min(y, window.height - 1 - y))
        zero, total = splat(UNIT - UNIT, LANES), splat(UNIT - UNIT, NARROW)
        start, end = x - across, x + across + 1
        for column in range(start, start + 2 * window.radius + 1, LANES):
            a = b = c = zero
            for i in range(-window.radius, window.radius + 1):
                at = first + (y + i) * row_stride + column * column_stride
                pixels = row(place, at, column_stride, end - column if -down <= i <= down else 0)
                tap = window.centre + i
                a = fma(pixels, splat(taps[tap], LANES), a)
                b = fma(pixels, splat(taps[size + tap], LANES), b)
                c = fma(pixels, splat(taps[2 * size + tap], LANES), c)
            tap = window.centre + column - x
            once, times = load(taps, tap, LANES), load(taps, size + tap, LANES)
            squared = load(taps, 2 * size + tap, LANES)
            total = total + lane_sums((a * once, a * times, a * squared, b * once, b * times, c * once, zero, zero))
        return total, across == window.radius and down == window.radius

    @outlined
    def refine(
        place: Any, first: int, row_stride: int, column_stride: int, width: int, x: int, y: int, window: Any
    ) -> Any:
        out_of_line()
        nothing = UNIT - UNIT
        height = window.height
        score = _number(place, first + y * row_stride + x * column_stride)
        if not is_usable(score):
            room = min(min(x, width - 1 - x), min(y, height - 1 - y))
            return nothing, nothing, FLAT if room >= window.radius else FLAT | BORDER
        share = splat(UNIT / score, NARROW)
        variance = UNIT * window.variance
        column, line, turn = x, y, 1
        while True:
            sums, is_whole = moments_at(place, first, row_stride, column_stride, width, column, line, window)
            sums = sums * share
            moments = (
                lane_of(sums, 0),
                lane_of(sums, 1),
                lane_of(sums, 2),
                lane_of(sums, 3),
                lane_of(sums, 4),
                lane_of(sums, 5),
            )
            dx, dy, is_maximum = weighted(moments, variance)
            bits = 0 if is_whole else BORDER
            if not is_maximum:
                return nothing, nothing, bits | FLAT
            next_column = _within(min(max(column + nearest(dx), x - MOVES), x + MOVES), width)
            next_line = _within(min(max(line + nearest(dy), y - MOVES), y + MOVES), height)
            if turn == TURNS or (next_column == column and next_line == line):
                dx, dy, flags = limited(dx, dy, True)
                return dx + convert(column - x, UNIT), dy + convert(line - y, UNIT), bits | flags
            column, line, turn = next_column, next_line, turn + 1

    return refine
