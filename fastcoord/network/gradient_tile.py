"""The inner loops of a network's gradients on the CPU: rows of a piece of a map are gated, then spread over its pixels.

In tiles of four rows of sixteen columns, and tuples of up to four features, as in `tile`.
"""

import functools
from typing import Any

from fastcoord._compile import inlined, outlined
from fastcoord._memory import load, load_first, store, store_first
from fastcoord._vector import convert, lane_numbers, like, out_of_line, select, splat
from fastcoord.network.formula import absorb, add, gate, rectify
from fastcoord.network.tile import LANES, ROWS, absorber, beginner, row_number, table_at, take_rows


@inlined
def _masked(values: Any, counts: Any) -> Any:
    """Four rows of values, zero but for the first `counts` of each."""
    lane, zero = lane_numbers(values[0]), like(values[0], 0)
    return (
        select(lane < counts[0], values[0], zero),
        select(lane < counts[1], values[1], zero),
        select(lane < counts[2], values[2], zero),
        select(lane < counts[3], values[3], zero),
    )


@inlined
def _gated(responses: Any, counts: Any, d: Any) -> Any:
    return _masked((gate(responses[0], d), gate(responses[1], d), gate(responses[2], d), gate(responses[3], d)), counts)


@inlined
def _accumulate(place: Any, at: int, change: Any) -> None:
    store(place, at, load(place, at, LANES) + change)


@inlined
def _add_row(place: Any, at: int, g: Any, row: Any) -> None:
    _accumulate(place, at, g)
    _accumulate(place, at + LANES, row * g)


@inlined
def _add_to_tables(place: Any, at: Any, k: int, g: Any, rows: Any) -> None:
    """Add to the gradients of constant and slope; the rows are of one class, but at the border."""
    if at[0] == at[3]:
        _accumulate(place, at[0] + k, (g[0] + g[1]) + (g[2] + g[3]))
        weighted = absorb(absorb(absorb(rows[0] * g[0], rows[1], g[1]), rows[2], g[2]), rows[3], g[3])
        _accumulate(place, at[0] + k + LANES, weighted)
    else:
        _add_row(place, at[0] + k, g[0], rows[0])
        _add_row(place, at[1] + k, g[1], rows[1])
        _add_row(place, at[2] + k, g[2], rows[2])
        _add_row(place, at[3] + k, g[3], rows[3])


def _parts(features: int) -> Any:
    """Functions of so many features: gating, the sums and tables, storing g, and absorbing a tap's gradients."""

    @inlined
    def gate_one(responses: Any, counts: Any, d: Any, at: int) -> Any:
        return (_gated(responses[0], counts, splat(d[at], LANES)),)

    @inlined
    def sum_one(
        responses: Any, g: Any, counts: Any, sums: Any, tables: Any, at: Any, rows: Any, first: int, k: int
    ) -> None:
        a, b, c, d = responses[0]
        a, b, c, d = _masked((rectify(a), rectify(b), rectify(c), rectify(d)), counts)
        some, rest = add((load(sums, first + k, LANES), load(sums, first + k + LANES, LANES)), (a + b) + (c + d))
        store(sums, first + k, some)
        store(sums, first + k + LANES, rest)
        _add_to_tables(tables, at, k, g[0], rows)

    @inlined
    def keep_one(g: Any, place: Any, at: int, pitch: int, plane: int) -> None:
        store(place, at, g[0][0])
        store(place, at + pitch, g[0][1])
        store(place, at + 2 * pitch, g[0][2])
        store(place, at + 3 * pitch, g[0][3])

    @inlined
    def tap_one(g: Any, values: Any, place: Any, at: int) -> None:
        a, b, c, d = g[0]
        some = absorb(absorb(load(place, at, LANES), values[0], a), values[1], b)
        store(place, at, absorb(absorb(some, values[2], c), values[3], d))

    @inlined
    def spread_one(changes: Any, place: Any, at: int, pitch: int, plane: int, weights: Any, first: int) -> Any:
        weight, values = splat(weights[first], LANES), take_rows(place, at, pitch)
        return (
            absorb(changes[0], values[0], weight),
            absorb(changes[1], values[1], weight),
            absorb(changes[2], values[2], weight),
            absorb(changes[3], values[3], weight),
        )

    if features == 1:
        return gate_one, sum_one, keep_one, tap_one, spread_one
    gate_others, sum_others, keep_others, tap_others, spread_others = _parts(features - 1)

    @inlined
    def gate_all(responses: Any, counts: Any, d: Any, at: int) -> Any:
        return gate_one(responses, counts, d, at) + gate_others(responses[1:], counts, d, at + 1)

    @inlined
    def sum_all(
        responses: Any, g: Any, counts: Any, sums: Any, tables: Any, at: Any, rows: Any, first: int, k: int
    ) -> None:
        sum_one(responses, g, counts, sums, tables, at, rows, first, k)
        sum_others(responses[1:], g[1:], counts, sums, tables, at, rows, first, k + 2 * LANES)

    @inlined
    def keep_all(g: Any, place: Any, at: int, pitch: int, plane: int) -> None:
        keep_one(g, place, at, pitch, plane)
        keep_others(g[1:], place, at + plane, pitch, plane)

    @inlined
    def tap_all(g: Any, values: Any, place: Any, at: int) -> None:
        tap_one(g, values, place, at)
        tap_others(g[1:], values, place, at + LANES)

    @inlined
    def spread_all(changes: Any, place: Any, at: int, pitch: int, plane: int, weights: Any, first: int) -> Any:
        some = spread_one(changes, place, at, pitch, plane, weights, first)
        return spread_others(some, place, at + plane, pitch, plane, weights, first + 1)

    return gate_all, sum_all, keep_all, tap_all, spread_all


@functools.cache
def gradient_piece(features: int) -> tuple[Any, Any]:
    """The functions that gate the rows of a piece, and that spread what they hold over its pixels."""
    absorb_tap, begin_responses = absorber(features), beginner(features)
    gate_all, sum_all, keep_all, tap_all, spread_all = _parts(features)

    @outlined
    def gate_rows(
        source: Any,
        source_row: int,
        pitch: int,
        first_row: int,
        rows: int,
        is_own: bool,
        columns: int,
        height: int,
        border: int,
        tables: Any,
        tiles: int,
        block: int,
        blocks: int,
        weights: Any,
        offsets: Any,
        taps: int,
        d: Any,
        first_d: int,
        kept: Any,
        kept_at: int,
        plane: int,
        sums: Any,
        of_tables: Any,
        of_weights: Any,
        all_offsets: Any,
        all_taps: int,
        unit: Any,
    ) -> None:
        """Write the gated gradients of rows of a map; if they are the piece's own, add to those of the parameters."""
        out_of_line()
        first = block * features
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
                counts = (
                    splat(convert(count, unit), LANES),
                    splat(convert(count if y + 1 < rows else 0, unit), LANES),
                    splat(convert(count if y + 2 < rows else 0, unit), LANES),
                    splat(convert(count if y + 3 < rows else 0, unit), LANES),
                )
                here = (source_row + y) * pitch + x
                k = (x // LANES * all_features + first) * 2 * LANES
                responses = begin_responses(tables, table_rows, numbers, k)
                for tap in range(taps):
                    values = take_rows(source, here + offsets[tap], pitch)
                    responses = absorb_tap(responses, values, weights, (block * taps + tap) * features)
                g = gate_all(responses, counts, d, first_d + first)
                keep_all(g, kept, kept_at + y * pitch + x, pitch, plane)
                if is_own:
                    places = (table_rows[0] + k, table_rows[1] + k, table_rows[2] + k, table_rows[3] + k)
                    sum_all(responses, g, counts, sums, of_tables, places, numbers, first * 2 * LANES, 0)
                    for tap in range(all_taps):
                        # zero where no pixel is: g is zero there too, but 0·∞ would not be nothing
                        values = _masked(take_rows(source, here + all_offsets[tap], pitch), counts)
                        tap_all(g, values, of_weights, (block * all_taps + tap) * features * LANES)

    @outlined
    def spread_rows(
        kept: Any,
        pitch: int,
        plane: int,
        block: int,
        weights: Any,
        offsets: Any,
        first_tap: int,
        last_tap: int,
        taps: int,
        of_pixels: Any,
        at: int,
        rows: int,
        columns: int,
    ) -> None:
        """Add to the gradients of a channel's pixels what one block of features gives; of the first block, write it."""
        out_of_line()
        for y in range(0, rows, ROWS):
            for x in range(0, columns, LANES):
                there = at + y * columns + x
                count = columns - x
                counts = (
                    count,
                    count if y + 1 < rows else 0,
                    count if y + 2 < rows else 0,
                    count if y + 3 < rows else 0,
                )
                zero = load(kept, 0, LANES)
                zero = zero - zero
                changes = (zero, zero, zero, zero)
                if block > 0:
                    changes = (
                        load_first(of_pixels, there, counts[0], LANES),
                        load_first(of_pixels, there + columns, counts[1], LANES),
                        load_first(of_pixels, there + 2 * columns, counts[2], LANES),
                        load_first(of_pixels, there + 3 * columns, counts[3], LANES),
                    )
                here = y * pitch + x
                for tap in range(first_tap, last_tap):
                    weight = (block * taps + tap) * features
                    changes = spread_all(changes, kept, here + offsets[tap], pitch, plane, weights, weight)
                store_first(of_pixels, there, changes[0], counts[0])
                store_first(of_pixels, there + columns, changes[1], counts[1])
                store_first(of_pixels, there + 2 * columns, changes[2], counts[2])
                store_first(of_pixels, there + 3 * columns, changes[3], counts[3])

    return gate_rows, spread_rows
