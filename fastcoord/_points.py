"""Points on a canvas: which pixel a position belongs to, and the search for a point that belongs to none.

Shared by the encoders whose maps begin from a pixel, and by the kernels of both targets.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined, kernel
from fastcoord._vector import like

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


@kernel
def _first_outside(points: Any, rows: int, columns: int) -> int:
    for i in range(points.size // 2):
        if nearest(points[2 * i], columns) == NOWHERE or nearest(points[2 * i + 1], rows) == NOWHERE:
            return i
    return NOWHERE


def first_outside(points: Any, height: int, width: int) -> int:
    """The number of the first of the flat `points` that is not on the canvas, or −1."""
    found: int = _first_outside.serial(points, height, width)
    return found
