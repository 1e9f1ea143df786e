"""How a lane of a GPU visits a heatmap, by groups of 16 bytes or by pixels: for its largest pixel, and for sums."""

from typing import Any

import numpy as np

from fastcoord._compile import inlined
from fastcoord._exponential_cuda import power
from fastcoord._lanes import (
    column_and_row,
    greater,
    groups_of,
    lone_pixel,
    lost_by_product,
    moved,
    next_pixel,
)
from fastcoord._moments import keep
from fastcoord._vector import convert, like, select
from fastcoord.decode._soft_argmax.formula import INFINITY, absorb, find_pixel, weight

FOUR = 4  # floats in a group
NOWHERE = np.int32((1 << 31) - 1)


# The largest pixel. Found is (the largest, where it is first, of windows only, whether there is NaN)


@inlined
def _find_four(found: Any, values: Any, factor: Any) -> Any:
    a, b, c, d = (
        *(convert(values[0], factor), convert(values[1], factor)),
        *(convert(values[2], factor), convert(values[3], factor)),
    )
    has_nan = (a != a) | (b != b) | (c != c) | (d != d)
    largest = greater(greater(greater(a, b), greater(c, d)), found[0])
    return largest, found[1], select(has_nan, np.int32(1), found[2])


@inlined
def _find_sixteen(found: Any, values: Any, factor: Any) -> Any:
    found = _find_four(_find_four(found, values[:4], factor), values[4:8], factor)
    return _find_four(_find_four(found, values[8:12], factor), values[12:], factor)


def searcher(load: Any, items: int) -> Any:
    """How a lane looks for the largest pixel: by groups, or, where `items` is 1, by pixels and with its position."""
    find_group = _find_four if items == FOUR else _find_sixteen

    @inlined
    def search(images: Any, first: Any, layout: Any, lane: Any, lanes: Any, factor: Any) -> Any:
        found = like(factor, -INFINITY), NOWHERE, np.int32(0)
        head, groups, tail = groups_of(first, layout, items)
        if lane < head + tail:
            value = convert(images[np.uint64(first + lone_pixel(lane, head, groups, items))], factor)
            found = find_pixel(found, value, NOWHERE)
        start, last = first + head, np.int32(groups - 1)
        p = np.int32(lane)
        while p <= last:
            # Beyond the last group it is the last one again, which changes nothing: no branch stands between the loads.
            q, r = min(np.int32(p + lanes), last), min(np.int32(p + 2 * lanes), last)
            a = load(images, start + items * np.int64(p))
            b = load(images, start + items * np.int64(q))
            c = load(images, start + items * np.int64(r))
            d = load(images, start + items * np.int64(min(np.int32(p + 3 * lanes), last)))
            found = find_group(find_group(found, a, factor), b, factor)
            found = find_group(find_group(found, c, factor), d, factor)
            p = np.int32(p + 4 * lanes)
        return found

    @inlined
    def search_pixels(images: Any, first: Any, layout: Any, lane: Any, lanes: Any, factor: Any) -> Any:
        found = like(factor, -INFINITY), NOWHERE, np.int32(0)
        pixels = layout.rows * layout.columns
        column, row = column_and_row(lane, layout)
        position = lane
        while position < pixels:
            at = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
            found = find_pixel(found, convert(images[np.uint64(at)], factor), np.int32(position))
            column, row = moved(column, row, layout)
            position += lanes
        return found

    return search if items > 1 else search_pixels


# Sums: absorb(sums, value, x, y, given), given is of all pixels alike


@inlined
def absorb_alone(sums: Any, value: Any, x: Any, y: Any, given: Any) -> Any:
    """For first moments without second ones, in whose covariance, where moments cancel, `power` was found wanting."""
    return absorb(sums, power(value - given[0], (given[1], given[2])), x, y)


@inlined
def absorb_first(sums: Any, value: Any, x: Any, y: Any, given: Any) -> Any:
    return absorb(sums, weight(value, given[0], (given[1], given[2])), x, y)


@inlined
def keep_second(kept: Any, value: Any, x: Any, y: Any, given: Any) -> Any:
    """What is kept of all moments after one more pixel.

    Of x, y and xy also what the products lose: xy sums up to little, and a rule that is relative to it forgives little.
    """
    w = weight(value, given[0], (given[1], given[2]))
    x -= given[3]
    y -= given[4]
    of_x, of_y = w * x, w * y
    of_xy = of_x * y
    lost_x, lost_y = lost_by_product(w, x, of_x), lost_by_product(w, y, of_y)
    lost_xy = lost_by_product(of_x, y, of_xy) + lost_x * y
    kept = keep(kept, (w, of_x, of_y, of_x * x, of_xy, of_y * y))
    return kept[:7] + (kept[7] + lost_x, kept[8] + lost_y, kept[9], kept[10] + lost_xy, kept[11])


def visitor(load: Any, items: int, absorb_one: Any, keep_block: Any = None) -> Any:
    """How a lane visits a map whose pixels stand side by side, `items` of them in a group.

    The sums of some groups are kept by themselves, from `nil` on; without `keep_block` `absorb_one` keeps each pixel.
    """
    keeps_each = keep_block is None

    @inlined
    def absorb_next(sums: Any, value: Any, column: Any, row: Any, layout: Any, given: Any) -> Any:
        unit = given[0]
        sums = absorb_one(sums, convert(value, unit), convert(column, unit), convert(row, unit), given)
        column, row = next_pixel(column, row, layout)
        return sums, column, row

    @inlined
    def absorb_four(sums: Any, values: Any, column: Any, row: Any, layout: Any, given: Any) -> Any:
        a, b, c, d = values
        sums, column, row = absorb_next(sums, a, column, row, layout, given)
        sums, column, row = absorb_next(sums, b, column, row, layout, given)
        sums, column, row = absorb_next(sums, c, column, row, layout, given)
        return absorb_next(sums, d, column, row, layout, given)

    @inlined
    def absorb_four_in_row(sums: Any, values: Any, x: Any, y: Any, given: Any) -> Any:
        unit = given[0]
        a, b, c, d = values
        sums = absorb_one(sums, convert(a, unit), x, y, given)
        sums = absorb_one(sums, convert(b, unit), x + like(x, 1), y, given)
        sums = absorb_one(sums, convert(c, unit), x + like(x, 2), y, given)
        return absorb_one(sums, convert(d, unit), x + like(x, 3), y, given)

    @inlined
    def absorb_group(sums: Any, values: Any, column: Any, row: Any, layout: Any, is_in_row: Any, given: Any) -> Any:
        if is_in_row:
            x, y = convert(column, given[0]), convert(row, given[0])
            if items == FOUR:
                sums = absorb_four_in_row(sums, values, x, y, given)
            else:
                sums = absorb_four_in_row(sums, values[:4], x, y, given)
                sums = absorb_four_in_row(sums, values[4:8], x + like(x, 4), y, given)
                sums = absorb_four_in_row(sums, values[8:12], x + like(x, 8), y, given)
                sums = absorb_four_in_row(sums, values[12:], x + like(x, 12), y, given)
        elif items == FOUR:
            sums, _x, _y = absorb_four(sums, values, column, row, layout, given)
        else:
            sums, column, row = absorb_four(sums, values[:4], column, row, layout, given)
            sums, column, row = absorb_four(sums, values[4:8], column, row, layout, given)
            sums, column, row = absorb_four(sums, values[8:12], column, row, layout, given)
            sums, _x, _y = absorb_four(sums, values[12:], column, row, layout, given)
        return sums

    @inlined
    def visit(images: Any, first: Any, layout: Any, lane: Any, lanes: Any, given: Any, nil: Any, kept: Any) -> Any:
        head, groups, tail = groups_of(first, layout, items)
        if lane < head + tail:
            position = lone_pixel(lane, head, groups, items)
            column, row = column_and_row(position, layout)
            value = images[np.uint64(first + position)]
            sums, _column, _row = absorb_next(kept if keeps_each else nil, value, column, row, layout, given)
            kept = sums if keeps_each else keep_block(kept, sums)
        # whether the pixels of each group are in one row
        is_in_row = (layout.columns & (items - 1)) == 0 and (head & (items - 1)) == 0
        start, last = first + head, np.int32(groups - 1)
        column, row = column_and_row(head + lane * items, layout)
        p = np.int32(lane)
        while p <= last:
            sums = kept if keeps_each else nil
            if items == FOUR:  # four groups of four floats; one of bytes has as many values
                # Beyond the last group it is the last one again: no branch stands between the loads. They are absorbed
                # one by one: a loop over a tuple of them stays a loop, with a search for its next member.
                q, r, s = np.int32(p + lanes), np.int32(p + 2 * lanes), np.int32(p + 3 * lanes)
                a = load(images, start + items * np.int64(p))
                b = load(images, start + items * np.int64(min(q, last)))
                c = load(images, start + items * np.int64(min(r, last)))
                d = load(images, start + items * np.int64(min(s, last)))
                sums = absorb_group(sums, a, column, row, layout, is_in_row, given)
                column, row = moved(column, row, layout)
                if q <= last:
                    sums = absorb_group(sums, b, column, row, layout, is_in_row, given)
                column, row = moved(column, row, layout)
                if r <= last:
                    sums = absorb_group(sums, c, column, row, layout, is_in_row, given)
                column, row = moved(column, row, layout)
                if s <= last:
                    sums = absorb_group(sums, d, column, row, layout, is_in_row, given)
                p = np.int32(s + lanes)
            else:
                values = load(images, start + items * np.int64(p))
                sums = absorb_group(sums, values, column, row, layout, is_in_row, given)
                p = np.int32(p + lanes)
            column, row = moved(column, row, layout)
            kept = sums if keeps_each else keep_block(kept, sums)
        return kept

    @inlined
    def visit_pixels(
        images: Any, first: Any, layout: Any, lane: Any, lanes: Any, given: Any, nil: Any, kept: Any
    ) -> Any:
        pixels = layout.rows * layout.columns
        column, row = column_and_row(lane, layout)
        position = lane
        while position < pixels:
            at = first + np.int64(row) * layout.row_stride + np.int64(column) * layout.column_stride
            value, x, y = convert(images[np.uint64(at)], given[0]), convert(column, given[0]), convert(row, given[0])
            sums = absorb_one(kept if keeps_each else nil, value, x, y, given)
            kept = sums if keeps_each else keep_block(kept, sums)
            column, row = moved(column, row, layout)
            position += lanes
        return kept

    return visit if items > 1 else visit_pixels
