"""The inner loops of a network on the CPU: the responses of a piece of a map, added to the features' sums.

Up to four features at a time, so that a value is loaded once for all of them. Their responses stay in registers from
the first tap to the ReLU: as a tile of four rows of sixteen columns where the kernel has several taps, so that a weight
is loaded once for four rows; vector by vector where it has only its centre. Numba knows no arrays of vectors in
registers: they are tuples, and a function of a tuple is made for the number of features, of which each calls the next.
"""

import functools
from typing import Any

from fastcoord._compile import inlined, outlined
from fastcoord._memory import gather, item_bytes, load, load_first, prefetch, store
from fastcoord._vector import convert, lane_numbers, like, out_of_line, select, splat
from fastcoord.network.formula import absorb, add, begin, rectify, row_class

LANES = 16
ROWS = 4  # in a tile
TALL = 4  # rows in a tile that is read in place
WIDE = 4 * LANES  # pixels in a row of it: 16 vectors are summed before what rounding takes is kept
AHEAD = 8192  # bytes between a line that is read in place and one that is prefetched


@inlined
def _absorb_rows(responses: Any, values: Any, weight: Any) -> Any:
    return (
        absorb(responses[0], values[0], weight),
        absorb(responses[1], values[1], weight),
        absorb(responses[2], values[2], weight),
        absorb(responses[3], values[3], weight),
    )


def absorber(features: int) -> Any:
    """The function that absorbs four rows of values under a tap into so many features' four responses each."""

    @inlined
    def absorb_one(responses: Any, values: Any, weights: Any, at: int) -> Any:
        return (_absorb_rows(responses[0], values, splat(weights[at], LANES)),)

    if features == 1:
        return absorb_one
    absorb_others = absorber(features - 1)

    @inlined
    def absorb_all(responses: Any, values: Any, weights: Any, at: int) -> Any:
        first = (_absorb_rows(responses[0], values, splat(weights[at], LANES)),)
        return first + absorb_others(responses[1:], values, weights, at + 1)

    return absorb_all


@inlined
def _begin_row(tables: Any, at: int, row: Any) -> Any:
    return begin(load(tables, at, LANES), load(tables, at + LANES, LANES), row)


def beginner(features: int) -> Any:
    """The function that gives so many features' responses before the first tap."""

    @inlined
    def begin_one(tables: Any, at: Any, rows: Any, k: int) -> Any:
        return (
            (
                _begin_row(tables, at[0] + k, rows[0]),
                _begin_row(tables, at[1] + k, rows[1]),
                _begin_row(tables, at[2] + k, rows[2]),
                _begin_row(tables, at[3] + k, rows[3]),
            ),
        )

    if features == 1:
        return begin_one
    begin_others = beginner(features - 1)

    @inlined
    def begin_all(tables: Any, at: Any, rows: Any, k: int) -> Any:
        return begin_one(tables, at, rows, k) + begin_others(tables, at, rows, k + 2 * LANES)

    return begin_all


@inlined
def _collect_one(responses: Any, counts: Any, sums: Any, at: int) -> None:
    """Add the sum of four rows to a feature's lanes: one step of exact sums for four pixels."""
    lane, zero = lane_numbers(responses[0]), like(responses[0], 0)
    a = select(lane < counts[0], rectify(responses[0]), zero)
    b = select(lane < counts[1], rectify(responses[1]), zero)
    c = select(lane < counts[2], rectify(responses[2]), zero)
    d = select(lane < counts[3], rectify(responses[3]), zero)
    total, rest = add((load(sums, at, LANES), load(sums, at + LANES, LANES)), (a + b) + (c + d))
    store(sums, at, total)
    store(sums, at + LANES, rest)


def _collector(features: int) -> Any:
    """The function that rectifies so many features' responses and adds them to their sums."""

    @inlined
    def collect_one(responses: Any, counts: Any, sums: Any, at: int) -> None:
        _collect_one(responses[0], counts, sums, at)

    if features == 1:
        return collect_one
    collect_others = _collector(features - 1)

    @inlined
    def collect_all(responses: Any, counts: Any, sums: Any, at: int) -> None:
        _collect_one(responses[0], counts, sums, at)
        collect_others(responses[1:], counts, sums, at + 2 * LANES)

    return collect_all


@inlined
def take_rows(source: Any, at: int, pitch: int) -> Any:
    """Four rows of sixteen values."""
    return (
        load(source, at, LANES),
        load(source, at + pitch, LANES),
        load(source, at + 2 * pitch, LANES),
        load(source, at + 3 * pitch, LANES),
    )


@inlined
def row_number(number: Any, height: Any, unit: Any) -> Any:
    """The number of a row, in each lane; of the last row where there is none."""
    return splat(convert(number if number < height else height - 1, unit), LANES)


@inlined
def table_at(row: Any, height: Any, border: Any, tiles: Any, features: Any) -> Any:
    """The element of the tables at which those of a row's class begin; of the last row's where there is no row."""
    last = height - 1
    return row_class(row if row < last else last, height, border) * tiles * features * 2 * LANES


@functools.cache
def tile_summer(features: int) -> Any:
    """The function that adds the responses of a piece of a map, copied with its surroundings, to the sums."""
    absorb_tap, begin_responses, collect = absorber(features), beginner(features), _collector(features)

    @outlined
    def sum_piece(
        source: Any,
        pitch: int,
        first_row: int,
        rows: int,
        first_column: int,
        columns: int,
        height: int,
        border: int,
        tables: Any,
        tiles: int,
        blocks: int,
        weights: Any,
        offsets: Any,
        taps: int,
        sums: Any,
        unit: Any,
    ) -> None:
        out_of_line()
        all_features = blocks * features
        for y in range(0, rows, ROWS):
            row = first_row + y
            numbers = (
                row_number(row, height, unit),
                row_number(row + 1, height, unit),
                row_number(row + 2, height, unit),
                row_number(row + 3, height, unit),
            )
            table_rows = (
                table_at(row, height, border, tiles, all_features),
                table_at(row + 1, height, border, tiles, all_features),
                table_at(row + 2, height, border, tiles, all_features),
                table_at(row + 3, height, border, tiles, all_features),
            )
            for x in range(0, columns, LANES):
                count = columns - x
                # rows that are not there have no pixels
                counts = (
                    count,
                    count if y + 1 < rows else 0,
                    count if y + 2 < rows else 0,
                    count if y + 3 < rows else 0,
                )
                lanes = (
                    splat(convert(counts[0], unit), LANES),
                    splat(convert(counts[1], unit), LANES),
                    splat(convert(counts[2], unit), LANES),
                    splat(convert(counts[3], unit), LANES),
                )
                here = y * pitch + x
                table = (first_column + x) // LANES * all_features * 2 * LANES
                for block in range(blocks):
                    first = block * features
                    responses = begin_responses(tables, table_rows, numbers, table + first * 2 * LANES)
                    for tap in range(taps):
                        values = take_rows(source, here + offsets[tap], pitch)
                        responses = absorb_tap(responses, values, weights, (block * taps + tap) * features)
                    collect(responses, lanes, sums, first * 2 * LANES)

    return sum_piece


# ---- Kernels that have only their centre -----------------------------------------------------------------------------


@inlined
def adjacent(source: Any, at: int, step: int, count: int, unit: Any) -> Any:
    """The first `count` of sixteen pixels side by side."""
    prefetch(source, at + AHEAD // item_bytes(source))
    return convert(load_first(source, at, count, LANES), unit)


@inlined
def adjacent_whole(source: Any, at: int, step: int, unit: Any) -> Any:
    """Sixteen pixels side by side."""
    prefetch(source, at + AHEAD // item_bytes(source))
    return convert(load(source, at, LANES), unit)


@inlined
def scattered_whole(source: Any, at: int, step: int, unit: Any) -> Any:
    """Sixteen pixels that are `step` elements apart."""
    return convert(gather(source, at, step, LANES, LANES), unit)


@inlined
def scattered(source: Any, at: int, step: int, count: int, unit: Any) -> Any:
    """The first `count` of sixteen pixels that are `step` elements apart."""
    return convert(gather(source, at, step, count, LANES), unit)


def _centre_parts(features: int) -> Any:
    """Functions of so many features: what is loaded before the rows; a first tap; another tap; the ReLU and the sum."""

    @inlined
    def load_one(tables: Any, at: int, weights: Any, first: int) -> Any:
        return ((load(tables, at, LANES), load(tables, at + LANES, LANES), splat(weights[first], LANES)),)

    @inlined
    def start_one(loaded: Any, row: Any, value: Any) -> Any:
        constant, slope, weight = loaded[0]
        return (absorb(begin(constant, slope, row), value, weight),)

    @inlined
    def absorb_one(responses: Any, value: Any, weights: Any, at: int) -> Any:
        return (absorb(responses[0], value, splat(weights[at], LANES)),)

    @inlined
    def sum_one(sums: Any, responses: Any) -> Any:
        return (sums[0] + rectify(responses[0]),)

    @inlined
    def sum_some_one(sums: Any, responses: Any, is_there: Any) -> Any:
        return (sums[0] + select(is_there, rectify(responses[0]), like(responses[0], 0)),)

    @inlined
    def keep_one(sums: Any, kept: Any, at: int) -> None:
        total, rest = add((load(kept, at, LANES), load(kept, at + LANES, LANES)), sums[0])
        store(kept, at, total)
        store(kept, at + LANES, rest)

    @inlined
    def none_one(zero: Any) -> Any:
        return (zero,)

    if features == 1:
        return load_one, start_one, absorb_one, sum_one, sum_some_one, keep_one, none_one
    others = _centre_parts(features - 1)
    load_others, start_others, absorb_others, sum_others, sum_some_others, keep_others, none_others = others

    @inlined
    def load_all(tables: Any, at: int, weights: Any, first: int) -> Any:
        one = load_one(tables, at, weights, first)
        return one + load_others(tables, at + 2 * LANES, weights, first + 1)

    @inlined
    def start_all(loaded: Any, row: Any, value: Any) -> Any:
        return start_one(loaded, row, value) + start_others(loaded[1:], row, value)

    @inlined
    def absorb_all(responses: Any, value: Any, weights: Any, at: int) -> Any:
        one = absorb_one(responses, value, weights, at)
        return one + absorb_others(responses[1:], value, weights, at + 1)

    @inlined
    def sum_all(sums: Any, responses: Any) -> Any:
        return sum_one(sums, responses) + sum_others(sums[1:], responses[1:])

    @inlined
    def sum_some_all(sums: Any, responses: Any, is_there: Any) -> Any:
        return sum_some_one(sums, responses, is_there) + sum_some_others(sums[1:], responses[1:], is_there)

    @inlined
    def keep_all(sums: Any, kept: Any, at: int) -> None:
        keep_one(sums, kept, at)
        keep_others(sums[1:], kept, at + 2 * LANES)

    @inlined
    def none_all(zero: Any) -> Any:
        return (zero,) + none_others(zero)

    return load_all, start_all, absorb_all, sum_all, sum_some_all, keep_all, none_all


@functools.cache
def centre_summer(features: int, take: Any, take_whole: Any) -> Any:
    """The function that adds the responses of rows of a map, which are read in place, to the sums.

    Tiles of four rows of 64 pixels, the rows side by side, so that what the coordinates give to a column is loaded once
    for all of them and memory is read nearly in order. Of the read ceiling, for two features and 1024 (17 MB) and 4096
    maps of 64×64 (67 MB): 0.76–0.81 and 0.83–0.87. Two columns of vectors side by side down 16 rows gave 0.80 and
    0.78–0.81 beside these; before that, one column at a time 0.65 and 0.71, row by row with the tables loaded for each
    vector 0.50 and 0.55. The loop needs 4.1 cycles of arithmetic for a cache line, and the ceiling 6 to read it.
    """
    load_loaded, start, absorb_tap, sum_up, sum_some, keep, none = _centre_parts(features)

    @outlined
    def sum_rows(
        source: Any,
        at: int,
        row_stride: int,
        step: int,
        first_row: int,
        rows: int,
        columns: int,
        tables: Any,
        blocks: int,
        weights: Any,
        offsets: Any,
        taps: int,
        sums: Any,
        unit: Any,
    ) -> None:
        out_of_line()
        one = splat(unit, LANES)
        line = features * 2 * LANES
        for y in range(0, rows, TALL):
            tall = TALL if rows - y > TALL else rows - y
            first_number = splat(convert(first_row + y, unit), LANES)
            for left in range(0, columns, WIDE):
                right = left + WIDE if columns - left > WIDE else columns
                whole = right - (right - left) % LANES
                for block in range(blocks):
                    first = block * taps * features
                    some = none(one - one)
                    for x in range(left, whole, LANES):
                        loaded = load_loaded(tables, (x // LANES * blocks + block) * line, weights, first)
                        row = first_number
                        here = at + y * row_stride + x * step
                        if tall == TALL and taps == 1:  # unrolled
                            for r in range(TALL):
                                there = here + r * row_stride + offsets[0]
                                some = sum_up(some, start(loaded, row, take_whole(source, there, step, unit)))
                                row = row + one
                        else:
                            for r in range(tall):
                                there = here + r * row_stride
                                responses = start(loaded, row, take_whole(source, there + offsets[0], step, unit))
                                for tap in range(1, taps):
                                    value = take_whole(source, there + offsets[tap], step, unit)
                                    responses = absorb_tap(responses, value, weights, first + tap * features)
                                some = sum_up(some, responses)
                                row = row + one
                    if whole < right:
                        count = right - whole
                        is_there = lane_numbers(one) < splat(convert(count, unit), LANES)
                        loaded = load_loaded(tables, (whole // LANES * blocks + block) * line, weights, first)
                        row = first_number
                        for r in range(tall):
                            here = at + (y + r) * row_stride + whole * step
                            responses = start(loaded, row, take(source, here + offsets[0], step, count, unit))
                            for tap in range(1, taps):
                                value = take(source, here + offsets[tap], step, count, unit)
                                responses = absorb_tap(responses, value, weights, first + tap * features)
                            some = sum_some(some, responses, is_there)
                            row = row + one
                    keep(some, sums, block * line)

    return sum_rows
