"""Who visits which pixel of a network's maps on the CPU.

A tile is four rows of sixteen columns. For a group of up to four features the responses of a tile stay in registers
from the first tap to the ReLU, so that a row's values are loaded once for the group and a weight once for four rows; no
feature map is stored. A map, or a band of rows of a larger one, is one task, on any thread; bands depend on the shape
only. Where a kernel has only its centre, the pixels are read in place. Otherwise a piece of the map at a time is copied
to a scratch of a few kilobytes, converted and with zeros round it, so that a tap is a plain load.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._memory import gather, item_bytes, load, load_first, memory, prefetch, store, store_first
from fastcoord._vector import convert, lane_merge, lane_numbers, like, out_of_line, select, splat
from fastcoord.network.formula import (
    absorb,
    add,
    begin,
    border_rows,
    coordinate_tables,
    finish,
    merge,
    read_out,
    rectify,
    row_class,
    trimmed,
)

LANES = 16
ROWS = 4  # in a tile
BAND = 1 << 17  # pixels in a task
PIECE = 1 << 13  # elements of scratch, 32 KB of float32, as much as may stay in the first cache
COLUMNS = 512  # in a piece
WORK = 8  # multiply-adds in the time of a pixel that is only read
AHEAD = 8192  # bytes between a line that is read in place and one that is prefetched

_merge_lanes = lane_merge(merge)


# ---- A tile ----------------------------------------------------------------------------------------------------------


@inlined
def _absorb_rows(responses: Any, values: Any, weight: Any) -> Any:
    return (
        absorb(responses[0], values[0], weight),
        absorb(responses[1], values[1], weight),
        absorb(responses[2], values[2], weight),
        absorb(responses[3], values[3], weight),
    )


def _absorber(features: int) -> Any:
    """The function that absorbs four rows of values under a tap into so many features' four responses each."""

    @inlined
    def absorb_one(responses: Any, values: Any, weights: Any, at: int) -> Any:
        return (_absorb_rows(responses[0], values, splat(weights[at], LANES)),)

    if features == 1:
        return absorb_one
    absorb_others = _absorber(features - 1)

    @inlined
    def absorb_all(responses: Any, values: Any, weights: Any, at: int) -> Any:
        first = (_absorb_rows(responses[0], values, splat(weights[at], LANES)),)
        return first + absorb_others(responses[1:], values, weights, at + 1)

    return absorb_all


@inlined
def _begin_row(tables: Any, at: int, row: Any) -> Any:
    return begin(load(tables, at, LANES), load(tables, at + LANES, LANES), row)


def _beginner(features: int) -> Any:
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
    begin_others = _beginner(features - 1)

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
def _take_copied(source: Any, at: int, pitch: int, step: int, counts: Any, unit: Any) -> Any:
    return (
        load(source, at, LANES),
        load(source, at + pitch, LANES),
        load(source, at + 2 * pitch, LANES),
        load(source, at + 3 * pitch, LANES),
    )


@inlined
def _adjacent(source: Any, at: int, step: int, count: int, unit: Any) -> Any:
    prefetch(source, at + AHEAD // item_bytes(source))
    return convert(load_first(source, at, count, LANES), unit)


@inlined
def _scattered(source: Any, at: int, step: int, count: int, unit: Any) -> Any:
    return convert(gather(source, at, step, count, LANES), unit)


def _taker(take_one: Any) -> Any:
    """The function that takes four rows of pixels in place, the first `counts` of each."""

    @inlined
    def take(source: Any, at: int, pitch: int, step: int, counts: Any, unit: Any) -> Any:
        return (
            take_one(source, at, step, counts[0], unit),
            take_one(source, at + pitch, step, counts[1], unit),
            take_one(source, at + 2 * pitch, step, counts[2], unit),
            take_one(source, at + 3 * pitch, step, counts[3], unit),
        )

    return take


@inlined
def _row(number: Any, height: Any, unit: Any) -> Any:
    return splat(convert(number if number < height else height - 1, unit), LANES)


@inlined
def _table_at(row: Any, height: Any, border: Any, tiles: Any, features: Any) -> Any:
    last = height - 1
    return row_class(row if row < last else last, height, border) * tiles * features * 2 * LANES


@functools.cache
def _summer(features: int, take: Any) -> Any:
    """The function that adds the responses of a piece of a map to the sums, so many features at a time."""
    absorb_tap, begin_responses, collect = _absorber(features), _beginner(features), _collector(features)

    @outlined
    def sum_piece(
        source: Any,
        at: int,
        pitch: int,
        step: int,
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
                _row(row, height, unit),
                _row(row + 1, height, unit),
                _row(row + 2, height, unit),
                _row(row + 3, height, unit),
            )
            table_rows = (
                _table_at(row, height, border, tiles, all_features),
                _table_at(row + 1, height, border, tiles, all_features),
                _table_at(row + 2, height, border, tiles, all_features),
                _table_at(row + 3, height, border, tiles, all_features),
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
                here = at + y * pitch + x * step
                table = (first_column + x) // LANES * all_features * 2 * LANES
                for block in range(blocks):
                    first = block * features
                    responses = begin_responses(tables, table_rows, numbers, table + first * 2 * LANES)
                    for tap in range(taps):
                        values = take(source, here + offsets[tap], pitch, step, counts, unit)
                        responses = absorb_tap(responses, values, weights, (block * taps + tap) * features)
                    collect(responses, lanes, sums, first * 2 * LANES)

    return sum_piece


# ---- A map -----------------------------------------------------------------------------------------------------------


def _filler(take_one: Any) -> Any:
    @outlined
    def fill(
        scratch: Any,
        plane: int,
        pitch: int,
        source: Any,
        first: int,
        row_stride: int,
        column_stride: int,
        first_row: int,
        rows: int,
        first_column: int,
        columns: int,
        height: int,
        width: int,
        unit: Any,
    ) -> None:
        """Copy a piece of a map, converted; what lies beyond the map is zero."""
        out_of_line()
        left = first_column if first_column > 0 else 0
        right = first_column + columns if first_column + columns < width else width
        for r in range(rows):
            row = first_row + r
            at = plane + r * pitch - first_column
            if row < 0 or row >= height:
                for column in range(first_column, first_column + columns):
                    scratch[at + column] = unit - unit
                continue
            for column in range(first_column, left):
                scratch[at + column] = unit - unit
            for column in range(left, right, LANES):
                there = first + row * row_stride + column * column_stride
                values = take_one(source, there, column_stride, right - column, unit)
                store_first(scratch, at + column, values, right - column)
            for column in range(right, first_column + columns):
                scratch[at + column] = unit - unit

    return fill


_fill_adjacent, _fill_scattered = _filler(_adjacent), _filler(_scattered)


@inlined
def _finish(states: Any, readout: Any, offset: Any, out: Any, i: int) -> None:
    features, outputs = len(states), len(offset)
    for m in range(outputs):
        output = (offset[m], offset[m] - offset[m])
        for k in range(features):
            output = read_out(output, (states[k, 0], states[k, 1]), readout[m, k])
        out[i * outputs + m] = finish(output)


@functools.cache
def _network(features: int, is_adjacent: bool, is_in_place: bool) -> Kernel:
    """The kernel for `features` features at a time, pixels side by side or not, read in place or from a copy."""
    take_one = _adjacent if is_adjacent else _scattered
    fill = _fill_adjacent if is_adjacent else _fill_scattered
    sum_piece = _summer(features, _taker(take_one) if is_in_place else _take_copied)

    def network(
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
        band_rows: int,
        piece_rows: int,
        piece_columns: int,
        above: int,
        aside: int,
        pitch: int,
        plane: int,
        tables: Any,
        weights: Any,
        offsets: Any,
        readout: Any,
        offset: Any,
        partial: Any,
        out: Any,
    ) -> None:
        place, tables_place, weights_place = memory(pixels), memory(tables), memory(weights)
        offsets_place = memory(offsets)
        unit = offset.dtype.type(1)
        border, tiles, padded_features = (tables.shape[0] - 1) // 2, tables.shape[1], tables.shape[2]
        blocks, taps = weights.shape[0], weights.shape[1]
        bands = (height + band_rows - 1) // band_rows
        for index in prange(maps * bands):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            i = task // bands
            map_number = i * channels
            outer = map_number // inner_count
            image = start + outer * outer_stride + (map_number - outer * inner_count) * inner_stride
            band_start = (task - i * bands) * band_rows
            band_end = band_start + band_rows if band_start + band_rows < height else height
            sums = np.zeros((padded_features, 2, LANES), offset.dtype)
            scratch = np.zeros(1 if is_in_place else channels * plane, offset.dtype)
            sums_place, scratch_place = memory(sums), memory(scratch)
            for row in range(band_start, band_end, piece_rows):
                rows = piece_rows if piece_rows < band_end - row else band_end - row
                for column in range(0, width, piece_columns):
                    columns = piece_columns if piece_columns < width - column else width - column
                    if is_in_place:
                        sum_piece(
                            place,
                            image + row * row_stride + column * column_stride,
                            row_stride,
                            column_stride,
                            row,
                            rows,
                            column,
                            columns,
                            height,
                            border,
                            tables_place,
                            tiles,
                            blocks,
                            weights_place,
                            offsets_place,
                            taps,
                            sums_place,
                            unit,
                        )
                        continue
                    for c in range(channels):
                        fill(
                            scratch_place,
                            c * plane,
                            pitch,
                            place,
                            image + c * inner_stride,
                            row_stride,
                            column_stride,
                            row - above,
                            rows + 2 * above,
                            column - aside,
                            columns + 2 * aside,
                            height,
                            width,
                            unit,
                        )
                    sum_piece(
                        scratch_place,
                        0,
                        pitch,
                        1,
                        row,
                        rows,
                        column,
                        columns,
                        height,
                        border,
                        tables_place,
                        tiles,
                        blocks,
                        weights_place,
                        offsets_place,
                        taps,
                        sums_place,
                        unit,
                    )
            states = np.empty((readout.shape[1], 2), offset.dtype)
            for k in range(len(states)):
                at = k * 2 * LANES
                states[k, 0], states[k, 1] = _merge_lanes(
                    (load(sums_place, at, LANES), load(sums_place, at + LANES, LANES))
                )
            if bands == 1:
                _finish(states, readout, offset, out, number + i)
            else:
                partial[task] = states
            scratch[0] = sums[0, 0, 0]  # they live until here: `memory` does not keep them
        if bands > 1:
            for i in range(maps):
                states = partial[i * bands]
                for band in range(1, bands):
                    for k in range(len(states)):
                        other = partial[i * bands + band, k]
                        states[k, 0], states[k, 1] = merge((states[k, 0], states[k, 1]), (other[0], other[1]))
                _finish(states, readout, offset, out, number + i)

    return kernel(network)


# ---- A call ----------------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What a network needs for maps of one shape and number type; made once, and kept by the network."""

    features: int  # at a time
    taps: NDArray[np.int64]  # (taps, 3): channel, row and column in the trimmed kernel
    above: int  # rows of the trimmed kernel before its centre
    aside: int
    piece_rows: int
    piece_columns: int
    pitch: int  # of the scratch
    plane: int
    offsets: NDArray[np.int64]  # (taps,) in the scratch
    tables: NDArray[Any]  # (classes, tiles, features, 2, 16): constant and slope
    weights: NDArray[Any]  # (blocks, taps, features at a time)
    readout: NDArray[Any]
    offset: NDArray[Any]


def plan(weight: Any, bias: Any, readout: Any, offset: Any, height: int, width: int, dtype: Any) -> Plan:
    """The plan for maps of this shape, whose pixels are absorbed as `dtype`."""
    weight = trimmed(weight)
    count, _, kernel_height, kernel_width = weight.shape
    most = 4 if dtype == np.float32 else 2  # float64 takes two registers: four features would not fit
    # the group that leaves the fewest places empty, and of these the largest
    features = min(range(1, most + 1), key=lambda group: (-(-count // group) * group, -group))
    padded = -(-count // features) * features
    above, aside = kernel_height // 2, kernel_width // 2
    channels = weight.shape[1] - 2
    image_weight = weight[:, :channels]
    taps = np.argwhere((image_weight != 0).any(axis=0))
    packed = np.zeros((padded, len(taps)), dtype)
    packed[:count] = image_weight[:, taps[:, 0], taps[:, 1], taps[:, 2]]
    weights = np.ascontiguousarray(packed.reshape(-1, features, len(taps)).swapaxes(1, 2))
    tables = _in_lanes(np.stack(coordinate_tables(weight, bias, height, width), axis=2), padded, dtype)
    piece_columns = min(-(-width // LANES) * LANES, COLUMNS)
    pitch = -(-(piece_columns + 2 * aside) // LANES) * LANES
    piece_rows = max(PIECE // (channels * pitch) - 2 * above, ROWS) // ROWS * ROWS
    piece_rows = min(piece_rows, -(-height // ROWS) * ROWS)
    plane = (piece_rows + 2 * above) * pitch
    return Plan(
        *(features, taps, above, aside, piece_rows, piece_columns, pitch, plane),
        taps @ np.array([plane, pitch, 1], np.int64),
        *(tables, weights, readout.astype(dtype), offset.astype(dtype)),
    )


def _in_lanes(tables: Any, features: int, dtype: Any) -> NDArray[Any]:
    """(classes, features, 2, width) tables as (classes, tiles, features, 2, 16), with zeros for what is not there."""
    classes, count, two, width = tables.shape
    tiles = -(-width // LANES)
    wide = np.zeros((classes, features, two, tiles * LANES), dtype)
    wide[:, :count, :, :width] = tables
    return np.ascontiguousarray(wide.reshape(classes, features, two, tiles, LANES).transpose(0, 3, 1, 2, 4))


def network(maps: Maps, channels: int, planned: Plan, out: Any) -> None:
    """Write the outputs for each image of `maps`, of which `channels` in a row are one image, into the flat `out`."""
    height, width, count = maps.height, maps.width, maps.count // channels
    is_in_place = planned.above == planned.aside == 0
    run = _network(planned.features, maps.column_stride == 1, is_in_place)
    band_rows = max(BAND // width // ROWS, 1) * ROWS
    piece_rows, piece_columns = planned.piece_rows, planned.piece_columns
    offsets = planned.offsets
    if is_in_place:
        piece_rows, piece_columns = band_rows, -(-width // LANES) * LANES
        offsets = planned.taps[:, 0] * maps.inner_stride
    else:
        band_rows = -(-band_rows // piece_rows) * piece_rows
    bands = -(-height // band_rows)
    outputs, features = planned.readout.shape
    partial = np.empty((count * bands if bands > 1 else 0, features, 2), planned.offset.dtype)
    work = count * height * width * max(1, len(planned.taps) * features // WORK)
    for i, start in enumerate(maps.starts):
        run(
            work,
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
            band_rows,
            piece_rows,
            piece_columns,
            planned.above,
            planned.aside,
            planned.pitch,
            planned.plane,
            planned.tables,
            planned.weights,
            offsets,
            planned.readout,
            planned.offset,
            partial,
            out,
        )
