"""A tile of a one-hot image: four rows of 64 pixels, or what is left of them at the right and at the bottom."""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._memory import item_bytes, load, load_first, octets, prefetch
from fastcoord._vector import CACHE_LINE, any_lane, convert, splat
from fastcoord.decode._onehot.formula import PLAIN, absorb, nothing

LANES = 16
TALL = 4  # rows in a tile
WIDE = PLAIN // TALL * LANES  # pixels in a row of it


@inlined
def is_zero_tile(place: Any, at: int, row_stride: int, rows: int, columns: int, ahead: int) -> Any:
    """Whether the bits of a tile are all zero."""
    lines, size = octets(place), item_bytes(place)
    zero = splat(np.uint8(0), 64)
    bits = zero
    if rows == TALL and columns == WIDE:  # known when compiled: no loops
        for r in range(TALL):
            for k in range(0, WIDE * size, CACHE_LINE):
                prefetch(lines, (at + r * row_stride + ahead) * size + k)
                bits = bits | load(lines, (at + r * row_stride) * size + k, 64)
    else:
        for r in range(rows):
            for k in range(0, columns * size, CACHE_LINE):
                bits = bits | load_first(lines, (at + r * row_stride) * size + k, columns * size - k, 64)
    return not any_lane(bits != zero)


@inlined
def absorb_tile(
    place: Any, at: int, row_stride: int, rows: int, columns: int, ahead: int, x: Any, y: Any, height: Any, width: Any
) -> Any:
    """The state of a tile: its first columns are `x`, its first row is `y`.

    The rows are read side by side: x is counted up once for all of them.
    """
    unit = width
    lines, size = octets(place), item_bytes(place)
    gain_x, gain_y, step = splat(width, LANES), splat(height, LANES), splat(convert(LANES, unit), LANES)
    down = splat(convert(1, unit), LANES)
    state = nothing(gain_x - gain_x)
    whole = columns // LANES * LANES if rows == TALL else 0
    for k in range(0, whole, LANES):
        row_y = y
        for r in range(TALL):
            here = at + r * row_stride + k
            if size > 1:
                for line in range(0, LANES * size, CACHE_LINE):
                    prefetch(lines, (here + ahead) * size + line)
            state = absorb(state, convert(load(place, here, LANES), unit), x, row_y, gain_x, gain_y)
            row_y = row_y + down
        x = x + step
    for k in range(whole, columns, LANES):
        row_y = y
        for r in range(rows):
            value = convert(load_first(place, at + r * row_stride + k, columns - k, LANES), unit)
            state = absorb(state, value, x, row_y, gain_x, gain_y)
            row_y = row_y + down
        x = x + step
    return state
