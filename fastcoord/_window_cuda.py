"""Which pixels round the largest one are read on a GPU, by the warp that has the answer.

A lane takes one of 16 columns and every second row. All lanes know the sums, and so the step.
"""

import functools
from typing import Any

import numpy as np
from numba import cuda

from fastcoord import _refinement as refinement
from fastcoord._compile import inlined
from fastcoord._lanes import WARP, warp_merge, warp_share
from fastcoord._refinement import (
    BORDER,
    FLAT,
    FLOOR,
    LOWEST,
    MIDDLE,
    MOVES,
    STENCIL,
    TURNS,
    UDP_CEILING,
    UDP_FLOOR,
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
from fastcoord._vector import convert, like, log, maximum, minimum

COLUMNS = 16  # that the lanes of a warp take
FIT = STENCIL["quadratic"]


@functools.lru_cache(maxsize=64)
def window_on_device(_device: str, dtype: Any, *options: Any) -> Any:
    """The window of these options in `dtype`, on the current device, which `_device` names; made once.

    Without its height, which is the layout's.
    """
    window = refinement.window_of(*options)
    taps = cuda.to_device(window.taps.astype(dtype))
    return taps, window.radius, window.centre, window.size, dtype(window.variance), dtype(window.missing)


def refiner(refine: str, compat: str | None) -> Any:
    """The function that returns the step from the largest pixel, and status bits, to all lanes of a warp.

    ``refine(images, first, layout, lane, x, y, window, unit)``, where `first` is the element of the map's first pixel,
    `window` a `_refinement.Window` and `unit` of the type in which to compute.
    """
    if refine == "quarter":
        return _quarter(compat)
    if refine == "quadratic":
        return _quadratic
    if refine == "gaussian":
        return _gaussian
    return _dark(refine, compat)


@inlined
def _element(first: Any, layout: Any, x: Any, y: Any) -> Any:
    return np.uint64(first + np.int64(y) * layout.row_stride + np.int64(x) * layout.column_stride)


@inlined
def _number(images: Any, first: Any, layout: Any, x: Any, y: Any, unit: Any) -> Any:
    return convert(images[_element(first, layout, x, y)], unit)


@inlined
def _within(at: Any, size: Any) -> Any:
    return 0 if at < 0 else (size - 1 if at >= size else at)


@inlined
def _room(x: Any, y: Any, layout: Any) -> Any:
    """How many pixels there are between this one and the nearest border."""
    return min(min(x, layout.columns - 1 - x), min(y, layout.rows - 1 - y))


@inlined
def _add_six(a: Any, b: Any) -> Any:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5]


@inlined
def _add_thirteen(a: Any, b: Any) -> Any:
    return (
        *(a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5], a[6] + b[6]),
        *(a[7] + b[7], a[8] + b[8], a[9] + b[9], a[10] + b[10], a[11] + b[11], a[12] + b[12]),
    )


@inlined
def _extremes(a: Any, b: Any) -> Any:
    """Of (least, 0 or 1 where there is NaN)."""
    return minimum(a[0], b[0]), maximum(a[1], b[1])


@inlined
def _greater(a: Any, b: Any) -> Any:
    return (maximum(a[0], b[0]),)


_sum_of_six, _sum_of_thirteen = warp_merge(_add_six), warp_merge(_add_thirteen)
_extremes_of_warp, _greatest_of_warp = warp_merge(_extremes), warp_merge(_greater)


def _quarter(compat: str | None) -> Any:
    @inlined
    def refine(images: Any, first: Any, layout: Any, lane: Any, x: Any, y: Any, window: Any, unit: Any) -> Any:
        height, width = layout.rows, layout.columns
        if compat is None:
            has_x, has_y = 0 < x < width - 1, 0 < y < height - 1
        elif compat == "mmpose":  # also at x = W − 2, but not at x = 1, nor in row 0; and the like for y
            has_x, has_y = 1 < x < width - 1 and y > 0, 1 < y < height - 1 and x > 0
        else:
            has_x = has_y = 1 < x < width - 1 and 1 < y < height - 1
        dx = dy = like(unit, 0)
        if has_x:
            before, behind = _element(first, layout, x - 1, y), _element(first, layout, x + 1, y)
            dx = quarter(images[before], images[behind], unit)
        if has_y:
            before, behind = _element(first, layout, x, y - 1), _element(first, layout, x, y + 1)
            dy = quarter(images[before], images[behind], unit)
        return dx, dy, 0 if has_x and has_y else BORDER

    return refine


@inlined
def _quadratic(images: Any, first: Any, layout: Any, lane: Any, x: Any, y: Any, window: Any, unit: Any) -> Any:
    """Each of 25 lanes takes a pixel."""
    zero = like(unit, 0)
    if _room(x, y, layout) < FIT:
        return zero, zero, BORDER
    is_there = lane < 25
    row = lane // 5 - 2 if is_there else 0
    column = lane % 5 - 2 if is_there else 0
    score = convert(images[_element(first, layout, x, y)], unit)
    number = convert(images[_element(first, layout, x + column, y + row)], unit)
    least, has_nan = warp_share(_extremes_of_warp((number, 1 if number != number else 0)))
    half = like(unit, MIDDLE)  # half of each, or a difference could overflow
    extent = score * half - least * half
    is_logarithmic = least > zero and is_usable(score)
    if has_nan != 0 or not (is_logarithmic or is_usable(extent)):
        return zero, zero, FLAT
    if is_logarithmic:
        value = log(maximum(number / score, like(unit, FLOOR)))
    else:
        value = (number * half - score * half) / extent
    if not is_there:
        value = zero
    i, j = convert(column, unit), convert(row, unit)
    two = like(unit, 2)
    sums = i * value, j * value, (i * i - two) * value, i * j * value, (j * j - two) * value, zero
    columns, rows, columns_squared, mixed, rows_squared, _zero = warp_share(_sum_of_six(sums))
    return step(*fitted(columns, rows, columns_squared, mixed, rows_squared))


def _dark(method: str, compat: str | None) -> Any:
    differences = getattr(refinement, method)
    stencil = STENCIL[method]
    is_udp, is_compatible = method == "dark_udp", compat is not None
    needs_all = not is_udp

    @inlined
    def blurred(images: Any, first: Any, layout: Any, lane: Any, x: Any, y: Any, window: Any, unit: Any) -> Any:
        """The blurred pixels at `_refinement.POINTS`; points outside the map are moved to its border."""
        height, width, taps = layout.rows, layout.columns, window.taps
        reach = window.radius + stencil
        bottom, right = _within(y + reach, height), _within(x + reach, width)
        y_2, y_1 = _within(y - 2, height), _within(y - 1, height)
        y1, y2 = _within(y + 1, height), _within(y + 2, height)
        x_2, x_1 = _within(x - 2, width), _within(x - 1, width)
        x1, x2 = _within(x + 1, width), _within(x + 2, width)
        zero = like(unit, 0)
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = s10 = s11 = s12 = zero
        column = _within(x - reach, width) + lane % COLUMNS
        while column <= right:
            a = b = c = d = e = zero
            row = _within(y - reach, height) + lane // COLUMNS
            while row <= bottom:
                number = _number(images, first, layout, column, row, unit)
                tap = window.centre + row
                b += number * taps[np.uint64(tap - y_1)]
                c += number * taps[np.uint64(tap - y)]
                d += number * taps[np.uint64(tap - y1)]
                if needs_all:
                    a += number * taps[np.uint64(tap - y_2)]
                    e += number * taps[np.uint64(tap - y2)]
                row += WARP // COLUMNS
            tap = window.centre + column
            before, here, behind = taps[np.uint64(tap - x_1)], taps[np.uint64(tap - x)], taps[np.uint64(tap - x1)]
            s0 += c * here
            s1 += c * before
            s2 += c * behind
            s5 += b * here
            s6 += d * here
            s9 += b * before
            s12 += d * behind
            if needs_all:
                s3 += c * taps[np.uint64(tap - x_2)]
                s4 += c * taps[np.uint64(tap - x2)]
                s7 += a * here
                s8 += e * here
                s10 += b * behind
                s11 += d * before
            column += COLUMNS
        if is_udp:
            s3 = s4 = s7 = s8 = s10 = s11 = s0  # not needed, and no less than the others
        return warp_share(_sum_of_thirteen((s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12)))

    @inlined
    def greatest_blurred(images: Any, first: Any, layout: Any, lane: Any, window: Any, unit: Any) -> Any:
        """The greatest of all blurred pixels of a map: each by itself, since it is seldom asked for."""
        greatest = like(unit, LOWEST)
        at = lane
        while at < layout.rows * layout.columns:
            y, x = at // layout.columns, at % layout.columns
            total = like(unit, 0)
            row = _within(y - window.radius, layout.rows)
            while row <= _within(y + window.radius, layout.rows):
                line = like(unit, 0)
                column = _within(x - window.radius, layout.columns)
                while column <= _within(x + window.radius, layout.columns):
                    number = _number(images, first, layout, column, row, unit)
                    line += number * window.taps[np.uint64(window.centre + column - x)]
                    column += 1
                total += line * window.taps[np.uint64(window.centre + row - y)]
                row += 1
            greatest = maximum(total, greatest)
            at += WARP
        return warp_share(_greatest_of_warp((greatest,)))[0]

    @inlined
    def level(value: Any, share: Any) -> Any:
        """A blurred pixel as its logarithm is taken."""
        value = value * share
        if is_udp and is_compatible:
            return log(minimum(maximum(value, like(value, UDP_FLOOR)), like(value, UDP_CEILING)))
        return log(maximum(value, like(value, FLOOR)))

    @inlined
    def refine(images: Any, first: Any, layout: Any, lane: Any, x: Any, y: Any, window: Any, unit: Any) -> Any:
        zero, share = like(unit, 0), like(unit, 1)
        room = _room(x, y, layout)
        bits = 0 if room >= window.radius + stencil else BORDER
        if room < stencil and not (is_udp and is_compatible):
            return zero, zero, BORDER
        score = convert(images[_element(first, layout, x, y)], unit)
        if not is_compatible and not is_usable(score):
            return zero, zero, bits | (FLAT if room >= stencil else 0)
        s = blurred(images, first, layout, lane, x, y, window, unit)
        spoilt = ((s[0] - s[0]) + (s[1] - s[1])) + ((s[2] - s[2]) + (s[3] - s[3])) + ((s[4] - s[4]) + (s[5] - s[5]))
        spoilt += ((s[6] - s[6]) + (s[7] - s[7])) + ((s[8] - s[8]) + (s[9] - s[9])) + (s[10] - s[10])
        spoilt += (s[11] - s[11]) + (s[12] - s[12])
        if spoilt != zero:  # of a pixel that is NaN or infinite something is in each sum
            return zero, zero, bits | (FLAT if room >= stencil else 0)
        if is_compatible:
            # What mmpose multiplies by, at least 1, cancels but where a pixel is limited
            floor = like(unit, UDP_FLOOR if is_udp else FLOOR)
            low = minimum(minimum(minimum(s[0], s[1]), minimum(s[2], s[3])), minimum(minimum(s[4], s[5]), s[6]))
            low = minimum(low, minimum(minimum(minimum(s[7], s[8]), minimum(s[9], s[10])), minimum(s[11], s[12])))
            if low < floor or (is_udp and score > like(unit, UDP_CEILING)):
                high = greatest_blurred(images, first, layout, lane, window, unit)
                if high != zero:
                    share = score / high
        else:
            share = share / score
        derivatives = differences(
            (
                *(level(s[0], share), level(s[1], share), level(s[2], share), level(s[3], share), level(s[4], share)),
                *(level(s[5], share), level(s[6], share), level(s[7], share), level(s[8], share), level(s[9], share)),
                *(level(s[10], share), level(s[11], share), level(s[12], share)),
            )
        )
        if is_compatible:
            dx, dy, flags = compatible_step(*(ridged(derivatives) if is_udp else derivatives))
        else:
            dx, dy, flags = step(*derivatives)
        return dx, dy, bits | flags

    return refine


@inlined
def _moments(images: Any, first: Any, layout: Any, lane: Any, x: Any, y: Any, window: Any, share: Any) -> Any:
    """The six sums that `_refinement.weighted` takes, and whether the window is whole.

    At a border the window is narrower on both sides: half a window would pull towards its middle.
    """
    taps, size = window.taps, window.size
    across = min(window.radius, min(x, layout.columns - 1 - x))
    down = min(window.radius, min(y, layout.rows - 1 - y))
    zero = like(share, 0)
    s0 = s1 = s2 = s3 = s4 = s5 = zero
    column = lane % COLUMNS - across
    while column <= across:
        a = b = c = zero
        row = lane // COLUMNS - down
        while row <= down:
            number = _number(images, first, layout, x + column, y + row, share) * share
            tap = window.centre + row
            a += number * taps[np.uint64(tap)]
            b += number * taps[np.uint64(size + tap)]
            c += number * taps[np.uint64(2 * size + tap)]
            row += WARP // COLUMNS
        tap = window.centre + column
        once, times, squared = taps[np.uint64(tap)], taps[np.uint64(size + tap)], taps[np.uint64(2 * size + tap)]
        s0 += a * once
        s1 += a * times
        s2 += a * squared
        s3 += b * once
        s4 += b * times
        s5 += c * once
        column += COLUMNS
    sums = warp_share(_sum_of_six((s0, s1, s2, s3, s4, s5)))
    return sums, across == window.radius and down == window.radius


@inlined
def _gaussian(images: Any, first: Any, layout: Any, lane: Any, x: Any, y: Any, window: Any, unit: Any) -> Any:
    zero = like(unit, 0)
    score = convert(images[_element(first, layout, x, y)], unit)
    bits = 0 if _room(x, y, layout) >= window.radius else BORDER
    dx, dy = zero, zero
    if not is_usable(score):
        return dx, dy, bits | FLAT
    share = like(unit, 1) / score
    column, row, turn = np.int64(x), np.int64(y), 0
    while turn < TURNS:
        sums, is_whole = _moments(images, first, layout, lane, column, row, window, share)
        bits = 0 if is_whole else BORDER
        dx, dy, is_maximum = weighted(sums, window.variance)
        if not is_maximum:
            return zero, zero, bits | FLAT
        next_column = _within(min(max(column + nearest(dx), x - MOVES), x + MOVES), layout.columns)
        next_row = _within(min(max(row + nearest(dy), y - MOVES), y + MOVES), layout.rows)
        turn += 1
        if turn == TURNS or (next_column == column and next_row == row):
            turn = TURNS
        else:
            column, row = next_column, next_row
    dx, dy, flags = limited(dx, dy, True)
    return dx + convert(column - x, unit), dy + convert(row - y, unit), bits | flags
