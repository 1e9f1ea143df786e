"""Who visits which pixel of a network's maps on the CPU.

A map, or a band of rows of a larger one, is one task, on any thread; bands depend on the shape only. Where a kernel has
only its centre, the pixels are read in place. Otherwise a piece of the map at a time is copied to a scratch of a few
kilobytes, converted and with zeros round it, so that a tap is a plain load. No feature map is stored.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from fastcoord._arrays import Maps
from fastcoord._compile import Kernel, inlined, kernel, outlined
from fastcoord._memory import first_element, load, memory, store, store_first
from fastcoord._vector import lane_merge, out_of_line, splat
from fastcoord.network.formula import Tables, coordinate_tables, finish, group_of, merge, read_out, trimmed
from fastcoord.network.tile import (
    LANES,
    ROWS,
    adjacent,
    adjacent_whole,
    centre_summer,
    scattered,
    scattered_whole,
    tile_summer,
)

BAND = 1 << 17  # pixels of a map in a task
TASK = 1 << 15  # pixels in a task of several maps
PIECE = 1 << 13  # elements of scratch, 32 KB of float32, as much as may stay in the first cache
COLUMNS = 512  # in a piece
WORK = 8  # multiply-adds in the time of a pixel that is only read

_merge_lanes = lane_merge(merge)


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


fill_adjacent, fill_scattered = _filler(adjacent), _filler(scattered)


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
    fill = fill_adjacent if is_adjacent else fill_scattered
    takes = (adjacent, adjacent_whole) if is_adjacent else (scattered, scattered_whole)
    sum_rows = centre_summer(features, *takes)
    sum_piece = tile_summer(features)

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
        maps_in_task: int,
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
        groups = (maps + maps_in_task - 1) // maps_in_task
        for index in prange(groups * bands):
            task: Any = np.int64(index)  # an unsigned index would make floats of differences
            group = task // bands
            band = task - group * bands
            band_start = band * band_rows
            band_end = band_start + band_rows if band_start + band_rows < height else height
            sums = np.empty((padded_features, 2, LANES), offset.dtype)
            scratch = np.zeros(1 if is_in_place else channels * plane, offset.dtype)
            states = np.empty((readout.shape[1], 2), offset.dtype)
            sums_place, scratch_place = memory(sums), memory(scratch)
            last = (group + 1) * maps_in_task
            for i in range(group * maps_in_task, last if last < maps else maps):
                image = first_element(i * channels, start, outer_stride, inner_count, inner_stride)
                for at in range(0, sums.size, LANES):  # slices assigned to took 5 of 11 s to compile
                    store(sums_place, at, splat(unit - unit, LANES))
                if is_in_place:
                    sum_rows(
                        place,
                        image + band_start * row_stride,
                        row_stride,
                        column_stride,
                        band_start,
                        band_end - band_start,
                        width,
                        tables_place,
                        blocks,
                        weights_place,
                        offsets_place,
                        taps,
                        sums_place,
                        unit,
                    )
                else:
                    for row in range(band_start, band_end, piece_rows):
                        rows = piece_rows if piece_rows < band_end - row else band_end - row
                        for column in range(0, width, piece_columns):
                            columns = piece_columns if piece_columns < width - column else width - column
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
                                pitch,
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
                for k in range(len(states)):
                    at = k * 2 * LANES
                    states[k, 0], states[k, 1] = _merge_lanes(
                        (load(sums_place, at, LANES), load(sums_place, at + LANES, LANES))
                    )
                if bands == 1:
                    _finish(states, readout, offset, out, number + i)
                else:
                    for k in range(len(states)):
                        partial[i * bands + band, k, 0], partial[i * bands + band, k, 1] = states[k, 0], states[k, 1]
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
    features = group_of(count, most_features(dtype))
    above, aside = kernel_height // 2, kernel_width // 2
    channels = weight.shape[1] - 2
    image_weight = weight[:, :channels]
    taps = np.argwhere((image_weight != 0).any(axis=0))
    weights = packed(image_weight, taps, features, dtype)
    tables = in_lanes(coordinate_tables(weight, bias, height, width), features, dtype)
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


def most_features(dtype: Any) -> int:
    """How many features at a time the registers have room for."""
    return 4 if dtype == np.float32 else 2


def packed(weight: Any, taps: Any, features: int, dtype: Any) -> NDArray[Any]:
    """(K, C, kh, kw) weights as (blocks, taps, features at a time), with zeros for features that are not there."""
    count, blocks = len(weight), -(-len(weight) // features)
    some = np.zeros((blocks * features, len(taps)), dtype)
    some[:count] = weight[:, taps[:, 0], taps[:, 1], taps[:, 2]]
    return np.ascontiguousarray(some.reshape(blocks, features, len(taps)).swapaxes(1, 2))


def in_lanes(tables: Tables, features: int, dtype: Any) -> NDArray[Any]:
    """The tables as (classes, tiles, features, 2, 16), with zeros for columns and features that are not there."""
    classes, count, width = tables.constant.shape
    blocks, tiles = -(-count // features), -(-width // LANES)
    wide = np.zeros((classes, blocks * features, 2, tiles * LANES), dtype)
    wide[:, :count, 0, :width], wide[:, :count, 1, :width] = tables
    return np.ascontiguousarray(wide.reshape(classes, -1, 2, tiles, LANES).transpose(0, 3, 1, 2, 4))


def network(maps: Maps, channels: int, planned: Plan, out: Any) -> None:
    """Write the outputs for each image of `maps`, of which `channels` in a row are one image, into the flat `out`."""
    height, width, count = maps.height, maps.width, maps.count // channels
    is_in_place = planned.above == planned.aside == 0 and len(planned.taps) > 0
    run = _network(planned.features, maps.column_stride == 1, is_in_place)
    piece_rows = planned.piece_rows
    band_rows = max(BAND // width // piece_rows, 1) * piece_rows
    offsets = planned.taps[:, 0] * maps.inner_stride if is_in_place else planned.offsets
    bands = -(-height // band_rows)
    features = planned.readout.shape[1]
    partial = np.empty((count * bands if bands > 1 else 0, features, 2), planned.offset.dtype)
    maps_in_task = max(TASK // (height * width), 1) if bands == 1 else 1
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
            maps_in_task,
            band_rows,
            piece_rows,
            planned.piece_columns,
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
