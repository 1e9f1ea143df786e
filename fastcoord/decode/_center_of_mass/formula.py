"""Sums of weights, and of weights times distances, and what follows from them.

Moments are (mass, Σp·a, Σp·b, Σp·a², Σp·a·b, Σp·b²) of the pixels p, a and b their distances from a centre along and
across a line of pixels: along a row a is x, along a column y. Whole rows of such sums are exchanged with `turned`.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._vector import convert, fma, like, maximum, select
from fastcoord.results import Status

MOMENTS = 6
NEAR = 0.5  # pixels: of a pixel that is alone the squares of distances are to vanish, not to cancel
EXACT = 4096  # height and width up to which sums of sixteen bytes, times distances, are exact in float32
TINY, HUGE = 2.0**-70, 2.0**70  # what float32 cannot add up it can once it is so much smaller
INFINITY = np.inf
NO_NUMBER = np.nan
EMPTY, NAN = int(Status.EMPTY), int(Status.NAN)


def number_type(dtype: Any, height: int, width: int) -> Any:
    """The type in which a GPU adds up pixels of type `dtype`: float32 where that is exact, or pixels are float32."""
    if dtype.itemsize == 1:
        return np.float32 if max(height, width) <= EXACT else np.float64
    return np.float32 if dtype == np.float32 else np.float64


def compared_type(dtype: Any) -> Any:
    """The type in which a GPU compares pixels of type `dtype`: one that it has and that holds all of them."""
    wide = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64))
    return dtype.type if dtype in wide else np.int32


def limits(clip_negative: bool, skips_nan: bool) -> tuple[float, float]:
    """What a pixel counts at least, and what one counts that is NaN: the arguments of `counted`."""
    return 0.0 if clip_negative else -INFINITY, 0.0 if skips_nan else NO_NUMBER


@inlined
def counted(value: Any, least: Any, of_nan: Any) -> Any:
    """What a pixel counts: no less than `least`, and `of_nan` where it is NaN."""
    return select(value == value, maximum(least, value), of_nan)


@inlined
def nothing(zero: Any) -> Any:
    """The moments of no pixel."""
    return zero, zero, zero, zero, zero, zero


@inlined
def absorb(line: Any, value: Any, distance: Any) -> Any:
    """The sums (Σp, Σp·a, Σp·a²) of a line after one more pixel, `distance` from its origin."""
    mass, first, second = line
    weighted = value * distance
    return mass + value, first + weighted, fma(weighted, distance, second)


@inlined
def four(a: Any, b: Any, c: Any, d: Any) -> Any:
    """The sums of a line of four pixels about its middle, from which they are −3, −1, 1 and 3 half pixels away."""
    outer, inner = a + d, b + c
    three = like(a, 3)
    return outer + inner, fma(d - a, three, c - b), fma(outer, three * three, inner)


@inlined
def of_prefixes(c: Any, cc: Any, ccc: Any, d: Any, dd: Any, f: Any) -> Any:
    """The sums (Σp, Σp·a, Σp·a²) of a line of pixels about the one behind the last, distances counted backwards.

    In each group of eight pixels d, the sum of the sums so far, weighs them 8, …, 1, and f, the sum of those, 36, …, 1.
    Of the groups' sums c, d and f these are the sums, and `cc`, `ccc` and `dd` those of the sums so far again.
    """
    return c, _times(cc - c, 3) + d, _times(ccc + ccc - cc - cc - cc + c, 6) + _times(dd - d, 4) + f + f - d


@inlined
def _times(number: Any, power: Any) -> Any:
    """An integer times 2 to this power."""
    return number << like(number, power)


@inlined
def mirrored(moments: Any) -> Any:
    """The moments with y the other way round."""
    return moments[0], moments[1], -moments[2], moments[3], -moments[4], moments[5]


@inlined
def from_halves(moments: Any) -> Any:
    """The moments in pixels, if the distances a are in half pixels."""
    half = like(moments[0], 0.5)
    mass, first, across, second, mixed, second_across = moments
    return mass, half * first, across, half * half * second, half * mixed, second_across


@inlined
def absorb_line(moments: Any, mass: Any, first: Any, along: Any, across: Any) -> Any:
    """The moments after a line (Σp, Σp·a) whose origin is `along` and `across` from the centre, but for its Σp·a²."""
    moved = fma(mass, along, first)
    weighted = mass * across
    return (
        moments[0] + mass,
        moments[1] + moved,
        moments[2] + weighted,
        fma(along, first + moved, moments[3]),
        fma(moved, across, moments[4]),
        fma(weighted, across, moments[5]),
    )


@inlined
def absorb_squares(moments: Any, squares: Any) -> Any:
    """The moments after the Σp·a² of some lines about their origins."""
    return moments[0], moments[1], moments[2], moments[3] + squares, moments[4], moments[5]


@inlined
def turned(moments: Any) -> Any:
    """The moments with both axes exchanged."""
    return moments[0], moments[2], moments[1], moments[5], moments[4], moments[3]


@inlined
def merge(a: Any, b: Any) -> Any:
    """The moments of the pixels of both, about one centre."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5]


@inlined
def larger(a: Any, b: Any, nowhere: Any) -> Any:
    """Of two (pixel, its position, whether a pixel is NaN) the larger pixel, of equal ones the first.

    The position of NaN is `nowhere`, the greatest of all.
    """
    is_later = (b[1] == nowhere) | (b[0] < a[0]) | ((b[0] == a[0]) & (b[1] > a[1]))
    takes_a = (a[1] != nowhere) & is_later
    return select(takes_a, a[0], b[0]), select(takes_a, a[1], b[1]), maximum(a[2], b[2])


@inlined
def about(moments: Any, x: Any, y: Any) -> Any:
    """The moments about a centre from which theirs is (x, y) away."""
    mass, first_x, first_y, xx, xy, yy = moments
    moved_x, moved_y = fma(mass, x, first_x), fma(mass, y, first_y)
    return (
        mass,
        moved_x,
        moved_y,
        fma(x, first_x + moved_x, xx),
        fma(x, moved_y, fma(y, first_x, xy)),
        fma(y, first_y + moved_y, yy),
    )


@inlined
def is_finite(moments: Any) -> Any:
    """Whether all six are; NaN and infinities survive a sum of them all."""
    total = (moments[0] + moments[1] + moments[2]) + (moments[3] + moments[4] + moments[5])
    return total - total == like(total, 0)


@inlined
def status_of(mass: Any) -> Any:
    """The status of a map by its mass."""
    if mass <= like(mass, 0):
        return EMPTY
    return 0 if mass < like(mass, INFINITY) else NAN


@inlined
def mean(moments: Any, x: Any, y: Any) -> Any:
    """The centre of mass, where (x, y) is the centre of the moments."""
    return x + moments[1] / moments[0], y + moments[2] / moments[0]


@inlined
def is_far(moments: Any) -> Any:
    """Whether the centre of mass is too far from the centre of the moments for the digits that they have."""
    limit = moments[0] * like(moments[0], NEAR)
    is_right, is_left = moments[1] > limit, moments[1] < -limit
    return is_right | is_left | (moments[2] > limit) | (moments[2] < -limit)


@inlined
def nearest(coordinate: Any, extent: Any, unit: Any) -> Any:
    """The pixel of an axis of `extent` pixels that is nearest to a coordinate, 0 if that is NaN; of type of `unit`."""
    none = like(coordinate, 0)
    last = convert(extent - 1, coordinate)
    within = select(coordinate > none, select(coordinate < last, coordinate, last), none)  # NaN becomes 0
    return convert(within + like(coordinate, 0.5), unit)


@inlined
def past(coordinate: Any, pixel: Any) -> Any:
    """How far a coordinate is past a pixel; 0 if it is NaN."""
    distance = coordinate - convert(pixel, coordinate)
    return select(distance == distance, distance, like(distance, 0))


@inlined
def finish(moments: Any, x: Any, y: Any) -> Any:
    """The centre of mass, the covariances xx, xy, yy, and status bits; (x, y) is the centre of the moments."""
    mass, first_x, first_y, xx, xy, yy = moments
    status = status_of(mass)
    if status != 0:
        none = like(mass, NO_NUMBER)
        return none, none, none, none, none, status
    from_x, from_y = first_x / mass, first_y / mass
    return (
        x + from_x,
        y + from_y,
        xx / mass - from_x * from_x,
        xy / mass - from_x * from_y,
        yy / mass - from_y * from_y,
        0,
    )


@inlined
def slopes(status: Any, mass: Any, covariance: Any, of_xy: Any, of_score: Any, of_covariance: Any) -> Any:
    """How steep a number is that depends on a map's answer: the coefficients of `slope`.

    The gradients with respect to x and y, to the score and to xx, xy, yx and yy; `covariance` is (xx, xy, yy).
    """
    none = like(mass, 0)
    if status != 0:
        return none, none, none, none, none, none
    xx, xy, yy = covariance
    of_xx, of_mixed, of_yy = of_covariance[0], of_covariance[1] + of_covariance[2], of_covariance[3]
    level = fma(of_xx, xx, fma(of_mixed, xy, of_yy * yy))
    return of_score - level / mass, of_xy[0] / mass, of_xy[1] / mass, of_xx / mass, of_mixed / mass, of_yy / mass


@inlined
def slopes_in_row(slopes: Any, y: Any) -> Any:
    """What of `slope` is the same for all pixels that are y from the centre of mass."""
    level, along_x, along_y, xx, xy, yy = slopes
    return fma(fma(yy, y, along_y), y, level), fma(xy, y, along_x), xx


@inlined
def slope_in_row(in_row: Any, x: Any) -> Any:
    """The gradient of a pixel of such a row."""
    level, along_x, xx = in_row
    return fma(fma(xx, x, along_x), x, level)


@inlined
def slope(slopes: Any, x: Any, y: Any) -> Any:
    """The gradient of a pixel that is (x, y) from the centre of mass."""
    return slope_in_row(slopes_in_row(slopes, y), x)


@inlined
def counts(value: Any, least: Any) -> Any:
    """Whether a pixel counts as what it is: it is a number, and not less than `least`."""
    return value >= least
