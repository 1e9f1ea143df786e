"""Pixels that no vector decides: what stands round one, and the plateau that it belongs to."""

from typing import Any

import numpy as np

from fastcoord._compile import outlined
from fastcoord._vector import convert, out_of_line
from fastcoord.decode._peaks.formula import HIGHER, SUPPRESSED, beside

ROOM = 64  # pixels of a plateau at first; twice as many each time
# Marks of pixels of plateaus
FRESH, SEEN, PEAK, WRITTEN = 0, 1, 2, 3
TIED, ALONE = 1, 2  # whether a pixel has an equal within the radius; whether none stands beside it


@outlined
def look(
    place: Any,
    first: int,
    row_stride: int,
    column_stride: int,
    height: int,
    width: int,
    x: int,
    y: int,
    reach: int,
    unit: Any,
) -> Any:
    """What stands within `reach` of a pixel, as bits; and TIED and ALONE, as bits. `unit` is of the pixels' type."""
    out_of_line()
    value = convert(place[first + y * row_stride + x * column_stride], unit)
    seen, kind = 0, ALONE
    for row in range(max(y - reach, 0), min(y + reach + 1, height)):
        for column in range(max(x - reach, 0), min(x + reach + 1, width)):
            other = convert(place[first + row * row_stride + column * column_stride], unit)
            is_beside = -1 <= row - y <= 1 and -1 <= column - x <= 1
            if other == value:
                if row != y or column != x:
                    kind |= TIED
                    if is_beside:
                        kind &= ~ALONE
            else:
                bits = beside(value, other)
                seen |= bits if is_beside else bits & HIGHER
    return seen, kind


@outlined
def flood(
    place: Any,
    first: int,
    row_stride: int,
    column_stride: int,
    height: int,
    width: int,
    position: int,
    reach: int,
    unit: Any,
    marks: Any,
    before: int,
    after: int,
) -> Any:
    """What stands round a plateau, the sums of its columns and rows, and its pixels, which get the mark `after`.

    They have the mark `before`, and `position` is one of them.
    """
    out_of_line()
    mark, zero = marks
    value = convert(place[first + position // width * row_stride + position % width * column_stride], unit)
    queue = np.empty(ROOM, np.int64)
    queue[0], mark[zero + position] = position, after
    seen, total_x, total_y, done, count = 0, 0, 0, 0, 1
    while done < count:
        y = queue[done] // width
        x = queue[done] - y * width
        done += 1
        total_x += x
        total_y += y
        for row in range(max(y - reach, 0), min(y + reach + 1, height)):
            for column in range(max(x - reach, 0), min(x + reach + 1, width)):
                other = convert(place[first + row * row_stride + column * column_stride], unit)
                is_beside = -1 <= row - y <= 1 and -1 <= column - x <= 1
                if other != value:
                    bits = beside(value, other)
                    seen |= bits if is_beside else bits & HIGHER
                    continue
                at = row * width + column
                if is_beside and mark[zero + at] == before:
                    if count == queue.size:
                        wider = np.empty(2 * count, np.int64)
                        for i in range(count):
                            wider[i] = queue[i]
                        queue = wider
                    queue[count], mark[zero + at] = at, after
                    count += 1
                elif before == FRESH and mark[zero + at] == PEAK:
                    seen |= SUPPRESSED
    return seen, total_x, total_y, count
