"""How much of a point each of four pixels gets: bilinear weights.

On an axis the pixel before a position p gets 1 − f and the one after it f, where f is what p is beyond the former; the
share of a pixel is the product of both axes'. So the centre of mass of the shares is the point.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._points import NOWHERE, nearest
from fastcoord._vector import convert, like, select

__all__ = ["NOWHERE", "corner", "nearest", "pixel", "share", "slopes"]


@inlined
def corner(position: Any, is_here: Any) -> Any:
    """The last pixel at or before the position, −1 before the first, and how far the position is from it.

    `is_here`: the position is that of a point on the canvas; else it may be NaN, and the answer is one of no use.
    """
    near = select(is_here, position, like(position, 0))
    whole: Any = np.int64(near)  # towards zero
    before: Any = whole - (1 if near < like(near, whole) else 0)
    return before, near - like(near, before) + like(near, 0)  # of −0.0 it is 0.0


@inlined
def _part(beyond: Any, step: Any) -> Any:
    """What pixel number `step` from the corner gets on an axis."""
    one = like(beyond, 1)
    return select(step == 0, one - beyond, select(step == 1, beyond, one - one))


@inlined
def share(across: Any, down: Any, column: Any, row: Any) -> Any:
    """What the pixel gets that is `column` and `row` from the corner; 0 beyond the four."""
    return _part(across, column) * _part(down, row)


@inlined
def slopes(across: Any, down: Any, column: Any, row: Any) -> Any:
    """How the share of one of the four pixels grows with x and with y."""
    one = like(across, 1)
    return select(column == 0, -one, one) * _part(down, row), _part(across, column) * select(row == 0, -one, one)


@inlined
def pixel(part: Any, unit: Any) -> Any:
    """A share as a pixel of the type of `unit`: of integers the nearest, 1 for one half."""
    is_whole = like(unit, 0.5) == like(unit, 0)
    return select(is_whole, convert(part + like(part, 0.5), unit), convert(part, unit))
