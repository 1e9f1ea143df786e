"""Who visits which pixel when a network's gradients are computed on the CPU.

One pass over the maps, by pieces of a few rows. Where the rows of a piece are, with those around it under the kernel,
the responses are computed again and gated: g = d·[response > 0] with d = readoutᵀ·grad, which the gradient of every
parameter and pixel is a sum of. The g of four features, for one piece, is all that is stored. The coordinates' weights
are not visited: their gradients follow from those of the tables, which have one entry a column and class of rows.
"""

import functools
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._memory import load, load_first, memory, store, store_first
from fastcoord._vector import convert, lane_merge, lane_numbers, like, out_of_line, select, splat
from fastcoord.network.cpu import fill_adjacent, fill_scattered, in_lanes, most_features, packed
from fastcoord.network.formula import (
    absorb,
    add,
    coordinate_gradient,
    coordinate_tables,
    gate,
    group_of,
    merge,
    rectify,
    total,
)
from fastcoord.network.tile import LANES, ROWS, absorber, beginner, row_number, table_at, take_rows

PIECE = 1 << 12  # pixels in a piece, where these are at least LEAST_ROWS rows
LEAST_ROWS = 16
TASKS = 32  # each keeps gradients of its own
LEAST_TASKS = 8

_merge_lanes = lane_merge(merge)


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
def _piece(features: int) -> tuple[Any, Any]:
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


@inlined
def _clear(place: Any, size: int, unit: Any) -> None:
    for at in range(0, size, LANES):
        store(place, at, splat(unit - unit, LANES))


@inlined
def _flush(lanes: Any, kept: Any) -> None:
    """Add float32 lanes to float64 ones, and make them zero."""
    source, target = memory(lanes), memory(kept)
    for at in range(0, lanes.size, LANES):
        some = load(source, at, LANES)
        store(target, at, load(target, at, LANES) + convert(some, kept.dtype.type(0)))
        store(source, at, some - some)


@functools.cache
def _gradients(features: int, is_adjacent: bool) -> Kernel:
    fill = fill_adjacent if is_adjacent else fill_scattered
    gate_rows, spread_rows = _piece(features)

    def gradients(
        pixels: Any,
        start: int,
        outer_stride: int,
        inner_count: int,
        inner_stride: int,
        row_stride: int,
        column_stride: int,
        number: int,
        maps: int,
        height: int,
        width: int,
        channels: int,
        piece_rows: int,
        above: int,
        aside: int,
        pitch: int,
        source_plane: int,
        kept_plane: int,
        tables: Any,
        weights: Any,
        offsets: Any,
        spread_offsets: Any,
        first_taps: Any,
        all_offsets: Any,
        d: Any,
        of_tables: Any,
        of_weights: Any,
        of_pixels: Any,
        sums_of_pieces: Any,
    ) -> None:
        place, tables_place, weights_place = memory(pixels), memory(tables), memory(weights)
        offsets_place, spread_place, all_offsets_place = memory(offsets), memory(spread_offsets), memory(all_offsets)
        d_place, of_pixels_place = memory(d), memory(of_pixels)
        unit = d.dtype.type(1)
        border, tiles, padded_features = (tables.shape[0] - 1) // 2, tables.shape[1], tables.shape[2]
        blocks, taps, all_taps = weights.shape[0], weights.shape[1], len(all_offsets)
        pieces = (height + piece_rows - 1) // piece_rows
        units, tasks = maps * pieces, len(of_weights)
        for index in prange(tasks):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            source = np.zeros(channels * source_plane, d.dtype)
            kept = np.zeros(features * kept_plane, d.dtype)
            sums = np.empty((padded_features, 2, LANES), d.dtype)
            table_lanes, weight_lanes = np.zeros(tables.shape, d.dtype), np.zeros(of_weights.shape[1:], d.dtype)
            source_place, kept_place, sums_place = memory(source), memory(kept), memory(sums)
            table_lanes_place, weight_lanes_place = memory(table_lanes), memory(weight_lanes)
            for piece in range(units * task // tasks, units * (task + 1) // tasks):
                i = piece // pieces
                row = (piece - i * pieces) * piece_rows
                rows = piece_rows if piece_rows < height - row else height - row
                top = row - above if row > above else 0
                bottom = row + rows + above if row + rows + above < height else height
                map_number = i * channels
                outer = map_number // inner_count
                image = start + outer * outer_stride + (map_number - outer * inner_count) * inner_stride
                for c in range(channels):
                    fill(
                        source_place,
                        c * source_plane,
                        pitch,
                        place,
                        image + c * inner_stride,
                        row_stride,
                        column_stride,
                        top - above,
                        bottom - top + 2 * above,
                        -aside,
                        width + 2 * aside,
                        height,
                        width,
                        unit,
                    )
                _clear(sums_place, sums.size, unit)
                for block in range(blocks):
                    if pieces > 1:
                        _clear(kept_place, kept.size, unit)  # rows beyond the map
                    for part in range(3):  # the rows above the piece, its own, those below
                        first_row = top if part == 0 else row if part == 1 else row + rows
                        last_row = row if part == 0 else row + rows if part == 1 else bottom
                        gate_rows(
                            source_place,
                            first_row - top,
                            pitch,
                            first_row,
                            last_row - first_row,
                            part == 1,
                            width,
                            height,
                            border,
                            tables_place,
                            tiles,
                            block,
                            blocks,
                            weights_place,
                            offsets_place,
                            taps,
                            d_place,
                            (number + i) * padded_features,
                            kept_place,
                            (first_row - row + above) * pitch + aside,
                            kept_plane,
                            sums_place,
                            table_lanes_place,
                            weight_lanes_place,
                            all_offsets_place,
                            all_taps,
                            unit,
                        )
                    for c in range(channels):
                        spread_rows(
                            kept_place,
                            pitch,
                            kept_plane,
                            block,
                            weights_place,
                            spread_place,
                            first_taps[c],
                            first_taps[c + 1],
                            taps,
                            of_pixels_place,
                            (((number + i) * channels + c) * height + row) * width,
                            rows,
                            width,
                        )
                for k in range(sums_of_pieces.shape[1]):
                    at = k * 2 * LANES
                    state = _merge_lanes((load(sums_place, at, LANES), load(sums_place, at + LANES, LANES)))
                    sums_of_pieces[number * pieces + piece, k] = total(state)
                _flush(table_lanes, of_tables[task])
                _flush(weight_lanes, of_weights[task])
            source[0] = kept[0] + sums[0, 0, 0]  # they live until here: `memory` does not keep them

    return kernel(gradients)


def vjp(
    maps: Maps, channels: int, parameters: tuple[Any, Any, Any, Any], grad: NDArray[Any], of_pixels: NDArray[Any]
) -> tuple[NDArray[np.float64], ...]:
    """The gradients of weight, bias, readout and offset, for a (n, M) `grad`; those of the pixels in flat memory."""
    weight, bias, readout, _ = parameters
    dtype = of_pixels.dtype
    height, width, count = maps.height, maps.width, maps.count // channels
    features_in_all, _, kernel_height, kernel_width = weight.shape
    features = group_of(features_in_all, most_features(dtype))
    padded = -(-features_in_all // features) * features
    above, aside = kernel_height // 2, kernel_width // 2
    tiles = -(-width // LANES)
    pitch = -(-(tiles * LANES + 2 * aside) // LANES) * LANES
    piece_rows = min(max(PIECE // width // ROWS * ROWS, LEAST_ROWS), -(-height // ROWS) * ROWS)
    pieces = -(-height // piece_rows)
    source_plane, kept_plane = ((piece_rows + 4 * above + ROWS) * pitch, (piece_rows + 2 * above + ROWS) * pitch)
    image_weight = weight[:, :channels]
    taps = np.argwhere((image_weight != 0).any(axis=0))
    all_taps = np.argwhere(np.ones(image_weight.shape[1:], np.bool_))
    in_source = np.array([source_plane, pitch, 1])
    weights = packed(image_weight, taps, features, dtype)
    tables = in_lanes(coordinate_tables(weight, bias, height, width), features, dtype)
    d = np.zeros((len(grad), padded), dtype)
    d[:, :features_in_all] = grad @ readout
    # what they keep for the tables must stay small beside the images, and they must be enough for all threads
    affordable = max(of_pixels.nbytes // (16 * tables.size), LEAST_TASKS)
    tasks = max(min(count * pieces, TASKS, affordable), 1)
    of_tables = np.zeros((tasks, *tables.shape))
    of_weights = np.zeros((tasks, padded // features, len(all_taps), features, LANES))
    sums = np.zeros((len(grad) * pieces, features_in_all), dtype)
    run = _gradients(features, maps.column_stride == 1)
    for i, start in enumerate(maps.starts):
        run(
            count * height * width * max(1, len(taps) * features_in_all // 2),
            maps.memory,
            start,
            maps.outer_stride,
            maps.inner_count,
            maps.inner_stride,
            maps.row_stride,
            maps.column_stride,
            i * count,
            count,
            height,
            width,
            channels,
            piece_rows,
            above,
            aside,
            pitch,
            source_plane,
            kept_plane,
            tables,
            weights,
            taps @ in_source,
            (2 * above - taps[:, 1]) * pitch + 2 * aside - taps[:, 2],
            np.searchsorted(taps[:, 0], np.arange(channels + 1)),
            all_taps @ in_source,
            d,
            of_tables,
            of_weights,
            of_pixels,
            sums,
        )
    by_class = of_tables.sum(axis=0, dtype=np.longdouble).transpose(3, 0, 2, 1, 4).reshape(2, len(tables), padded, -1)
    constant, slope = by_class[:, :, :features_in_all, :width]
    over_coordinates, of_bias = coordinate_gradient(constant, slope, (kernel_height, kernel_width), height)
    over_taps = (
        of_weights.sum(axis=(0, 4), dtype=np.longdouble)
        .swapaxes(1, 2)
        .reshape(padded, channels, kernel_height, kernel_width)
    )
    of_weight = np.concatenate([over_taps[:features_in_all], over_coordinates], axis=1)
    by_map = sums.reshape(len(grad), pieces, features_in_all).sum(axis=1, dtype=np.longdouble)
    return of_weight, of_bias, grad.T @ by_map, grad.sum(axis=0)
