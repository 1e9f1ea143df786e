"""How a lane of a GPU visits a heatmap: in groups of 16 bytes, or pixel by pixel.

A lane loads four groups before it looks at any, and of each group it keeps the largest pixel and where the group is.
Only when a map is read, the one group that won is read again, from the cache: which of its pixels it was, and whether
there are several.
"""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._lanes import column_and_row, greater, groups_of, lone_pixel, moved
from fastcoord._largest import absorb_counting
from fastcoord._largest_cuda import NOWHERE, merge_states, nothing, one_pixel
from fastcoord._vector import convert, like
from fastcoord._wide import largest_byte, load_eight, load_four, load_two, load_words
from fastcoord.decode._argmax.formula import several_pixels

BYTES = 16  # in a group
LOWEST = -(1 << 31)  # as which nothing stands where pixels are bytes, which are compared as int32
# By the pixels of a group
LOADS: dict[int, Any] = {1: None, 2: load_two, 4: load_four, 8: load_eight, 16: load_words}


@inlined
def _largest_of_two(values: Any, unit: Any) -> Any:
    """The largest number, and whether there is a NaN."""
    a, b = convert(values[0], unit), convert(values[1], unit)
    return greater(a, b), (a != a) | (b != b)


@inlined
def _largest_of_four(values: Any, unit: Any) -> Any:
    a, in_a = _largest_of_two(values[:2], unit)
    b, in_b = _largest_of_two(values[2:], unit)
    return greater(a, b), in_a | in_b


@inlined
def _largest_of_eight(values: Any, unit: Any) -> Any:
    a, in_a = _largest_of_four(values[:4], unit)
    b, in_b = _largest_of_four(values[4:], unit)
    return greater(a, b), in_a | in_b


@inlined
def _largest_of_words(values: Any, unit: Any) -> Any:
    """Of sixteen bytes in four words, among which there is no NaN."""
    return convert(largest_byte(values), unit), False


_LARGEST = {2: _largest_of_two, 4: _largest_of_four, 8: _largest_of_eight, 16: _largest_of_words}


def by_groups(items: int) -> Any:
    """How a lane visits a map whose pixels stand side by side, `items` of them in a group."""
    load: Any = LOADS[items]
    largest_of = _LARGEST[items]

    @inlined
    def absorb_group(state: Any, values: Any, group: Any, head: Any, unit: Any) -> Any:
        largest, has_nan = largest_of(values, unit)
        position = np.int32(head + group * items)
        if items == BYTES:
            best, first, several = absorb_counting(state[:3], largest, position)
            return best, first, several, state[3]
        return merge_states(state, several_pixels(largest, position, np.int32(has_nan), NOWHERE))

    @inlined
    def visit(images: Any, first: Any, layout: Any, lane: Any, lanes: Any, unit: Any) -> Any:
        state = nothing(unit)
        head, groups, tail = groups_of(first, layout, items)
        if lane < head + tail:
            position = lone_pixel(lane, head, groups, items)
            state = merge_states(state, one_pixel(images[np.uint64(first + position)], position, unit))
        found = state
        if items == BYTES:  # begins lower than all of them
            found = like(unit, LOWEST), NOWHERE, np.int32(0), np.int32(0)
        start, last = first + head, np.int32(groups - 1)
        p = np.int32(lane)
        while p <= last:
            # Beyond the last group it is the last one again: no branch stands between the loads. They are absorbed one
            # by one: a loop over a tuple of them stays a loop, with a search for its next member.
            q, r, s = np.int32(p + lanes), np.int32(p + 2 * lanes), np.int32(p + 3 * lanes)
            a = load(images, start + items * np.int64(p))
            b = load(images, start + items * np.int64(min(q, last)))
            c = load(images, start + items * np.int64(min(r, last)))
            d = load(images, start + items * np.int64(min(s, last)))
            found = absorb_group(found, a, p, head, unit)
            if q <= last:
                found = absorb_group(found, b, q, head, unit)
            if r <= last:
                found = absorb_group(found, c, r, head, unit)
            if s <= last:
                found = absorb_group(found, d, s, head, unit)
            p = np.int32(p + 4 * lanes)
        return merge_states(state, found) if items == BYTES else found

    return visit


@inlined
def by_pixels(images: Any, first: Any, layout: Any, lane: Any, lanes: Any, unit: Any) -> Any:
    """How a lane visits a map with any strides and any type of pixels."""
    state = nothing(unit)
    pixels = layout.rows * layout.columns
    column, row = column_and_row(lane, layout)
    position = lane
    while position < pixels:
        at = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
        state = merge_states(state, one_pixel(images[np.uint64(at)], position, unit))
        column, row = moved(column, row, layout)
        position += lanes
    return state


def resolver(items: int) -> Any:
    """What makes a state of groups one of pixels: the group that won is looked at."""

    @inlined
    def resolved(images: Any, first: Any, layout: Any, state: Any, unit: Any) -> Any:
        largest, position, several, has_nan = state
        if items > 1 and position != NOWHERE:
            head, groups, _tail = groups_of(first, layout, items)
            if position >= head and position < head + groups * items:
                found = nothing(unit)
                for n in range(items):
                    value = images[np.uint64(first + position + n)]
                    found = merge_states(found, one_pixel(value, position + n, unit))
                return found[0], found[1], found[2] | several, has_nan
        return largest, position, several, has_nan

    return resolved


def visitor(items: int) -> Any:
    """How a lane visits a map with groups of so many pixels; with any strides where that is 1."""
    return by_pixels if items == 1 else by_groups(items)
