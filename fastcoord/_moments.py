"""Moments of pixels about a centre: what a centre of mass and a soft-argmax with covariance both add up.

They are (mass, Σp·x, Σp·y, Σp·x², Σp·x·y, Σp·y²) of the pixels p, (x, y) their distances from the centre. Of *kept*
moments six more numbers tell what rounding has taken from these: moments of both signs cancel, and a covariance near 0
would else be as wrong as the variances.
"""

from typing import Any

from fastcoord._compile import inlined
from fastcoord._vector import fma, like, select, two_sum

__all__ = ["absorb_pixel", "keep", "merge_kept", "no_moments", "total"]


@inlined
def no_moments(zero: Any) -> Any:
    """The moments of no pixel; twice that, one behind the other, is what is kept of none."""
    return zero, zero, zero, zero, zero, zero


@inlined
def absorb_pixel(moments: Any, value: Any, x: Any, y: Any) -> Any:
    """The moments after one more pixel, (x, y) from the centre."""
    weighted_x, weighted_y = value * x, value * y
    return (
        moments[0] + value,
        moments[1] + weighted_x,
        moments[2] + weighted_y,
        fma(weighted_x, x, moments[3]),
        fma(weighted_x, y, moments[4]),
        fma(weighted_y, y, moments[5]),
    )


@inlined
def keep(kept: Any, moments: Any) -> Any:
    """What is kept, with the moments of some more pixels."""
    mass, lost_mass = two_sum(kept[0], moments[0])
    x, lost_x = two_sum(kept[1], moments[1])
    y, lost_y = two_sum(kept[2], moments[2])
    xx, lost_xx = two_sum(kept[3], moments[3])
    xy, lost_xy = two_sum(kept[4], moments[4])
    yy, lost_yy = two_sum(kept[5], moments[5])
    return (
        *(mass, x, y, xx, xy, yy),
        *(kept[6] + lost_mass, kept[7] + lost_x, kept[8] + lost_y),
        *(kept[9] + lost_xx, kept[10] + lost_xy, kept[11] + lost_yy),
    )


@inlined
def merge_kept(a: Any, b: Any) -> Any:
    """What is kept of the pixels of both."""
    kept = keep(a, b)
    return (
        *(kept[0], kept[1], kept[2], kept[3], kept[4], kept[5]),
        *(kept[6] + b[6], kept[7] + b[7], kept[8] + b[8]),
        *(kept[9] + b[9], kept[10] + b[10], kept[11] + b[11]),
    )


@inlined
def _with_rest(moment: Any, rest: Any) -> Any:
    return moment + select(rest == rest, rest, like(rest, 0))  # an infinite sum has no rest


@inlined
def total(kept: Any) -> Any:
    """The moments that are kept, rounded."""
    return (
        _with_rest(kept[0], kept[6]),
        _with_rest(kept[1], kept[7]),
        _with_rest(kept[2], kept[8]),
        _with_rest(kept[3], kept[9]),
        _with_rest(kept[4], kept[10]),
        _with_rest(kept[5], kept[11]),
    )
