"""Weights e^((value − greatest)/T), their sum, and their first and second moments.

The moments of a region of a map are taken about a whole pixel, its centre: the corner of the region, or for second
moments the pixel next to the mean. So no sum of squares is much larger than what is left of it in the end. A state is
(greatest value, mass, x and y of the centre, first moments x, y, second moments xx, xy, yy about it); the mass is 0 if
all values are −∞, and NaN if one is NaN or +∞.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._exponential import exponential
from fastcoord._reciprocal import reciprocal
from fastcoord._vector import fma, like, maximum, select, two_sum
from fastcoord.results import Status

STATE = 9  # numbers
ROWS = 4  # that `absorb_below` takes
NO_NUMBER = np.nan
INFINITY = np.inf
_WHOLE = 1.5 * 2**23  # a float32 to which this was added, and which is not too large, is a whole number
EMPTY, NAN = int(Status.EMPTY), int(Status.NAN)


@inlined
def weight(value: Any, greatest: Any, rate: Any) -> Any:
    """What a pixel counts, from 0 to 1; NaN for NaN, and for +∞."""
    return exponential(value - greatest, rate)


@inlined
def find_pixel(found: Any, value: Any, position: Any) -> Any:
    """(The largest pixel, where it is first, whether a pixel is NaN) after one more; only windows ask where."""
    largest, first, is_spoilt = found
    is_greater = value > largest
    is_first = (value == largest) & (position < first)
    return (
        maximum(value, largest),
        select(is_greater | is_first, position, first),
        select(value != value, like(position, 1), is_spoilt),
    )


@inlined
def merge_found(a: Any, b: Any) -> Any:
    """The same of the pixels of both."""
    found = find_pixel(a, b[0], b[1])
    return found[0], found[1], maximum(a[2], b[2])


@inlined
def nothing(zero: Any) -> Any:
    """The mass and the first moments of no pixel."""
    return zero, zero, zero


@inlined
def absorb(sums: Any, w: Any, x: Any, y: Any) -> Any:
    """The mass and the first moments after one more pixel."""
    mass, sum_x, sum_y = sums
    return mass + w, fma(w, x, sum_x), fma(w, y, sum_y)


@inlined
def absorb_below(sums: Any, a: Any, b: Any, c: Any, d: Any, x: Any) -> Any:
    """The same after four pixels in the rows 0 to 3 of one column."""
    mass, sum_x, sum_y = sums
    last = c + d
    total = (a + b) + last
    return mass + total, fma(total, x, sum_x), sum_y + fma(last, like(last, 2), b + d)  # 0a + 1b + 2c + 3d


@inlined
def add_strip(sums: Any, strip: Any, y: Any) -> Any:
    """The same with the sums of a strip of rows whose row 0 is row `y`."""
    return sums[0] + strip[0], sums[1] + strip[1], fma(strip[0], y, sums[2] + strip[2])


@inlined
def add(a: Any, b: Any) -> Any:
    """The mass and the first moments of both."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


@inlined
def keep_first(kept: Any, sums: Any) -> Any:
    """The mass and the first moments with those of some more pixels: the sums, and what rounding took from them."""
    mass, of_mass = two_sum(kept[0], sums[0])
    x, of_x = two_sum(kept[1], sums[1])
    y, of_y = two_sum(kept[2], sums[2])
    return mass, x, y, kept[3] + of_mass, kept[4] + of_x, kept[5] + of_y


@inlined
def add_kept(a: Any, b: Any) -> Any:
    """The same of the pixels of both."""
    kept = keep_first(a, b)
    return kept[0], kept[1], kept[2], kept[3] + b[3], kept[4] + b[4], kept[5] + b[5]


@inlined
def absorb_in_row(row: Any, w: Any, x: Any) -> Any:
    """The mass, x and xx of a row after one more pixel."""
    moment = w * x
    return row[0] + w, row[1] + moment, fma(moment, x, row[2])


@inlined
def add_row(sums: Any, row: Any, y: Any) -> Any:
    """The mass and all moments with those of a row."""
    mass, x, xx = row
    below = mass * y
    return (
        sums[0] + mass,
        sums[1] + x,
        sums[2] + below,
        sums[3] + xx,
        fma(x, y, sums[4]),
        fma(below, y, sums[5]),
    )


@inlined
def nearest(position: Any) -> Any:
    """A whole number next to `position`; NaN for NaN."""
    whole = like(position, _WHOLE)
    return (position + whole) - whole


@inlined
def _about(state: Any, x: Any, y: Any, factor: Any) -> Any:
    """The mass and all moments about another centre, times `factor`."""
    _greatest, mass, centre_x, centre_y, sum_x, sum_y, xx, xy, yy = state
    right, down = centre_x - x, centre_y - y
    moved_x, moved_y = fma(right, mass, sum_x), fma(down, mass, sum_y)
    return (
        factor * mass,
        factor * moved_x,
        factor * moved_y,
        factor * (xx + right * (sum_x + moved_x)),
        factor * (xy + (right * sum_y + down * moved_x)),
        factor * (yy + down * (sum_y + moved_y)),
    )


@inlined
def merge(a: Any, b: Any, rate: Any) -> Any:
    """The state of the pixels of both."""
    greatest = maximum(a[0], b[0])
    # not by a difference of two infinities
    of_a = select(a[0] == greatest, like(greatest, 1), weight(a[0], greatest, rate))
    of_b = select(b[0] == greatest, like(greatest, 1), weight(b[0], greatest, rate))
    one, other = _about(a, a[2], a[3], of_a), _about(b, a[2], a[3], of_b)
    mass = one[0] + other[0]
    share = reciprocal(select(mass == like(mass, 0), like(mass, 1), mass))
    x, y = a[2] + nearest((one[1] + other[1]) * share), a[3] + nearest((one[2] + other[2]) * share)
    one, other = _about(a, x, y, of_a), _about(b, x, y, of_b)
    return (
        greatest,
        mass,
        x,
        y,
        one[1] + other[1],
        one[2] + other[2],
        one[3] + other[3],
        one[4] + other[4],
        one[5] + other[5],
    )


@inlined
def finish(state: Any) -> Any:
    """x, y, the largest probability, the covariances xx, xy, yy, and the status bits; NaN where there is no mass."""
    _greatest, mass, centre_x, centre_y, sum_x, sum_y, xx, xy, yy = state
    nothing = like(mass, NO_NUMBER)
    if mass != mass:
        return nothing, nothing, nothing, nothing, nothing, nothing, NAN
    if mass == like(mass, 0):
        return nothing, nothing, nothing, nothing, nothing, nothing, EMPTY
    share = reciprocal(mass)
    x, y = sum_x * share, sum_y * share
    return centre_x + x, centre_y + y, share, xx * share - x * x, xy * share - x * y, yy * share - y * y, 0


@inlined
def pull(value: Any, greatest: Any, rate: Any, share: Any, towards_x: Any, towards_y: Any, dx: Any, dy: Any) -> Any:
    """The gradient of a pixel that is (dx, dy) from the mean, of a map whose largest probability is `share`."""
    return weight(value, greatest, rate) * share * fma(towards_x, dx, towards_y * dy)
