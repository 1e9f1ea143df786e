"""Points on a canvas: their way from a grid, which pixel a position belongs to, the search for what belongs to none.

Shared by the encoders whose maps begin from a pixel, and by the kernels of both targets.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcoord._compile import inlined, kernel
from fastcoord._memory import load, memory
from fastcoord._placement import numbers_at, numbers_step, placed
from fastcoord._vector import any_lane, convert, lane_numbers, like, select, splat

NOWHERE = -1
LANES = 16  # numbers that the search looks at together


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
    # The same as `nearest(…) == NOWHERE`, without the pixel (a third of the time), for 8 points at once (an eighth). In
    # float64 the bounds are exact.
    place = memory(points)
    lowest, right, lower = np.float64(-0.5), np.float64(columns) - 0.5, np.float64(rows) - 0.5
    least = splat(lowest, LANES)
    numbers = lane_numbers(splat(np.int32(0), LANES))
    is_y = (numbers & splat(np.int32(1), LANES)) == splat(np.int32(1), LANES)
    bounds = select(is_y, splat(lower, LANES), splat(right, LANES))
    whole = points.size // LANES * LANES
    done = 0
    while done < whole:
        values = convert(load(place, done, LANES), lowest)
        if any_lane(((values >= least) & (values < bounds)) ^ (least == least)):
            break
        done += LANES
    for i in range(done // 2, points.size // 2):
        x, y = np.float64(points[2 * i]), np.float64(points[2 * i + 1])
        if not (x >= lowest and x < right and y >= lowest and y < lower):
            return i
    return NOWHERE


def first_outside(points: Any, height: int, width: int) -> int:
    """The number of the first of the flat `points` that is not on the canvas, or −1."""
    found: int = _first_outside.serial(points, height, width)
    return found


@kernel
def _place(points: Any, numbers: Any, pixels: Any) -> None:
    place, step = memory(numbers), numbers_step(numbers)
    for i in range(points.size // 2):
        pixels[2 * i], pixels[2 * i + 1] = placed(points[2 * i], points[2 * i + 1], numbers_at(place, i * step))


def in_pixels(points: NDArray[Any], numbers: NDArray[Any]) -> NDArray[Any]:
    """The flat `points` of a grid as they count pixels, in their type; `numbers` are those of the grid's way back."""
    pixels = np.empty_like(points)
    _place.serial(points, numbers, pixels)
    return pixels
