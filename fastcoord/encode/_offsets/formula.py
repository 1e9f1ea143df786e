"""Which pixels lie in a disc round a point, and what they hold: 1, or how far the point is from them.

A pixel lies in the disc where dx² + dy² ≤ radius², in float64, so that those exactly on its edge do. In a row these are
one run, since rounding keeps the order of squares.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._vector import convert, like, maximum, minimum, product

DISC, ACROSS, DOWN = range(3)  # kinds of maps

__all__ = ["ACROSS", "DISC", "DOWN", "columns_in_disc", "has_pixels", "held", "is_inside", "near"]


@inlined
def is_inside(dx: Any, dy: Any, radius: Any) -> Any:
    """Whether a pixel that is dx and dy from the point lies in the disc."""
    return product(dx, dx) + product(dy, dy) <= product(radius, radius)


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
def near(position: Any, reach: Any, extent: Any) -> Any:
    """Pixels of an axis among which are all within reach, however it is rounded: the first, and that after the last."""
    further = reach + like(reach, 1)
    low = minimum(maximum(position - further, like(position, 0)), like(position, extent))
    high = minimum(maximum(position + further, like(position, -1)), like(position, extent - 1))
    first: Any = np.int64(low)
    last: Any = np.int64(high)
    return first, last + 1 if high >= like(position, 0) else first


@inlined
def columns_in_disc(x: Any, dy: Any, radius: Any, columns: Any) -> Any:
    """The columns of a row, dy from the point, that lie in the disc: the first, and the one after the last."""
    room = product(radius, radius) - product(dy, dy)
    if not room >= like(room, 0):
        return 0, 0
    reach = np.sqrt(room)
    first, end = near(x, reach, columns)
    while first < end and not is_inside(x - like(x, first), dy, radius):
        first += 1
    while end > first and not is_inside(x - like(x, end - 1), dy, radius):
        end -= 1
    return first, end


@inlined
def held(kind: Any, offsets: Any, column: Any, row: Any, x: Any, y: Any, scale: Any, unit: Any) -> Any:
    """What pixels of a disc hold that are `offsets` after a column of a row, in a map of this kind.

    `scale` is what a pixel counts. Distances are float64, as x and y are, and rounded once to the type of `unit`: a
    point that is close to a pixel's centre keeps its digits.
    """
    after = convert(offsets, x)
    if kind == ACROSS:
        return convert((like(after, x) - (after + like(after, column))) * like(after, scale), unit)
    if kind == DOWN:
        return like(offsets, (y - like(y, row)) * scale)
    return like(offsets, 1)
