"""How the lanes of a block visit a heatmap for its peaks, and a plateau.

A lane looks at its own pixels, and keeps the strongest of those that may be peaks. That of a plateau is its first
pixel; the block then walks through the plateau row by row, each of which is one lane's, until no pixel is new.
"""

from typing import Any

import numpy as np
from numba import cuda

from fastcoord._compile import inlined
from fastcoord._lanes import block_merge, block_share, column_and_row, moved
from fastcoord._vector import convert
from fastcoord.decode._peaks.formula import HIGHER, LOWER, SUPPRESSED, beside, is_peak, stronger

NOWHERE = np.int32((1 << 31) - 1)
NONE, LONE, TIED = 0, 1, 2  # what a pixel is: no peak, a peak by itself, perhaps the first pixel of a plateau
FRESH, SEEN, PEAK = 0, 1, 2  # marks of pixels of plateaus, of two bits
PER_BYTE = 4


@inlined
def pixel(images: Any, first: Any, layout: Any, x: Any, y: Any, unit: Any) -> Any:
    at = first + np.int64(y) * layout.row_stride + np.int64(x) * layout.column_stride
    return convert(images[np.uint64(at)], unit)


@inlined
def bytes_of_row(layout: Any) -> Any:
    """How many bytes the marks of a row take."""
    return (layout.columns + PER_BYTE - 1) // PER_BYTE


@inlined
def mark_at(marks: Any, zero: Any, layout: Any, x: Any, y: Any) -> Any:
    octet = np.int32(marks[np.uint64(zero + np.int64(y) * bytes_of_row(layout) + x // PER_BYTE)])
    return (octet >> (2 * (x % PER_BYTE))) & 3


@inlined
def mark(marks: Any, zero: Any, layout: Any, x: Any, y: Any, after: Any) -> None:
    at = np.uint64(zero + np.int64(y) * bytes_of_row(layout) + x // PER_BYTE)
    shift = 2 * (x % PER_BYTE)
    marks[at] = np.uint8((np.int32(marks[at]) & ~(3 << shift)) | (after << shift))


@inlined
def _kind_of(
    images: Any, first: Any, layout: Any, x: Any, y: Any, value: Any, radius: Any, is_strict: Any, unit: Any
) -> Any:
    """NONE, LONE or TIED."""
    seen, is_tied, is_alone, is_first = 0, False, True, True
    row, bottom = max(y - radius, 0), min(y + radius, layout.rows - 1)
    left, right = max(x - radius, 0), min(x + radius, layout.columns - 1)
    while row <= bottom:
        column = left
        while column <= right:
            other = pixel(images, first, layout, column, row, unit)
            is_beside = row - y >= -1 and row - y <= 1 and column - x >= -1 and column - x <= 1
            if other == value:
                if row != y or column != x:
                    is_tied = True
                    if is_beside:
                        is_alone = False
                        is_first = is_first and (row > y or (row == y and column > x))
            else:
                bits = beside(value, other)
                seen |= bits if is_beside else bits & HIGHER
            column += 1
        row += 1
    if is_strict or not is_tied:
        return LONE if is_peak(seen, is_alone, is_strict) else NONE
    return TIED if is_first and seen & HIGHER == 0 else NONE


@inlined
def strongest(
    images: Any,
    first: Any,
    layout: Any,
    lane: Any,
    lanes: Any,
    limit: Any,
    radius: Any,
    is_strict: Any,
    is_later: Any,
    before: Any,
    before_position: Any,
    unit: Any,
) -> Any:
    """Of a lane's pixels the strongest that may be a peak: (value, position, kind, whether a pixel is NaN).

    `is_later`: only of those that come behind the one with the value and position `before`.
    """
    best, where, kind, has_nan = limit, NOWHERE, np.int32(NONE), np.int32(0)
    pixels = layout.rows * layout.columns
    column, row = column_and_row(lane, layout)
    position = np.int32(lane)
    while position < pixels:
        value = pixel(images, first, layout, column, row, unit)
        if value != value:
            has_nan = np.int32(1)
        elif value > best and (not is_later or value < before or (value == before and position > before_position)):
            found = _kind_of(images, first, layout, column, row, value, radius, is_strict, unit)
            if found != NONE:
                best, where, kind = value, position, np.int32(found)
        column, row = moved(column, row, layout)
        position = np.int32(position + lanes)
    return best, where, kind, has_nan


@inlined
def merge_candidates(a: Any, b: Any) -> Any:
    value, position, kind, _has_nan = stronger(a, b, NOWHERE)
    return value, position, kind, max(a[3], b[3])


@inlined
def _merge_extents(a: Any, b: Any) -> Any:
    """(whether a pixel is new, top, bottom, left, right)."""
    return max(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), min(a[3], b[3]), max(a[4], b[4])


@inlined
def _merge_sums(a: Any, b: Any) -> Any:
    """(higher, lower, suppressed: each 0 or 1, sum of columns, of rows, pixels)."""
    return max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), a[3] + b[3], a[4] + b[4], a[5] + b[5]


_extents_of_block, _sums_of_block = block_merge(_merge_extents), block_merge(_merge_sums)


@inlined
def _round_pixel(
    images: Any,
    first: Any,
    layout: Any,
    x: Any,
    y: Any,
    value: Any,
    radius: Any,
    marks: Any,
    zero: Any,
    before: Any,
    unit: Any,
) -> Any:
    """What stands round a pixel of a plateau, as bits."""
    seen = 0
    row, bottom = max(y - radius, 0), min(y + radius, layout.rows - 1)
    left, right = max(x - radius, 0), min(x + radius, layout.columns - 1)
    while row <= bottom:
        column = left
        while column <= right:
            other = pixel(images, first, layout, column, row, unit)
            if other != value:
                is_beside = row - y >= -1 and row - y <= 1 and column - x >= -1 and column - x <= 1
                bits = beside(value, other)
                seen |= bits if is_beside else bits & HIGHER
            elif before == FRESH and mark_at(marks, zero, layout, column, row) == PEAK:
                seen |= SUPPRESSED
            column += 1
        row += 1
    return seen


@inlined
def _is_next(
    images: Any,
    first: Any,
    layout: Any,
    x: Any,
    y: Any,
    value: Any,
    marks: Any,
    zero: Any,
    before: Any,
    after: Any,
    unit: Any,
) -> Any:
    """Whether a pixel is of the plateau, not marked yet, and beside one that is."""
    if mark_at(marks, zero, layout, x, y) != before or pixel(images, first, layout, x, y, unit) != value:
        return False
    is_next: Any = False
    row, bottom = max(y - 1, 0), min(y + 1, layout.rows - 1)
    left, right = max(x - 1, 0), min(x + 1, layout.columns - 1)
    while row <= bottom:
        column = left
        while column <= right:
            if mark_at(marks, zero, layout, column, row) == after:
                is_next = is_next or pixel(images, first, layout, column, row, unit) == value
            column += 1
        row += 1
    return is_next


@inlined
def flood(
    images: Any,
    first: Any,
    layout: Any,
    position: Any,
    radius: Any,
    marks: Any,
    zero: Any,
    before: Any,
    after: Any,
    unit: Any,
) -> Any:
    """What stands round a plateau as bits, the sums of its columns and rows, and its pixels, which get a mark.

    By all threads of a block together, which all get the answer.
    """
    x, y = column_and_row(position, layout)
    value = pixel(images, first, layout, x, y, unit)
    lane, lanes = np.int32(cuda.threadIdx.x), np.int32(cuda.blockDim.x)
    higher, lower, suppressed, count = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    total_x, total_y = np.int64(0), np.int64(0)
    top, bottom, left, right = y, y, x, x
    is_new, is_seed = np.int32(1), True
    while is_new != 0:
        is_new = np.int32(0)
        low, high = np.int32(max(top - 1, 0)), np.int32(min(bottom + 1, layout.rows - 1))
        next_top, next_bottom, next_left, next_right = top, bottom, left, right
        row = np.int32(low + (lane - low) % lanes)  # a row is the same lane's each time
        while row <= high:
            turn = 0
            while turn < 2:  # to the right, then to the left
                start, end = max(left - 1, 0), min(right + 1, layout.columns - 1)
                column = np.int32(start if turn == 0 else end)
                step = 1 if turn == 0 else -1
                is_inside: Any = True
                while is_inside:
                    takes = row == y and column == x if is_seed else False
                    if not is_seed or row != y or column != x:
                        takes = _is_next(images, first, layout, column, row, value, marks, zero, before, after, unit)
                    elif turn == 1:
                        takes = False
                    if takes:
                        mark(marks, zero, layout, column, row, after)
                        bits = _round_pixel(
                            images, first, layout, column, row, value, radius, marks, zero, before, unit
                        )
                        higher = np.int32(1) if bits & HIGHER != 0 else higher
                        lower = np.int32(1) if bits & LOWER != 0 else lower
                        suppressed = np.int32(1) if bits & SUPPRESSED != 0 else suppressed
                        total_x += column
                        total_y += row
                        count = np.int32(count + 1)
                        is_new = np.int32(1)
                        next_top, next_bottom = np.int32(min(next_top, row)), np.int32(max(next_bottom, row))
                        next_left, next_right = np.int32(min(next_left, column)), np.int32(max(next_right, column))
                    column = np.int32(column + step)
                    # where a pixel beyond was taken its neighbours are looked at too
                    is_inside = (column >= 0 and column < layout.columns) and (
                        takes or (column >= start and column <= end)
                    )
                turn += 1
            row = np.int32(row + lanes)
        extents = block_share(_extents_of_block((is_new, next_top, next_bottom, next_left, next_right)))
        is_new, top, bottom, left, right = extents
        is_seed = False
    sums = higher, lower, suppressed, total_x, total_y, count
    higher, lower, suppressed, total_x, total_y, count = block_share(_sums_of_block(sums))
    seen = (HIGHER if higher != 0 else 0) | (LOWER if lower != 0 else 0) | (SUPPRESSED if suppressed != 0 else 0)
    return seen, total_x, total_y, count
