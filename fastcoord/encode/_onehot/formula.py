"""A pixel of a one-hot image: two layers of sums and rectifications, over integers."""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._vector import like, maximum

NOWHERE = -1


@inlined
def nearest(position: Any, extent: Any) -> Any:
    """floor(position + ½), or NOWHERE if that is none of `extent` pixels, as for NaN."""
    if not (position >= like(position, -0.5) and position <= like(position, extent)):
        return NOWHERE
    whole: Any = np.int64(position)  # the part after the point is dropped: 0 for −0.5 too
    # position + ½ itself would round 0.49999997 up to 1
    pixel = whole + (1 if position - like(position, whole) >= like(position, 0.5) else 0)
    return pixel if pixel < extent else NOWHERE


@inlined
def is_on_map(position: Any, last: Any) -> Any:
    """Whether `nearest` finds a pixel for certain, where the last pixel is number `last`."""
    return (position >= like(position, -0.5)) & (position <= last)


@inlined
def response(column: Any, row: Any, x: Any, y: Any) -> Any:
    """relu(1 − Σ relu(±(column − x)) − Σ relu(±(row − y))): 1 at (x, y), 0 at every other pixel."""
    zero = like(column, 0)
    aside = maximum(column - x, zero) + maximum(x - column, zero)
    above = maximum(row - y, zero) + maximum(y - row, zero)
    return maximum(like(column, 1) - aside - above, zero)
