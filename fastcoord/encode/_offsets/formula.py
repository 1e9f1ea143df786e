"""Which pixels lie in a disc round a point, and what they hold: 1, or how far the point is from them.

A pixel lies in the disc where dx² + dy² ≤ radius², in float64, so that those exactly on its edge do. In a row these are
one run, since rounding keeps the order of squares.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._gaussian_axis import HUGE, distances, is_finite
from fastcoord._vector import like, maximum, minimum

DISC, ACROSS, DOWN = range(3)  # kinds of maps

__all__ = ["ACROSS", "DISC", "DOWN", "columns_in_disc", "has_pixels", "is_finite", "is_inside", "rows_near", "split"]


@inlined
def split(position: Any) -> Any:
    """The whole part of a position and the rest, so that distances are exact to a unit in their last place."""
    near = minimum(maximum(position, like(position, -HUGE)), like(position, HUGE))
    towards_zero: Any = np.int64(near)
    whole = like(position, towards_zero)
    if whole <= like(position, -HUGE) or whole >= like(position, HUGE):
        return position, position - position
    return whole, position - whole


@inlined
def is_inside(dx: Any, dy: Any, radius: Any) -> Any:
    """Whether a pixel that is dx and dy from the point lies in the disc."""
    return dx * dx + dy * dy <= radius * radius


@inlined
def _closest(position: Any, extent: Any) -> Any:
    """How far the pixel of the axis is that is nearest to the position."""
    within = minimum(maximum(position, like(position, 0)), like(position, extent - 1))
    whole: Any = np.int64(within)
    if within - like(within, whole) > like(within, 0.5):
        whole += 1
    return position - like(position, whole)


@inlined
def has_pixels(x: Any, y: Any, radius: Any, columns: Any, rows: Any) -> Any:
    """Whether a pixel of the canvas lies in the disc of a point, which is finite."""
    return is_inside(_closest(x, columns), _closest(y, rows), radius)


@inlined
def rows_near(y: Any, radius: Any, rows: Any) -> Any:
    """Rows among which are all that a disc meets: the first, and the one after the last."""
    low = minimum(maximum(y - radius, like(y, 0)), like(y, rows))
    high = minimum(maximum(y + radius, like(y, -1)), like(y, rows - 1))
    first: Any = np.int64(low)
    last: Any = np.int64(high)
    return first, last + 1 if high >= like(y, 0) else first


@inlined
def columns_in_disc(x: Any, dy: Any, radius: Any, columns: Any) -> Any:
    """The columns of a row, dy from the point, that lie in the disc: the first, and the one after the last."""
    room = radius * radius - dy * dy
    if not room >= like(room, 0):
        return 0, 0
    reach = np.sqrt(room)
    first, end = rows_near(x, reach + like(reach, 1), columns)
    while first < end and not is_inside(x - like(x, first), dy, radius):
        first += 1
    while end > first and not is_inside(x - like(x, end - 1), dy, radius):
        end -= 1
    return first, end


@inlined
def held(kind: Any, offsets: Any, column: Any, row: Any, x: Any, y: Any, scale: Any) -> Any:
    """What pixels of a disc hold that are `offsets` after a column of a row, in a map of this kind.

    `x` and `y` are split; `scale` is what a pixel counts.
    """
    if kind == ACROSS:
        return -distances(offsets, column, x[0], x[1]) * like(offsets, scale)
    if kind == DOWN:
        return like(offsets, -distances(like(scale, 0), row, y[0], y[1]) * scale)
    return like(offsets, 1)
